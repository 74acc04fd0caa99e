"""In-place resize: what a pod has been allotted of the cpu and memory its spec asks for, and whether it may have more. Pure.

A pod runs with its allotment. A change of the spec is granted, put off (Deferred) or refused (Infeasible) as a whole; a container gets
its part without a restart unless its resizePolicy wants one. Texts are stock's.
"""

from collections.abc import Mapping, Sequence

import orjson

from kapi.objects import pod_resources
from kapi.objects.meta import Object
from kubelet import admit, pods
from kubelet.admit import Place
from kubelet.observed_state import Failure

Allotment = Mapping[str, Object]
"""The resources of containers and sidecars by name; those of the pod itself by ""."""

_FIELDS = ("initContainers", "containers")


def allotment(pod: Object) -> dict[str, Object]:
    """What the spec asks for."""
    out = {c["name"]: c.get("resources") or {} for c in pods.sidecars(pod) + pods.regulars(pod)}
    return {**out, "": pod["spec"]["resources"]} if pod["spec"].get("resources") else out


def allotted(pod: Object, known: Allotment) -> Object:
    """The pod with the resources it has instead of those it asks for."""
    if allotment(pod) == known:
        return pod
    spec = dict(pod["spec"])
    for field in _FIELDS:
        if field in spec:
            spec[field] = [{**c, "resources": known[c["name"]]} if c["name"] in known else c for c in spec[field] or ()]
    if "" in known:
        spec["resources"] = known[""]
    return {**pod, "spec": spec}


def refusal(pod: Object, others: Sequence[Object], place: Place) -> Failure | None:
    """Why the pod cannot have what its spec asks for; `others` are the node's other pods, as allotted."""
    wanted, most = pods.requests(pod), pod_resources.amounts(place.allocatable)
    for name in ("memory", "cpu"):
        if wanted.get(name, 0) > most[name]:
            return Failure("Infeasible", f"Node didn't have enough capacity: {name}, requested: {wanted[name]}, capacity: {most[name]}")
    failure = admit.admit(pod, others, place)
    return Failure("Deferred", failure.message) if failure else None


def claim(pod: Object, known: Allotment) -> tuple[bool, int, bool]:
    """Sorts pods that ask: those that want no more first, then by priority and QoS class."""
    wanted, had = pods.requests(pod), pods.requests(allotted(pod, known))
    more = any(wanted.get(name, 0) > had.get(name, 0) for name in ("cpu", "memory"))
    return more, -(pod["spec"].get("priority") or 0), pods.qos(pod) != pod_resources.GUARANTEED


def told(what: str, pod: Object, error: str = "") -> str:
    """The text of an event, e.g. 'Pod resize started: {"containers":[...],"generation":2}'."""
    summary: Object = {}
    for field in _FIELDS:
        if pod["spec"].get(field):
            summary[field] = [{"name": c["name"], "resources": _sorted(c.get("resources") or {})} for c in pod["spec"][field]]
    summary["generation"] = pod["metadata"].get("generation", 0)
    return f"Pod resize {what}: {orjson.dumps(summary | ({'error': error} if error else {})).decode()}"


def _sorted(resources: Object) -> Object:
    return {what: dict(sorted(resources[what].items())) for what in ("limits", "requests") if resources.get(what)}
