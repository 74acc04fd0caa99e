"""Plugins on nodes: NodeRestriction keeps a kubelet to its own node and pods; TaintNodesByCondition starts nodes as not ready."""

from kapi.admission.accounts import secret_names
from kapi.admission.plugin import CREATE, DELETE, UPDATE, Object, Plugin, ReadingPlugin, forbidden, is_mirror, spec_containers
from kapi.objects import errors
from kapi.objects.causes import go_quote
from kapi.objects.resource import NODES, PODS, Resource
from kapi.registry.review import Review

NODE_PREFIX, NODE_GROUP = "system:node:", "system:nodes"
NOT_READY = "node.kubernetes.io/not-ready"
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
_WATCHED = frozenset(
    {
        ("", "pods"), ("", "nodes"), ("", "persistentvolumeclaims"), ("", "serviceaccounts"),
        ("coordination.k8s.io", "leases"), ("storage.k8s.io", "csinodes"), ("resource.k8s.io", "resourceslices"),
    }
)  # fmt: skip


class TaintNodesByCondition(Plugin):
    """A new node takes no pods until it reports that it is ready."""

    name = "TaintNodesByCondition"
    about = {CREATE: ("nodes",)}

    def mutate(self, review: Review) -> None:
        node = review.new or {}
        taints = (node.get("spec") or {}).get("taints") or []
        if not any(t.get("key") == NOT_READY and t.get("effect") == "NoSchedule" for t in taints):
            node["spec"] = {**(node.get("spec") or {}), "taints": [*taints, {"key": NOT_READY, "effect": "NoSchedule"}]}


class NodeRestriction(ReadingPlugin):
    name = "NodeRestriction"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return operation in (CREATE, UPDATE, DELETE) and (resource.group, resource.plural) in _WATCHED

    def mutate(self, review: Review) -> None:
        if NODE_GROUP not in review.user.groups or not review.user.name.startswith(NODE_PREFIX):
            return
        node = review.user.name[len(NODE_PREFIX) :]
        if not node:
            raise forbidden(review, f"could not determine node from user {go_quote(review.user.name)}")
        resource = review.kind.resource.plural
        checks = {
            "pods": self._pod, "nodes": self._node, "persistentvolumeclaims": self._claim, "serviceaccounts": self._token,
            "leases": self._lease, "csinodes": self._csi_node, "resourceslices": self._slice,
        }  # fmt: skip
        why = checks[resource](review, node)
        if why:
            raise forbidden(review, why)

    # pods

    def _pod(self, review: Review, node: str) -> str:
        quoted = go_quote(node)
        if review.subresource == "":
            if review.operation == CREATE:
                return self._create_pod(review.new or {}, node)
            if review.operation == DELETE:
                own = self._bound_to(review.namespace, review.name) == node
                return "" if own else f"node {quoted} can only delete pods with spec.nodeName set to itself"
            return f"unexpected operation {go_quote(review.operation)}, node {quoted} can only create and delete mirror pods"
        if review.subresource == "status":
            return self._pod_status(review, node)
        if review.subresource == "eviction":
            own = self._bound_to(review.namespace, review.name) == node
            return "" if own else f"node {node} can only evict pods with spec.nodeName set to itself"
        return f"unexpected pod subresource {go_quote(review.subresource)}, only 'status' and 'eviction' are allowed"

    def _bound_to(self, namespace: str, name: str) -> str:
        pod = self.reader.entry(PODS, namespace, name)
        if pod is None:
            raise errors.not_found("pods", "", name)
        return pod.fields.get("spec.nodeName", "")

    def _pod_status(self, review: Review, node: str) -> str:
        if review.operation != UPDATE:
            return f"unexpected operation {go_quote(review.operation)}"
        old, new = review.old or {}, review.new or {}
        if (old.get("spec") or {}).get("nodeName") != node:
            return f"node {go_quote(node)} can only update pod status for pods with spec.nodeName set to itself"
        if (old["metadata"].get("labels") or {}) != (new["metadata"].get("labels") or {}):
            return f"node {go_quote(node)} cannot update labels through pod status"
        return ""

    def _create_pod(self, pod: Object, node: str) -> str:
        quoted, spec = go_quote(node), pod.get("spec") or {}
        if not is_mirror(pod):
            return f'pod does not have "kubernetes.io/config.mirror" annotation, node {quoted} can only create mirror pods'
        if spec.get("nodeName") != node:
            return f"node {quoted} can only create pods with spec.nodeName set to itself"
        return self._owner(pod, node) or _references(spec, quoted)

    def _owner(self, pod: Object, node: str) -> str:
        quoted, owners = go_quote(node), pod["metadata"].get("ownerReferences") or []
        if len(owners) > 1:
            return f"node {quoted} can only create pods with a single owner reference set to itself"
        owner = owners[0] if owners else {}
        if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
            return f"node {quoted} can only create pods with an owner reference set to itself"
        if not owner.get("controller"):
            return f"node {quoted} can only create pods with a controller owner reference set to itself"
        if owner.get("blockOwnerDeletion"):
            return f"node {quoted} must not set blockOwnerDeletion on an owner reference"
        found = self.reader.get(NODES, "", node)
        if found is None:
            raise errors.not_found("nodes", "", node)
        uid = found["metadata"]["uid"]
        return "" if owner.get("uid") == uid else f"node {node} UID mismatch: expected {owner.get('uid')} got {uid}"

    # nodes and what belongs to them

    def _node(self, review: Review, node: str) -> str:
        new, quoted = review.new or {}, go_quote(node)
        name = review.name or (new.get("metadata") or {}).get("name") or ""
        if name != node:
            return f"node {quoted} is not allowed to modify node {go_quote(name)}"
        if review.operation == DELETE or not new:
            return ""
        old = review.old or {"metadata": {}, "spec": new.get("spec")}
        bad = forbidden_labels(old["metadata"].get("labels") or {}, new["metadata"].get("labels") or {})
        if bad:
            verb = "set the following labels" if review.operation == CREATE else "modify labels"
            return f"node {quoted} is not allowed to {verb}: {', '.join(bad)}"
        if review.operation == UPDATE and not review.subresource and _taints(old) != _taints(new):
            return f"node {quoted} is not allowed to modify taints"
        return ""

    def _claim(self, review: Review, node: str) -> str:
        return "" if review.subresource == "status" else "may only update PVC status"

    def _token(self, review: Review, node: str) -> str:
        if review.operation != CREATE or review.subresource != "token":
            return ""
        ref = ((review.new or {}).get("spec") or {}).get("boundObjectRef") or {}
        if (ref.get("apiVersion"), ref.get("kind")) != ("v1", "Pod") or not ref.get("name"):
            return "node requested token not bound to a pod"
        if not ref.get("uid"):
            return "node requested token with a pod binding without a uid"
        pod = self.reader.entry(PODS, review.namespace, ref["name"])
        if pod is None:
            raise errors.not_found("pods", "", ref["name"])
        if pod.obj["metadata"]["uid"] != ref["uid"]:
            uid = ref["uid"]
            return f"the UID in the bound object reference ({uid}) does not match the UID in record. " + _RECREATED
        own = pod.fields.get("spec.nodeName") == node
        return "" if own else "node requested token bound to a pod scheduled on a different node"

    def _lease(self, review: Review, node: str) -> str:
        if review.namespace != LEASE_NAMESPACE:
            return f"can only access leases in the {go_quote(LEASE_NAMESPACE)} system namespace"
        name = review.name or (review.new or {})["metadata"].get("name")
        return "" if name == node else "can only access node lease with the same name as the requesting node"

    def _csi_node(self, review: Review, node: str) -> str:
        name = review.name or (review.new or {})["metadata"].get("name")
        return "" if name == node else "can only access CSINode with the same name as the requesting node"

    def _slice(self, review: Review, node: str) -> str:
        for obj in (review.new, review.old):
            if obj is not None and (obj.get("spec") or {}).get("nodeName") != node:
                return "can only create ResourceSlice with the same NodeName as the requesting node"
        return ""


_RECREATED = "The object might have been deleted and then recreated"


def _references(spec: Object, quoted: str) -> str:
    """What a mirror pod may not refer to: it could not be fetched without the API."""
    head = f"node {quoted} can not create pods that reference"
    if spec.get("serviceAccountName"):
        return f"{head} a service account"
    if any(True for _ in secret_names(spec)):
        return f"{head} secrets"
    sources = [source for container in spec_containers(spec) for source in container.get("envFrom") or ()]
    if any("configMapRef" in source for source in sources) or any("configMap" in v for v in spec.get("volumes") or ()):
        return f"{head} configmaps"
    if any("persistentVolumeClaim" in v for v in spec.get("volumes") or ()):
        return f"{head} persistentvolumeclaims"
    return f"{head} resourceclaims" if spec.get("resourceClaims") else ""


def _taints(node: Object) -> list[Object]:
    return (node.get("spec") or {}).get("taints") or []


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
