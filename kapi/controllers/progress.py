"""The status of a Deployment: replica counts, and the conditions Available, Progressing and ReplicaFailure. Pure."""

from collections.abc import Sequence

from kapi.controllers import rollout
from kapi.objects import conditions, meta, time
from kapi.objects.meta import Object

NO_DEADLINE = 2**31 - 1
TIMED_OUT = "ProgressDeadlineExceeded"
AVAILABLE = "NewReplicaSetAvailable"


def has_deadline(deployment: Object) -> bool:
    return (deployment["spec"].get("progressDeadlineSeconds") or NO_DEADLINE) != NO_DEADLINE


def _condition(type: str, status: str, reason: str, message: str) -> Object:
    now = time.stamp()
    return {"type": type, "status": status, "lastUpdateTime": now, "lastTransitionTime": now, "reason": reason, "message": message}


def _set(listed: list[Object], new: Object) -> list[Object]:
    """Stock's SetDeploymentCondition: unchanged while status and reason are the same; the transition time follows the status."""
    old = conditions.find(listed, new["type"])
    if old is not None and old["status"] == new["status"]:
        if old.get("reason") == new["reason"]:
            return listed
        new = {**new, "lastTransitionTime": old.get("lastTransitionTime")}
    return conditions.moved(listed, new)


def with_progress(deployment: Object, value: str, reason: str, message: str) -> Object:
    """The status of the Deployment with a Progressing condition."""
    status = deployment.get("status") or {}
    return {**status, "conditions": _set(status.get("conditions") or [], _condition("Progressing", value, reason, message))}


def with_initial_progress(deployment: Object, message: str, reason: str) -> Object:
    """The status, with an initial Progressing condition if there is a deadline and no condition yet."""
    status: Object = deployment.get("status") or {}
    if has_deadline(deployment) and meta.condition(deployment, "Progressing") is None:
        return with_progress(deployment, "True", reason, message)
    return status


def _sum(sets: Sequence[Object], field: str) -> int:
    return sum(int((rs.get("status") or {}).get(field) or 0) for rs in sets)


def status(deployment: Object, sets: Sequence[Object], newest: Object | None) -> Object:
    """Replica counts of the ReplicaSets, and the Available condition."""
    old = deployment.get("status") or {}
    available = _sum(sets, "availableReplicas")
    out: Object = {
        "observedGeneration": meta.metadata(deployment).get("generation", 0),
        "replicas": _sum(sets, "replicas"),
        "updatedReplicas": _sum([newest] if newest else [], "replicas"),
        "readyReplicas": _sum(sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(rollout.total(sets) - available, 0),
        "terminatingReplicas": _sum(sets, "terminatingReplicas"),
    }
    if "collisionCount" in old:
        out["collisionCount"] = old["collisionCount"]
    if available >= rollout.replicas(deployment) - rollout.limits(deployment)[1]:
        new = _condition("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        new = _condition("Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    return {**out, "conditions": _set(old.get("conditions") or [], new)}


def with_progress_and_failure(deployment: Object, new: Object, sets: Sequence[Object], newest: Object | None) -> Object:
    """The new status with Progressing and ReplicaFailure updated."""
    listed: list[Object] = new["conditions"]
    current = meta.condition(deployment, "Progressing")
    if not has_deadline(deployment):
        listed = conditions.without(listed, "Progressing")
    elif not (new["replicas"] == new["updatedReplicas"] and current is not None and current.get("reason") == AVAILABLE):
        listed = _progress(deployment, new, listed, newest)
    failure = _failure(sets, newest)
    return {**new, "conditions": _set(listed, failure) if failure is not None else conditions.without(listed, "ReplicaFailure")}


def _progress(deployment: Object, new: Object, listed: list[Object], newest: Object | None) -> list[Object]:
    current = meta.condition(deployment, "Progressing")
    who = f'ReplicaSet "{meta.name(newest)}"' if newest is not None else f'Deployment "{meta.name(deployment)}"'
    if rollout.complete(deployment, new):
        return _set(listed, _condition("Progressing", "True", AVAILABLE, f"{who} has successfully progressed."))
    if rollout.progressing(deployment.get("status") or {}, new):
        moved = _condition("Progressing", "True", "ReplicaSetUpdated", f"{who} is progressing.")
        return conditions.moved(listed, {**moved, "lastTransitionTime": conditions.since(current, "True")})
    if current is not None and _timed_out(deployment, current):
        return _set(listed, _condition("Progressing", "False", TIMED_OUT, f"{who} has timed out progressing."))
    return listed


def _timed_out(deployment: Object, current: Object) -> bool:
    """Whether progressDeadlineSeconds have passed without progress. Complete and paused Deployments do not time out."""
    if current.get("reason") in (AVAILABLE, "DeploymentPaused"):
        return False
    if current.get("reason") == TIMED_OUT:
        return True
    return time.parse(current.get("lastUpdateTime")) + int(deployment["spec"]["progressDeadlineSeconds"]) < time.now()


def _failure(sets: Sequence[Object], newest: Object | None) -> Object | None:
    """The first ReplicaFailure condition of a ReplicaSet, the newest ReplicaSet's first."""
    for rs in ([newest] if newest is not None else []) + list(sets):
        condition = meta.condition(rs, "ReplicaFailure")
        if condition is not None:
            return {**condition, "lastUpdateTime": condition.get("lastTransitionTime")}
    return None


def seconds_until_deadline(deployment: Object, now: float) -> float | None:
    """Seconds until the progress deadline, or None."""
    current = meta.condition(deployment, "Progressing")
    if not has_deadline(deployment) or current is None or current.get("reason") == TIMED_OUT:
        return None
    if rollout.complete(deployment, deployment.get("status") or {}):
        return None
    due = time.parse(current.get("lastUpdateTime")) + int(deployment["spec"]["progressDeadlineSeconds"])
    return max(due - now, 0.0) + 1
