"""Preemption: who is displaced, where, and what is written."""

from typing import Any

from kapi.objects.meta import Object
from kapi.objects.resource import POD_DISRUPTION_BUDGETS, PODS
from kapi.scheduler.plugins.preemption import Candidate, split_by_budget
from kapi.scheduler.pods import Pod
from kapi.scheduler.snapshot import NodeInfo
from tests.scheduler.making import node, pod
from tests.scheduler.story import Story, story


def running(name: str, on: str, *, start: str = "2026-01-01T00:00:00Z", **spec: Any) -> Object:
    return pod(name, nodeName=on, status={"phase": "Running", "startTime": start}, **spec)


@story
async def test_less_important_pods_make_room(told: Story) -> None:
    await told.nodes(node("a", cpu="2"))
    await told.pods(running("low", "a", cpu="1", priority=1), running("mid", "a", cpu="1", priority=5))
    await told.start()
    await told.pods(pod("p", cpu="1", priority=10))
    assert told.pod("p")["status"]["nominatedNodeName"] == "a"
    victim = told.pod("low")
    assert victim["metadata"]["deletionTimestamp"]
    (condition,) = victim["status"]["conditions"]
    assert (condition["type"], condition["reason"]) == ("DisruptionTarget", "PreemptionByScheduler")
    assert condition["message"] == "default-scheduler: preempting to accommodate a higher priority pod"
    assert "deletionTimestamp" not in told.pod("mid")["metadata"]
    (event,) = told.events("Preempted")
    assert event["message"] == f"Preempted by pod {told.pod('p')['metadata']['uid']} on node a"
    assert told.condition("p")["message"] == "0/1 nodes are available: 1 Insufficient cpu."
    told.api.remove(PODS, victim)
    await told.advance(3)
    assert told.where("p") == "a"


@story
async def test_room_made_is_kept_for_the_one_it_was_made_for(told: Story) -> None:
    await told.nodes(node("a", cpu="1"))
    await told.pods(running("low", "a", cpu="1", priority=1))
    await told.start()
    await told.pods(pod("p", cpu="1", priority=10), pod("greedy", cpu="1", priority=2))
    told.api.remove(PODS, told.pod("low"))
    await told.advance(5)
    assert told.where("p") == "a"
    assert told.where("greedy") == ""


@story
async def test_a_pod_that_must_not_preempt(told: Story) -> None:
    await told.nodes(node("a", cpu="1"))
    await told.pods(running("low", "a", cpu="1"))
    await told.start()
    await told.pods(pod("p", cpu="1", priority=10, preemptionPolicy="Never"))
    assert told.condition("p")["message"].endswith("preemption: not eligible due to preemptionPolicy=Never.")
    assert "deletionTimestamp" not in told.pod("low")["metadata"]


@story
async def test_a_budget_is_respected_where_another_node_does(told: Story) -> None:
    await told.nodes(node("a", cpu="1"), node("b", cpu="1"))
    await told.pods(running("guarded", "a", cpu="1", labels={"app": "db"}), running("free", "b", cpu="1", priority=3))
    budget = {"metadata": {"name": "db"}, "spec": {"selector": {"matchLabels": {"app": "db"}}}, "status": {"disruptionsAllowed": 0}}
    await told.client.create(POD_DISRUPTION_BUDGETS, budget, namespace="default")
    await told.start()
    await told.pods(pod("p", cpu="1", priority=10))
    assert told.pod("p")["status"]["nominatedNodeName"] == "b"


@story
async def test_anti_affinity_to_a_victim_is_no_obstacle(told: Story) -> None:
    await told.nodes(node("a"))
    await told.pods(running("low", "a", labels={"app": "x"}))
    await told.start()
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    await told.pods(pod("p", priority=10, affinity=affinity))
    assert told.pod("low")["metadata"]["deletionTimestamp"]


def candidate(name: str, *victims: Pod, violations: int = 0) -> Candidate:
    return Candidate(NodeInfo(node(name)), list(victims), violations)


def victim(priority: int, start: str = "2026-01-01T00:00:00Z") -> Pod:
    return Pod(running("v", "n", priority=priority, start=start))


def test_the_node_that_hurts_least_in_stocks_order() -> None:
    ordered = [
        candidate("young", victim(1, "2026-01-02T00:00:00Z")),
        candidate("old", victim(1)),
        candidate("two", victim(1), victim(1)),
        candidate("higher", victim(2)),
        candidate("budget", victim(1), violations=1),
    ]
    assert sorted([ordered[i] for i in (3, 1, 4, 0, 2)], key=lambda c: c.victim_cost) == ordered


def test_a_budget_protects_as_many_as_it_cannot_spare() -> None:
    budget = {"metadata": {"namespace": "default"}, "spec": {"selector": {"matchLabels": {"a": "b"}}}, "status": {"disruptionsAllowed": 1}}
    pods = [Pod(pod(name, labels={"a": "b"})) for name in "xyz"] + [Pod(pod("free"))]
    violating, non_violating = split_by_budget(pods, [budget])
    assert [p.name for p in violating] == ["y", "z"]
    assert [p.name for p in non_violating] == ["x", "free"]
