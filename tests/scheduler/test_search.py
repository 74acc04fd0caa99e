"""How many nodes are looked at, in which order, and that kept verdicts follow changes."""

from collections.abc import Iterable

import pytest

from kapi.scheduler.framework import Code, Cycle, SchedulingPlugin, Status
from kapi.scheduler.plugins.resources import NodeResourcesFit
from kapi.scheduler.pods import Pod
from kapi.scheduler.search import FitError, Search, Weighted, nodes_to_find
from kapi.scheduler.snapshot import Cluster, NodeInfo
from tests.scheduler.making import cluster, node, placed, pod


@pytest.mark.parametrize(
    ("nodes", "percentage", "expected"),
    [(10, 0, 10), (99, 0, 99), (100, 0, 100), (1000, 0, 420), (6000, 0, 300), (1000, 30, 300), (1000, 100, 1000)],
)
def test_how_many_feasible_nodes_are_enough(nodes: int, percentage: int, expected: int) -> None:
    assert nodes_to_find(nodes, percentage) == expected


def test_zones_take_turns() -> None:
    where = cluster(*(node(n, zone=z) for n, z in (("a", "x"), ("b", "x"), ("c", "x"), ("d", "y"))))
    assert [n.name for n in where.listed()] == ["a", "d", "b", "c"]


class Counting(SchedulingPlugin):
    """Accepts every node and counts how often it is asked."""

    name, local = "Counting", True

    def __init__(self) -> None:
        self.asked: list[str] = []

    def filter(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        self.asked.append(node.name)
        return None


class Fussy(SchedulingPlugin):
    name = "Fussy"

    def __init__(self, wanted: Iterable[str]) -> None:
        self.wanted = set(wanted)

    def filter(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        return None if node.name in self.wanted else Status(Code.UNSCHEDULABLE, ("not wanted",), self.name)


def run(looking: Search, where: Cluster, name: str) -> str:
    one = Pod(pod(name, cpu="1"))
    found = looking.place(Cycle(one, where))
    where.place(one, found.name)
    return found.name


def test_pods_of_one_template_ask_again_only_where_something_changed() -> None:
    where = cluster(*(node(f"n{i}") for i in range(5)))
    counting = Counting()
    looking = Search([Weighted(counting, 0), Weighted(NodeResourcesFit(), 1)], where)
    first = run(looking, where, "p0")
    assert len(counting.asked) == 5
    run(looking, where, "p1")
    assert counting.asked[5:] == [first]


def test_a_full_node_is_noticed_and_so_is_room() -> None:
    where = cluster(node("a", cpu="1"))
    looking = Search([Weighted(NodeResourcesFit(), 1)], where)
    run(looking, where, "p0")
    with pytest.raises(FitError, match=r".*") as caught:
        run(looking, where, "p1")
    assert caught.value.message == "0/1 nodes are available: 1 Insufficient cpu."
    where.remove("default/p0")
    assert run(looking, where, "p1") == "a"


def test_a_new_node_is_seen() -> None:
    where = cluster(node("a", cpu="1"))
    looking = Search([Weighted(NodeResourcesFit(), 1)], where)
    run(looking, where, "p0")
    where.set_node(node("b"))
    assert run(looking, where, "p1") == "b"


def test_a_plugin_that_looks_beyond_the_node_is_asked_every_time() -> None:
    where = cluster(node("a"), node("b"))
    fussy = Fussy({"a"})
    looking = Search([Weighted(fussy, 0)], where)
    assert run(looking, where, "p0") == "a"
    fussy.wanted = {"b"}
    assert run(looking, where, "p1") == "b"


def test_pods_that_wait_for_room_keep_it() -> None:
    where = cluster(node("a", cpu="2"), pods={"a": [pod("x", cpu="1")]})
    where.nominate(Pod(pod("important", cpu="1", priority=10)), "a")
    assert placed(where, pod("p", cpu="1"), NodeResourcesFit()) == "0/1 nodes are available: 1 Insufficient cpu."
    assert placed(where, pod("p", cpu="1", priority=11), NodeResourcesFit()) == "a"


def test_a_nominated_pod_tries_its_node_first() -> None:
    where = cluster(node("a"), node("b"), pods={"a": [pod("x", cpu="1")]})
    assert placed(where, pod("p", cpu="1", status={"nominatedNodeName": "a"}), NodeResourcesFit()) == "a"


def test_pods_of_a_node_that_comes_back_are_counted_again() -> None:
    where = cluster(node("a", cpu="1"), pods={"a": [pod("x", cpu="1")]})
    where.remove_node("a")
    where.set_node(node("a", cpu="1"))
    assert placed(where, pod("p", cpu="1"), NodeResourcesFit()) == "0/1 nodes are available: 1 Insufficient cpu."


def test_a_heartbeat_changes_nothing() -> None:
    where = cluster(node("a"))
    where.listed()
    before = len(where.changes)
    assert where.set_node(node("a")) == ()
    assert len(where.changes) == before
    assert where.set_node(node("a", cpu="8")) == ("allocatable",)
