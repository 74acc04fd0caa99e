"""Pod admission on the node: the last check before a pod runs, also for pods that no scheduler placed. Pure.

Checks, their order, reasons and texts are those of stock's admit handlers. Critical pods do not preempt others here.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from kapi.objects import placement, pod_resources, quantity
from kapi.objects.meta import Object
from kubelet import pods
from kubelet.observed_state import Failure

NODE_AFFINITY = "NodeAffinity"
_INSUFFICIENT = "Node didn't have enough resource: {0}, requested: {1}, used: {2}, capacity: {3}"
_PREDICATE_MESSAGES = {
    NODE_AFFINITY: "node(s) didn't match Pod's node affinity/selector",
    "NodePorts": "node(s) didn't have free ports for the requested pod ports",
    "TaintToleration": "node(s) had taints that the pod didn't tolerate",
}
_SAFE_SYSCTLS = (
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
)  # fmt: skip
_SHARED = (("net.", "hostNetwork", "net"), ("kernel.", "hostIPC", "ipc"), ("fs.mqueue.", "hostIPC", "ipc"))
"""(prefix of namespaced sysctls, pod field that shares that namespace with the host, name of the namespace in the message)."""
_MEMORY_PRESSURE_TAINT = "node.kubernetes.io/memory-pressure"


class NodeAttributes(NamedTuple):
    """What admission checks pods against."""

    name: str = ""
    allocatable: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    taints: Sequence[Object] = ()
    pressures: Sequence[str] = ()
    """Types of pressure conditions that are True, e.g. "DiskPressure"."""
    sysctls: Sequence[str] = ()
    """Allowed unsafe sysctls; a name may end in *."""


def admit(pod: Object, others: Sequence[Object], node: NodeAttributes) -> Failure | None:
    """The reason not to admit the pod, or None. `others` are the pods that hold resources of the node."""
    general = (insufficient(pod, others, node), _predicates(pod, others, node))
    for check in (_node_pressure(pod, node), _sysctls(pod, node), _unsupported_os(pod), *general):
        if failure := next(check, None):
            return failure
    return None


def _node_pressure(pod: Object, node: NodeAttributes) -> Iterator[Failure]:
    if not node.pressures or pods.critical(pod):
        return
    if list(node.pressures) == ["MemoryPressure"]:
        taint = {"key": _MEMORY_PRESSURE_TAINT, "effect": "NoSchedule"}
        if pods.qos(pod) != pod_resources.BEST_EFFORT or placement.tolerates(pod["spec"].get("tolerations") or (), taint):
            return
    yield Failure("Evicted", f"The node had condition: [{' '.join(node.pressures)}]. ")


def _sysctls(pod: Object, node: NodeAttributes) -> Iterator[Failure]:
    spec = pod["spec"]
    for sysctl in (spec.get("securityContext") or {}).get("sysctls") or ():
        name = sysctl["name"].replace("/", ".")
        allowed = (*_SAFE_SYSCTLS, *node.sysctls)
        if not any(name == a or (a.endswith("*") and name.startswith(a[:-1])) for a in allowed):
            yield Failure("SysctlForbidden", f'forbidden sysctl: "{name}" not allowlisted')
        for prefix, field, namespace in _SHARED:
            if name.startswith(prefix) and spec.get(field):
                yield Failure("SysctlForbidden", f'forbidden sysctl: "{name}" not allowed with host {namespace} enabled')


def _unsupported_os(pod: Object) -> Iterator[Failure]:
    system = (pod["metadata"].get("labels") or {}).get("kubernetes.io/os", "linux")
    if system != "linux":
        text = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"
        yield Failure("PodOSSelectorNodeLabelDoesNotMatch", text)
    if (pod["spec"].get("os") or {}).get("name", "linux") != "linux":
        yield Failure("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    if (pod["spec"].get("securityContext") or {}).get("supplementalGroupsPolicy") == "Strict":
        yield Failure("SupplementalGroupsPolicyNotSupported", "SupplementalGroupsPolicy=Strict is not supported in this node")


def insufficient(pod: Object, others: Sequence[Object], node: NodeAttributes) -> Iterator[Failure]:
    """Resources of which too little is free: 'OutOfcpu' and so on. Amounts in milli-CPUs, bytes or counts."""
    max_pods = quantity.value(node.allocatable.get("pods", "110"))
    if len(others) + 1 > max_pods:
        yield Failure("OutOfpods", _INSUFFICIENT.format("pods", 1, len(others), max_pods))
    wanted, held = pods.requests(pod), [pods.requests(other) for other in others]
    for name, most in pod_resources.amounts(node.allocatable).items():
        used = sum(one.get(name, 0) for one in held)
        if wanted.get(name) and used + wanted[name] > most:
            yield Failure(f"OutOf{name}", _INSUFFICIENT.format(name, wanted[name], used, most))


def _predicates(pod: Object, others: Sequence[Object], node: NodeAttributes) -> Iterator[Failure]:
    taken = [port for other in others for port in pod_resources.host_ports(other["spec"])]
    fits = {
        NODE_AFFINITY: placement.fits_node(pod["spec"], node.name, node.labels),
        "NodePorts": not any(_ports_conflict(port, other) for port in pod_resources.host_ports(pod["spec"]) for other in taken),
        "TaintToleration": pods.is_static(pod) or all(
            placement.tolerates(pod["spec"].get("tolerations") or (), t) for t in node.taints if t.get("effect") == "NoExecute"
        ),
    }  # fmt: skip
    for name, fit in fits.items():
        if not fit:
            yield Failure(name, f"Predicate {name} failed: {_PREDICATE_MESSAGES[name]}")


def _ports_conflict(one: tuple[str, str, int], other: tuple[str, str, int]) -> bool:
    return one[1:] == other[1:] and (one[0] == other[0] or "0.0.0.0" in (one[0], other[0]))
