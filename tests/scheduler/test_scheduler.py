"""The scheduler as a whole: what it writes to the API, and what makes it try again."""

from collections.abc import Sequence

from kapi.objects import errors
from kapi.objects.resource import NODES, PERSISTENT_VOLUME_CLAIMS, PODS, REPLICA_SETS
from kapi.scheduler import Code, Cycle, ProfileSettings, SchedulingPlugin, Settings, Status, Weighted, default_plugins
from kapi.scheduler.handle import Handle
from kapi.scheduler.snapshot import NodeInfo
from tests.scheduler.making import node, pod
from tests.scheduler.story import Story, story


@story
async def test_a_pod_is_bound_and_says_so(told: Story) -> None:
    await told.nodes(node("a"))
    await told.start()
    await told.pods(pod("p", cpu="1"))
    assert told.where("p") == "a"
    (event,) = told.events("Scheduled")
    assert (event["message"], event["type"], event["action"]) == ("Successfully assigned default/p to a", "Normal", "Binding")
    assert event["reportingComponent"] == "default-scheduler"


@story
async def test_a_pod_that_fits_nowhere_says_why_and_goes_when_a_node_comes(told: Story) -> None:
    await told.nodes(node("a", cpu="1"))
    await told.start()
    await told.pods(pod("p", cpu="2"))
    text = (
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, "
        "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )
    condition = told.condition("p")
    assert (condition["status"], condition["reason"], condition["message"]) == ("False", "Unschedulable", text)
    (event,) = told.events("FailedScheduling")
    assert (event["message"], event["type"], event["action"]) == (text, "Warning", "Scheduling")
    await told.nodes(node("b", cpu="4"))
    await told.advance(3)
    assert told.where("p") == "b"


@story
async def test_a_full_node_without_victims(told: Story) -> None:
    await told.nodes(node("a", cpu="2"))
    await told.start()
    await told.pods(pod("x", cpu="2"), pod("p", cpu="2"))
    assert told.condition("p")["message"].endswith(
        "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )
    await told.client.delete(PODS, "x", namespace="default", grace=0)
    await told.advance(3)
    assert told.where("p") == "a"


@story
async def test_idle_means_idle(told: Story) -> None:
    await told.nodes(node("a", cpu="1"))
    await told.start()
    await told.pods(pod("p", cpu="2"))
    calls = len(told.api.calls)
    await told.advance(250)
    assert len(told.api.calls) == calls


@story
async def test_a_failed_binding_is_tried_again(told: Story) -> None:
    await told.nodes(node("a"))
    scheduler = await told.start()
    left = [1]
    told.api.refuse = lambda verb, where, obj: errors.InternalError("boom") if verb == "BIND" and left and left.pop() else None
    await told.pods(pod("p", cpu="1"))
    assert told.where("p") == ""
    assert scheduler.cluster.nodes["a"].requested.get("cpu", 0) == 0
    assert told.condition("p")["reason"] == "SchedulerError"
    assert told.condition("p")["message"] == 'running Bind plugin "DefaultBinder": boom'
    await told.advance(3)
    assert told.where("p") == "a"
    assert scheduler.cluster.nodes["a"].requested["cpu"] == 1000


@story
async def test_gated_pods_wait_for_their_gates(told: Story) -> None:
    await told.nodes(node("a"))
    await told.start()
    await told.pods(pod("p", schedulingGates=[{"name": "g"}]))
    assert told.where("p") == ""
    assert told.events("FailedScheduling") == []
    told.api.set(PODS, told.pod("p"), spec={"containers": []})
    await told.advance()
    assert told.where("p") == "a"


@story
async def test_pods_of_other_schedulers_are_theirs(told: Story) -> None:
    await told.nodes(node("a"))
    await told.start(Settings(profiles=(ProfileSettings(), ProfileSettings("second", frozenset({"NodeResourcesFit"})))))
    await told.pods(pod("other", schedulerName="third"), pod("mine", schedulerName="second", cpu="400"))
    assert told.where("other") == ""
    assert told.where("mine") == "a"


@story
async def test_a_missing_claim_is_named_and_its_coming_wakes_the_pod(told: Story) -> None:
    await told.nodes(node("a"))
    await told.start()
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    await told.pods(pod("p", volumes=volumes))
    assert told.condition("p")["message"].startswith('0/1 nodes are available: persistentvolumeclaim "data" not found. ')
    await told.client.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "data", "namespace": "default"}, "spec": {}})
    await told.advance(3)
    assert "pod has unbound immediate PersistentVolumeClaims" in told.condition("p")["message"]


@story
async def test_replicas_spread_over_nodes(told: Story) -> None:
    await told.nodes(*(node(f"n{i}", cpu="64", memory="256Gi") for i in range(4)))
    labels = {"app": "web"}
    await told.client.create(REPLICA_SETS, {"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": labels}}})
    await told.start()
    owner = [{"kind": "ReplicaSet", "name": "web", "controller": True, "apiVersion": "apps/v1", "uid": "u"}]
    for i in range(8):
        one = pod(f"p{i}", labels=labels, cpu="10m")
        one["metadata"]["ownerReferences"] = owner
        await told.client.create(PODS, one)
    await told.advance()
    assert sorted(told.where(f"p{i}") for i in range(8)) == sorted([f"n{i}" for i in range(4)] * 2)


@story
async def test_an_uncordoned_node_wakes_its_pods(told: Story) -> None:
    await told.nodes(node("a", unschedulable=True))
    await told.start()
    await told.pods(pod("p"))
    assert "1 node(s) were unschedulable" in told.condition("p")["message"]
    found = told.api.get(NODES, "a")
    assert found is not None
    told.api.set(NODES, found, spec={})
    await told.advance(3)
    assert told.where("p") == "a"


class Slow(SchedulingPlugin):
    """Holds every binding until it is allowed, a minute at most."""

    name = "Slow"

    def permit(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        return Status(Code.WAIT, (), self.name, 60)


def with_slow(handle: Handle) -> Sequence[Weighted]:
    return [*default_plugins(handle), Weighted(Slow(), 0)]


@story
async def test_permit_holds_a_binding(told: Story) -> None:
    await told.nodes(node("a"))
    scheduler = await told.start(plugins=with_slow)
    await told.pods(pod("p"), pod("q"))
    assert told.where("p") == ""
    scheduler.allow("default/p")
    scheduler.reject("default/q", "not today")
    await told.advance()
    assert told.where("p") == "a"
    assert told.condition("q")["message"] == "not today"


class Broken(SchedulingPlugin):
    """Raises for pods that are named for it."""

    name = "Broken"

    def pre_filter(self, cycle: Cycle) -> Status | None:
        if cycle.pod.name == "cursed":
            raise ZeroDivisionError("oops")
        return None

    async def pre_bind(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        if cycle.pod.name == "jinxed":
            raise KeyError("what")
        return None


def with_broken(handle: Handle) -> Sequence[Weighted]:
    return [*default_plugins(handle), Weighted(Broken(), 0)]


@story
async def test_a_plugin_that_raises_costs_only_its_pod(told: Story) -> None:
    await told.nodes(node("a"))
    scheduler = await told.start(plugins=with_broken)
    await told.pods(pod("cursed", priority=1), pod("jinxed"), pod("fine", cpu="1"))
    assert told.condition("cursed")["message"] == "ZeroDivisionError: oops"
    assert told.condition("jinxed")["reason"] == "SchedulerError"
    assert told.where("fine") == "a"
    assert list(scheduler.cluster.pods) == ["default/fine"]


@story
async def test_deleted_while_waiting(told: Story) -> None:
    await told.nodes(node("a", cpu="1"))
    scheduler = await told.start()
    await told.pods(pod("p", cpu="2"))
    await told.client.delete(PODS, "p", namespace="default")
    await told.advance()
    assert len(scheduler.queue) == 0


@story
async def test_many_pods_at_once(told: Story) -> None:
    await told.nodes(*(node(f"n{i}", cpu="4") for i in range(3)))
    await told.start()
    await told.pods(*(pod(f"p{i}", cpu="100m") for i in range(60)))
    assert sum(told.where(f"p{i}") != "" for i in range(60)) == 60
    assert told.api.calls.count("POST pods/binding") == 60
