"""Stories of ReplicaSets."""

from typing import Any

from kapi.controllers.replicaset import ReplicaSets, ReplicationControllers
from kapi.objects import errors, meta
from kapi.objects.meta import Object
from kapi.objects.resource import PODS, REPLICA_SETS, REPLICATION_CONTROLLERS
from tests.controllers.story import Cluster, story


def replica_set(replicas: int = 3, **spec: Any) -> Object:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template, **spec},
    }


@story
async def test_creates_as_many_as_wanted(cluster: Cluster) -> None:
    cluster.api.create(REPLICA_SETS, replica_set())
    await cluster.run(ReplicaSets)
    pods = cluster.api.all(PODS)
    assert len(pods) == 3
    assert all(meta.controller_of(p)["name"] == "web" and meta.name(p).startswith("web-") for p in pods)  # type: ignore[index]
    await cluster.start_pods()
    status = cluster.api.all(REPLICA_SETS)[0]["status"]
    assert (status["replicas"], status["readyReplicas"], status["availableReplicas"]) == (3, 3, 3)
    assert len(cluster.events("SuccessfulCreate")) == 3


@story
async def test_never_creates_twice_whatever_the_watch_lags(cluster: Cluster) -> None:
    cluster.api.create(REPLICA_SETS, replica_set(40))
    await cluster.run(ReplicaSets)
    for _ in range(5):
        rs = cluster.api.all(REPLICA_SETS)[0]
        cluster.api.set(REPLICA_SETS, rs, metadata={**rs["metadata"], "annotations": {"touched": str(_)}})
        await cluster.advance(0.001)
    await cluster.advance()
    assert cluster.api.calls.count("POST pods") == 40


@story
async def test_scale_down_takes_the_pods_that_are_not_ready(cluster: Cluster) -> None:
    cluster.api.create(REPLICA_SETS, replica_set())
    await cluster.run(ReplicaSets)
    sick = cluster.api.all(PODS)[1]
    for pod in cluster.api.all(PODS):
        cluster.running(pod, ready=pod is not sick)
    rs = cluster.api.all(REPLICA_SETS)[0]
    cluster.api.set(REPLICA_SETS, rs, spec={**rs["spec"], "replicas": 2})
    await cluster.advance()
    assert [meta.name(p) for p in cluster.api.all(PODS) if meta.deleting(p)] == [meta.name(sick)]
    assert cluster.events("SuccessfulDelete") == [f"Deleted pod: {meta.name(sick)}"]


@story
async def test_a_lost_pod_is_replaced(cluster: Cluster) -> None:
    cluster.api.create(REPLICA_SETS, replica_set(2))
    await cluster.run(ReplicaSets)
    cluster.api.remove(PODS, cluster.api.all(PODS)[0])
    await cluster.advance()
    assert len(cluster.api.all(PODS)) == 2


@story
async def test_adopts_orphans_and_releases_what_no_longer_matches(cluster: Cluster) -> None:
    orphan = {"metadata": {"name": "stray", "namespace": "default", "labels": {"app": "web"}}, "spec": {}}
    cluster.api.create(PODS, orphan)
    cluster.api.create(REPLICA_SETS, replica_set(2))
    await cluster.run(ReplicaSets)
    stray = cluster.api.get(PODS, "default/stray")
    assert stray is not None
    assert meta.controller_of(stray) is not None
    assert len(cluster.api.all(PODS)) == 2
    cluster.api.set(PODS, stray, metadata={**stray["metadata"], "labels": {"app": "other"}})
    await cluster.advance()
    released = cluster.api.get(PODS, "default/stray")
    assert released is not None
    assert meta.owners(released) == []
    assert len(cluster.api.all(PODS)) == 3


@story
async def test_a_quota_is_met_once_and_reported(cluster: Cluster) -> None:
    cluster.api.refuse = lambda verb, where, obj: (
        errors.forbidden("pods", "", "web-x", "exceeded quota") if (verb, where) == ("POST", PODS) else None
    )
    cluster.api.create(REPLICA_SETS, replica_set(100))
    await cluster.run(ReplicaSets)
    condition = cluster.api.all(REPLICA_SETS)[0]["status"]["conditions"][0]
    assert (condition["type"], condition["reason"]) == ("ReplicaFailure", "FailedCreate")
    assert cluster.api.calls.count("POST pods") < 20
    assert cluster.events("FailedCreate") == ['Error creating: pods "web-x" is forbidden: exceeded quota']
    cluster.api.refuse = lambda verb, where, obj: None
    await cluster.advance(30)
    assert len(cluster.api.all(PODS)) == 100
    assert not cluster.api.all(REPLICA_SETS)[0]["status"].get("conditions")


@story
async def test_min_ready_seconds_delay_availability(cluster: Cluster) -> None:
    cluster.api.create(REPLICA_SETS, replica_set(1, minReadySeconds=60))
    await cluster.run(ReplicaSets)
    await cluster.start_pods()
    assert not cluster.api.all(REPLICA_SETS)[0]["status"].get("availableReplicas")
    await cluster.advance(60)
    assert cluster.api.all(REPLICA_SETS)[0]["status"]["availableReplicas"] == 1


@story
async def test_idle_asks_nothing(cluster: Cluster) -> None:
    cluster.api.create(REPLICA_SETS, replica_set(2))
    await cluster.run(ReplicaSets)
    await cluster.start_pods()
    before = len(cluster.api.calls)
    await cluster.advance(3600)
    assert len(cluster.api.calls) == before


@story
async def test_replication_controller(cluster: Cluster) -> None:
    cluster.api.create(REPLICATION_CONTROLLERS, replica_set(2, selector={"app": "web"}))
    await cluster.run(ReplicationControllers)
    assert len(cluster.api.all(PODS)) == 2
