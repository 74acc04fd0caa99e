"""Resources of a pod: effective requests and limits, host ports, QoS class. Pure.

The API server (QoS class), the scheduler (fit) and the kubelet (admission, cgroups) all use these functions.
"""

from collections.abc import Mapping
from typing import Any

from kapi.objects import quantity
from kapi.objects.meta import Object

Resources = dict[str, int]
"""Amounts by resource: CPU in milli-CPUs, everything else in whole units."""

GUARANTEED, BURSTABLE, BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"
_COMPUTE = ("cpu", "memory")


def amounts(listed: Mapping[str, Any] | None) -> Resources:
    return {name: quantity.milli(q) if name == "cpu" else quantity.value(q) for name, q in (listed or {}).items()}


def is_sidecar(container: Object) -> bool:
    """Whether an init container is a sidecar (restartPolicy Always)."""
    return container.get("restartPolicy") == "Always"


def _add(total: Resources, more: Resources) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _peak(total: Resources, other: Resources) -> None:
    for name, amount in other.items():
        if amount > total.get(name, 0):
            total[name] = amount


def effective(spec: Object, what: str, defaults: Resources | None = None) -> Resources:
    """The effective "requests" or "limits" of a pod: the larger of containers with sidecars and the largest init phase, or the pod-level
    ones; plus overhead.

    `defaults` is used for resources that a container does not set (for scoring only). Overhead is added to a limit only if there is one.
    """

    def resources_of(container: Object) -> Resources:
        own = amounts((container.get("resources") or {}).get(what))
        return {**defaults, **own} if defaults else own

    total: Resources = {}
    for container in spec.get("containers") or ():
        _add(total, resources_of(container))
    sidecars: Resources = {}
    init_peak: Resources = {}
    for container in spec.get("initContainers") or ():
        own = resources_of(container)
        if is_sidecar(container):
            _add(total, own)
            _add(sidecars, own)
            _peak(init_peak, sidecars)
        else:
            _add(own, sidecars)
            _peak(init_peak, own)
    _peak(total, init_peak)
    total.update(amounts((spec.get("resources") or {}).get(what)))
    _add(total, {name: amount for name, amount in amounts(spec.get("overhead")).items() if what == "requests" or name in total})
    return total


def host_ports(spec: Object) -> tuple[tuple[str, str, int], ...]:
    """(host IP, protocol, port) of every host port of the pod."""
    containers = [*(spec.get("containers") or ()), *(c for c in spec.get("initContainers") or () if is_sidecar(c))]
    return tuple(
        (p.get("hostIP") or "0.0.0.0", p.get("protocol") or "TCP", p["hostPort"])
        for c in containers
        for p in c.get("ports") or ()
        if p.get("hostPort")
    )


def _positive(listed: Object | None) -> Resources:
    return {k: nano for k in _COMPUTE if listed and k in listed and (nano := quantity.parse(listed[k]).nano) > 0}


def qos_class(spec: Object) -> str:
    """'Guaranteed', 'Burstable' or 'BestEffort'. Pod-level resources, even empty ones, take precedence over the containers'."""
    own = spec.get("resources")
    parts = [own] if own is not None else [
        part.get("resources") or {} for kind in ("containers", "initContainers") for part in spec.get(kind) or ()
    ]  # fmt: skip
    guaranteed, anything = True, False
    for part in parts:
        requests, limits = _positive(part.get("requests")), _positive(part.get("limits"))
        anything = anything or bool(requests or limits)
        if len(limits) != len(_COMPUTE) or any(requests.get(k, limits[k]) != limits[k] for k in limits):
            guaranteed = False
        if anything and not guaranteed:
            return BURSTABLE
    if not anything:
        return BEST_EFFORT
    return GUARANTEED if guaranteed else BURSTABLE
