"""InterPodAffinity: near and away, the pod's own wishes and those of placed pods."""

from typing import Any

from kapi.objects.meta import Object
from kapi.scheduler.plugins.affinity import InterPodAffinity
from kapi.scheduler.snapshot import HOSTNAME, ZONE
from tests.scheduler.making import cluster, fitting, node, placed, pod, scores

PLUGIN = InterPodAffinity()
NODES = (node("a", zone="x"), node("b", zone="x"), node("c", zone="y"))
WEB = {"app": "web"}


def term(topology: str = HOSTNAME, labels: dict[str, str] | None = None, **more: Any) -> Object:
    return {"topologyKey": topology, "labelSelector": {"matchLabels": labels or WEB}, **more}


def near(*terms: Object) -> Object:
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}


def away(*terms: Object) -> Object:
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}


def test_affinity_goes_where_such_pods_are() -> None:
    where = cluster(*NODES, pods={"a": [pod("x", labels=WEB)]})
    assert fitting(where, pod("p", affinity=near(term(ZONE))), PLUGIN) == {"a", "b"}
    assert placed(where, pod("p", affinity=near(term(labels={"app": "db"}))), PLUGIN) == (
        "0/3 nodes are available: 3 node(s) didn't match pod affinity rules."
    )


def test_the_first_of_a_set_that_sticks_together_may_go_anywhere() -> None:
    assert fitting(cluster(*NODES), pod("p", labels=WEB, affinity=near(term(ZONE))), PLUGIN) == {"a", "b", "c"}
    assert fitting(cluster(*NODES), pod("p", affinity=near(term(ZONE))), PLUGIN) == set()


def test_anti_affinity_keeps_away() -> None:
    where = cluster(*NODES, pods={"a": [pod("x", labels=WEB)]})
    assert fitting(where, pod("p", affinity=away(term())), PLUGIN) == {"b", "c"}
    assert fitting(where, pod("p", affinity=away(term(ZONE))), PLUGIN) == {"c"}


def test_placed_pods_keep_others_away_too() -> None:
    where = cluster(*NODES, pods={"a": [pod("x", affinity=away(term(ZONE)))]})
    assert fitting(where, pod("p", labels=WEB), PLUGIN) == {"c"}
    assert fitting(where, pod("p"), PLUGIN) == {"a", "b", "c"}
    where.remove_node("c")
    said = placed(where, pod("p", labels=WEB), PLUGIN)
    assert said == "0/2 nodes are available: 2 node(s) didn't satisfy existing pods anti-affinity rules."


def test_namespaces_are_chosen_by_name_or_label() -> None:
    where = cluster(*NODES, pods={"a": [pod("x", labels=WEB, namespace="other")]})
    where.namespaces["other"] = {"team": "t"}
    assert fitting(where, pod("p", affinity=away(term())), PLUGIN) == {"a", "b", "c"}
    assert fitting(where, pod("p", affinity=away(term(namespaces=["other"]))), PLUGIN) == {"b", "c"}
    chosen = term(namespaceSelector={"matchLabels": {"team": "t"}})
    assert fitting(where, pod("p", affinity=away(chosen)), PLUGIN) == {"b", "c"}


def test_preferences_score_from_both_sides() -> None:
    wish = {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 10, "podAffinityTerm": term(ZONE)}]}}
    where = cluster(*NODES, pods={"c": [pod("x", labels=WEB)]})
    assert scores(where, pod("p", affinity=wish), PLUGIN) == {"a": 0, "c": 100, "b": 0}
    shy = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 10, "podAffinityTerm": term()}]}}
    where = cluster(*NODES, pods={"c": [pod("x", affinity=shy)]})
    assert scores(where, pod("p", labels=WEB), PLUGIN) == {"a": 100, "c": 0, "b": 100}


def test_nothing_to_do_is_skipped() -> None:
    assert scores(cluster(*NODES, pods={"a": [pod("x")]}), pod("p"), PLUGIN) == {}
