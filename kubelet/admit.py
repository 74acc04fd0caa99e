"""Whether this node can take a pod that was put on it: a last check, for pods that no scheduler has seen. Pure.

The checks, their order, reasons and texts are those of stock's admit handlers; a critical pod does not push others out.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from kapi.objects import placement, pod_resources, quantity
from kapi.objects.meta import Object
from kubelet import pods
from kubelet.observed_state import Failure

_SHORT = "Node didn't have enough resource: {0}, requested: {1}, used: {2}, capacity: {3}"
_UNFIT = {
    "NodeAffinity": "node(s) didn't match Pod's node affinity/selector",
    "NodePorts": "node(s) didn't have free ports for the requested pod ports",
    "TaintToleration": "node(s) had taints that the pod didn't tolerate",
}
_SAFE_SYSCTLS = (
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
)  # fmt: skip
_SHARED = (("net.", "hostNetwork", "net"), ("kernel.", "hostIPC", "ipc"), ("fs.mqueue.", "hostIPC", "ipc"))
"""Sysctls by prefix: the field that gives up their namespace, and its name in the message."""
_ENDURED = "node.kubernetes.io/memory-pressure"


class Place(NamedTuple):
    """What a node is to its pods."""

    name: str = ""
    allocatable: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    taints: Sequence[Object] = ()
    pressures: Sequence[str] = ()
    """Conditions that are not fine, e.g. DiskPressure."""
    sysctls: Sequence[str] = ()
    """Unsafe ones that are allowed; a name may end in *."""


def admit(pod: Object, others: Sequence[Object], place: Place) -> Failure | None:
    """Why the pod cannot run here, or None. `others` are the pods that do."""
    for check in (_pressed(pod, place), _sysctls(pod, place), _alien(pod), short(pod, others, place), _unfit(pod, others, place)):
        if failure := next(check, None):
            return failure
    return None


def _pressed(pod: Object, place: Place) -> Iterator[Failure]:
    if not place.pressures or pods.critical(pod):
        return
    if list(place.pressures) == ["MemoryPressure"]:
        taint = {"key": _ENDURED, "effect": "NoSchedule"}
        if pods.qos(pod) != pod_resources.BEST_EFFORT or placement.tolerates(pod["spec"].get("tolerations") or (), taint):
            return
    yield Failure("Evicted", f"The node had condition: [{' '.join(place.pressures)}]. ")


def _sysctls(pod: Object, place: Place) -> Iterator[Failure]:
    spec = pod["spec"]
    for sysctl in (spec.get("securityContext") or {}).get("sysctls") or ():
        name = sysctl["name"].replace("/", ".")
        allowed = (*_SAFE_SYSCTLS, *place.sysctls)
        if not any(name == a or (a.endswith("*") and name.startswith(a[:-1])) for a in allowed):
            yield Failure("SysctlForbidden", f'forbidden sysctl: "{name}" not allowlisted')
        for prefix, field, namespace in _SHARED:
            if name.startswith(prefix) and spec.get(field):
                yield Failure("SysctlForbidden", f'forbidden sysctl: "{name}" not allowed with host {namespace} enabled')


def _alien(pod: Object) -> Iterator[Failure]:
    system = (pod["metadata"].get("labels") or {}).get("kubernetes.io/os", "linux")
    if system != "linux":
        text = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"
        yield Failure("PodOSSelectorNodeLabelDoesNotMatch", text)
    if (pod["spec"].get("os") or {}).get("name", "linux") != "linux":
        yield Failure("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    if (pod["spec"].get("securityContext") or {}).get("supplementalGroupsPolicy") == "Strict":
        yield Failure("SupplementalGroupsPolicyNotSupported", "SupplementalGroupsPolicy=Strict is not supported in this node")


def short(pod: Object, others: Sequence[Object], place: Place) -> Iterator[Failure]:
    """What there is not enough of."""
    room = quantity.value(place.allocatable.get("pods", "110"))
    if len(others) + 1 > room:
        yield Failure("OutOfpods", _SHORT.format("pods", 1, len(others), room))
    wanted, held = pods.requests(pod), [pods.requests(other) for other in others]
    for name, most in pod_resources.amounts(place.allocatable).items():
        used = sum(one.get(name, 0) for one in held)
        if wanted.get(name) and used + wanted[name] > most:
            yield Failure(f"OutOf{name}", _SHORT.format(name, wanted[name], used, most))


def _unfit(pod: Object, others: Sequence[Object], place: Place) -> Iterator[Failure]:
    ports = pod_resources.host_ports
    fits = {
        "NodeAffinity": placement.fits_node(pod["spec"], place.name, place.labels),
        "NodePorts": not any(_collide(mine, theirs) for mine in ports(pod["spec"]) for other in others for theirs in ports(other["spec"])),
        "TaintToleration": pods.is_static(pod) or all(
            placement.tolerates(pod["spec"].get("tolerations") or (), t) for t in place.taints if t.get("effect") == "NoExecute"
        ),
    }  # fmt: skip
    for name, fit in fits.items():
        if not fit:
            yield Failure(name, f"Predicate {name} failed: {_UNFIT[name]}")


def _collide(one: tuple[str, str, int], other: tuple[str, str, int]) -> bool:
    return one[1:] == other[1:] and (one[0] == other[0] or "0.0.0.0" in (one[0], other[0]))
