"""Nodes and pods for tests, and a search over the plugins under test."""

from typing import Any

from kapi.objects.meta import Object
from kapi.scheduler.framework import Cycle
from kapi.scheduler.pods import Pod
from kapi.scheduler.search import FitError, Search, Weighted
from kapi.scheduler.snapshot import HOSTNAME, ZONE, Cluster


def node(name: str, *, zone: str = "", labels: dict[str, str] | None = None, cpu: str = "4", memory: str = "8Gi", **spec: Any) -> Object:
    pods, images = spec.pop("pods", "110"), spec.pop("images", [])
    marked = {HOSTNAME: name, **({ZONE: zone} if zone else {}), **(labels or {})}
    status = {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods}, "images": images}
    return {"kind": "Node", "apiVersion": "v1", "metadata": {"name": name, "labels": marked}, "spec": spec, "status": status}


def pod(name: str, *, cpu: str = "", memory: str = "", labels: dict[str, str] | None = None, **spec: Any) -> Object:
    requests = {k: v for k, v in (("cpu", cpu), ("memory", memory)) if v}
    meta: Object = {"name": name, "namespace": spec.pop("namespace", "default"), "uid": f"uid-{name}", "labels": labels or {}}
    if spec.pop("terminating", False):
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    status = spec.pop("status", {"phase": "Pending"})
    container: Object = {"name": "c", "image": "i", "resources": {"requests": requests} if requests else {}}
    if "ports" in spec:
        container["ports"] = spec.pop("ports")
    return {"kind": "Pod", "apiVersion": "v1", "metadata": meta, "spec": {"containers": [container], **spec}, "status": status}


def cluster(*nodes: Object, pods: dict[str, list[Object]] | None = None) -> Cluster:
    """A cluster with these nodes; `pods` are those on each."""
    made = Cluster()
    for one in nodes:
        made.set_node(one)
    for name, placed in (pods or {}).items():
        for obj in placed:
            made.place(Pod(obj), name)
    return made


def search(where: Cluster, *plugins: Any) -> Search:
    return Search([Weighted(p, 1) for p in plugins], where)


def placed(where: Cluster, obj: Object, *plugins: Any) -> str:
    """The node the pod goes to, or what FailedScheduling would say."""
    try:
        return search(where, *plugins).place(Cycle(Pod(obj), where)).name
    except FitError as fit_error:
        return fit_error.message


def fitting(where: Cluster, obj: Object, *plugins: Any) -> set[str]:
    """The nodes that no plugin refuses."""
    looking = search(where, *plugins)
    cycle = Cycle(Pod(obj), where)
    looking.run_pre_filters(cycle, len(where.nodes))
    return {n.name for n in where.nodes.values() if looking.run_filters(cycle, n) is None}


def scores(where: Cluster, obj: Object, plugin: Any) -> dict[str, int]:
    """What the plugin gives each node; nothing when it skips the pod."""
    cycle, nodes = Cycle(Pod(obj), where), where.listed()
    if plugin.pre_score(cycle, nodes) is not None:
        return {}
    return dict(zip((n.name for n in nodes), plugin.scores(cycle, nodes), strict=True))
