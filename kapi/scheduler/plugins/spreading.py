"""PodTopologySpread: spreads a set of pods evenly over zones, nodes or other topology domains.

Hard constraints (DoNotSchedule) filter, soft ones (ScheduleAnyway) score. Pods of a Service or controller without constraints get soft
ones over nodes and zones (stock's system defaults). Matching pods are counted in TopologyCounts, one per set and topology key.
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

MAX_CACHED_COUNTS = 128
SelectorFinder = Callable[[Pod], Matcher | None]
"""The selector of the pod's set (its Services and controller); None if it belongs to none."""


@dataclass(frozen=True, slots=True)
class Constraint:
    topology: str
    max_skew: int
    selector: Matcher | None
    min_domains: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False

    def counts_node(self, pod: Pod, node: NodeInfo) -> bool:
        """Whether pods on this node are counted (nodeAffinityPolicy and nodeTaintsPolicy)."""
        spec = pod.spec
        if self.honor_affinity and spec.required is not None and not spec.required(node.name, node.labels):
            return False
        return not (self.honor_taints and any(not tolerates(spec.tolerations, t) for t in node.hard_taints))


def _selector(raw: Object, labels: Mapping[str, str]) -> Matcher | None:
    """The labelSelector, extended by the pod's own values of matchLabelKeys."""
    keys = [key for key in raw.get("matchLabelKeys") or () if key in labels]
    selector = raw.get("labelSelector")
    if keys and selector is not None:
        have = {e.get("key") for e in selector.get("matchExpressions") or ()}
        more = [{"key": k, "operator": "In", "values": [labels[k]]} for k in keys if k not in have]
        selector = {**selector, "matchExpressions": [*(selector.get("matchExpressions") or ()), *more]}
    return matching.selector(selector)


def constraints(pod: Pod, action: str) -> tuple[Constraint, ...]:
    """The pod's constraints with this value of whenUnsatisfiable."""
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
class _HardState:
    """Number of matching pods in each domain of each DoNotSchedule constraint."""

    constraints: tuple[Constraint, ...]
    domains: list[dict[str, int]]
    own: Sequence[bool]
    """Whether the pod itself matches the constraint's selector."""
    limits: list[tuple[str, dict[str, int], int]]
    """(topology key, {domain: pods}, most pods a domain may have before adding one exceeds maxSkew)."""

    def update_limits(self) -> None:
        self.limits = []
        for constraint, counts, own in zip(self.constraints, self.domains, self.own, strict=True):
            least = min(counts.values(), default=0) if len(counts) >= constraint.min_domains else 0
            self.limits.append((constraint.topology, counts, least + constraint.max_skew - own))


class PodTopologySpread(SchedulingPlugin):
    name = "PodTopologySpread"
    events_to_register = (
        Event("pod", "add"),
        Event("pod", "delete"),
        Event("pod", "label"),
        Event("node", "add"),
        Event("node", "delete"),
        Event("node", "label"),
        Event("node", "taint"),
    )
    _too_skewed = Status(Code.UNSCHEDULABLE, ("node(s) didn't match pod topology spread constraints",), name)
    _missing_label = Status(Code.UNRESOLVABLE, ("node(s) didn't match pod topology spread constraints (missing required label)",), name)

    def __init__(self, find: SelectorFinder) -> None:
        self._find = find
        self._counts_by_constraint: OrderedDict[tuple[Any, ...], TopologyCounts] = OrderedDict()

    def pre_filter(self, cycle: Cycle) -> Status | None:
        pod = cycle.pod
        hard = constraints(pod, "DoNotSchedule") if pod.spec.constraints else ()
        if not hard:
            return SKIP
        domains = [self._topology_counts(cycle, constraint, hard).domains for constraint in hard]
        own = [c.selector is not None and pod.identity.matches(c.selector) for c in hard]
        state = cycle.data[self.name] = _HardState(hard, domains, own, [])
        state.update_limits()
        return None

    def _topology_counts(self, cycle: Cycle, constraint: Constraint, constraints_together: Sequence[Constraint]) -> TopologyCounts:
        """Counts for a constraint; only nodes with the labels of all `constraints_together` are counted in domains."""
        pod = cycle.pod
        key = (cycle.cluster, pod.namespace, pod.spec.key, constraint, constraints_together)
        known = self._counts_by_constraint.get(key)
        if known is None:
            topologies = [c.topology for c in constraints_together]

            def counts(node: NodeInfo) -> bool:
                return all(t in node.labels for t in topologies) and constraint.counts_node(pod, node)

            known = TopologyCounts(cycle.cluster, pod.namespace, constraint.selector, constraint.topology, counts)
            self._counts_by_constraint[key] = known
            if len(self._counts_by_constraint) > MAX_CACHED_COUNTS:
                self._counts_by_constraint.popitem(last=False)
        else:
            self._counts_by_constraint.move_to_end(key)
        return known.refresh()

    def filter(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        state: _HardState = cycle.data[self.name]
        labels = node.labels
        for topology, counts, limit in state.limits:
            value = labels.get(topology)
            if value is None:
                return self._missing_label
            if counts.get(value, 0) > limit:
                return self._too_skewed
        return None

    def copy_data(self, data: _HardState) -> _HardState:
        duplicate = _HardState(data.constraints, [dict(counts) for counts in data.domains], data.own, [])
        duplicate.update_limits()
        return duplicate

    def add_pod(self, cycle: Cycle, pod: Pod, node: NodeInfo) -> None:
        self._update_counts(cycle, pod, node, 1)

    def remove_pod(self, cycle: Cycle, pod: Pod, node: NodeInfo) -> None:
        self._update_counts(cycle, pod, node, -1)

    def _update_counts(self, cycle: Cycle, pod: Pod, node: NodeInfo, sign: int) -> None:
        state: _HardState = cycle.data[self.name]
        if pod.namespace != cycle.pod.namespace or any(c.topology not in node.labels for c in state.constraints):
            return
        for constraint, counts in zip(state.constraints, state.domains, strict=True):
            if constraint.selector and pod.identity.matches(constraint.selector) and constraint.counts_node(cycle.pod, node):
                value = node.labels[constraint.topology]
                counts[value] = counts.get(value, 0) + sign
        state.update_limits()

    # scoring

    def _soft(self, pod: Pod) -> tuple[tuple[Constraint, ...], bool]:
        """(soft constraints, whether only nodes with all their labels are counted)."""
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
        constraints_together = soft if strict else ()
        ignored = {n.index for n in nodes if any(c.topology not in n.labels for c in soft)} if strict else set()
        indexes = [n.index for n in nodes]
        raw = [0.0] * len(nodes)
        for constraint in soft:
            counts, extra = self._topology_counts(cycle, constraint, constraints_together), constraint.max_skew - 1
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
            return self._normalized(rounded)
        return self._normalized([None if i in ignored else s for s, i in zip(rounded, indexes, strict=True)])

    def _normalized(self, scores: Sequence[int | None]) -> list[int]:
        """Invert and scale to 0..100: fewer pods score higher; ignored nodes get 0."""
        present = [s for s in scores if s is not None]
        top, low = max(present, default=0), min(present, default=0)
        if top == 0:
            return [0 if s is None else MAX_SCORE for s in scores]
        return [0 if s is None else MAX_SCORE * (top + low - s) // top for s in scores]
