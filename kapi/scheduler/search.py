"""Selects the best node for a pod: filters, then scores, over as many nodes as stock evaluates.

Results of local plugins for a node and a Spec are cached in `NodeResults` until the node changes, so scheduling many pods of one template
costs little more than iterating over the nodes. Plugins that depend on other nodes (spread, inter-pod affinity) run every time.
"""

import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from kapi.scheduler.framework import Code, Cycle, SchedulingPlugin, Status, overrides
from kapi.scheduler.pods import Pod, Spec
from kapi.scheduler.snapshot import Cluster, NodeInfo

MIN_FEASIBLE_NODES = 100
"""Clusters with fewer nodes are searched completely (stock's minFeasibleNodesToFind)."""
MAX_CACHED_SPECS = 64
Filter = Callable[[Cycle, NodeInfo], Status | None]
Filtered = tuple[list[int], int, dict[int, Status]]
"""(indexes of feasible nodes, number of nodes evaluated, {index: status} of nodes that a plugin rejected that is not local)."""
_UNKNOWN = Status(Code.PENDING)
_FITS = Status(Code.SUCCESS)


def nodes_to_find(nodes: int, percentage: int = 0) -> int:
    """The number of feasible nodes to find before scoring (stock's numFeasibleNodesToFind); percentage 0: by the size of the cluster."""
    if nodes < MIN_FEASIBLE_NODES or percentage >= 100:
        return nodes
    share = percentage or max(50 - nodes // 125, 5)
    return max(nodes * share // 100, MIN_FEASIBLE_NODES)


@dataclass(slots=True)
class Weighted:
    plugin: SchedulingPlugin
    weight: int


@dataclass(slots=True)
class FitError(Exception):
    """No node fits (stock's FitError): statuses by node, or a status for all of them."""

    nodes: int
    statuses: dict[NodeInfo, Status] = field(default_factory=dict)
    absent_status: Status | None = None
    """The status of all nodes that were not evaluated."""
    pre_filter_message: str = ""
    """The message of the pre_filter plugin that ended the attempt."""
    post_filter_message: str = ""
    """The message of post_filter plugins."""
    plugins: set[str] = field(default_factory=set)

    @property
    def message(self) -> str:
        if not self.nodes:
            return "no nodes available to schedule pods"
        text = f"0/{self.nodes} nodes are available:"
        if self.pre_filter_message:
            text += f" {self.pre_filter_message}."
        else:
            listed = self._counted()
            text += f" {', '.join(listed)}." if listed else ""
        return f"{text} {self.post_filter_message}" if self.post_filter_message else text

    def _counted(self) -> list[str]:
        counts: dict[str, int] = {}
        for status in self.statuses.values():
            for reason in status.reasons:
                counts[reason] = counts.get(reason, 0) + 1
        rest = self.nodes - len(self.statuses)
        for reason in self.absent_status.reasons if self.absent_status and rest else ():
            counts[reason] = counts.get(reason, 0) + rest
        return sorted(f"{count} {reason}" for reason, count in counts.items())


class NodeResults:
    """Cached filter status and score of every node for one Spec, by the local plugins only. Indexed like Cluster.order."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._epoch = -1
        self._position = 0
        self.statuses_by_node: list[Status] = []
        self.scores: list[int] = []
        self.scorers: list[tuple[int, Callable[[Cycle, NodeInfo], int]]] | None = None
        """The local scorers with their weights, without those that skip this Spec."""

    def refresh(self) -> None:
        """Invalidate the results of nodes that changed since the last refresh."""
        cluster = self._cluster
        size = len(cluster.listed())
        now = cluster.dropped + len(cluster.changes)
        if self._epoch != cluster.epoch or self._position < cluster.dropped or now - self._position > size:
            self.statuses_by_node, self.scores = [_UNKNOWN] * size, [0] * size
            self._epoch = cluster.epoch
        else:
            for index in cluster.changes[self._position - cluster.dropped :]:
                self.statuses_by_node[index] = _UNKNOWN
        self._position = now


class Search:
    """Runs the filter and score plugins of a profile."""

    def __init__(self, plugins: Sequence[Weighted], cluster: Cluster, percentage: int = 0) -> None:
        self._cluster, self._percentage = cluster, percentage
        all_plugins = [w.plugin for w in plugins]
        self.pre_filters = [p for p in all_plugins if overrides(p, "pre_filter")]
        self.filters = [p for p in all_plugins if overrides(p, "filter")]
        self._local_filters = [p for p in self.filters if p.local]
        self._other_filters = [p for p in self.filters if not p.local]
        scoring = [w for w in plugins if overrides(w.plugin, "score") or overrides(w.plugin, "scores")]
        whole = ("normalize", "scores")
        self._local_scorers = [w for w in scoring if w.plugin.local and not any(overrides(w.plugin, s) for s in whole)]
        self._other_scorers = [w for w in scoring if w not in self._local_scorers]
        self._cached_results: OrderedDict[bytes, NodeResults] = OrderedDict()
        self._start = 0

    def place(self, cycle: Cycle) -> NodeInfo:
        """The selected node. Raises FitError."""
        nodes = self._cluster.listed()
        if not nodes:
            raise FitError(0)
        self.run_pre_filters(cycle, len(nodes))
        node_results = self.node_results(cycle.pod.spec)
        node_results.refresh()
        feasible, evaluated, rejected = self._nominated_node(cycle, node_results, nodes) or self._feasible(cycle, node_results, nodes)
        if not feasible:
            raise self._fit_error(cycle, node_results, nodes, rejected)
        self._start = (self._start + evaluated) % len(nodes)
        if len(feasible) == 1:
            return nodes[feasible[0]]
        return nodes[self._best(cycle, node_results, nodes, feasible)]

    def run_pre_filters(self, cycle: Cycle, nodes: int) -> None:
        """Run pre_filter plugins. Raises FitError if one rejects the pod."""
        for plugin in self.pre_filters:
            status = plugin.pre_filter(cycle)
            if status is None:
                continue
            if status.code is Code.SKIP:
                cycle.skipped.add(plugin.name)
                continue
            raise FitError(nodes, absent_status=status, pre_filter_message=status.message, plugins={plugin.name})
        if cycle.names is not None and not cycle.names:
            status = self._absent_status(cycle)
            raise FitError(nodes, absent_status=status, pre_filter_message=status.message, plugins=set(cycle.narrowed_by))

    def node_results(self, spec: Spec) -> NodeResults:
        node_results = self._cached_results.get(spec.key)
        if node_results is None:
            node_results = self._cached_results[spec.key] = NodeResults(self._cluster)
            if len(self._cached_results) > MAX_CACHED_SPECS:
                self._cached_results.popitem(last=False)
        else:
            self._cached_results.move_to_end(spec.key)
        return node_results

    def _nominated_node(self, cycle: Cycle, node_results: NodeResults, nodes: list[NodeInfo]) -> Filtered | None:
        """The result for the nominated node alone, if the pod has one and fits there."""
        node = self._cluster.nodes.get(cycle.pod.nominated) if cycle.pod.nominated else None
        if node is None or (cycle.names is not None and node.name not in cycle.names):
            return None
        feasible = self._run_filters_on(cycle, node_results, nodes, iter((node.index,)), 1)
        return feasible if feasible[0] else None

    def _feasible(self, cycle: Cycle, node_results: NodeResults, nodes: list[NodeInfo]) -> Filtered:
        if cycle.names is not None:
            known = self._cluster.nodes
            indexes = sorted(known[name].index for name in cycle.names if name in known)
            return self._run_filters_on(cycle, node_results, nodes, iter(indexes), nodes_to_find(len(indexes), self._percentage))
        start = self._start if self._start < len(nodes) else 0
        order = chain(range(start, len(nodes)), range(start))
        return self._run_filters_on(cycle, node_results, nodes, order, nodes_to_find(len(nodes), self._percentage))

    def _run_filters_on(
        self, cycle: Cycle, node_results: NodeResults, nodes: list[NodeInfo], order: Iterator[int], limit: int
    ) -> Filtered:
        """Run the filters on nodes in `order` until `wanted` feasible ones are found."""
        statuses_by_node, run_local_filters = node_results.statuses_by_node, self._run_local_filters
        local_filters: list[Filter] | None = None
        other_filters = [p.filter for p in self._other_filters if p.name not in cycle.skipped]
        nominated = self._cluster.nominated
        feasible: list[int] = []
        rejected: dict[int, Status] = {}
        evaluated = 0
        for index in order:
            evaluated += 1
            status_of_node = statuses_by_node[index]
            if status_of_node is _UNKNOWN:
                if local_filters is None:
                    local_filters = [p.filter for p in self._local_filters if p.name not in cycle.skipped]
                status_of_node = run_local_filters(cycle, node_results, nodes[index], local_filters)
            if status_of_node is not _FITS:
                continue
            if other_filters or nominated:
                status = None
                for run_filter in other_filters:
                    status = run_filter(cycle, nodes[index])
                    if status is not None:
                        break
                if status is None and nominated:
                    status = self._filter_with_nominated(cycle, nodes[index])
                if status is not None:
                    rejected[index] = status
                    continue
            feasible.append(index)
            if len(feasible) >= limit:
                break
        return feasible, evaluated, rejected

    def _run_local_filters(self, cycle: Cycle, node_results: NodeResults, node: NodeInfo, filters: list[Filter]) -> Status:
        """Run the local plugins on one node and cache the result."""
        status_of_node = _FITS
        for run_filter in filters:
            status = run_filter(cycle, node)
            if status is not None:
                status_of_node = status
                break
        if status_of_node is _FITS:
            if node_results.scorers is None:
                node_results.scorers = [(w.weight, w.plugin.score) for w in self._local_scorers if w.plugin.pre_score(cycle, ()) is None]
            node_results.scores[node.index] = sum([weight * score(cycle, node) for weight, score in node_results.scorers])
        node_results.statuses_by_node[node.index] = status_of_node
        return status_of_node

    def _filter_with_nominated(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        """Why the pod does not fit together with pods nominated to the node (stock's RunFilterPluginsWithNominatedPods)."""
        nominated = self._cluster.nominated_on(node, cycle.pod)
        if not nominated:
            return None
        simulated = node.copy()
        duplicate = self.simulate(cycle)
        for pod in nominated:
            self.simulate_add(duplicate, pod, simulated)
        return self.run_filters(duplicate, simulated)

    # simulation (preemption and nominated pods)

    def simulate(self, cycle: Cycle) -> Cycle:
        """A copy of the cycle whose data may be changed."""
        plugins = {p.name: p for p in self.pre_filters}
        data = {name: plugins[name].copy_data(d) if name in plugins else d for name, d in cycle.data.items()}
        return Cycle(cycle.pod, cycle.cluster, data, cycle.names, cycle.narrowed_by, cycle.skipped)

    def simulate_add(self, cycle: Cycle, pod: Pod, node: NodeInfo) -> None:
        node.add(pod)
        for plugin in self._other_filters:
            if plugin.name not in cycle.skipped:
                plugin.add_pod(cycle, pod, node)

    def simulate_remove(self, cycle: Cycle, pod: Pod, node: NodeInfo) -> None:
        node.remove(pod.key)
        for plugin in self._other_filters:
            if plugin.name not in cycle.skipped:
                plugin.remove_pod(cycle, pod, node)

    def run_filters(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        """Run all filters on one node (or a simulated copy), without the cache."""
        for plugin in self.filters:
            if plugin.name not in cycle.skipped:
                status = plugin.filter(cycle, node)
                if status is not None:
                    return status
        return None

    # scoring

    def _best(self, cycle: Cycle, node_results: NodeResults, nodes: list[NodeInfo], feasible: list[int]) -> int:
        """The index with the highest score; a random one of several."""
        scores = node_results.scores
        totals = [scores[index] for index in feasible]
        candidates: list[NodeInfo] | None = None
        for weighted in self._other_scorers:
            plugin, weight = weighted.plugin, weighted.weight
            if candidates is None:
                candidates = [nodes[index] for index in feasible]
            if plugin.pre_score(cycle, candidates) is None:
                totals = [t + weight * s for t, s in zip(totals, plugin.scores(cycle, candidates), strict=True)]
        top = max(totals)
        ties = [index for index, total in zip(feasible, totals, strict=True) if total == top]
        return ties[0] if len(ties) == 1 else random.choice(ties)

    # failing

    def _absent_status(self, cycle: Cycle) -> Status:
        listed = " ".join(sorted(set(cycle.narrowed_by)))
        return Status(Code.UNRESOLVABLE, (f"node(s) didn't satisfy plugin(s) [{listed}]",))

    def _fit_error(self, cycle: Cycle, node_results: NodeResults, nodes: list[NodeInfo], rejected: dict[int, Status]) -> FitError:
        statuses = {}
        for node in nodes:
            if cycle.names is None or node.name in cycle.names:
                status = rejected.get(node.index) or node_results.statuses_by_node[node.index]
                if status is not _FITS and status is not _UNKNOWN:
                    statuses[node] = status
        absent_status = self._absent_status(cycle) if cycle.names is not None else None
        plugins = {status.plugin for status in statuses.values()}
        if cycle.names is not None and len(statuses) < len(nodes):
            plugins.update(cycle.narrowed_by)
        return FitError(len(nodes), statuses, absent_status, plugins=plugins - {""})
