"""What a container may use, as the kernel counts it: CPU shares and quota, memory, OOM score. Pure. kubelet.cgroups writes it."""


from kapi.objects.meta import Object
from kubelet import pods

PERIOD = 100_000
_MIN_SHARES, _MAX_SHARES, _MIN_QUOTA = 2, 262_144, 1000
_OOM = {pods.GUARANTEED: -997, pods.BEST_EFFORT: 1000}


def shares(milli: int) -> int:
    """cpu.shares of a CPU request in thousandths."""
    return min(max(milli * 1024 // 1000, _MIN_SHARES), _MAX_SHARES) if milli else _MIN_SHARES


def weight(shares: int) -> int:
    """cgroup v2's cpu.weight of cpu.shares."""
    return 1 + (shares - 2) * 9999 // 262_142


def quota(milli: int) -> int:
    """cfs quota per period of a CPU limit in thousandths; 0: none."""
    return max(milli * PERIOD // 1000, _MIN_QUOTA) if milli else 0


def oom_score(pod: Object, container: Object, capacity: int) -> int:
    """Guaranteed pods go last, best-effort ones first, the others by how little of the machine they asked for."""
    if pod["spec"].get("priorityClassName") == "system-node-critical":
        return -997
    kind = pods.qos(pod)
    if kind in _OOM:
        return _OOM[kind]
    asked = pods.resources(container, "requests", "memory") or pods.resources(container, "limits", "memory")
    score = 1000 - 1000 * asked // capacity if capacity else 1000
    return min(max(score, 3), 999)


def container(pod: Object, spec: Object, capacity: int, *, unified: bool) -> Object:
    """CRI's LinuxContainerResources; `unified`: this machine has cgroup v2."""
    asked, most = (pods.resources(spec, what, "cpu") for what in ("requests", "limits"))
    out: Object = {"cpu_shares": shares(asked or most), "oom_score_adj": oom_score(pod, spec, capacity)}
    out |= {"cpu_period": PERIOD, "cpu_quota": quota(most)} if most else {}
    if memory := pods.resources(spec, "limits", "memory"):
        out["memory_limit_in_bytes"] = memory
    if unified:
        out["unified"] = {"memory.oom.group": "1"}
    return out


def whole(pod: Object) -> dict[str, int]:
    """What the pod's cgroup gets: {"shares": .., "quota": .., "memory": ..}; 0: no limit."""
    regular = pods.regulars(pod) + [c for c in pods.inits(pod) if pods.is_sidecar(c)]
    once = [c for c in pods.inits(pod) if not pods.is_sidecar(c)]
    own = pod["spec"].get("resources")

    def total(what: str, name: str, *, every: bool) -> int:
        if own and (own.get(what) or {}).get(name) is not None:
            return pods.resources({"resources": own}, what, name)
        each = [pods.resources(c, what, name) for c in regular]
        if every and not all(each):
            return 0
        return max(sum(each), max((pods.resources(c, what, name) for c in once), default=0))

    return {
        "shares": shares(total("requests", "cpu", every=False)),
        "quota": quota(total("limits", "cpu", every=True)),
        "memory": total("limits", "memory", every=True),
    }


def parent(pod: Object, root: str = "/") -> str:
    """The pod's cgroup, e.g. '/kubepods/burstable/pod1234'."""
    kind = pods.qos(pod)
    middle = "" if kind == pods.GUARANTEED else kind.lower() + "/"
    return f"{root.rstrip('/')}/kubepods/{middle}pod{pods.uid(pod)}"
