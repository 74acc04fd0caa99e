"""What NodeRestriction says of a kubelet's requests on pods, their claims and their service accounts' tokens.

Each check gives the reason of a refusal, '' when there is none. Raises NotFound for an object that is looked at and is not there.
"""

from typing import Any

from kapi.admission.plugin import CREATE, UPDATE, Authorizer, Reader
from kapi.objects import errors, references
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.objects.resource import CSI_DRIVERS, NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from kapi.objects.user import Attributes
from kapi.registry.admission import Review

_STATUSES = {
    "resourceClaimStatuses": "resource claim statues",
    "extendedResourceClaimStatus": "extended resource claim status",
    "nodeAllocatableResourceClaimStatuses": "node allocatable resource claim statuses",
}
"""Fields of a pod's status that say which resource claims its node may read, in stock's words."""
_CLAIM_STATUS = ("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses")
REQUEST_AUDIENCE = "request-serviceaccounts-token-audience"
_RECREATED = "The object might have been deleted and then recreated"


def bound_to(reader: Reader, namespace: str, name: str) -> str:
    """The node of a pod."""
    pod = reader.entry(PODS, namespace, name)
    if pod is None:
        raise errors.not_found("pods", "", name)
    return pod.fields.get("spec.nodeName", "")


def pod(reader: Reader, review: Review, node: str) -> str:
    quoted = go_quote(node)
    match review.subresource, review.operation:
        case "", "CREATE":
            return _mirror(reader, review.new or {}, node)
        case "", "DELETE":
            own = bound_to(reader, review.namespace, review.name) == node
            return "" if own else f"node {quoted} can only delete pods with spec.nodeName set to itself"
        case "", operation:
            return f"unexpected operation {go_quote(operation)}, node {quoted} can only create and delete mirror pods"
        case "status", "UPDATE":
            return _status(review.old or {}, review.new or {}, node)
        case "status", operation:
            return f"unexpected operation {go_quote(operation)}"
        case "eviction", "CREATE":
            name = review.name or ((review.new or {}).get("metadata") or {}).get("name") or ""
            own = bound_to(reader, review.namespace, name) == node
            return "" if own else f"node {node} can only evict pods with spec.nodeName set to itself"
        case "eviction", operation:
            return f"unexpected operation {operation}"
    return f"unexpected pod subresource {go_quote(review.subresource)}, only 'status' and 'eviction' are allowed"


def _mirror(reader: Reader, made: Object, node: str) -> str:
    """A new pod: a mirror of a static one, that refers to nothing in the API."""
    quoted, spec = go_quote(node), made.get("spec") or {}
    if not references.is_mirror(made):
        return f'pod does not have "{references.MIRROR}" annotation, node {quoted} can only create mirror pods'
    if spec.get("nodeName") != node:
        return f"node {quoted} can only create pods with spec.nodeName set to itself"
    if why := _owner(reader, made, node):
        return why
    try:
        said = references.first(spec)
    except ValueError as error:
        return f"error checking mirror pod for API references: {error}"
    return f"node {quoted} can not create pods that reference {said}" if said else ""


def _owner(reader: Reader, made: Object, node: str) -> str:
    quoted, owners = go_quote(node), made["metadata"].get("ownerReferences") or []
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
    for field, said in _STATUSES.items():
        if (before.get(field) or None) != (after.get(field) or None):
            return f"node {quoted} cannot update {said}"
    return ""


def claim(reader: Reader, review: Review, node: str) -> str:
    if review.subresource != "status":
        return "may only update PVC status"
    if review.operation != UPDATE:
        return f"unexpected operation {go_quote(review.operation)}"
    old, new = _without(review.old or {}), _without(review.new or {})
    if old == new:
        return ""
    differ = sorted(field for field in {*old, *new} if old.get(field) != new.get(field))
    said = ", ".join(".".join(field) for field in differ)
    return f"node {go_quote(node)} is not allowed to update fields other than status.quantity and status.conditions: {said}"


def _without(held: Object) -> dict[tuple[str, ...], Any]:
    """The fields of a claim that its node may not change."""
    out: dict[tuple[str, ...], Any] = {}
    for part, value in held.items():
        if isinstance(value, dict):
            out |= {(part, field): inner for field, inner in value.items() if inner not in (None, {}, [])}
        else:
            out[part,] = value
    free = {("metadata", "resourceVersion"), ("metadata", "managedFields"), *(("status", field) for field in _CLAIM_STATUS)}
    return {path: value for path, value in out.items() if path not in free}


# tokens -----------------------------------------------------------------------------------------------------------------------------


def token(reader: Reader, authorizer: Authorizer, review: Review, node: str) -> str:
    """A token of a service account: for a pod of this node, and an audience that the pod asks for."""
    if review.operation != CREATE or review.subresource != "token":
        return ""
    spec = (review.new or {}).get("spec") or {}
    ref = spec.get("boundObjectRef") or {}
    if (ref.get("apiVersion"), ref.get("kind")) != ("v1", "Pod") or not ref.get("name"):
        return "node requested token not bound to a pod"
    if not ref.get("uid"):
        return "node requested token with a pod binding without a uid"
    entry = reader.entry(PODS, review.namespace, ref["name"])
    if entry is None:
        raise errors.not_found("pods", "", ref["name"])
    if entry.obj["metadata"]["uid"] != ref["uid"]:
        return f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. " + _RECREATED
    if entry.fields.get("spec.nodeName") != node:
        return "node requested token bound to a pod scheduled on a different node"
    return _audience(reader, authorizer, review, entry.obj, spec.get("audiences") or [])


def _audience(reader: Reader, authorizer: Authorizer, review: Review, holder: Object, audiences: list[str]) -> str:
    if len(audiences) > 1:
        return "node may only request 0 or 1 audiences"
    wanted = audiences[0] if audiences else ""
    missing = ""
    for volume in (holder.get("spec") or {}).get("volumes") or ():
        sources = (volume.get("projected") or {}).get("sources") or ()
        if any((s["serviceAccountToken"].get("audience") or "") == wanted for s in sources if "serviceAccountToken" in s):
            return ""
        try:
            if wanted in _driver_audiences(reader, review.namespace, holder, volume):
                return ""
        except errors.NotFound as error:
            missing = missing or error.message
    asked = Attributes(review.user, REQUEST_AUDIENCE, "", "v1", wanted, namespace=review.namespace, name=review.name)
    if authorizer.authorize(asked).allowed:
        return ""
    if missing:
        return f"error validating audience {go_quote(wanted)}: {missing}"
    return f"{review.user.name} is not authorized to request tokens for audience {go_quote(wanted)}"


def _driver_audiences(reader: Reader, namespace: str, holder: Object, volume: Object) -> list[str]:
    """The audiences of the tokens that the CSI driver behind a volume is given. Raises NotFound."""
    name = (volume.get("csi") or {}).get("driver") or ""
    for held in references.of_pod({**holder, "spec": {"volumes": [volume]}}, references.CLAIMS):
        asked = reader.get(PERSISTENT_VOLUME_CLAIMS, namespace, held)
        if asked is None:
            raise errors.not_found("persistentvolumeclaims", "", held)
        bound = (asked.get("spec") or {}).get("volumeName") or ""
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
