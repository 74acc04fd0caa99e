"""PodTopologySpread: hard constraints, soft ones and the defaults for sets."""

from typing import Any

from kapi.objects.meta import Object
from kapi.scheduler import matching
from kapi.scheduler.plugins.spreading import PodTopologySpread
from kapi.scheduler.snapshot import HOSTNAME, ZONE, Cluster
from tests.scheduler.making import cluster, fitting, node, placed, pod, scores

SET = {"app": "web"}
PLUGIN = PodTopologySpread(lambda pod: None)


def constrained(name: str, **more: Any) -> Object:
    how = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": SET}}
    return pod(name, labels=SET, topologySpreadConstraints=[{**how, **more}])


def three(**on: int) -> Cluster:
    """Nodes a and b in zone x, c in zone y, with so many pods of the set on each."""
    pods = {name: [pod(f"{name}{i}", labels=SET) for i in range(count)] for name, count in on.items()}
    return cluster(node("a", zone="x"), node("b", zone="x"), node("c", zone="y"), pods=pods)


def test_the_fuller_zone_is_refused() -> None:
    where = three(a=1)
    assert fitting(where, constrained("p"), PLUGIN) == {"c"}
    assert fitting(where, constrained("p", maxSkew=2), PLUGIN) == {"a", "b", "c"}


def test_placing_and_removing_moves_the_counts() -> None:
    where = three(a=1)
    plugin = PodTopologySpread(lambda pod: None)
    assert fitting(where, constrained("p"), plugin) == {"c"}
    where.remove("default/a0")
    assert fitting(where, constrained("p"), plugin) == {"a", "b", "c"}
    where.set_node(node("c", zone="x"))
    assert fitting(where, constrained("p"), plugin) == {"a", "b", "c"}


def test_pods_being_deleted_do_not_count() -> None:
    where = cluster(node("a", zone="x"), node("c", zone="y"), pods={"a": [pod("old", labels=SET, terminating=True)]})
    assert fitting(where, constrained("p"), PLUGIN) == {"a", "c"}


def test_too_few_domains_make_the_minimum_zero() -> None:
    assert fitting(three(a=1, c=1), constrained("p", minDomains=3), PLUGIN) == set()
    assert fitting(three(a=1, c=1), constrained("p", minDomains=2), PLUGIN) == {"a", "b", "c"}


def test_a_node_without_the_label_is_out_and_says_so() -> None:
    where = cluster(node("a"))
    said = placed(where, constrained("p"), PLUGIN)
    assert said == "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label)."


def test_only_nodes_the_pod_may_use_make_the_minimum() -> None:
    where = three(a=1)
    bound = {**constrained("p"), "spec": {**constrained("p")["spec"], "nodeSelector": {ZONE: "x"}}}
    assert "a" in fitting(where, bound, PLUGIN)


def test_match_label_keys_tell_revisions_apart() -> None:
    where = cluster(node("a", zone="x"), node("c", zone="y"), pods={"a": [pod("old", labels={**SET, "rev": "1"})]})
    fresh = constrained("p", matchLabelKeys=["rev"])
    fresh["metadata"]["labels"] = {**SET, "rev": "2"}
    assert fitting(where, fresh, PLUGIN) == {"a", "c"}


def test_soft_constraints_prefer_the_emptier_zone() -> None:
    found = scores(three(a=3, c=1), constrained("p", whenUnsatisfiable="ScheduleAnyway"), PLUGIN)
    assert found["c"] == 100
    assert found["a"] == found["b"] < 60


def test_sets_are_spread_over_nodes_and_zones_by_default() -> None:
    selector = matching.selector({"matchLabels": SET})
    found = scores(three(a=2), pod("p", labels=SET), PodTopologySpread(lambda pod: selector))
    assert found["c"] > found["b"] > found["a"]
    assert scores(three(a=2), pod("p", labels=SET), PLUGIN) == {}


def test_default_spreading_works_without_zones() -> None:
    selector = matching.selector({"matchLabels": SET})
    where = cluster(node("a"), node("b"), pods={"a": [pod("x", labels=SET)]})
    found = scores(where, pod("p", labels=SET), PodTopologySpread(lambda pod: selector))
    assert found["b"] > found["a"]


def test_hard_host_constraint_counts_each_node() -> None:
    assert fitting(three(a=1), constrained("p", topologyKey=HOSTNAME), PLUGIN) == {"b", "c"}
