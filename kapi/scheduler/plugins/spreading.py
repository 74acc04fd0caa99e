"""PodTopologySpread: keep the pods of a set even over zones, nodes or other domains.

Hard constraints filter, soft ones score. A pod without constraints that belongs to a Service or a controller is spread softly over
nodes and zones (stock's system defaults). How pods lie is kept in tallies, one for each set and topology.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import floor, log
from typing import Any

from kapi.objects.meta import Object
from kapi.scheduler import matching
from kapi.scheduler.framework import MAX_SCORE, SKIP, Code, Cycle, Event, SchedulingPlugin, Status
from kapi.scheduler.matching import Matcher, tolerates
from kapi.scheduler.pods import Pod
from kapi.scheduler.snapshot import HOSTNAME, ZONE, NodeInfo
from kapi.scheduler.topology_counts import TopologyCounts

MOST_COUNTS = 128
Finder = Callable[[Pod], Matcher | None]
"""The selector that takes the pod's set (its services and controllers), or None when it belongs to none."""


@dataclass(frozen=True, slots=True)
class Constraint:
    topology: str
    skew: int
    selector: Matcher | None
    least_domains: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False

    def counts_node(self, pod: Pod, node: NodeInfo) -> bool:
        """Whether pods on this node count (nodeAffinityPolicy and nodeTaintsPolicy)."""
        spec = pod.spec
        if self.honor_affinity and spec.required is not None and not spec.required(node.name, node.labels):
            return False
        return not (self.honor_taints and any(not tolerates(spec.tolerations, t) for t in node.hard_taints))


def _selector(raw: Object, labels: Mapping[str, str]) -> Matcher | None:
    """The labelSelector together with the pod's own values of matchLabelKeys."""
    keys = [key for key in raw.get("matchLabelKeys") or () if key in labels]
    selector = raw.get("labelSelector")
    if keys and selector is not None:
        have = {e.get("key") for e in selector.get("matchExpressions") or ()}
        more = [{"key": k, "operator": "In", "values": [labels[k]]} for k in keys if k not in have]
        selector = {**selector, "matchExpressions": [*(selector.get("matchExpressions") or ()), *more]}
    return matching.selector(selector)


def constraints(pod: Pod, action: str) -> tuple[Constraint, ...]:
    """The pod's constraints with this whenUnsatisfiable."""
    return tuple(
        Constraint(
            raw["topologyKey"],
            raw.get("maxSkew", 1),
            _selector(raw, pod.identity.labels),
            raw.get("minDomains") or 1,
            raw.get("nodeAffinityPolicy", "Honor") == "Honor",
            raw.get("nodeTaintsPolicy", "Ignore") == "Honor",
        )
        for raw in pod.spec.constraints
        if raw.get("whenUnsatisfiable") == action
    )


@dataclass(slots=True)
class _Hard:
    """How many matching pods are in each domain of each hard constraint."""

    constraints: tuple[Constraint, ...]
    domains: list[dict[str, int]]
    own: Sequence[bool]
    """Whether the pod itself would count."""
    limits: list[tuple[str, dict[str, int], int]]
    """(topology, pods by domain, how many a domain may have for one more to be within the skew)."""

    def settle(self) -> None:
        self.limits = []
        for constraint, counts, own in zip(self.constraints, self.domains, self.own, strict=True):
            least = min(counts.values(), default=0) if len(counts) >= constraint.least_domains else 0
            self.limits.append((constraint.topology, counts, least + constraint.skew - own))


class PodTopologySpread(SchedulingPlugin):
    name = "PodTopologySpread"
    wakes = (
        Event("pod", "add"),
        Event("pod", "delete"),
        Event("pod", "label"),
        Event("node", "add"),
        Event("node", "delete"),
        Event("node", "label"),
        Event("node", "taint"),
    )
    _uneven = Status(Code.UNSCHEDULABLE, ("node(s) didn't match pod topology spread constraints",), name)
    _unlabelled = Status(Code.UNRESOLVABLE, ("node(s) didn't match pod topology spread constraints (missing required label)",), name)

    def __init__(self, find: Finder) -> None:
        self._find = find
        self._counts_by_constraint: OrderedDict[tuple[Any, ...], TopologyCounts] = OrderedDict()

    def pre_filter(self, cycle: Cycle) -> Status | None:
        pod = cycle.pod
        hard = constraints(pod, "DoNotSchedule") if pod.spec.constraints else ()
        if not hard:
            return SKIP
        domains = [self._topology_counts(cycle, constraint, hard).domains for constraint in hard]
        own = [c.selector is not None and pod.identity.matches(c.selector) for c in hard]
        state = cycle.data[self.name] = _Hard(hard, domains, own, [])
        state.settle()
        return None

    def _topology_counts(self, cycle: Cycle, constraint: Constraint, together: Sequence[Constraint]) -> TopologyCounts:
        """How the pod's set lies over the constraint's topology; nodes count that have the labels of all constraints `together`."""
        pod = cycle.pod
        key = (cycle.cluster, pod.namespace, pod.spec.key, constraint, together)
        known = self._counts_by_constraint.get(key)
        if known is None:
            topologies = [c.topology for c in together]

            def counts(node: NodeInfo) -> bool:
                return all(t in node.labels for t in topologies) and constraint.counts_node(pod, node)

            known = TopologyCounts(cycle.cluster, pod.namespace, constraint.selector, constraint.topology, counts)
            self._counts_by_constraint[key] = known
            if len(self._counts_by_constraint) > MOST_COUNTS:
                self._counts_by_constraint.popitem(last=False)
        else:
            self._counts_by_constraint.move_to_end(key)
        return known.refresh()

    def filter(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        state: _Hard = cycle.data[self.name]
        labels = node.labels
        for topology, counts, limit in state.limits:
            value = labels.get(topology)
            if value is None:
                return self._unlabelled
            if counts.get(value, 0) > limit:
                return self._uneven
        return None

    def copy_data(self, data: _Hard) -> _Hard:
        twin = _Hard(data.constraints, [dict(counts) for counts in data.domains], data.own, [])
        twin.settle()
        return twin

    def add_pod(self, cycle: Cycle, pod: Pod, node: NodeInfo) -> None:
        self._shift(cycle, pod, node, 1)

    def remove_pod(self, cycle: Cycle, pod: Pod, node: NodeInfo) -> None:
        self._shift(cycle, pod, node, -1)

    def _shift(self, cycle: Cycle, pod: Pod, node: NodeInfo, sign: int) -> None:
        state: _Hard = cycle.data[self.name]
        if pod.namespace != cycle.pod.namespace or any(c.topology not in node.labels for c in state.constraints):
            return
        for constraint, counts in zip(state.constraints, state.domains, strict=True):
            if constraint.selector and pod.identity.matches(constraint.selector) and constraint.counts_node(cycle.pod, node):
                value = node.labels[constraint.topology]
                counts[value] = counts.get(value, 0) + sign
        state.settle()

    # scoring

    def _soft(self, pod: Pod) -> tuple[tuple[Constraint, ...], bool]:
        """(soft constraints, whether a node must have all their labels to count)."""
        if pod.spec.constraints:
            return constraints(pod, "ScheduleAnyway"), True
        selector = self._find(pod)
        if selector is None:
            return (), False
        return (Constraint(HOSTNAME, 3, selector), Constraint(ZONE, 5, selector)), False

    def pre_score(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> Status | None:
        soft, strict = self._soft(cycle.pod)
        if not soft:
            return SKIP
        cycle.data["soft " + self.name] = (soft, strict)
        return None

    def scores(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> list[int]:
        soft, strict = cycle.data["soft " + self.name]
        together = soft if strict else ()
        ignored = {n.index for n in nodes if any(c.topology not in n.labels for c in soft)} if strict else set()
        indexes = [n.index for n in nodes]
        raw = [0.0] * len(nodes)
        for constraint in soft:
            counts, extra = self._topology_counts(cycle, constraint, together), constraint.skew - 1
            values = [counts.values[i] for i in indexes]
            if constraint.topology == HOSTNAME:
                weight, on_node = log(len(nodes) - len(ignored) + 2), counts.on_node
                gains = [on_node[i] * weight + extra for i in indexes]
            else:
                present = {v for i, v in zip(indexes, values, strict=True) if i not in ignored} if ignored else set(values)
                weight = log(len(present) + 2)
                by_value = {v: counts.domains.get(v, 0) * weight + extra for v in present if v is not None}
                gains = [by_value.get(v, 0.0) if v is not None else 0.0 for v in values]
            if None in values:
                gains = [0.0 if v is None else g for g, v in zip(gains, values, strict=True)]
            raw = [r + g for r, g in zip(raw, gains, strict=True)]
        rounded = [floor(r + 0.5) for r in raw]
        if not ignored:
            return self._levelled(rounded)
        return self._levelled([None if i in ignored else s for s, i in zip(rounded, indexes, strict=True)])

    def _levelled(self, scores: Sequence[int | None]) -> list[int]:
        """The fewer pods, the higher, from 0 to 100; ignored nodes get 0."""
        present = [s for s in scores if s is not None]
        top, low = max(present, default=0), min(present, default=0)
        if top == 0:
            return [0 if s is None else MAX_SCORE for s in scores]
        return [0 if s is None else MAX_SCORE * (top + low - s) // top for s in scores]
