"""Stories of Deployments."""

from typing import Any

from kapi.controllers.deployment import Deployments
from kapi.controllers.replicaset import ReplicaSets
from kapi.objects import meta
from kapi.objects.meta import Object
from kapi.objects.resource import DEPLOYMENTS, PODS, REPLICA_SETS
from tests.controllers.story import Cluster, story


def deployment(replicas: int = 4, image: str = "i:1", **spec: Any) -> Object:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}
    made: Object = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template, "strategy": strategy}
    made |= {"progressDeadlineSeconds": 600, "revisionHistoryLimit": 10, **spec}
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": made}


def change(cluster: Cluster, **spec: Any) -> None:
    old = cluster.api.all(DEPLOYMENTS)[0]
    about = {**old["metadata"], "generation": old["metadata"]["generation"] + 1}
    cluster.api.set(DEPLOYMENTS, old, spec={**old["spec"], **spec}, metadata=about)


def template(image: str) -> Object:
    made: Object = deployment(image=image)["spec"]["template"]
    return made


async def roll(cluster: Cluster, rounds: int = 12) -> None:
    for _ in range(rounds):
        await cluster.start_pods()
        await cluster.finish_deletions()


def conditions(cluster: Cluster) -> dict[str, tuple[str, str, str]]:
    found = cluster.api.all(DEPLOYMENTS)[0]["status"]["conditions"]
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in found}


@story
async def test_first_rollout(cluster: Cluster) -> None:
    cluster.api.create(DEPLOYMENTS, deployment())
    await cluster.run(Deployments, ReplicaSets)
    await roll(cluster, 1)
    [rs] = cluster.api.all(REPLICA_SETS)
    code = meta.labels(rs)["pod-template-hash"]
    assert meta.name(rs) == f"web-{code}"
    assert meta.annotations(rs) == {
        "deployment.kubernetes.io/revision": "1",
        "deployment.kubernetes.io/desired-replicas": "4",
        "deployment.kubernetes.io/max-replicas": "5",
    }
    found = cluster.api.all(DEPLOYMENTS)[0]
    assert meta.annotations(found)["deployment.kubernetes.io/revision"] == "1"
    assert found["status"]["availableReplicas"] == 4
    assert conditions(cluster) == {
        "Available": ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
        "Progressing": ("True", "NewReplicaSetAvailable", f'ReplicaSet "web-{code}" has successfully progressed.'),
    }
    assert cluster.events("ScalingReplicaSet") == [f"Scaled up replica set web-{code} from 0 to 4"]


@story
async def test_rolling_update_keeps_its_limits(cluster: Cluster) -> None:
    cluster.api.create(DEPLOYMENTS, deployment())
    await cluster.run(Deployments, ReplicaSets)
    await roll(cluster, 1)
    change(cluster, template=template("i:2"))
    for _ in range(12):
        await cluster.start_pods()
        alive = [p for p in cluster.api.all(PODS) if not meta.deleting(p)]
        assert 3 <= len(alive) <= 5
        await cluster.finish_deletions()
    assert {p["spec"]["containers"][0]["image"] for p in cluster.api.all(PODS)} == {"i:2"}
    assert sorted(rs["spec"]["replicas"] for rs in cluster.api.all(REPLICA_SETS)) == [0, 4]
    assert meta.annotations(cluster.api.all(DEPLOYMENTS)[0])["deployment.kubernetes.io/revision"] == "2"


@story
async def test_undo_takes_the_old_replica_set_with_a_new_revision(cluster: Cluster) -> None:
    cluster.api.create(DEPLOYMENTS, deployment())
    await cluster.run(Deployments, ReplicaSets)
    await roll(cluster, 1)
    change(cluster, template=template("i:2"))
    await roll(cluster)
    change(cluster, template=template("i:1"))
    await roll(cluster)
    assert len(cluster.api.all(REPLICA_SETS)) == 2
    [back] = [rs for rs in cluster.api.all(REPLICA_SETS) if rs["spec"]["replicas"]]
    assert meta.annotations(back)["deployment.kubernetes.io/revision"] == "3"
    assert meta.annotations(back)["deployment.kubernetes.io/revision-history"] == "1"


@story
async def test_recreate_waits_for_the_last_old_pod(cluster: Cluster) -> None:
    cluster.api.create(DEPLOYMENTS, deployment(strategy={"type": "Recreate"}))
    await cluster.run(Deployments, ReplicaSets)
    await roll(cluster, 1)
    change(cluster, template=template("i:2"))
    await cluster.advance()
    assert {p["spec"]["containers"][0]["image"] for p in cluster.api.all(PODS)} == {"i:1"}
    await cluster.finish_deletions()
    assert [p["spec"]["containers"][0]["image"] for p in cluster.api.all(PODS)] == ["i:2"] * 4


@story
async def test_pause_holds_the_rollout_but_not_scaling(cluster: Cluster) -> None:
    cluster.api.create(DEPLOYMENTS, deployment())
    await cluster.run(Deployments, ReplicaSets)
    await roll(cluster, 1)
    change(cluster, paused=True, template=template("i:2"), replicas=6)
    await roll(cluster, 2)
    assert [rs["spec"]["replicas"] for rs in cluster.api.all(REPLICA_SETS)] == [6]
    assert conditions(cluster)["Progressing"][:2] == ("Unknown", "DeploymentPaused")
    change(cluster, paused=False)
    await roll(cluster)
    assert sorted(rs["spec"]["replicas"] for rs in cluster.api.all(REPLICA_SETS)) == [0, 6]


@story
async def test_deadline(cluster: Cluster) -> None:
    cluster.api.create(DEPLOYMENTS, deployment(progressDeadlineSeconds=60))
    await cluster.run(Deployments, ReplicaSets)
    await cluster.advance(50)
    assert conditions(cluster)["Progressing"][1] == "ReplicaSetUpdated"
    await cluster.advance(20)
    assert conditions(cluster)["Progressing"][:2] == ("False", "ProgressDeadlineExceeded")
    await roll(cluster, 1)
    assert conditions(cluster)["Progressing"][:2] == ("True", "NewReplicaSetAvailable")


@story
async def test_history_limit(cluster: Cluster) -> None:
    cluster.api.create(DEPLOYMENTS, deployment(1, revisionHistoryLimit=1))
    await cluster.run(Deployments, ReplicaSets)
    for version in range(2, 6):
        await roll(cluster, 4)
        change(cluster, template=template(f"i:{version}"))
    await roll(cluster, 6)
    assert sorted(meta.annotations(rs)["deployment.kubernetes.io/revision"] for rs in cluster.api.all(REPLICA_SETS)) == ["4", "5"]


@story
async def test_resize_in_the_middle_of_a_rollout_is_shared_out(cluster: Cluster) -> None:
    cluster.api.create(DEPLOYMENTS, deployment(10))
    await cluster.run(Deployments, ReplicaSets)
    await roll(cluster, 1)
    change(cluster, template=template("i:2"))
    await cluster.advance()
    change(cluster, replicas=20)
    await cluster.advance(0.5)
    sizes = sorted(rs["spec"]["replicas"] for rs in cluster.api.all(REPLICA_SETS))
    assert sum(sizes) == 21
    assert sizes[0] > 2


@story
async def test_a_taken_name_is_counted_as_collision(cluster: Cluster) -> None:
    cluster.api.create(DEPLOYMENTS, deployment())
    await cluster.run(Deployments, ReplicaSets)
    [rs] = cluster.api.all(REPLICA_SETS)
    cluster.api.remove(DEPLOYMENTS, cluster.api.all(DEPLOYMENTS)[0])
    other = {**rs, "metadata": {**rs["metadata"], "ownerReferences": [], "labels": {}}}
    cluster.api.set(REPLICA_SETS, rs, metadata=other["metadata"])
    cluster.api.create(DEPLOYMENTS, deployment())
    await cluster.advance()
    assert len(cluster.api.all(REPLICA_SETS)) == 2
    assert cluster.api.all(DEPLOYMENTS)[0]["status"]["collisionCount"] == 1


ROLLBACK = "deprecated.deployment.rollback.to"


async def rolled_back(cluster: Cluster, to: str) -> Object:
    old = cluster.api.all(DEPLOYMENTS)[0]
    cluster.api.set(DEPLOYMENTS, old, metadata={**old["metadata"], "annotations": {**meta.annotations(old), ROLLBACK: to}})
    await cluster.advance()
    found: Object = cluster.api.all(DEPLOYMENTS)[0]
    assert ROLLBACK not in meta.annotations(found)
    return found


@story
async def test_rollback_by_annotation(cluster: Cluster) -> None:
    cluster.api.create(DEPLOYMENTS, deployment(1))
    await cluster.run(Deployments, ReplicaSets)
    await roll(cluster, 2)
    change(cluster, template=template("i:2"))
    await roll(cluster, 4)
    found = await rolled_back(cluster, "0")
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "i:1"
    assert cluster.events("DeploymentRollback") == ['Rolled back deployment "web" to revision 1']
    await roll(cluster, 4)
    await rolled_back(cluster, "17")
    assert cluster.events("DeploymentRollbackRevisionNotFound") == ["Unable to find the revision to rollback to."]
    await rolled_back(cluster, "3")
    text = 'The rollback revision contains the same template as current deployment "web"'
    assert cluster.events("DeploymentRollbackTemplateUnchanged") == [text]
