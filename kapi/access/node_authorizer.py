"""The Node authorizer: a kubelet may read its own node and pods and the objects these refer to, and nothing of other nodes.

Source: Kubernetes docs, "Using Node Authorization"; KEP-4601 (authorize with selectors). The contents of a kubelet's writes are checked
by the admission plugin NodeRestriction.
"""

from collections.abc import Callable

from kapi.access.node_graph import Graph
from kapi.access.rules import CompiledRule
from kapi.objects.quoting import go_quote
from kapi.objects.user import Attributes, Decision, node_of
from kapi.storage.store import Store

LEASES = "kube-node-lease"
_YES, _NO = Decision(True), Decision(False)

RULES: tuple[tuple[str, str, str], ...] = (
    ("create", "authentication.k8s.io", "tokenreviews"),
    ("create", "authorization.k8s.io", "subjectaccessreviews localsubjectaccessreviews"),
    ("get list watch", "", "services"),
    ("create patch update", "", "events"),
    ("create patch update", "events.k8s.io", "events"),
    ("get", "", "endpoints"),
    ("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
    ("get list watch", "certificates.k8s.io", "clustertrustbundles"),
    ("get list watch", "node.k8s.io", "runtimeclasses"),
    ("get list watch", "storage.k8s.io", "csidrivers"),
)
"""(verbs, API group, resources) that kubelets may use regardless of the object's name."""


class NodeAuthorizer:
    """Authorizes users of the group system:nodes; has no opinion on others."""

    def __init__(self, store: Store) -> None:
        self._graph = Graph(store)
        self._rules = [CompiledRule({"verbs": v.split(), "apiGroups": [g], "resources": r.split()}) for v, g, r in RULES]

    def authorize(self, attributes: Attributes) -> Decision:
        if (node := node_of(attributes.user)) is None:
            return _NO
        if not node:
            return Decision(False, f"unknown node for user {go_quote(attributes.user.name)}")
        if handler := _HANDLERS.get((attributes.group, attributes.resource)):
            return handler(self, node, attributes)
        return _YES if any(rule.allows(attributes) for rule in self._rules) else _NO

    def _related(self, node: str, attributes: Attributes) -> Decision:
        if not attributes.name:
            return Decision(False, "No Object name found")
        if self._graph.related(node, attributes.resource, attributes.namespace, attributes.name):
            return _YES
        return Decision(False, f"no relationship found between node '{node}' and this object")

    def _get(self, node: str, attributes: Attributes) -> Decision:
        """Volumes, attachments and resource claims: only get."""
        if attributes.verb != "get":
            return Decision(False, "can only get individual resources of this type")
        return Decision(False, "cannot get subresource") if attributes.subresource else self._related(node, attributes)

    def _read(self, node: str, attributes: Attributes) -> Decision:
        """Secrets and ConfigMaps: also list and watch, of a single name."""
        if attributes.verb not in ("get", "list", "watch"):
            return Decision(False, "can only read resources of this type")
        if attributes.subresource:
            return Decision(False, "cannot read subresource")
        if not attributes.namespace:
            return Decision(False, "can only read namespaced object of this type")
        return self._related(node, attributes)

    def _claim(self, node: str, attributes: Attributes) -> Decision:
        if attributes.subresource != "status":
            return self._get(node, attributes)
        if attributes.verb not in ("update", "patch"):
            return Decision(False, "can only get/update/patch this type")
        return self._related(node, attributes)

    def _account(self, node: str, attributes: Attributes) -> Decision:
        if attributes.verb == "get" and not attributes.subresource:
            return self._read(node, attributes)
        if attributes.verb != "create" or not attributes.name:
            return Decision(False, "can only create tokens for individual service accounts")
        if attributes.subresource != "token":
            return Decision(False, "can only create token subresource of serviceaccount")
        return self._related(node, attributes)

    def _lease(self, node: str, attributes: Attributes) -> Decision:
        if attributes.verb not in _OWN_VERBS:
            return Decision(False, "can only get, create, update, patch, or delete a node lease")
        if attributes.namespace != LEASES:
            return Decision(False, f'can only access leases in the "{LEASES}" system namespace')
        if attributes.verb != "create" and attributes.name != node:
            return Decision(False, "can only access node lease with the same name as the requesting node")
        return _YES

    def _csi_node(self, node: str, attributes: Attributes) -> Decision:
        if attributes.verb not in _OWN_VERBS:
            return Decision(False, "can only get, create, update, patch, or delete a CSINode")
        if attributes.subresource:
            return Decision(False, "cannot authorize CSINode subresources")
        if attributes.verb != "create" and attributes.name != node:
            return Decision(False, "can only access CSINode with the same name as the requesting node")
        return _YES

    def _slice(self, node: str, attributes: Attributes) -> Decision:
        if attributes.subresource:
            return Decision(False, "cannot authorize ResourceSlice subresources")
        match attributes.verb:
            case "create":
                return _YES
            case "get" | "update" | "patch" | "delete":
                return self._related(node, attributes)
            case "watch" | "list" | "deletecollection":
                return _YES if ("spec.nodeName", node) in attributes.selected else Decision(False, _SLICES)
        return Decision(False, _SLICE_VERBS)

    def _node(self, node: str, attributes: Attributes) -> Decision:
        match attributes.subresource, attributes.verb:
            case "", "create" | "update" | "patch":
                return _YES
            case "status", "update" | "patch":
                return _YES
            case "", "get" | "list" | "watch":
                if attributes.name == node:
                    return _YES
                whom = f"'{attributes.name}'" if attributes.name else "all nodes"
                return Decision(False, f"node '{node}' cannot read {whom}, only its own Node object")
        return _NO

    def _pod(self, node: str, attributes: Attributes) -> Decision:
        match attributes.subresource, attributes.verb:
            case "", "get":
                return self._related(node, attributes)
            case "", "list" | "watch":
                if ("spec.nodeName", node) in attributes.selected:
                    return _YES
                reason = "can only list/watch pods with spec.nodeName field selector"
                return self._related(node, attributes) if attributes.name else Decision(False, reason)
            case "", "create" | "delete":
                return _YES
            case "status", "update" | "patch":
                return _YES
            case "eviction", "create":
                return _YES
        return _NO


_OWN_VERBS = frozenset({"get", "create", "update", "patch", "delete"})
_SLICES = "can only list/watch/deletecollection resourceslices with nodeName field selector"
_SLICE_VERBS = "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection"
_HANDLERS: dict[tuple[str, str], Callable[[NodeAuthorizer, str, Attributes], Decision]] = {
    ("", "secrets"): NodeAuthorizer._read,
    ("", "configmaps"): NodeAuthorizer._read,
    ("", "persistentvolumeclaims"): NodeAuthorizer._claim,
    ("", "persistentvolumes"): NodeAuthorizer._get,
    ("", "serviceaccounts"): NodeAuthorizer._account,
    ("", "nodes"): NodeAuthorizer._node,
    ("", "pods"): NodeAuthorizer._pod,
    ("coordination.k8s.io", "leases"): NodeAuthorizer._lease,
    ("storage.k8s.io", "csinodes"): NodeAuthorizer._csi_node,
    ("storage.k8s.io", "volumeattachments"): NodeAuthorizer._get,
    ("resource.k8s.io", "resourceclaims"): NodeAuthorizer._get,
    ("resource.k8s.io", "resourceslices"): NodeAuthorizer._slice,
}
"""(API group, resource) -> the method that decides by the relation to the node."""
