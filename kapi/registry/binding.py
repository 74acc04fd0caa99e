"""/binding: assigns a pod to a node.

One compare-and-swap outside of the update pipeline, because no other write is as frequent.
"""


from kapi.objects import errors, time
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.registry import encoding
from kapi.registry.call import Call
from kapi.registry.rest import Rest
from kapi.storage.store import Mismatch

_TRIES = 5


async def bind(rest: Rest, call: Call, binding: Object) -> None:
    """Set spec.nodeName of the pod named by `call`. Raises Conflict when it has a node, is being deleted or has scheduling gates."""
    target = binding.get("target") or {}
    if target.get("kind") not in (None, "", "Node"):
        why = f'target.kind: Unsupported value: {go_quote(target["kind"])}: supported values: "Node", "<empty>"'
        raise errors.StatusError(why, reason="")
    if not target.get("name"):
        raise errors.StatusError("target.name: Required value", reason="")
    uid = (binding.get("metadata") or {}).get("uid")
    for _ in range(_TRIES):
        entry = rest.get(call.kind, call.namespace, call.name)
        pod = await encoding.parsed(call.kind, entry)
        if why := _refusal(pod, uid):
            raise errors.conflict("pods/binding", "", call.name, why)
        _assign(pod, target["name"], binding.get("metadata") or {})
        if call.dry_run:
            return
        try:
            await rest.commit(call, call.key, pod, entry.revision)
        except Mismatch:
            continue
        return
    raise errors.conflict("pods/binding", "", call.name, errors.STALE)


def _refusal(pod: Object, uid: str | None) -> str:
    meta, name = pod["metadata"], pod["metadata"]["name"]
    if uid and uid != meta["uid"]:
        return f"Precondition failed: UID in precondition: {uid}, UID in object meta: {meta['uid']}"
    if meta.get("deletionTimestamp"):
        return f"pod {name} is being deleted, cannot be assigned to a host"
    if node := pod["spec"].get("nodeName"):
        return f'pod {name} is already assigned to node "{node}"'
    if pod["spec"].get("schedulingGates"):
        return f"pod {name} has non-empty .spec.schedulingGates"
    return ""


def _assign(pod: Object, node: str, meta: Object) -> None:
    pod["spec"]["nodeName"] = node
    for field in ("annotations", "labels"):
        if meta.get(field):
            pod["metadata"][field] = {**(pod["metadata"].get(field) or {}), **meta[field]}
    status = pod.setdefault("status", {})
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": time.stamp()}
    status["conditions"] = [c for c in status.get("conditions") or () if c["type"] != "PodScheduled"] + [scheduled]
