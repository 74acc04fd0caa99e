"""Kernel limits of containers and pods: CPU shares and quota, memory, OOM score. Pure. kubelet.cgroups writes them."""


from kapi.objects import pod_resources
from kapi.objects.meta import Object
from kubelet import pods

PERIOD = 100_000
_MIN_SHARES, _MAX_SHARES, _MIN_QUOTA = 2, 262_144, 1000
_OOM = {pod_resources.GUARANTEED: -997, pod_resources.BEST_EFFORT: 1000}


def shares(milli: int) -> int:
    """cpu.shares of a CPU request in milli-CPUs."""
    return min(max(milli * 1024 // 1000, _MIN_SHARES), _MAX_SHARES) if milli else _MIN_SHARES


def weight(shares: int) -> int:
    """cgroup v2's cpu.weight of cpu.shares."""
    return 1 + (shares - 2) * 9999 // 262_142


def quota(milli: int) -> int:
    """CFS quota (microseconds per PERIOD) of a CPU limit in milli-CPUs; 0: none."""
    return max(milli * PERIOD // 1000, _MIN_QUOTA) if milli else 0


def oom_score(pod: Object, container: Object, capacity: int) -> int:
    """oom_score_adj: lowest for Guaranteed pods, highest for BestEffort ones, in between by the share of memory requested."""
    if pod["spec"].get("priorityClassName") == "system-node-critical":
        return -997
    kind = pods.qos(pod)
    if kind in _OOM:
        return _OOM[kind]
    asked = pods.resources(container, "requests", "memory") or pods.resources(container, "limits", "memory")
    score = 1000 - 1000 * asked // capacity if capacity else 1000
    return min(max(score, 3), 999)


def container(pod: Object, spec: Object, capacity: int, *, unified: bool) -> Object:
    """CRI's LinuxContainerResources. `capacity`: the machine's memory in bytes; `unified`: cgroup v2."""
    asked, most = (pods.resources(spec, what, "cpu") for what in ("requests", "limits"))
    out: Object = {"cpu_shares": shares(asked or most), "oom_score_adj": oom_score(pod, spec, capacity)}
    out |= {"cpu_period": PERIOD, "cpu_quota": quota(most)} if most else {}
    if memory := pods.resources(spec, "limits", "memory"):
        out["memory_limit_in_bytes"] = memory
    if unified:
        out["unified"] = {"memory.oom.group": "1"}
    return out


def pod_limits(pod: Object) -> dict[str, int]:
    """The limits of the pod's cgroup: {"shares": .., "quota": .., "memory": ..}; 0: no limit."""
    own = (pod["spec"].get("resources") or {}).get("limits") or {}
    limits = pod_resources.effective(pod["spec"], "limits")
    bound = [n for n in limits if n in own or all(pods.resources(c, "limits", n) for c in pods.inits(pod) + pods.regulars(pod))]
    return {
        "shares": shares(pods.requests(pod).get("cpu", 0)),
        "quota": quota(limits["cpu"]) if "cpu" in bound else 0,
        "memory": limits["memory"] if "memory" in bound else 0,
    }


def parent(pod: Object, root: str = "/") -> str:
    """The pod's cgroup, e.g. '/kubepods/burstable/pod1234'."""
    kind = pods.qos(pod)
    middle = "" if kind == pod_resources.GUARANTEED else kind.lower() + "/"
    return f"{root.rstrip('/')}/kubepods/{middle}pod{pods.uid(pod)}"
