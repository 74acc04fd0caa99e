"""Stories of disruption budgets, aggregated roles and protected disks."""

from typing import Any

from kapi.controllers.cluster_role import ClusterRoleAggregation
from kapi.controllers.disruption import Disruption, StaleDisruption
from kapi.controllers.protection import AttributesProtection, ClaimProtection, VolumeProtection
from kapi.objects import meta, time
from kapi.objects.meta import Object
from kapi.objects.resource import (
    CLUSTER_ROLES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    VOLUME_ATTRIBUTES_CLASSES,
)
from tests.controllers.story import Cluster, story


def budget(**spec: Any) -> Object:
    return {"metadata": {"name": "b", "namespace": "default"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec}}


def add_pods(cluster: Cluster, count: int) -> list[Object]:
    rs = cluster.api.create(REPLICA_SETS, {"metadata": {"name": "web", "namespace": "default"}, "spec": {"replicas": count}})
    owner = meta.owner_reference(rs, api_version="apps/v1", kind="ReplicaSet")
    out = []
    for number in range(count):
        about = {"name": f"p{number}", "namespace": "default", "labels": {"app": "web"}, "ownerReferences": [owner]}
        out.append(cluster.running(cluster.api.create(PODS, {"metadata": about, "spec": {}})))
    return out


def status(cluster: Cluster) -> Object:
    found: Object = cluster.api.all(POD_DISRUPTION_BUDGETS)[0]["status"]
    return found


@story
async def test_budget_by_share_of_the_scale(cluster: Cluster) -> None:
    cluster.api.create(POD_DISRUPTION_BUDGETS, budget(maxUnavailable="30%"))
    pods = add_pods(cluster, 5)
    await cluster.run(Disruption)
    found = status(cluster)
    assert (found["expectedPods"], found["desiredHealthy"], found["currentHealthy"], found["disruptionsAllowed"]) == (5, 3, 5, 2)
    assert (found["conditions"][0]["status"], found["conditions"][0]["reason"]) == ("True", "SufficientPods")
    cluster.running(pods[0], ready=False)
    cluster.running(pods[1], ready=False)
    await cluster.advance()
    assert status(cluster)["conditions"][0]["reason"] == "InsufficientPods"


@story
async def test_an_eviction_under_way_counts_for_two_minutes(cluster: Cluster) -> None:
    cluster.api.create(POD_DISRUPTION_BUDGETS, budget(minAvailable=1))
    add_pods(cluster, 3)
    await cluster.run(Disruption)
    old = cluster.api.all(POD_DISRUPTION_BUDGETS)[0]
    cluster.api.set(POD_DISRUPTION_BUDGETS, old, status={**old["status"], "disruptedPods": {"p0": time.stamp()}})
    await cluster.advance()
    assert status(cluster)["disruptionsAllowed"] == 1
    await cluster.advance(130)
    assert status(cluster)["disruptionsAllowed"] == 2


@story
async def test_no_pods(cluster: Cluster) -> None:
    cluster.api.create(POD_DISRUPTION_BUDGETS, budget(minAvailable=1))
    await cluster.run(Disruption)
    assert cluster.events("NoPods") == ["No matching pods found"]
    assert status(cluster)["disruptionsAllowed"] == 0


@story
async def test_roles_are_aggregated_in_order_of_their_names(cluster: Cluster) -> None:
    rule = {"clusterRoleSelectors": [{"matchLabels": {"to": "all"}}]}
    cluster.api.create(CLUSTER_ROLES, {"metadata": {"name": "all"}, "aggregationRule": rule, "rules": []})
    for name in ("z", "a"):
        cluster.api.create(CLUSTER_ROLES, {"metadata": {"name": name, "labels": {"to": "all"}}, "rules": [{"verbs": [name]}]})
    await cluster.run(ClusterRoleAggregation)
    found = cluster.api.get(CLUSTER_ROLES, "all")
    assert found is not None
    assert found["rules"] == [{"verbs": ["a"]}, {"verbs": ["z"]}]


@story
async def test_a_claim_in_use_stays(cluster: Cluster) -> None:
    claim = cluster.api.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "data", "namespace": "default"}, "spec": {}})
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]
    pod = cluster.running(cluster.api.create(PODS, {"metadata": {"name": "p", "namespace": "default"}, "spec": {"volumes": volumes}}))
    await cluster.run(ClaimProtection)
    claim = cluster.api.all(PERSISTENT_VOLUME_CLAIMS)[0]
    assert meta.finalizers(claim) == ["kubernetes.io/pvc-protection"]
    cluster.api.delete(PERSISTENT_VOLUME_CLAIMS, claim, {})
    await cluster.advance()
    assert len(cluster.api.all(PERSISTENT_VOLUME_CLAIMS)) == 1
    cluster.api.remove(PODS, pod)
    await cluster.advance()
    assert cluster.api.all(PERSISTENT_VOLUME_CLAIMS) == []


@story
async def test_a_bound_volume_stays(cluster: Cluster) -> None:
    cluster.api.create(PERSISTENT_VOLUMES, {"metadata": {"name": "v"}, "spec": {}, "status": {"phase": "Bound"}})
    await cluster.run(VolumeProtection)
    cluster.api.delete(PERSISTENT_VOLUMES, cluster.api.all(PERSISTENT_VOLUMES)[0], {})
    await cluster.advance()
    volume = cluster.api.all(PERSISTENT_VOLUMES)[0]
    cluster.api.set(PERSISTENT_VOLUMES, volume, status={"phase": "Released"})
    await cluster.advance()
    assert cluster.api.all(PERSISTENT_VOLUMES) == []


@story
async def test_pods_that_nobody_manages(cluster: Cluster) -> None:
    cluster.api.create(POD_DISRUPTION_BUDGETS, budget(maxUnavailable=1))
    add_pods(cluster, 2)
    about = {"name": "alone", "namespace": "default", "labels": {"app": "web"}}
    cluster.running(cluster.api.create(PODS, {"metadata": about, "spec": {}}))
    await cluster.run(Disruption)
    assert status(cluster)["expectedPods"] == 2
    selector = "&LabelSelector{MatchLabels:map[string]string{app: web,},MatchExpressions:[]LabelSelectorRequirement{},}"
    assert cluster.events("UnmanagedPods")[0].startswith(f"Pods selected by this PodDisruptionBudget (selector: {selector}) were found")


@story
async def test_a_disruption_that_did_not_happen_is_forgotten(cluster: Cluster) -> None:
    [pod] = add_pods(cluster, 1)
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "lastTransitionTime": time.stamp()}
    cluster.api.set(PODS, pod, status={**pod["status"], "conditions": [condition]})
    await cluster.run(StaleDisruption)
    await cluster.advance(60)
    assert (meta.condition(cluster.api.all(PODS)[0], "DisruptionTarget") or {})["status"] == "True"
    await cluster.advance(61)
    assert (meta.condition(cluster.api.all(PODS)[0], "DisruptionTarget") or {})["status"] == "False"


@story
async def test_attributes_in_use_stay(cluster: Cluster) -> None:
    made = cluster.api.create(VOLUME_ATTRIBUTES_CLASSES, {"metadata": {"name": "fast"}, "driverName": "d"})
    spec = {"volumeAttributesClassName": "fast"}
    claim = cluster.api.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "c", "namespace": "default"}, "spec": spec})
    await cluster.run(AttributesProtection)
    assert meta.finalizers(cluster.api.all(VOLUME_ATTRIBUTES_CLASSES)[0]) == ["kubernetes.io/vac-protection"]
    cluster.api.delete(VOLUME_ATTRIBUTES_CLASSES, cluster.api.all(VOLUME_ATTRIBUTES_CLASSES)[0], {})
    await cluster.advance()
    assert [meta.uid(c) for c in cluster.api.all(VOLUME_ATTRIBUTES_CLASSES)] == [meta.uid(made)]
    cluster.api.set(PERSISTENT_VOLUME_CLAIMS, claim, spec={})
    await cluster.advance()
    assert cluster.api.all(VOLUME_ATTRIBUTES_CLASSES) == []
