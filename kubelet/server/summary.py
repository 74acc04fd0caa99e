"""/stats/summary: what the node, its pods and their containers use. Shape: the kubelet's stats API, v1alpha1."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kapi.objects import time
from kubelet.runtime import Usage

Object = dict[str, Any]


def _memory() -> tuple[int, int]:
    """(available, used) bytes of the machine."""
    found = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(found[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    return free, total - free


def _cpu_ns() -> int:
    """Nanoseconds all CPUs were busy since the start."""
    user, nice, system, _, _, *rest = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + sum(rest[:3])) * 10_000_000


def _container(usage: Usage, name: str) -> Object:
    stamp = time.stamp(usage.at)
    return {
        "name": name, "startTime": stamp,
        "cpu": {"time": stamp, "usageCoreNanoSeconds": usage.cpu_ns},
        "memory": {"time": stamp, "workingSetBytes": usage.working_set, "usageBytes": usage.usage, "rssBytes": usage.rss},
        "rootfs": {"time": stamp, "usedBytes": usage.disk, "inodesUsed": usage.inodes},
    }  # fmt: skip


def of(node: str, usages: Iterable[Usage], pods: Mapping[str, Object]) -> Object:
    """The summary; `pods` by uid."""
    by_pod: dict[str, list[Usage]] = {}
    for usage in usages:
        if usage.uid in pods:
            by_pod.setdefault(usage.uid, []).append(usage)
    now = time.stamp()
    free, used = _memory()
    return {
        "node": {
            "nodeName": node,
            "cpu": {"time": now, "usageCoreNanoSeconds": _cpu_ns()},
            "memory": {"time": now, "availableBytes": free, "usageBytes": used, "workingSetBytes": used},
        },
        "pods": [_pod(pods[uid], found, now) for uid, found in by_pod.items()],
    }


def _pod(pod: Object, usages: list[Usage], now: str) -> Object:
    meta = pod["metadata"]
    total = {name: sum(getattr(u, name) for u in usages) for name in ("cpu_ns", "working_set", "usage", "rss")}
    return {
        "podRef": {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
        "startTime": (pod.get("status") or {}).get("startTime"),
        "containers": [_container(u, u.name) for u in usages],
        "cpu": {"time": now, "usageCoreNanoSeconds": total["cpu_ns"]},
        "memory": {"time": now, "workingSetBytes": total["working_set"], "usageBytes": total["usage"], "rssBytes": total["rss"]},
    }
