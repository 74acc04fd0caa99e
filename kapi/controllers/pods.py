"""Predicates on pods that controllers share, and the order in which surplus pods are deleted. Pure.

The deletion order is stock's: unassigned, pending, not ready, lower pod-deletion-cost, more related pods on the node, ready for a shorter
time, more restarts, newer.
"""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from kapi.objects import meta, time
from kapi.objects.meta import Object

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def phase(pod: Object) -> str:
    return (pod.get("status") or {}).get("phase") or ""


def finished(pod: Object) -> bool:
    return phase(pod) in ("Succeeded", "Failed")


def active(pod: Object) -> bool:
    """Neither finished nor being deleted."""
    return not finished(pod) and not meta.deleting(pod)


def terminating(pod: Object) -> bool:
    return meta.deleting(pod) and not finished(pod)


def ready(pod: Object) -> bool:
    condition = meta.condition(pod, "Ready")
    return condition is not None and condition.get("status") == "True"


def ready_since(pod: Object) -> float:
    """When the pod became ready (seconds since the epoch); 0.0 if it is not."""
    condition = meta.condition(pod, "Ready")
    if condition is None or condition.get("status") != "True":
        return 0.0
    return time.parse(condition.get("lastTransitionTime"))


def available(pod: Object, min_ready: int, now: float) -> bool:
    """Ready for at least `min_ready` seconds."""
    if not ready(pod):
        return False
    if min_ready == 0:
        return True
    since = ready_since(pod)
    return since > 0 and since + min_ready <= now


def available_in(pods: Iterable[Object], min_ready: int, now: float) -> float | None:
    """Seconds until the next ready pod becomes available; None if no pod is waiting for that."""
    waits = [since + min_ready - now for pod in pods if (since := ready_since(pod)) and since + min_ready > now] if min_ready else []
    return max(min(waits), 0.05) if waits else None


def restarts(pod: Object) -> int:
    return max((s.get("restartCount", 0) for s in (pod.get("status") or {}).get("containerStatuses") or ()), default=0)


def _cost(pod: Object) -> int:
    try:
        return int(meta.annotations(pod).get(DELETION_COST, "0"))
    except ValueError:
        return 0


def _age(since: float, now: float) -> int:
    """Ages are compared by order of magnitude, so that the choice among similar ones is spread."""
    return 0 if since <= 0 else int(math.log10(max(now - since, 0.001) * 1e9))


def deletion_order(pods: list[Object], related: Iterable[Object] = ()) -> list[Object]:
    """The pods in deletion order. `related` (pods of sibling ReplicaSets) counts pods per node."""
    now = time.now()
    on_node = Counter(p["spec"].get("nodeName") for p in (*pods, *related) if active(p))

    def rank(pod: Object) -> tuple[Any, ...]:
        node, since = pod["spec"].get("nodeName"), ready_since(pod)
        return (
            bool(node),
            _PHASES.get(phase(pod), 1),
            since > 0,
            _cost(pod),
            -on_node[node] if node else 0,
            _age(since, now),
            -restarts(pod),
            _age(time.parse(meta.metadata(pod).get("creationTimestamp")), now),
            meta.uid(pod),
        )

    return sorted(pods, key=rank)
