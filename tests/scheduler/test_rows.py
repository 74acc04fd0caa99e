"""Each row of the scheduler's default profile does something: with the whole profile this happens, with all but that plugin it does not."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from kapi.objects.meta import Object
from kapi.objects.resource import CSI_NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STORAGE_CLASSES
from kapi.scheduler import profile
from kapi.scheduler.framework import Cycle
from kapi.scheduler.handle import Handle
from kapi.scheduler.pods import Pod
from kapi.scheduler.profile import Plugins
from kapi.scheduler.search import Weighted
from tests.rows import missed
from tests.scheduler.making import node, pod
from tests.scheduler.story import Story, story
from tests.scheduler.test_preemption import running
from tests.scheduler.test_volumes import BOUND, VOLUMES, claim, storage, volume
from tests.test_visible_lists import Anything

Behaviour = Callable[[Story, Plugins], Awaitable[None]]
BEHAVIOURS: dict[str, Behaviour] = {}
ROWS = [weighted.plugin.name for weighted in profile.default_plugins(Anything())]  # type: ignore[arg-type]


def behaviour(name: str) -> Callable[[Behaviour], None]:
    """The behaviour of the plugin of this name."""

    def note(test: Behaviour) -> None:
        BEHAVIOURS[name] = test

    return note


def play(name: str, without: str = "") -> None:
    def plugins(handle: Handle) -> Sequence[Weighted]:
        return [weighted for weighted in profile.default_plugins(handle) if weighted.plugin.name != without]

    async def test(told: Story) -> None:
        await BEHAVIOURS[name](told, plugins)

    story(test)()


def test_every_row_has_a_behaviour() -> None:
    assert set(BEHAVIOURS) == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_with_the_row(name: str) -> None:
    play(name)


@pytest.mark.parametrize("name", ROWS)
def test_without_the_row(name: str) -> None:
    with missed():
        play(name, without=name)


async def left_out(told: Story, plugins: Plugins, why: str, obj: Object, *there: Object) -> None:
    """With these nodes and pods there, the pod waits, and its condition says why."""
    await told.nodes(*(one for one in there if one["kind"] == "Node"))
    await told.pods(*(one for one in there if one["kind"] == "Pod"))
    await told.start(plugins=plugins)
    await told.pods(obj)
    assert told.where("p") == ""
    assert why in told.condition("p")["message"]


async def bound_claim(told: Story, name: str, on: str, **spec: Any) -> None:
    """A volume on that node, and a claim that is bound to it, both of this name."""
    await told.client.create(PERSISTENT_VOLUMES, volume(name, on, **spec))
    made = claim(volumeName=name, accessModes=spec.get("accessModes", ["ReadWriteOnce"]))
    made["metadata"] |= {"name": name, "annotations": BOUND}
    await told.client.create(PERSISTENT_VOLUME_CLAIMS, made)


def with_claim(name: str, claim_name: str, **spec: Any) -> Object:
    return pod(name, volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": claim_name}}], **spec)


# the queue and the binding ----------------------------------------------------------------------------------------------------------------


@behaviour("SchedulingGates")
async def scheduling_gates(told: Story, plugins: Plugins) -> None:
    await told.nodes(node("a"))
    await told.start(plugins=plugins)
    await told.pods(pod("p", schedulingGates=[{"name": "example.dev/wait"}]))
    assert told.where("p") == ""


@behaviour("PrioritySort")
async def priority_sort(told: Story, plugins: Plugins) -> None:
    await told.nodes(node("a", cpu="1"))
    for one in (pod("early", cpu="1", priority=1), pod("p", cpu="1", priority=10)):
        await told.client.create(PODS, one)
    await told.start(plugins=plugins)
    assert (told.where("early"), told.where("p")) == ("", "a")


@behaviour("DefaultBinder")
async def default_binder(told: Story, plugins: Plugins) -> None:
    await told.nodes(node("a"))
    await told.start(plugins=plugins)
    await told.pods(pod("p"))
    assert told.where("p") == "a"


@behaviour("DefaultPreemption")
async def default_preemption(told: Story, plugins: Plugins) -> None:
    await told.nodes(node("a", cpu="1"))
    await told.pods(running("low", "a", cpu="1", priority=1))
    await told.start(plugins=plugins)
    await told.pods(pod("p", cpu="1", priority=10))
    assert told.pod("p")["status"]["nominatedNodeName"] == "a"


# which nodes fit --------------------------------------------------------------------------------------------------------------------------


@behaviour("NodeUnschedulable")
async def node_unschedulable(told: Story, plugins: Plugins) -> None:
    await left_out(told, plugins, "node(s) were unschedulable", pod("p"), node("a", unschedulable=True))


@behaviour("NodeName")
async def node_name(told: Story, plugins: Plugins) -> None:
    """Pods that name a node never come into the queue; the plugin is for those who ask where one would fit."""
    await told.nodes(node("small", cpu="2"), node("large", cpu="64"))
    scheduler = await told.start(plugins=plugins)
    [chosen] = scheduler.profiles.values()
    named = Cycle(Pod(pod("p", nodeName="small")), scheduler.cluster)
    assert chosen.search.place(named).name == "small"


@behaviour("TaintToleration")
async def taint_toleration(told: Story, plugins: Plugins) -> None:
    await left_out(told, plugins, "untolerated taint", pod("p"), node("a", taints=[{"key": "k", "effect": "NoSchedule"}]))


@behaviour("NodeAffinity")
async def node_affinity(told: Story, plugins: Plugins) -> None:
    await left_out(told, plugins, "didn't match Pod's node affinity/selector", pod("p", nodeSelector={"disk": "ssd"}), node("a"))


@behaviour("NodePorts")
async def node_ports(told: Story, plugins: Plugins) -> None:
    ports = [{"hostPort": 80, "containerPort": 80}]
    there = node("a"), running("x", "a", ports=ports)
    await left_out(told, plugins, "didn't have free ports", pod("p", ports=ports), *there)


@behaviour("NodeResourcesFit")
async def node_resources_fit(told: Story, plugins: Plugins) -> None:
    await left_out(told, plugins, "Insufficient cpu", pod("p", cpu="2"), node("a", cpu="1"))


@behaviour("PodTopologySpread")
async def pod_topology_spread(told: Story, plugins: Plugins) -> None:
    labels = {"app": "web"}
    spread = {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
    wanted = pod("p", labels=labels, topologySpreadConstraints=[{**spread, "labelSelector": {"matchLabels": labels}}])
    there = node("a", zone="1"), node("b", zone="2", unschedulable=True), running("x", "a", labels=labels)
    await left_out(told, plugins, "didn't match pod topology spread constraints", wanted, *there)


@behaviour("InterPodAffinity")
async def inter_pod_affinity(told: Story, plugins: Plugins) -> None:
    labels = {"app": "web"}
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels}}
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    there = node("a"), running("x", "a", labels=labels)
    await left_out(told, plugins, "didn't match pod anti-affinity rules", pod("p", affinity=apart), *there)


# volumes and devices ----------------------------------------------------------------------------------------------------------------------


@behaviour("VolumeRestrictions")
async def volume_restrictions(told: Story, plugins: Plugins) -> None:
    await bound_claim(told, "data", "a", accessModes=["ReadWriteOncePod"])
    there = node("a"), running("x", "a", volumes=VOLUMES)
    await left_out(told, plugins, "ReadWriteOncePod access mode", pod("p", volumes=VOLUMES), *there)


@behaviour("NodeVolumeLimits")
async def node_volume_limits(told: Story, plugins: Plugins) -> None:
    drivers = [{"name": "disks", "nodeID": "a", "allocatable": {"count": 1}}]
    await told.client.create(CSI_NODES, {"metadata": {"name": "a"}, "spec": {"drivers": drivers}})
    for name in ("one", "two"):
        await bound_claim(told, name, "a", csi={"driver": "disks", "volumeHandle": name})
    there = node("a"), with_claim("x", "one", nodeName="a", status={"phase": "Running"})
    await left_out(told, plugins, "exceed max volume count", with_claim("p", "two"), *there)


@behaviour("VolumeBinding")
async def volume_binding(told: Story, plugins: Plugins) -> None:
    await told.client.create(STORAGE_CLASSES, storage("kubernetes.io/no-provisioner"))
    await told.client.create(PERSISTENT_VOLUME_CLAIMS, claim())
    await left_out(told, plugins, "didn't find available persistent volumes to bind", pod("p", volumes=VOLUMES), node("a"))


@behaviour("VolumeZone")
async def volume_zone(told: Story, plugins: Plugins) -> None:
    made = volume("data", "a")
    made["metadata"]["labels"] = {"topology.kubernetes.io/zone": "2"}
    await told.client.create(PERSISTENT_VOLUMES, made)
    bound = claim(volumeName="data")
    bound["metadata"]["annotations"] = BOUND
    await told.client.create(PERSISTENT_VOLUME_CLAIMS, bound)
    await left_out(told, plugins, "no available volume zone", pod("p", volumes=VOLUMES), node("a", zone="1"))


@behaviour("DynamicResources")
async def dynamic_resources(told: Story, plugins: Plugins) -> None:
    claims = [{"name": "gpu", "resourceClaimName": "gpu"}]
    await left_out(told, plugins, "cannot allocate all claims", pod("p", resourceClaims=claims), node("a"))


# which node is best: without the plugin the other one is ----------------------------------------------------------------------------------


async def chosen_of(told: Story, plugins: Plugins, obj: Object, *nodes: Object) -> str:
    await told.nodes(*nodes)
    await told.start(plugins=plugins)
    await told.pods(obj)
    return told.where("p")


@behaviour("NodeResourcesBalancedAllocation")
async def balanced_allocation(told: Story, plugins: Plugins) -> None:
    """`uneven` has more to spare in all, but most of its CPU would be gone."""
    even, uneven = node("even", cpu="4", memory="4Gi"), node("uneven", cpu="2222m", memory="40Gi")
    assert await chosen_of(told, plugins, pod("p", cpu="2", memory="2Gi"), even, uneven) == "even"


@behaviour("ImageLocality")
async def image_locality(told: Story, plugins: Plugins) -> None:
    image = {"names": ["i:latest"], "sizeBytes": 2 << 30}
    assert await chosen_of(told, plugins, pod("p", cpu="1"), node("small", cpu="4", images=[image]), node("large", cpu="8")) == "small"
