"""NodeRestriction: a kubelet may write its own node, its pods, and the objects that belong to them. Pods: node_restriction_pods."""

from collections.abc import Callable
from typing import Any

from kapi.admission import certificates, node_restriction_pods
from kapi.admission.plugin import CREATE, DELETE, UPDATE, Authorizer, Reader, ReadingPlugin, forbidden
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.objects.resource import Resource
from kapi.objects.user import NODE, node_of
from kapi.registry.admission import AdmissionAttributes

LEASE_NAMESPACE = "kube-node-lease"
_RESTRICTED = "node-restriction.kubernetes.io"
_KUBELET_LABELS = frozenset(
    {
        "kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os", "kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type", "topology.kubernetes.io/zone", "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region",
        "beta.kubernetes.io/instance-type", "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
    }
)  # fmt: skip
_KUBELET_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")


class NodeRestriction(ReadingPlugin):
    """Keeps a kubelet to its own node, its pods, and what belongs to them."""

    name = "NodeRestriction"

    def __init__(self, reader: Reader, authorizer: Authorizer) -> None:
        super().__init__(reader)
        self._authorizer = authorizer

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation in (CREATE, UPDATE, DELETE) and (resource.group, resource.plural) in _CHECKS

    def mutate(self, attrs: AdmissionAttributes) -> None:
        if (node := node_of(attrs.user)) is None:
            return
        if not node:
            raise forbidden(attrs, f"could not determine node from user {go_quote(attrs.user.name)}")
        resource = attrs.kind.resource
        if why := _CHECKS[resource.group, resource.plural](self, attrs, node):
            raise forbidden(attrs, why)

    def _pod(self, attrs: AdmissionAttributes, node: str) -> str:
        return node_restriction_pods.pod(self.reader, attrs, node)

    def _claim(self, attrs: AdmissionAttributes, node: str) -> str:
        return node_restriction_pods.claim(self.reader, attrs, node)

    def _token(self, attrs: AdmissionAttributes, node: str) -> str:
        return node_restriction_pods.token(self.reader, self._authorizer, attrs, node)

    def _node(self, attrs: AdmissionAttributes, node: str) -> str:
        quoted, name = go_quote(node), _name(attrs)
        if name != node:
            return f"node {quoted} is not allowed to modify node {go_quote(name)}"
        new, old = attrs.new or {}, attrs.old or {}
        if attrs.operation == CREATE:
            if _spec(new, "configSource"):
                return f"node {quoted} is not allowed to create pods with a non-nil configSource"
            bad = forbidden_labels({}, _meta(new, "labels") or {})
            return f"node {quoted} is not allowed to set the following labels: {', '.join(bad)}" if bad else ""
        if attrs.operation != UPDATE:
            return ""
        if (source := _spec(new, "configSource")) and source != _spec(old, "configSource"):
            return f"node {quoted} is not allowed to update configSource to a new non-nil configSource"
        if _spec(new, "taints") != _spec(old, "taints"):
            return f"node {quoted} is not allowed to modify taints"
        if _meta(new, "ownerReferences") != _meta(old, "ownerReferences"):
            return f"node {quoted} is not allowed to modify ownerReferences"
        bad = forbidden_labels(_meta(old, "labels") or {}, _meta(new, "labels") or {})
        return f"is not allowed to modify labels: {', '.join(bad)}" if bad else ""

    def _lease(self, attrs: AdmissionAttributes, node: str) -> str:
        if attrs.namespace != LEASE_NAMESPACE:
            return f"can only access leases in the {go_quote(LEASE_NAMESPACE)} system namespace"
        return "" if _name(attrs) == node else "can only access node lease with the same name as the requesting node"

    def _csi_node(self, attrs: AdmissionAttributes, node: str) -> str:
        return "" if _name(attrs) == node else "can only access CSINode with the same name as the requesting node"

    def _slice(self, attrs: AdmissionAttributes, node: str) -> str:
        """The authorizer judges single objects by what is stored; here are those that are new, and each of a whole collection."""
        if attrs.operation == CREATE and _spec(attrs.new or {}, "nodeName") != node:
            return "can only create ResourceSlice with the same NodeName as the requesting node"
        if attrs.operation == DELETE and _spec(attrs.old or {}, "nodeName") != node:
            return "can only delete ResourceSlice with the same NodeName as the requesting node"
        return ""

    def _signing_request(self, attrs: AdmissionAttributes, node: str) -> str:
        """A certificate for a kubelet is asked for by the kubelet of that name."""
        spec = (attrs.new or {}).get("spec") or {}
        if attrs.operation != CREATE or spec.get("signerName") not in _KUBELET_SIGNERS:
            return ""
        subject = certificates.subject(spec.get("request") or "")
        if subject is None:
            return "unable to parse csr: PEM block type must be CERTIFICATE REQUEST"
        own = subject.name == f"{NODE}{node}"
        return "" if own else f"can only create a node CSR with CN={NODE}{node}"


_CHECKS: dict[tuple[str, str], Callable[[NodeRestriction, AdmissionAttributes, str], str]] = {
    ("", "pods"): NodeRestriction._pod,
    ("", "nodes"): NodeRestriction._node,
    ("", "persistentvolumeclaims"): NodeRestriction._claim,
    ("", "serviceaccounts"): NodeRestriction._token,
    ("coordination.k8s.io", "leases"): NodeRestriction._lease,
    ("storage.k8s.io", "csinodes"): NodeRestriction._csi_node,
    ("resource.k8s.io", "resourceslices"): NodeRestriction._slice,
    ("certificates.k8s.io", "certificatesigningrequests"): NodeRestriction._signing_request,
}
_KUBELET_SIGNERS = ("kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet")


def _name(attrs: AdmissionAttributes) -> str:
    return attrs.name or str(_meta(attrs.new or {}, "name") or "")


def _meta(obj: Object, field: str) -> Any:
    return (obj.get("metadata") or {}).get(field) or None


def _spec(obj: Object, field: str) -> Any:
    return (obj.get("spec") or {}).get(field) or None


def forbidden_labels(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """Changed labels a kubelet may not touch: those of kubernetes.io and k8s.io that are not its own."""
    changed = {key for key in {*old, *new} if old.get(key) != new.get(key)}
    return sorted(key for key in changed if _is_forbidden(key))


def _within(domain: str, parent: str) -> bool:
    return domain == parent or domain.endswith("." + parent)


def _is_forbidden(key: str) -> bool:
    domain = key.partition("/")[0] if "/" in key else ""
    if _within(domain, _RESTRICTED):
        return True
    if not (_within(domain, "kubernetes.io") or _within(domain, "k8s.io")):
        return False
    return key not in _KUBELET_LABELS and not any(_within(domain, own) for own in _KUBELET_DOMAINS)
