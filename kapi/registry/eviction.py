"""/eviction: deletes a pod if the PodDisruptionBudgets that select it allow that. Source: the eviction API (policy/v1)."""


from dataclasses import replace

from kapi.objects import errors, labels, time
from kapi.objects.meta import Object
from kapi.registry import deletion, encoding
from kapi.registry.call import Call
from kapi.registry.kind import Kind
from kapi.registry.rest import Rest
from kapi.storage.store import Mismatch

_TRIES = 5
_CONDITION = {
    "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
}  # fmt: skip


async def evict(rest: Rest, call: Call, budgets: Kind, options: deletion.Options) -> None:
    """Evict the pod named by `call`. Raises TooManyRequests when a budget is used up."""
    entry = rest.get(call.kind, call.namespace, call.name)
    pod = await encoding.parsed(call.kind, entry)
    if not _ignores_budgets(pod):
        await _check_budget(rest, call, budgets, pod)
    if not call.dry_run:
        await _mark(rest, call)
    await deletion.delete(rest, replace(call, subresource=""), options)


def _ignores_budgets(pod: Object) -> bool:
    """Whether budgets do not count the pod: it has ended, is pending, or is being deleted."""
    return bool(pod["metadata"].get("deletionTimestamp")) or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed", "Pending")


async def _matching_budgets(rest: Rest, call: Call, budgets: Kind, pod: Object) -> list[Object]:
    own = pod["metadata"].get("labels") or {}
    listed = [await encoding.parsed(budgets, entry) for entry in rest.page(budgets, call.namespace).entries]
    return [b for b in listed if labels.from_object(b["spec"].get("selector")).matches(own)]


def _ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in (pod.get("status") or {}).get("conditions") or ())


async def _check_budget(rest: Rest, call: Call, budgets: Kind, pod: Object) -> None:
    matching = await _matching_budgets(rest, call, budgets, pod)
    if not matching:
        return
    if len(matching) > 1:
        text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise errors.InternalError(text, {})
    budget = matching[0]
    status = budget.get("status") or {}
    name = budget["metadata"]["name"]
    if not _ready(pod):
        always = budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
        healthy = status.get("currentHealthy", 0) >= status.get("desiredHealthy", 0) > 0
        if always or healthy:
            return
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _too_many(f"The disruption budget {name} is still being processed by the server.", 10)
    if status.get("disruptionsAllowed", 0) <= 0:
        needs, has = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
        raise _too_many(f"The disruption budget {name} needs {needs} healthy pods and has {has} currently", 0)
    if not call.dry_run:
        await _decrement_budget(rest, call, budgets, name, pod["metadata"]["name"])


def _too_many(why: str, seconds: int) -> errors.TooManyRequests:
    details: Object = {"causes": [{"reason": "DisruptionBudget", "message": why}]}
    if seconds:
        details["retryAfterSeconds"] = seconds
    return errors.TooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", details)


async def _decrement_budget(rest: Rest, call: Call, budgets: Kind, name: str, pod: str) -> None:
    """Count the eviction in the budget's status, so that the next one sees it before the controller does."""
    status_call = Call(kind=budgets, user=call.user, namespace=call.namespace, name=name, subresource="status", tracked=False)
    for _ in range(_TRIES):
        entry = rest.get(budgets, call.namespace, name)
        budget = await encoding.parsed(budgets, entry)
        status = budget["status"]
        if status.get("disruptionsAllowed", 0) <= 0:
            needs, has = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
            raise _too_many(f"The disruption budget {name} needs {needs} healthy pods and has {has} currently", 0)
        status["disruptionsAllowed"] -= 1
        status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod: time.stamp()}
        try:
            await rest.commit(status_call, status_call.key, budget, entry.revision)
        except Mismatch:
            continue
        return
    raise errors.conflict(budgets.resource.plural, budgets.resource.group, name, errors.STALE)


async def _mark(rest: Rest, call: Call) -> None:
    """Set the DisruptionTarget condition in the pod's status."""
    for _ in range(_TRIES):
        entry = rest.get(call.kind, call.namespace, call.name)
        pod = await encoding.parsed(call.kind, entry)
        status = pod.setdefault("status", {})
        others = [c for c in status.get("conditions") or () if c["type"] != "DisruptionTarget"]
        condition = {**_CONDITION, "lastProbeTime": None, "lastTransitionTime": time.stamp()}
        status["conditions"] = [*others, condition]
        try:
            await rest.commit(call, call.key, pod, entry.revision)
        except Mismatch:
            continue
        return
