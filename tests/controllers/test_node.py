"""Stories of nodes that fall silent, and of the pods on them."""

from typing import Any

from kapi.controllers.node import NodeLifecycle
from kapi.controllers.node_ttl import NodeTTL
from kapi.controllers.pod_garbage import PodGarbageCollector
from kapi.controllers.taint_eviction import TaintEviction
from kapi.objects import meta, time
from kapi.objects.meta import Object
from kapi.objects.resource import LEASES, NODES, PODS
from tests.controllers.story import Cluster, story


def add_node(cluster: Cluster, name: str) -> None:
    condition = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": time.stamp()}
    cluster.api.create(NODES, {"metadata": {"name": name}, "spec": {}, "status": {"conditions": [condition]}})
    cluster.api.create(LEASES, {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {"renewTime": time.micro_stamp()}})


def beat(cluster: Cluster, name: str) -> None:
    lease = cluster.api.get(LEASES, f"kube-node-lease/{name}")
    assert lease is not None
    cluster.api.set(LEASES, lease, spec={"renewTime": time.micro_stamp()})


def add_pod(cluster: Cluster, name: str, node: str = "n1", **spec: Any) -> Object:
    made = cluster.api.create(PODS, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})
    return cluster.running(made, node=node)


def taints(cluster: Cluster, name: str) -> list[tuple[str, str]]:
    node = cluster.api.get(NODES, name)
    assert node is not None
    return [(t["key"].rpartition("/")[2], t["effect"]) for t in node["spec"].get("taints") or ()]


def gone(cluster: Cluster, name: str) -> bool:
    pod = cluster.api.get(PODS, f"default/{name}")
    return pod is None or meta.deleting(pod)


async def live(cluster: Cluster, seconds: int, *names: str) -> None:
    for _ in range(seconds // 10):
        for name in names:
            beat(cluster, name)
        await cluster.advance(10)


@story
async def test_a_silent_node_is_unknown_tainted_and_emptied(cluster: Cluster) -> None:
    for name in ("n1", "n2"):
        add_node(cluster, name)
    toleration = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
    add_pod(cluster, "impatient", tolerations=[{**toleration, "tolerationSeconds": 5}])
    add_pod(cluster, "patient", tolerations=[{**toleration, "tolerationSeconds": 300}])
    add_pod(cluster, "faithful", tolerations=[{"operator": "Exists"}])
    await cluster.run(NodeLifecycle, TaintEviction)
    await live(cluster, 40, "n1", "n2")
    assert cluster.events("RegisteredNode") == [f"Node {name} event: Registered Node {name} in Controller" for name in ("n1", "n2")]
    assert taints(cluster, "n1") == []
    await live(cluster, 60, "n2")
    assert taints(cluster, "n1") == [("unreachable", "NoExecute"), ("unreachable", "NoSchedule")]
    assert taints(cluster, "n2") == []
    node = cluster.api.get(NODES, "n1")
    assert node is not None
    condition = node["status"]["conditions"][0]
    assert (condition["status"], condition["reason"]) == ("Unknown", "NodeStatusUnknown")
    assert cluster.events("NodeNotReady")[0] == "Node n1 status is now: NodeNotReady"
    assert gone(cluster, "impatient")
    assert not gone(cluster, "patient")
    await live(cluster, 300, "n2")
    assert gone(cluster, "patient")
    assert not gone(cluster, "faithful")
    pod = cluster.api.get(PODS, "default/faithful")
    assert pod is not None
    assert meta.condition(pod, "Ready")["status"] == "False"  # type: ignore[index]


@story
async def test_back_again(cluster: Cluster) -> None:
    for name in ("n1", "n2"):
        add_node(cluster, name)
    tolerations = [{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 100}]
    add_pod(cluster, "p", tolerations=tolerations)
    await cluster.run(NodeLifecycle, TaintEviction)
    await live(cluster, 80, "n2")
    assert len(taints(cluster, "n1")) == 2
    node = cluster.api.get(NODES, "n1")
    assert node is not None
    condition = {"type": "Ready", "status": "True", "lastHeartbeatTime": time.stamp()}
    cluster.api.set(NODES, node, status={"conditions": [condition]})
    await live(cluster, 200, "n1", "n2")
    assert taints(cluster, "n1") == []
    assert not gone(cluster, "p")
    assert cluster.events("TaintManagerEviction") == ["Cancelling deletion of Pod default/p"]


@story
async def test_when_no_node_is_ready_nothing_is_evicted(cluster: Cluster) -> None:
    add_node(cluster, "n1")
    add_pod(cluster, "p")
    await cluster.run(NodeLifecycle, TaintEviction)
    await cluster.advance(600)
    assert taints(cluster, "n1") == [("unreachable", "NoSchedule")]
    assert not gone(cluster, "p")


@story
async def test_conditions_and_cordon_become_taints(cluster: Cluster) -> None:
    add_node(cluster, "n1")
    await cluster.run(NodeLifecycle)
    node = cluster.api.get(NODES, "n1")
    assert node is not None
    conditions = [*node["status"]["conditions"], {"type": "DiskPressure", "status": "True"}]
    own = {"key": "example.com/mine", "effect": "NoSchedule"}
    cluster.api.set(NODES, node, spec={"unschedulable": True, "taints": [own]}, status={"conditions": conditions})
    await cluster.advance()
    assert taints(cluster, "n1") == [("mine", "NoSchedule"), ("disk-pressure", "NoSchedule"), ("unschedulable", "NoSchedule")]


@story
async def test_pods_of_a_node_that_is_gone(cluster: Cluster) -> None:
    add_node(cluster, "n1")
    add_pod(cluster, "p")
    await cluster.run(PodGarbageCollector)
    node = cluster.api.get(NODES, "n1")
    assert node is not None
    cluster.api.remove(NODES, node)
    await cluster.advance(30)
    assert not gone(cluster, "p")
    await cluster.advance(20)
    assert cluster.api.all(PODS) == []


@story
async def test_too_many_ended_pods(cluster: Cluster) -> None:
    add_node(cluster, "n1")
    await cluster.run(PodGarbageCollector, terminated_pods=3)
    for number in range(6):
        pod = add_pod(cluster, f"p{number}")
        cluster.api.set(PODS, pod, status={"phase": "Succeeded"})
        await cluster.advance(1)
    assert [meta.name(p) for p in cluster.api.all(PODS)] == ["p3", "p4", "p5"]


@story
async def test_nodes_come_and_go(cluster: Cluster) -> None:
    add_node(cluster, "n1")
    await cluster.run(NodeLifecycle)
    node = cluster.api.get(NODES, "n1")
    assert node is not None
    cluster.api.remove(NODES, node)
    await cluster.advance()
    assert cluster.events("RegisteredNode") == ["Node n1 event: Registered Node n1 in Controller"]
    assert cluster.events("RemovingNode") == ["Node n1 event: Removing Node n1 from Controller"]


@story
async def test_the_more_nodes_the_longer_is_what_they_know_good(cluster: Cluster) -> None:
    def told() -> set[str]:
        return {meta.annotations(n)["node.alpha.kubernetes.io/ttl"] for n in cluster.api.all(NODES)}

    for number in range(100):
        add_node(cluster, f"n{number}")
    await cluster.run(NodeTTL)
    assert told() == {"0"}
    add_node(cluster, "one-more")
    await cluster.advance()
    assert told() == {"15"}
    for node in cluster.api.all(NODES)[:11]:
        cluster.api.remove(NODES, node)
    await cluster.advance()
    assert told() == {"15"}, "the steps overlap"
    cluster.api.remove(NODES, cluster.api.all(NODES)[0])
    await cluster.advance()
    assert told() == {"0"}
