"""Stories of DaemonSets."""

from typing import Any

from kapi.controllers.daemonset import DaemonSets, node_of
from kapi.objects import meta
from kapi.objects.meta import Object
from kapi.objects.resource import CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS
from tests.controllers.story import Cluster, story


def daemon_set(image: str = "i:1", selector: dict[str, str] | None = None, **rule: Any) -> Object:
    spec: Object = {"containers": [{"name": "c", "image": image}]}
    if selector:
        spec["nodeSelector"] = selector
    template = {"metadata": {"labels": {"app": "log"}}, "spec": spec}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rule}
    made = {"selector": {"matchLabels": {"app": "log"}}, "template": template, "updateStrategy": strategy}
    return {"metadata": {"name": "log", "namespace": "default"}, "spec": made}


def add_node(cluster: Cluster, name: str, *taints: Object, **labels: str) -> None:
    cluster.api.create(NODES, {"metadata": {"name": name, "labels": labels}, "spec": {"taints": list(taints)}})


async def start(cluster: Cluster) -> None:
    for pod in cluster.api.all(PODS):
        if not pod.get("status") and not meta.deleting(pod):
            cluster.running(pod, node=node_of(pod))
    await cluster.advance()


def places(cluster: Cluster) -> list[str]:
    return sorted(node_of(p) for p in cluster.api.all(PODS) if not meta.deleting(p))


@story
async def test_one_on_every_fitting_node(cluster: Cluster) -> None:
    add_node(cluster, "n1", disk="ssd")
    add_node(cluster, "n2")
    add_node(cluster, "n3", {"key": "own", "effect": "NoSchedule"}, disk="ssd")
    add_node(cluster, "n4", {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}, disk="ssd")
    made = daemon_set(selector={"disk": "ssd"})
    made["metadata"]["annotations"] = {"kubernetes.io/change-cause": "first"}
    cluster.api.create(DAEMON_SETS, made)
    await cluster.run(DaemonSets)
    assert places(cluster) == ["n1", "n4"]
    [revision] = cluster.api.all(CONTROLLER_REVISIONS)
    assert meta.labels(revision) == {"app": "log", "controller-revision-hash": meta.name(revision).removeprefix("log-")}
    assert meta.annotations(revision) == {"kubernetes.io/change-cause": "first"}
    add_node(cluster, "n5", disk="ssd")
    await cluster.advance()
    await start(cluster)
    assert places(cluster) == ["n1", "n4", "n5"]
    status = cluster.api.all(DAEMON_SETS)[0]["status"]
    assert (status["desiredNumberScheduled"], status["numberReady"], status["numberAvailable"]) == (3, 3, 3)
    node = cluster.api.get(NODES, "n1")
    assert node is not None
    cluster.api.set(NODES, node, metadata={**node["metadata"], "labels": {}})
    await cluster.advance()
    assert places(cluster) == ["n4", "n5"]


@story
async def test_update_node_by_node(cluster: Cluster) -> None:
    for name in ("n1", "n2", "n3"):
        add_node(cluster, name)
    cluster.api.create(DAEMON_SETS, daemon_set(maxUnavailable=1))
    await cluster.run(DaemonSets)
    await start(cluster)
    old = cluster.api.all(DAEMON_SETS)[0]
    cluster.api.set(DAEMON_SETS, old, spec={**old["spec"], "template": daemon_set("i:2")["spec"]["template"]})
    await cluster.advance()
    for _ in range(4):
        assert sum(meta.deleting(p) or not p.get("status") for p in cluster.api.all(PODS)) <= 1
        await cluster.finish_deletions()
        await start(cluster)
    assert {p["spec"]["containers"][0]["image"] for p in cluster.api.all(PODS)} == {"i:2"}
    assert cluster.api.all(DAEMON_SETS)[0]["status"]["updatedNumberScheduled"] == 3


@story
async def test_surge_starts_the_new_before_the_old_goes(cluster: Cluster) -> None:
    add_node(cluster, "n1")
    cluster.api.create(DAEMON_SETS, daemon_set(maxSurge=1, maxUnavailable=0))
    await cluster.run(DaemonSets)
    await start(cluster)
    old = cluster.api.all(DAEMON_SETS)[0]
    cluster.api.set(DAEMON_SETS, old, spec={**old["spec"], "template": daemon_set("i:2")["spec"]["template"]})
    await cluster.advance()
    assert places(cluster) == ["n1", "n1"]
    await start(cluster)
    await cluster.finish_deletions()
    assert [p["spec"]["containers"][0]["image"] for p in cluster.api.all(PODS)] == ["i:2"]


@story
async def test_a_failed_pod_is_replaced_more_and_more_slowly(cluster: Cluster) -> None:
    add_node(cluster, "n1")
    cluster.api.create(DAEMON_SETS, daemon_set())
    await cluster.run(DaemonSets)
    for _ in range(2):
        pod = cluster.api.all(PODS)[0]
        cluster.api.set(PODS, pod, status={"phase": "Failed"})
        await cluster.advance()
        assert meta.uid(cluster.api.all(PODS)[0]) != meta.uid(pod)
    assert len(cluster.events("FailedDaemonPod")) == 2


@story
async def test_a_pod_that_ended_well_is_replaced_too(cluster: Cluster) -> None:
    add_node(cluster, "n1")
    cluster.api.create(DAEMON_SETS, daemon_set())
    await cluster.run(DaemonSets)
    await start(cluster)
    pod = cluster.api.all(PODS)[0]
    cluster.api.set(PODS, pod, status={"phase": "Succeeded"})
    await cluster.advance()
    text = f"Found succeeded daemon pod {meta.key(pod)} on node n1, will try to delete it"
    assert cluster.events("SucceededDaemonPod") == [text]
    assert meta.uid(cluster.api.all(PODS)[0]) != meta.uid(pod)
