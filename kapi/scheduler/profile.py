"""Scheduler profiles: stock's default list of plugins with their weights, and the extension points of a profile."""

from collections.abc import Callable, Sequence
from typing import Any

from kapi.objects.meta import Object
from kapi.objects.resource import REPLICA_SETS, REPLICATION_CONTROLLERS, SERVICES, STATEFUL_SETS, Resource
from kapi.scheduler import matching
from kapi.scheduler.framework import Code, Cycle, SchedulingPlugin, Status, overrides
from kapi.scheduler.handle import Handle
from kapi.scheduler.matching import Matcher
from kapi.scheduler.plugins.affinity import InterPodAffinity
from kapi.scheduler.plugins.claims import DynamicResources
from kapi.scheduler.plugins.images import ImageLocality
from kapi.scheduler.plugins.limits import NodeVolumeLimits
from kapi.scheduler.plugins.node_filters import NodeAffinity, NodeName, NodePorts, NodeUnschedulable, TaintToleration
from kapi.scheduler.plugins.preemption import DefaultPreemption
from kapi.scheduler.plugins.queueing import DefaultBinder, PrioritySort, SchedulingGates
from kapi.scheduler.plugins.resources import NodeResourcesBalancedAllocation, NodeResourcesFit
from kapi.scheduler.plugins.spreading import PodTopologySpread
from kapi.scheduler.plugins.volumes import VolumeBinding, VolumeRestrictions, VolumeZone
from kapi.scheduler.pods import Pod
from kapi.scheduler.search import FitError, Search, Weighted
from kapi.scheduler.settings import ProfileSettings

Plugins = Callable[[Handle], Sequence[Weighted]]


def default_plugins(handle: Handle) -> list[Weighted]:
    """Stock's default profile, in its order. Weights apply to plugins that score."""
    return [
        Weighted(SchedulingGates(), 0),
        Weighted(PrioritySort(), 0),
        Weighted(NodeUnschedulable(), 0),
        Weighted(NodeName(), 0),
        Weighted(TaintToleration(), 3),
        Weighted(NodeAffinity(), 2),
        Weighted(NodePorts(), 0),
        Weighted(NodeResourcesFit(), 1),
        Weighted(VolumeRestrictions(handle), 0),
        Weighted(NodeVolumeLimits(handle), 0),
        Weighted(VolumeBinding(handle), 0),
        Weighted(VolumeZone(handle), 0),
        Weighted(PodTopologySpread(lambda pod: set_of(pod, handle)), 2),
        Weighted(InterPodAffinity(), 2),
        Weighted(DynamicResources(handle), 0),
        Weighted(DefaultPreemption(handle), 0),
        Weighted(NodeResourcesBalancedAllocation(), 1),
        Weighted(ImageLocality(), 1),
        Weighted(DefaultBinder(handle.client), 0),
    ]


_OWNERS: dict[str, Resource] = {
    "ReplicaSet": REPLICA_SETS,
    "StatefulSet": STATEFUL_SETS,
    "ReplicationController": REPLICATION_CONTROLLERS,
}


def set_of(pod: Pod, handle: Handle) -> Matcher | None:
    """A selector for the pods of the same Services and controller as this one; None if it belongs to neither."""
    merged: dict[str, str] = {}
    labels = pod.identity.labels.items()
    for service in handle.in_namespace(SERVICES, pod.namespace):
        selector = service["spec"].get("selector")
        if selector and selector.items() <= labels:
            merged |= selector
    expressions: list[Object] = []
    owner = pod.owner
    if owner and owner.get("kind") in _OWNERS:
        workload = handle.get(_OWNERS[owner["kind"]], f"{pod.namespace}/{owner['name']}")
        chosen = (workload or {}).get("spec", {}).get("selector") or {}
        if owner["kind"] == "ReplicationController":
            merged |= chosen
        else:
            merged |= chosen.get("matchLabels") or {}
            expressions = chosen.get("matchExpressions") or []
    if not merged and not expressions:
        return None
    return matching.selector({"matchLabels": merged, "matchExpressions": expressions})


class Profile:
    """The plugins of one scheduler name, by extension point."""

    def __init__(self, settings: ProfileSettings, handle: Handle, plugins: Plugins, percentage: int) -> None:
        self.name = settings.name
        listed = [w for w in plugins(handle) if w.plugin.name not in settings.disabled]
        chosen = [Weighted(w.plugin, settings.weights.get(w.plugin.name, w.weight)) for w in listed]
        self.search = Search(chosen, handle.cluster, percentage)
        self.plugins = {w.plugin.name: w.plugin for w in chosen}
        for plugin in self.plugins.values():
            plugin.attach(self.search)
        self.sorter = self._with("sort_key")[0]
        self.gates = self._with("pre_enqueue")
        self.post_filters = self._with("post_filter")
        self.reservers = [p for p in self.plugins.values() if overrides(p, "reserve") or overrides(p, "unreserve")]
        self.permitters = self._with("permit")
        self.pre_binders = self._with("pre_bind")
        self.binders = self._with("bind")

    def _with(self, step: str) -> list[SchedulingPlugin]:
        return [p for p in self.plugins.values() if overrides(p, step)]

    def gate(self, pod: Pod) -> str:
        """The name of the plugin that gates the pod; "" if none does."""
        return next((p.name for p in self.gates if p.pre_enqueue(pod) is not None), "")

    def run_post_filters(self, cycle: Cycle, fit_error: FitError) -> None:
        """Run post_filter plugins (preemption) and add their message to the FitError."""
        statuses = fit_error.statuses
        if fit_error.absent_status is not None and fit_error.pre_filter_message:
            statuses = dict.fromkeys(cycle.cluster.listed(), fit_error.absent_status)
        reasons: list[str] = []
        for plugin in self.post_filters:
            status = plugin.post_filter(cycle, statuses)
            if status is None:
                continue
            reasons += status.reasons
            if status.code is not Code.UNSCHEDULABLE:
                break
        fit_error.post_filter_message = ", ".join(reasons) if cycle.nominated in (None, "") else ""

    async def bind(self, cycle: Cycle, node: Any) -> Status | None:
        """Run all pre_bind plugins, then the first binder that does not return SKIP."""
        for plugin in self.pre_binders:
            status = await plugin.pre_bind(cycle, node)
            if status is not None:
                return status._replace(reasons=(f'running PreBind plugin "{plugin.name}": {status.message}',))
        for plugin in self.binders:
            status = await plugin.bind(cycle, node)
            if status is None:
                return None
            if status.code is not Code.SKIP:
                return status._replace(reasons=(f'running Bind plugin "{plugin.name}": {status.message}',))
        return Status(Code.ERROR, ("no plugin binds this pod",))
