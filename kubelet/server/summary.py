"""/stats/summary: resource usage of the node, its pods and containers. Shape: the kubelet's stats API, v1alpha1."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kapi.objects import time
from kapi.objects.meta import Object
from kubelet import machine
from kubelet.runtime import Traffic, Usage, by_pod

_TRAFFIC = ("name", "rxBytes", "rxErrors", "txBytes", "txErrors")


def _memory(now: str) -> Object:
    found = machine.memory()
    free, used = found["MemAvailable"], found["MemTotal"] - found["MemAvailable"]
    return {"time": now, "availableBytes": free, "usageBytes": used, "workingSetBytes": used, "rssBytes": found["AnonPages"]}


def _disk(now: str) -> Object:
    (total, free), (inodes, unused) = machine.disk("/"), machine.inodes("/")
    return {
        "time": now, "availableBytes": free, "capacityBytes": total, "usedBytes": total - free,
        "inodesFree": unused, "inodes": inodes, "inodesUsed": inodes - unused,
    }  # fmt: skip


def _network(now: str, interfaces: Sequence[Traffic]) -> Object:
    """Counters of all interfaces; those of eth0 are repeated at the top level."""
    listed = [dict(zip(_TRAFFIC, interface, strict=True)) for interface in interfaces]
    return {"time": now, **next((one for one in listed if one["name"] == "eth0"), {"name": ""}), "interfaces": listed}


def _boot() -> str:
    """The time the machine was started."""
    lines = Path("/proc/stat").read_text().splitlines()
    return time.stamp(int(next(line.split()[1] for line in lines if line.startswith("btime "))))


def _cpu_ns() -> int:
    """Busy nanoseconds of all CPUs since the machine's start."""
    user, nice, system, _, _, *rest = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + sum(rest[:3])) * 10_000_000


def _container(usage: Usage, started: float) -> Object:
    stamp = time.stamp(usage.at)
    return {
        "name": usage.name, "startTime": time.stamp(started),
        "cpu": {"time": stamp, "usageCoreNanoSeconds": usage.cpu_ns},
        "memory": {"time": stamp, "workingSetBytes": usage.working_set, "usageBytes": usage.usage, "rssBytes": usage.rss},
        "rootfs": {"time": stamp, "usedBytes": usage.disk, "inodesUsed": usage.inodes},
    }  # fmt: skip


def of_machine() -> Object:
    """The usage of this machine."""
    now = time.stamp()
    return {
        "startTime": _boot(), "cpu": {"time": now, "usageCoreNanoSeconds": _cpu_ns()}, "memory": _memory(now),
        "network": _network(now, machine.traffic()), "fs": _disk(now),
    }  # fmt: skip


def of_nothing(facts: machine.Facts) -> Object:
    """The usage of a simulated node: none."""
    now = time.stamp()
    return {
        "startTime": _boot(), "cpu": {"time": now, "usageCoreNanoSeconds": 0},
        "memory": {"time": now, "availableBytes": facts.memory, "usageBytes": 0, "workingSetBytes": 0, "rssBytes": 0},
        "network": _network(now, ()), "fs": {"time": now, "availableBytes": facts.disk, "capacityBytes": facts.disk, "usedBytes": 0},
    }  # fmt: skip


def of(
    node: Object, usages: Iterable[Usage], pods: Mapping[str, Object], started: Mapping[str, float],
    traffic: Mapping[str, Sequence[Traffic]],
) -> Object:  # fmt: skip
    """The summary. `node`: its name and usage; `pods` and `traffic`: by pod uid; `started`: start times by container id."""
    now = time.stamp()
    return {
        "node": node,
        "pods": [_pod(pods[uid], found, started, now, traffic.get(uid)) for uid, found in by_pod(usages).items() if uid in pods],
    }


def _pod(pod: Object, usages: list[Usage], started: Mapping[str, float], now: str, traffic: Sequence[Traffic] | None) -> Object:
    meta = pod["metadata"]
    total = {name: sum(getattr(u, name) for u in usages) for name in ("cpu_ns", "working_set", "usage", "rss")}
    return {
        "podRef": {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
        "startTime": (pod.get("status") or {}).get("startTime"),
        "containers": [_container(u, started.get(u.container, u.at)) for u in usages],
        "cpu": {"time": now, "usageCoreNanoSeconds": total["cpu_ns"]},
        "memory": {"time": now, "workingSetBytes": total["working_set"], "usageBytes": total["usage"], "rssBytes": total["rss"]},
    } | ({"network": _network(now, traffic)} if traffic else {})
