"""NodeRestriction's checks of a kubelet's requests on pods, persistent volume claims and service account tokens.

Each check returns why the request is forbidden, '' when it is not. Raises NotFound for an object that a check looks up.
"""

from typing import Any

from kapi.admission.plugin import CREATE, UPDATE, Authorizer, Reader
from kapi.objects import errors, references
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.objects.resource import CSI_DRIVERS, NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from kapi.objects.user import Attributes
from kapi.registry.admission import AdmissionAttributes

_CLAIM_STATUSES = {
    "resourceClaimStatuses": "resource claim statues",
    "extendedResourceClaimStatus": "extended resource claim status",
    "nodeAllocatableResourceClaimStatuses": "node allocatable resource claim statuses",
}
"""Fields of a pod's status from which the node authorizer derives access to resource claims -> their names in stock's errors."""
_CLAIM_STATUS = ("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses")
REQUEST_AUDIENCE = "request-serviceaccounts-token-audience"
_RECREATED = "The object might have been deleted and then recreated"


def pod_node(reader: Reader, namespace: str, name: str) -> str:
    """The node of a pod."""
    pod = reader.entry(PODS, namespace, name)
    if pod is None:
        raise errors.not_found("pods", "", name)
    return pod.fields.get("spec.nodeName", "")


def pod(reader: Reader, attrs: AdmissionAttributes, node: str) -> str:
    quoted = go_quote(node)
    match attrs.subresource, attrs.operation:
        case "", "CREATE":
            return _mirror(reader, attrs.new or {}, node)
        case "", "DELETE":
            own = pod_node(reader, attrs.namespace, attrs.name) == node
            return "" if own else f"node {quoted} can only delete pods with spec.nodeName set to itself"
        case "", operation:
            return f"unexpected operation {go_quote(operation)}, node {quoted} can only create and delete mirror pods"
        case "status", "UPDATE":
            return _status(attrs.old or {}, attrs.new or {}, node)
        case "status", operation:
            return f"unexpected operation {go_quote(operation)}"
        case "eviction", "CREATE":
            name = attrs.name or ((attrs.new or {}).get("metadata") or {}).get("name") or ""
            own = pod_node(reader, attrs.namespace, name) == node
            return "" if own else f"node {node} can only evict pods with spec.nodeName set to itself"
        case "eviction", operation:
            return f"unexpected operation {operation}"
    return f"unexpected pod subresource {go_quote(attrs.subresource)}, only 'status' and 'eviction' are allowed"


def _mirror(reader: Reader, pod: Object, node: str) -> str:
    """A new pod must be a mirror pod that references no API objects."""
    quoted, spec = go_quote(node), pod.get("spec") or {}
    if not references.is_mirror(pod):
        return f'pod does not have "{references.MIRROR}" annotation, node {quoted} can only create mirror pods'
    if spec.get("nodeName") != node:
        return f"node {quoted} can only create pods with spec.nodeName set to itself"
    if why := _owner(reader, pod, node):
        return why
    try:
        reference = references.first(spec)
    except ValueError as error:
        return f"error checking mirror pod for API references: {error}"
    return f"node {quoted} can not create pods that reference {reference}" if reference else ""


def _owner(reader: Reader, pod: Object, node: str) -> str:
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
    found = reader.get(NODES, "", node)
    if found is None:
        raise errors.not_found("nodes", "", node)
    uid = found["metadata"]["uid"]
    return "" if owner.get("uid") == uid else f"node {node} UID mismatch: expected {owner.get('uid')} got {uid}"


def _status(old: Object, new: Object, node: str) -> str:
    quoted = go_quote(node)
    if (old.get("spec") or {}).get("nodeName") != node:
        return f"node {quoted} can only update pod status for pods with spec.nodeName set to itself"
    if (old["metadata"].get("labels") or {}) != (new["metadata"].get("labels") or {}):
        return f"node {quoted} cannot update labels through pod status"
    before, after = old.get("status") or {}, new.get("status") or {}
    for field, label in _CLAIM_STATUSES.items():
        if (before.get(field) or None) != (after.get(field) or None):
            return f"node {quoted} cannot update {label}"
    return ""


def claim(reader: Reader, attrs: AdmissionAttributes, node: str) -> str:
    if attrs.subresource != "status":
        return "may only update PVC status"
    if attrs.operation != UPDATE:
        return f"unexpected operation {go_quote(attrs.operation)}"
    old, new = _restricted_fields(attrs.old or {}), _restricted_fields(attrs.new or {})
    if old == new:
        return ""
    differ = sorted(field for field in {*old, *new} if old.get(field) != new.get(field))
    fields = ", ".join(".".join(field) for field in differ)
    return f"node {go_quote(node)} is not allowed to update fields other than status.quantity and status.conditions: {fields}"


def _restricted_fields(held: Object) -> dict[tuple[str, ...], Any]:
    """(section, field) -> value of the fields of a claim that a node may not change."""
    out: dict[tuple[str, ...], Any] = {}
    for part, value in held.items():
        if isinstance(value, dict):
            out |= {(part, field): inner for field, inner in value.items() if inner not in (None, {}, [])}
        else:
            out[part,] = value
    free = {("metadata", "resourceVersion"), ("metadata", "managedFields"), *(("status", field) for field in _CLAIM_STATUS)}
    return {path: value for path, value in out.items() if path not in free}


# tokens -----------------------------------------------------------------------------------------------------------------------------


def token(reader: Reader, authorizer: Authorizer, attrs: AdmissionAttributes, node: str) -> str:
    """A service account token must be bound to a pod of this node, for an audience in one of the pod's volumes."""
    if attrs.operation != CREATE or attrs.subresource != "token":
        return ""
    spec = (attrs.new or {}).get("spec") or {}
    ref = spec.get("boundObjectRef") or {}
    if (ref.get("apiVersion"), ref.get("kind")) != ("v1", "Pod") or not ref.get("name"):
        return "node requested token not bound to a pod"
    if not ref.get("uid"):
        return "node requested token with a pod binding without a uid"
    entry = reader.entry(PODS, attrs.namespace, ref["name"])
    if entry is None:
        raise errors.not_found("pods", "", ref["name"])
    if entry.obj["metadata"]["uid"] != ref["uid"]:
        return f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. " + _RECREATED
    if entry.fields.get("spec.nodeName") != node:
        return "node requested token bound to a pod scheduled on a different node"
    return _audience(reader, authorizer, attrs, entry.obj, spec.get("audiences") or [])


def _audience(reader: Reader, authorizer: Authorizer, attrs: AdmissionAttributes, holder: Object, audiences: list[str]) -> str:
    if len(audiences) > 1:
        return "node may only request 0 or 1 audiences"
    wanted = audiences[0] if audiences else ""
    missing = ""
    for volume in (holder.get("spec") or {}).get("volumes") or ():
        sources = (volume.get("projected") or {}).get("sources") or ()
        if any((s["serviceAccountToken"].get("audience") or "") == wanted for s in sources if "serviceAccountToken" in s):
            return ""
        try:
            if wanted in _driver_audiences(reader, attrs.namespace, holder, volume):
                return ""
        except errors.NotFound as error:
            missing = missing or error.message
    attributes = Attributes(attrs.user, REQUEST_AUDIENCE, "", "v1", wanted, namespace=attrs.namespace, name=attrs.name)
    if authorizer.authorize(attributes).allowed:
        return ""
    if missing:
        return f"error validating audience {go_quote(wanted)}: {missing}"
    return f"{attrs.user.name} is not authorized to request tokens for audience {go_quote(wanted)}"


def _driver_audiences(reader: Reader, namespace: str, holder: Object, volume: Object) -> list[str]:
    """The audiences in the tokenRequests of a volume's CSI driver. Raises NotFound."""
    name = (volume.get("csi") or {}).get("driver") or ""
    for held in references.of_pod({**holder, "spec": {"volumes": [volume]}}, references.CLAIMS):
        claim = reader.get(PERSISTENT_VOLUME_CLAIMS, namespace, held)
        if claim is None:
            raise errors.not_found("persistentvolumeclaims", "", held)
        bound = (claim.get("spec") or {}).get("volumeName") or ""
        found = reader.get(PERSISTENT_VOLUMES, "", bound)
        if found is None:
            raise errors.not_found("persistentvolumes", "", bound)
        name = ((found.get("spec") or {}).get("csi") or {}).get("driver") or ""
    if not name:
        return []
    driver = reader.get(CSI_DRIVERS, "", name)
    if driver is None:
        raise errors.not_found("csidrivers", "storage.k8s.io", name)
    return [entry.get("audience") or "" for entry in (driver.get("spec") or {}).get("tokenRequests") or ()]
