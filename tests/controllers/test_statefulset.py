"""Stories of StatefulSets."""

from typing import Any

from kapi.controllers.statefulset import StatefulSets
from kapi.objects import meta
from kapi.objects.meta import Object
from kapi.objects.resource import CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from tests.controllers.story import Cluster, story


def stateful_set(replicas: int = 3, image: str = "i:1", **spec: Any) -> Object:
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    made: Object = {"replicas": replicas, "selector": {"matchLabels": {"app": "db"}}, "template": template, "serviceName": "db"}
    made |= {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}, "volumeClaimTemplates": [claim], **spec}
    return {"metadata": {"name": "db", "namespace": "default"}, "spec": made}


def change(cluster: Cluster, **spec: Any) -> None:
    old = cluster.api.all(STATEFUL_SETS)[0]
    cluster.api.set(STATEFUL_SETS, old, spec={**old["spec"], **spec})


def names(cluster: Cluster) -> list[str]:
    return sorted(meta.name(p) for p in cluster.api.all(PODS))


@story
async def test_one_after_the_other_with_disk_and_name(cluster: Cluster) -> None:
    made = stateful_set()
    made["metadata"]["annotations"] = {"kubernetes.io/change-cause": "first"}
    cluster.api.create(STATEFUL_SETS, made)
    await cluster.run(StatefulSets)
    assert names(cluster) == ["db-0"]
    for wanted in (["db-0", "db-1"], ["db-0", "db-1", "db-2"]):
        await cluster.start_pods()
        assert names(cluster) == wanted
    await cluster.start_pods()
    [revision] = cluster.api.all(CONTROLLER_REVISIONS)
    assert meta.labels(revision) == {"app": "db", "controller.kubernetes.io/hash": meta.name(revision).removeprefix("db-")}
    assert meta.annotations(revision) == {"kubernetes.io/change-cause": "first"}
    pod = cluster.api.get(PODS, "default/db-1")
    assert pod is not None
    assert meta.labels(pod) == {
        "app": "db",
        "apps.kubernetes.io/pod-index": "1",
        "controller-revision-hash": meta.name(revision),
        "statefulset.kubernetes.io/pod-name": "db-1",
    }
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-1", "db")
    assert pod["spec"]["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-1"}}]
    assert sorted(meta.name(c) for c in cluster.api.all(PERSISTENT_VOLUME_CLAIMS)) == ["data-db-0", "data-db-1", "data-db-2"]
    status = cluster.api.all(STATEFUL_SETS)[0]["status"]
    assert (status["readyReplicas"], status["currentReplicas"], status["currentRevision"]) == (3, 3, meta.name(revision))
    assert cluster.events("SuccessfulCreate")[:2] == [
        "create Claim data-db-0 Pod db-0 in StatefulSet db success",
        "create Pod db-0 in StatefulSet db successful",
    ]


@story
async def test_scale_down_from_the_top_keeps_disks(cluster: Cluster) -> None:
    cluster.api.create(STATEFUL_SETS, stateful_set())
    await cluster.run(StatefulSets)
    for _ in range(3):
        await cluster.start_pods()
    change(cluster, replicas=1)
    await cluster.advance()
    assert [meta.name(p) for p in cluster.api.all(PODS) if meta.deleting(p)] == ["db-2"]
    await cluster.finish_deletions()
    await cluster.finish_deletions()
    assert names(cluster) == ["db-0"]
    assert len(cluster.api.all(PERSISTENT_VOLUME_CLAIMS)) == 3


@story
async def test_rolling_update_from_the_top_to_the_partition(cluster: Cluster) -> None:
    cluster.api.create(STATEFUL_SETS, stateful_set())
    await cluster.run(StatefulSets)
    for _ in range(3):
        await cluster.start_pods()
    rule = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    change(cluster, template=stateful_set(image="i:2")["spec"]["template"], updateStrategy=rule)
    await cluster.advance()
    for _ in range(6):
        assert sum(meta.deleting(p) or not p.get("status") for p in cluster.api.all(PODS)) <= 1
        await cluster.finish_deletions()
        await cluster.start_pods()
    images = {meta.name(p): p["spec"]["containers"][0]["image"] for p in cluster.api.all(PODS)}
    assert images == {"db-0": "i:1", "db-1": "i:2", "db-2": "i:2"}
    status = cluster.api.all(STATEFUL_SETS)[0]["status"]
    assert (status["currentReplicas"], status["updatedReplicas"]) == (1, 2)
    change(cluster, updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
    for _ in range(3):
        await cluster.finish_deletions()
        await cluster.start_pods()
    status = cluster.api.all(STATEFUL_SETS)[0]["status"]
    assert status["currentRevision"] == status["updateRevision"]
    assert status["currentReplicas"] == 3


@story
async def test_parallel_and_a_start_number(cluster: Cluster) -> None:
    cluster.api.create(STATEFUL_SETS, stateful_set(podManagementPolicy="Parallel", ordinals={"start": 5}))
    await cluster.run(StatefulSets)
    assert names(cluster) == ["db-5", "db-6", "db-7"]


@story
async def test_a_failed_pod_is_made_again(cluster: Cluster) -> None:
    cluster.api.create(STATEFUL_SETS, stateful_set(1))
    await cluster.run(StatefulSets)
    await cluster.start_pods()
    pod = cluster.api.all(PODS)[0]
    cluster.api.set(PODS, pod, status={"phase": "Failed"})
    await cluster.advance()
    assert meta.uid(cluster.api.all(PODS)[0]) != meta.uid(pod)
    assert cluster.events("RecreatingFailedPod") == ["StatefulSet default/db is recreating failed Pod db-0"]


@story
async def test_claims_go_with_what_the_policy_says(cluster: Cluster) -> None:
    policy = {"whenDeleted": "Delete", "whenScaled": "Delete"}
    made = cluster.api.create(STATEFUL_SETS, stateful_set(1, persistentVolumeClaimRetentionPolicy=policy))
    await cluster.run(StatefulSets)
    await cluster.start_pods()
    [claim] = cluster.api.all(PERSISTENT_VOLUME_CLAIMS)
    assert meta.owners(claim)[0]["uid"] == meta.uid(made)
    change(cluster, replicas=0)
    await cluster.advance()
    assert meta.owners(cluster.api.all(PERSISTENT_VOLUME_CLAIMS)[0])[-1]["kind"] == "Pod"


@story
async def test_claims_follow_a_changed_policy(cluster: Cluster) -> None:
    made = cluster.api.create(STATEFUL_SETS, stateful_set(1))
    await cluster.run(StatefulSets)
    await cluster.start_pods()
    assert meta.owners(cluster.api.all(PERSISTENT_VOLUME_CLAIMS)[0]) == []
    change(cluster, persistentVolumeClaimRetentionPolicy={"whenDeleted": "Delete", "whenScaled": "Retain"})
    await cluster.advance()
    [owner] = meta.owners(cluster.api.all(PERSISTENT_VOLUME_CLAIMS)[0])
    assert owner["uid"] == meta.uid(made)
    change(cluster, persistentVolumeClaimRetentionPolicy={"whenDeleted": "Retain", "whenScaled": "Retain"})
    await cluster.advance()
    assert meta.owners(cluster.api.all(PERSISTENT_VOLUME_CLAIMS)[0]) == []


@story
async def test_an_update_on_delete_is_never_complete(cluster: Cluster) -> None:
    cluster.api.create(STATEFUL_SETS, stateful_set(1, updateStrategy={"type": "OnDelete"}))
    await cluster.run(StatefulSets)
    await cluster.start_pods()
    first = cluster.api.all(STATEFUL_SETS)[0]["status"]["currentRevision"]
    template = meta.clone(cluster.api.all(STATEFUL_SETS)[0]["spec"]["template"])
    template["spec"]["containers"][0]["image"] = "other"
    change(cluster, template=template)
    await cluster.advance()
    cluster.api.remove(PODS, cluster.api.all(PODS)[0])
    await cluster.advance()
    await cluster.start_pods()
    status = cluster.api.all(STATEFUL_SETS)[0]["status"]
    assert (status["currentRevision"], status["updatedReplicas"]) == (first, 1)
    assert status["updateRevision"] != first
