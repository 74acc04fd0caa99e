"""In-place resize: the CPU and memory allocated to a pod, and whether a requested change can be granted. Pure.

A pod runs with its allocated resources. A change of the spec is granted, Deferred or Infeasible as a whole. Containers are updated
without a restart unless their resizePolicy requires one. Texts are stock's.

Example: the spec of a running pod is changed from cpu 1 to cpu 2. `requested` now returns {"web": {"requests": {"cpu": "2"}}}, the worker
still holds {"web": {"requests": {"cpu": "1"}}}, and `with_allocated` is the pod with cpu 1 until the node grants the resize.
"""

from collections.abc import Iterable, Mapping, Sequence

import orjson

from kapi.objects import pod_resources
from kapi.objects.meta import Object
from kubelet import admit, pods
from kubelet.admit import NodeAttributes
from kubelet.observed_state import Failure

AllocatedResources = Mapping[str, Object]
"""Container or sidecar name -> its `resources`; "" -> the pod-level resources."""

_FIELDS = ("initContainers", "containers")


def requested(pod: Object) -> dict[str, Object]:
    """The resources that the spec requests, in the shape of AllocatedResources."""
    out = {c["name"]: c.get("resources") or {} for c in pods.sidecars(pod) + pods.regulars(pod)}
    return {**out, "": pod["spec"]["resources"]} if pod["spec"].get("resources") else out


def with_allocated(pod: Object, known: AllocatedResources) -> Object:
    """The pod with the allocated resources in place of those in its spec."""
    if requested(pod) == known:
        return pod
    spec = dict(pod["spec"])
    for field in _FIELDS:
        if field in spec:
            spec[field] = [{**c, "resources": known[c["name"]]} if c["name"] in known else c for c in spec[field] or ()]
    if "" in known:
        spec["resources"] = known[""]
    return {**pod, "spec": spec}


def refusal(pod: Object, others: Sequence[Object], node: NodeAttributes) -> Failure | None:
    """Why a resize cannot be granted: reason Infeasible or Deferred; None: it can. `others`: the node's other pods with their
    allocated resources."""
    wanted, most = pods.requests(pod), pod_resources.amounts(node.allocatable)
    for name in ("memory", "cpu"):
        if wanted.get(name, 0) > most[name]:
            return Failure("Infeasible", f"Node didn't have enough capacity: {name}, requested: {wanted[name]}, capacity: {most[name]}")
    failure = admit.admit(pod, others, node)
    return Failure("Deferred", failure.message) if failure else None


def resize_order(pod: Object, known: AllocatedResources) -> tuple[bool, int, bool]:
    """Sort key of pending resizes: those that need no more than they have first, then by priority, then Guaranteed first."""
    wanted, had = pods.requests(pod), pods.requests(with_allocated(pod, known))
    more = any(wanted.get(name, 0) > had.get(name, 0) for name in ("cpu", "memory"))
    return more, -(pod["spec"].get("priority") or 0), pods.qos(pod) != pod_resources.GUARANTEED


def memory_in_use(pod_limit: int, used: int, containers: Iterable[tuple[str, int, int]]) -> str:
    """Why memory limits cannot be lowered, or "": bytes of the pod's limit (0: not lowered) and of its usage, and of each container
    whose limit is lowered (name, limit, usage). The usage that stock tells of a container is the pod's."""
    found = [f"attempting to set pod memory limit ({pod_limit}) below current usage ({used})"] if 0 < pod_limit <= used else []
    found += [
        f'attempting to set container "{name}" memory limit ({limit}) below current usage ({used})'
        for name, limit, usage in containers
        if limit <= usage
    ]
    return f"cannot decrease memory limits: {found[0] if len(found) == 1 else '[' + ', '.join(found) + ']'}" if found else ""


def event_message(what: str, pod: Object, error: str = "") -> str:
    """The text of an event, e.g. 'Pod resize started: {"containers":[...],"generation":2}'."""
    summary: Object = {}
    for field in _FIELDS:
        if pod["spec"].get(field):
            summary[field] = [{"name": c["name"], "resources": _sorted(c.get("resources") or {})} for c in pod["spec"][field]]
    summary["generation"] = pod["metadata"].get("generation", 0)
    return f"Pod resize {what}: {orjson.dumps(summary | ({'error': error} if error else {})).decode()}"


def _sorted(resources: Object) -> Object:
    return {what: dict(sorted(resources[what].items())) for what in ("limits", "requests") if resources.get(what)}
