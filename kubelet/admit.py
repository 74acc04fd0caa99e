"""Whether this node can take a pod that was put on it: a last check, for pods that no scheduler has seen. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from kapi.objects import quantity
from kubelet import pods
from kubelet.plan import Failure

Object = dict[str, Any]

_SHORT = "Node didn't have enough resource: {0}, requested: {1}, used: {2}, capacity: {3}"


def requested(pod: Object, name: str) -> int:
    """What a pod asks for of a resource (CPU in thousandths): its containers together, or its greediest init container."""
    beside = sum(pods.resources(c, "requests", name) for c in pods.inits(pod) if pods.is_sidecar(c))
    regular = sum(pods.resources(c, "requests", name) for c in pods.regulars(pod)) + beside
    first = max((pods.resources(c, "requests", name) for c in pods.inits(pod) if not pods.is_sidecar(c)), default=0)
    overhead = (pod["spec"].get("overhead") or {}).get(name)
    extra = (quantity.milli(overhead) if name == "cpu" else quantity.value(overhead)) if overhead is not None else 0
    return max(regular, first) + extra


def admit(pod: Object, others: Sequence[Object], allocatable: Mapping[str, str]) -> Failure | None:
    """Why the pod cannot run here, or None."""
    room = quantity.value(allocatable.get("pods", "110"))
    if len(others) + 1 > room:
        return Failure("OutOfpods", _SHORT.format("pods", 1, len(others), room))
    for name in ("cpu", "memory", "ephemeral-storage"):
        wanted = requested(pod, name)
        if not wanted:
            continue
        used = sum(requested(other, name) for other in others)
        most = quantity.milli(allocatable[name]) if name == "cpu" else quantity.value(allocatable[name])
        if used + wanted > most:
            return Failure(f"OutOf{name}", _SHORT.format(name, wanted, used, most))
    return None
