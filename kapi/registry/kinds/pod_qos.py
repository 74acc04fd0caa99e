"""A pod's quality-of-service class: what its requests and limits promise."""

from typing import Any

from kapi.objects import quantity

Object = dict[str, Any]

_COMPUTE = ("cpu", "memory")


def _amounts(listed: Object | None) -> dict[str, quantity.Quantity]:
    return {k: q for k in _COMPUTE if listed and k in listed and (q := quantity.parse(listed[k])).nano > 0}


def qos_class(spec: Object) -> str:
    """'Guaranteed', 'Burstable' or 'BestEffort'."""
    if "resources" in spec:
        parts = [spec["resources"]]
    else:
        parts = [part.get("resources") or {} for kind in ("containers", "initContainers") for part in spec.get(kind) or ()]
    guaranteed, anything = True, False
    for part in parts:
        requests, limits = _amounts(part.get("requests")), _amounts(part.get("limits"))
        anything = anything or bool(requests or limits)
        if len(limits) != len(_COMPUTE) or any(requests.get(k, limits[k]).nano != limits[k].nano for k in limits):
            guaranteed = False
        if anything and not guaranteed:
            return "Burstable"
    if not anything:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
