"""Node selector terms, tolerations and pod (anti-)affinity terms, compiled once per pod spec.

Pure functions on labels and taints. The plugins decide what a match means.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from kapi.objects import labels as label_room
from kapi.objects.caching import kept
from kapi.objects.meta import Object
from kapi.objects.placement import requirement_matches as requirement_matches
from kapi.objects.placement import term_matches as term_matches
from kapi.objects.placement import tolerates as tolerates

Labels = Mapping[str, str]
NodeTest = Callable[[str, Labels], bool]
"""(node name, node labels) -> whether they match."""


def required_nodes(spec: Object) -> NodeTest | None:
    """spec.nodeSelector and required node affinity as a predicate; None if the pod has neither."""
    selector: Labels = spec.get("nodeSelector") or {}
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if not selector and required is None:
        return None
    wanted = tuple(selector.items())
    terms = None if required is None else required.get("nodeSelectorTerms") or ()

    def test(name: str, labels: Labels) -> bool:
        for key, value in wanted:
            if labels.get(key) != value:
                return False
        return terms is None or any(term_matches(t, name, labels) for t in terms)

    return test


def named_nodes(spec: Object) -> tuple[frozenset[str] | None, bool]:
    """The nodes that required affinity names by metadata.name, as DaemonSet pods do: (names or None, whether the terms contradict)."""
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    terms = (required or {}).get("nodeSelectorTerms") or ()
    union: frozenset[str] = frozenset()
    for term in terms:
        named = [
            frozenset(f.get("values") or ())
            for f in term.get("matchFields") or ()
            if f.get("key") == "metadata.name" and f.get("operator") == "In"
        ]
        if not named:
            return None, False
        union |= frozenset.intersection(*named)
    return (union, not union) if terms else (None, False)


class Matcher:
    """A compiled label selector. It compares by identity, so that results can be cached by it cheaply."""

    __slots__ = ("matches", "text")

    def __init__(self, compiled: label_room.Selector) -> None:
        self.matches: Callable[[Labels], bool] = compiled.matches
        self.text = str(compiled)

    def __repr__(self) -> str:
        return f"Matcher({self.text})"


class Term(NamedTuple):
    """A pod affinity term: the pods it selects (namespaces, selector), the topology key, and its weight if it is preferred."""

    selector: Matcher | None
    namespaces: frozenset[str]
    namespace_selector: Matcher | None
    topology: str
    weight: int = 0

    def selects(self, namespace: str, labels: Labels, namespace_labels: Labels) -> bool:
        if namespace not in self.namespaces and not (self.namespace_selector and self.namespace_selector.matches(namespace_labels)):
            return False
        return self.selector is not None and self.selector.matches(labels)


@kept(4096)
def _selector(encoded: bytes) -> Matcher:
    return Matcher(label_room.from_object(orjson.loads(encoded)))


def selector(label_selector: Object | None) -> Matcher | None:
    """A LabelSelector compiled; absent selects nothing (None), empty selects everything."""
    if label_selector is None:
        return None
    return _selector(orjson.dumps(label_selector, option=orjson.OPT_SORT_KEYS))


def term(raw: Object, namespace: str, weight: int = 0) -> Term:
    names, by_label = raw.get("namespaces") or (), raw.get("namespaceSelector")
    listed = frozenset(names) if names or by_label is not None else frozenset((namespace,))
    return Term(selector(raw.get("labelSelector")), listed, selector(by_label), raw.get("topologyKey", ""), weight)


@dataclass(frozen=True, slots=True, eq=False)
class Affinities:
    """All pod affinity terms of a pod, compiled."""

    affinity: Sequence[Term] = ()
    anti_affinity: Sequence[Term] = ()
    preferred: Sequence[Term] = ()
    """Affinity has positive weights, anti-affinity negative ones."""


NO_AFFINITIES = Affinities()


def affinities(spec: Object, namespace: str) -> Affinities:
    affinity = spec.get("affinity") or {}
    near, apart = affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}
    if not near and not apart:
        return NO_AFFINITIES
    required, soft = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
    preferred = [term(p["podAffinityTerm"], namespace, p.get("weight", 0)) for p in near.get(soft) or ()]
    preferred += [term(p["podAffinityTerm"], namespace, -p.get("weight", 0)) for p in apart.get(soft) or ()]
    return Affinities(
        tuple(term(t, namespace) for t in near.get(required) or ()),
        tuple(term(t, namespace) for t in apart.get(required) or ()),
        tuple(preferred),
    )
