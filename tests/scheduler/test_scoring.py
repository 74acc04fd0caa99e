"""Scores of the default profile's plugins, with stock's arithmetic."""

from kapi.scheduler.plugins.images import ImageLocality
from kapi.scheduler.plugins.node_filters import NodeAffinity, TaintToleration
from kapi.scheduler.plugins.resources import NodeResourcesBalancedAllocation, NodeResourcesFit
from tests.scheduler.making import cluster, node, pod, scores


def test_the_least_allocated_node_scores_highest() -> None:
    where = cluster(node("a", cpu="4", memory="10Gi"), node("b", cpu="4", memory="10Gi"), pods={"b": [pod("x", cpu="2", memory="5Gi")]})
    assert scores(where, pod("p", cpu="1", memory="1Gi"), NodeResourcesFit()) == {"a": 82, "b": 32}


def test_even_use_of_cpu_and_memory_scores_highest() -> None:
    where = cluster(node("a", cpu="4", memory="4Gi"), node("b", cpu="4", memory="40Gi"))
    assert scores(where, pod("p", cpu="2", memory="2Gi"), NodeResourcesBalancedAllocation()) == {"a": 100, "b": 77}
    assert scores(where, pod("p"), NodeResourcesBalancedAllocation()) == {}


def test_untolerated_soft_taints_cost() -> None:
    soft = [{"key": k, "effect": "PreferNoSchedule"} for k in "xy"]
    where = cluster(node("a"), node("b", taints=soft[:1]), node("c", taints=soft))
    assert scores(where, pod("p"), TaintToleration()) == {"a": 100, "b": 50, "c": 0}
    assert scores(where, pod("p", tolerations=[{"key": "x", "operator": "Exists"}]), TaintToleration())["b"] == 100


def test_preferred_node_affinity_adds_up() -> None:
    terms = [{"weight": w, "preference": {"matchExpressions": [{"key": k, "operator": "Exists"}]}} for k, w in (("x", 10), ("y", 30))]
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}
    where = cluster(node("a"), node("b", labels={"x": ""}), node("c", labels={"x": "", "y": ""}))
    assert scores(where, pod("p", affinity=affinity), NodeAffinity()) == {"a": 0, "b": 25, "c": 100}


def test_images_that_are_there_count_by_their_size() -> None:
    image = {"names": ["i:latest"], "sizeBytes": 600 * 1024 * 1024}
    where = cluster(node("a", images=[image]), node("b", images=[image]), node("c"))
    assert scores(where, pod("p"), ImageLocality()) == {"a": 38, "b": 38, "c": 0}
