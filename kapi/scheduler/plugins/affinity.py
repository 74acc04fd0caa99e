"""InterPodAffinity: affinity and anti-affinity between pods.

Required terms filter: the pod's own terms, and the anti-affinity of placed pods that selects it. Preferred terms of both sides score.
Counts come from the cluster's indexes: by identity for the pod's own terms, by affinity terms for those of placed pods.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kapi.scheduler.framework import MAX_SCORE, SKIP, Code, Cycle, Event, SchedulingPlugin, Status
from kapi.scheduler.matching import NO_AFFINITIES, Term
from kapi.scheduler.pods import Identity, Pod
from kapi.scheduler.snapshot import Cluster, Counts, NodeInfo

HARD_WEIGHT = 1
"""Score weight of a placed pod's required affinity terms (stock's hardPodAffinityWeight)."""
Pairs = dict[str, dict[str, int]]
"""Topology key -> value -> number of pods, or sum of weights."""


def _selects(term: Term, identity: Identity, cluster: Cluster) -> bool:
    namespace = identity.namespace
    by_label = term.namespace_selector
    if namespace not in term.namespaces and (by_label is None or not by_label.matches(cluster.namespaces.get(namespace, {}))):
        return False
    return term.selector is not None and identity.matches(term.selector)


def _add(pairs: Pairs, key: str, counts: Counts, weight: int = 1) -> None:
    values = pairs.setdefault(key, {})
    for node, count in counts.items():
        value = node.labels.get(key)
        if value is not None:
            values[value] = values.get(value, 0) + count * weight


def _copy(pairs: Pairs) -> Pairs:
    return {key: dict(values) for key, values in pairs.items()}


def _has_count(pairs: Pairs, labels: dict[str, str]) -> bool:
    """Whether a node with these labels is in a domain with a positive count."""
    for key, values in pairs.items():
        value = labels.get(key)
        if value is not None and values.get(value, 0) > 0:
            return True
    return False


def _matching_counts(term: Term, cluster: Cluster, others: Sequence[Term] = ()) -> Iterable[Counts]:
    """The pods that the term and all `others` select, as numbers by node."""
    spaces = cluster.identities if term.namespace_selector is not None else term.namespaces & cluster.identities.keys()
    for namespace in spaces:
        for identity, counts in cluster.identities[namespace].items():
            if _selects(term, identity, cluster) and all(_selects(other, identity, cluster) for other in others):
                yield counts


@dataclass(slots=True)
class _State:
    existing_anti_affinity: Pairs
    """Domains with pods whose required anti-affinity selects this pod."""
    affinity: Pairs
    """Domains with pods that match all required affinity terms of this pod."""
    anti_affinity: Pairs


class InterPodAffinity(SchedulingPlugin):
    name = "InterPodAffinity"
    events_to_register = (
        Event("pod", "add"),
        Event("pod", "delete"),
        Event("pod", "label"),
        Event("node", "add"),
        Event("node", "label"),
    )
    _affinity_not_met = Status(Code.UNRESOLVABLE, ("node(s) didn't match pod affinity rules",), name)
    _anti_affinity_not_met = Status(Code.UNSCHEDULABLE, ("node(s) didn't match pod anti-affinity rules",), name)
    _existing_anti_affinity_not_met = Status(Code.UNSCHEDULABLE, ("node(s) didn't satisfy existing pods anti-affinity rules",), name)

    def pre_filter(self, cycle: Cycle) -> Status | None:
        pod, cluster = cycle.pod, cycle.cluster
        own = pod.affinities
        if own is NO_AFFINITIES and not cluster.with_affinity:
            return SKIP
        state = _State(self._existing_anti_affinity(pod, cluster), {}, {})
        self._add_matching_all(own.affinity, cluster, state.affinity)
        for term in own.anti_affinity:
            for counts in _matching_counts(term, cluster):
                _add(state.anti_affinity, term.topology, counts)
        if not state.existing_anti_affinity and not own.affinity and not own.anti_affinity:
            return SKIP
        cycle.data[self.name] = state
        return None

    def _existing_anti_affinity(self, pod: Pod, cluster: Cluster) -> Pairs:
        pairs: Pairs = {}
        for (_, affinities), counts in cluster.with_affinity.items():
            for term in affinities.anti_affinity:
                if _selects(term, pod.identity, cluster):
                    _add(pairs, term.topology, counts)
        return pairs

    def _add_matching_all(self, terms: Sequence[Term], cluster: Cluster, pairs: Pairs) -> None:
        """Count pods that match all terms, for the topology of each term."""
        for counts in _matching_counts(terms[0], cluster, terms[1:]) if terms else ():
            for term in terms:
                _add(pairs, term.topology, counts)

    def filter(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        state: _State = cycle.data[self.name]
        own, labels = cycle.pod.affinities, node.labels
        if own.affinity and not self._meets_affinity(cycle, state, labels):
            return self._affinity_not_met
        if state.anti_affinity and _has_count(state.anti_affinity, labels):
            return self._anti_affinity_not_met
        if state.existing_anti_affinity and _has_count(state.existing_anti_affinity, labels):
            return self._existing_anti_affinity_not_met
        return None

    def _meets_affinity(self, cycle: Cycle, state: _State, labels: dict[str, str]) -> bool:
        terms, pod = cycle.pod.affinities.affinity, cycle.pod
        if any(term.topology not in labels for term in terms):
            return False
        if all(state.affinity.get(t.topology, {}).get(labels[t.topology], 0) > 0 for t in terms):
            return True
        # The first pod of a set with affinity to itself matches any node; otherwise the set could never start.
        alone = not any(count > 0 for values in state.affinity.values() for count in values.values())
        return alone and all(_selects(term, pod.identity, cycle.cluster) for term in terms)

    def copy_data(self, data: _State) -> _State:
        return _State(_copy(data.existing_anti_affinity), _copy(data.affinity), _copy(data.anti_affinity))

    def add_pod(self, cycle: Cycle, pod: Pod, node: NodeInfo) -> None:
        self._update_counts(cycle, pod, {node: 1})

    def remove_pod(self, cycle: Cycle, pod: Pod, node: NodeInfo) -> None:
        self._update_counts(cycle, pod, {node: -1})

    def _update_counts(self, cycle: Cycle, other: Pod, counts: Counts) -> None:
        state: _State = cycle.data[self.name]
        own, cluster = cycle.pod.affinities, cycle.cluster
        for term in other.affinities.anti_affinity:
            if _selects(term, cycle.pod.identity, cluster):
                _add(state.existing_anti_affinity, term.topology, counts)
        if own.affinity and all(_selects(term, other.identity, cluster) for term in own.affinity):
            for term in own.affinity:
                _add(state.affinity, term.topology, counts)
        for term in own.anti_affinity:
            if _selects(term, other.identity, cluster):
                _add(state.anti_affinity, term.topology, counts)

    # scoring

    def pre_score(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> Status | None:
        pod, cluster = cycle.pod, cycle.cluster
        if not pod.affinities.preferred and not cluster.with_affinity:
            return SKIP
        pairs: Pairs = {}
        for term in pod.affinities.preferred:
            for counts in _matching_counts(term, cluster):
                _add(pairs, term.topology, counts, term.weight)
        for (_, affinities), counts in cluster.with_affinity.items():
            for term in affinities.affinity:
                if _selects(term, pod.identity, cluster):
                    _add(pairs, term.topology, counts, HARD_WEIGHT)
            for term in affinities.preferred:
                if _selects(term, pod.identity, cluster):
                    _add(pairs, term.topology, counts, term.weight)
        if not pairs:
            return SKIP
        cycle.data["score " + self.name] = pairs
        return None

    def scores(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> list[int]:
        pairs: Pairs = cycle.data["score " + self.name]
        raw = [0] * len(nodes)
        for key, values in pairs.items():
            raw = [r + values.get(node.labels.get(key, ""), 0) for r, node in zip(raw, nodes, strict=True)]
        low, top = min(raw), max(raw)
        return [int(MAX_SCORE * ((r - low) / (top - low))) if top > low else 0 for r in raw]

    def queueing_hint(self, event: Event, pod: Pod, obj: Any) -> bool:
        """A pod event helps if an affinity term of either pod selects the other; a node event may add a domain."""
        if event.resource != "pod" or not isinstance(obj, Pod):
            return True
        own = pod.affinities
        ours = any(t.selector is not None and obj.identity.matches(t.selector) for t in (*own.affinity, *own.anti_affinity))
        return ours or any(t.selector is not None and pod.identity.matches(t.selector) for t in obj.affinities.anti_affinity)
