"""Filters of the default profile, and what FailedScheduling says."""

from typing import Any

import pytest

from kapi.scheduler.plugins.node_filters import NodeAffinity, NodePorts, NodeUnschedulable, TaintToleration
from kapi.scheduler.plugins.resources import NodeResourcesFit
from tests.scheduler.making import cluster, fitting, node, placed, pod

TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}
EVERYONE = (NodeUnschedulable(), TaintToleration(), NodeAffinity(), NodePorts(), NodeResourcesFit())


def test_reasons_are_counted_and_sorted() -> None:
    where = cluster(node("a", cpu="1"), node("b", taints=[TAINT]), node("c", taints=[TAINT]), node("d", unschedulable=True))
    said = placed(where, pod("p", cpu="2"), *EVERYONE)
    assert said == "0/4 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable, 2 node(s) had untolerated taint(s)."


def test_without_nodes() -> None:
    assert placed(cluster(), pod("p"), *EVERYONE) == "no nodes available to schedule pods"


def test_every_lacking_resource_is_named() -> None:
    where = cluster(node("a", cpu="1", memory="1Gi", pods="0"))
    said = placed(where, pod("p", cpu="2", memory="2Gi"), *EVERYONE)
    assert said == "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 Too many pods."


def test_what_is_placed_takes_room() -> None:
    where = cluster(node("a"), pods={"a": [pod("x", cpu="3")]})
    assert fitting(where, pod("p", cpu="1"), NodeResourcesFit()) == {"a"}
    assert fitting(where, pod("p", cpu="1001m"), NodeResourcesFit()) == set()


@pytest.mark.parametrize(
    ("ports", "fits"),
    [
        ([{"hostPort": 80}], False),
        ([{"hostPort": 80, "hostIP": "10.0.0.2"}], False),
        ([{"hostPort": 80, "protocol": "UDP"}], True),
        ([{"hostPort": 81}], True),
        ([{"containerPort": 80}], True),
    ],
)
def test_host_ports(ports: list[dict[str, Any]], fits: bool) -> None:
    where = cluster(node("a"), pods={"a": [pod("x", ports=[{"hostPort": 80}])]})
    assert bool(fitting(where, pod("p", ports=ports), NodePorts())) is fits


def test_host_ports_at_different_addresses_do_not_clash() -> None:
    where = cluster(node("a"), pods={"a": [pod("x", ports=[{"hostPort": 80, "hostIP": "10.0.0.1"}])]})
    assert fitting(where, pod("p", ports=[{"hostPort": 80, "hostIP": "10.0.0.2"}]), NodePorts()) == {"a"}


def test_a_pod_for_one_named_node_looks_nowhere_else() -> None:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    where = cluster(node("a"), node("b", taints=[TAINT]), node("c"))
    said = placed(where, pod("p", affinity=affinity), *EVERYONE)
    expected = "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 node(s) didn't satisfy plugin(s) [NodeAffinity]."
    assert said == expected


def test_cordoned_nodes_take_those_that_tolerate_it() -> None:
    where = cluster(node("a", unschedulable=True))
    toleration = {"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}
    assert fitting(where, pod("p"), NodeUnschedulable()) == set()
    assert fitting(where, pod("p", tolerations=[toleration]), NodeUnschedulable()) == {"a"}
