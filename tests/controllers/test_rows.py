"""Each row of the list of controllers does something: with all of them running, this happens; with all but that one, it does not."""

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from certs import making
from kapi import controllers
from kapi.client import Controller
from kapi.objects import meta, time
from kapi.objects.meta import Object
from kapi.objects.resource import (
    CERTIFICATE_SIGNING_REQUESTS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    HORIZONTAL_POD_AUTOSCALERS,
    JOBS,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICE_CIDRS,
    SERVICES,
    STATEFUL_SETS,
    STORAGE_VERSION_MIGRATIONS,
    VALIDATING_ADMISSION_POLICIES,
    VOLUME_ATTRIBUTES_CLASSES,
    Resource,
)
from tests.controllers import test_identities as identities
from tests.controllers.story import Cluster, story
from tests.rows import missed

BEHAVIOURS: dict[str, Callable[[], None]] = {}
LABELS = {"app": "web"}
SELECTOR = {"matchLabels": LABELS}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


def behaviour(name: str) -> Callable[[Callable[[Cluster], Awaitable[None]]], None]:
    """The behaviour of the controller whose class has this name."""

    def note(test: Callable[[Cluster], Awaitable[None]]) -> None:
        BEHAVIOURS[name] = story(test)

    return note


def rows() -> dict[str, type[Controller]]:
    return {kind.__name__: kind for kind in controllers.CONTROLLERS}


def test_every_row_has_a_behaviour() -> None:
    assert set(BEHAVIOURS) == set(rows())


@pytest.mark.parametrize("name", rows())
def test_with_the_row(name: str) -> None:
    BEHAVIOURS[name]()


@pytest.mark.parametrize("name", rows())
def test_without_the_row(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controllers, "CONTROLLERS", tuple(kind for kind in controllers.CONTROLLERS if kind.__name__ != name))
    with missed():
        BEHAVIOURS[name]()


def make(cluster: Cluster, where: Resource, name: str, *, about: Object | None = None, **parts: Any) -> Object:
    """An object in namespace default, or in none."""
    place = {"namespace": "default"} if where.namespaced else {}
    return cluster.api.create(where, {"metadata": {"name": name, **place, **(about or {})}, **parts})


def pod(cluster: Cluster, name: str, *, node: str = "n1", about: Object | None = None, **spec: Any) -> Object:
    """A pod that runs on a node."""
    return cluster.running(make(cluster, PODS, name, about={"labels": LABELS, **(about or {})}, spec=spec), node=node)


def node(cluster: Cluster, name: str = "n1", **spec: Any) -> Object:
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": time.stamp()}
    return make(cluster, NODES, name, spec=spec, status={"conditions": [ready]})


async def run(cluster: Cluster, seconds: float = 5, **settings: Any) -> None:
    """All that are listed, for so long."""
    await cluster.run(*controllers.CONTROLLERS, **settings)
    await cluster.advance(seconds)


def found(cluster: Cluster, where: Resource, name: str, namespace: str = "default") -> Object:
    """The object; raises LookupError."""
    [made] = [obj for obj in cluster.api.all(where, namespace if where.namespaced else "") if meta.name(obj) == name]
    return made


def status(cluster: Cluster, where: Resource, name: str) -> Object:
    told: Object = found(cluster, where, name)["status"]
    return told


def condition(cluster: Cluster, where: Resource, name: str, type_: str) -> Object:
    told = meta.condition(found(cluster, where, name), type_)
    assert told is not None
    return told


def count(cluster: Cluster, where: Resource) -> int:
    return len(cluster.api.all(where, "default"))


# namespaces and what is in each ---------------------------------------------------------------------------------------------------------


@behaviour("Namespaces")
async def namespaces(cluster: Cluster) -> None:
    space = make(cluster, NAMESPACES, "a")
    await run(cluster)
    cluster.api.delete(NAMESPACES, space, {})
    await cluster.advance(30)
    assert cluster.api.get(NAMESPACES, "a") is None


@behaviour("DefaultServiceAccounts")
async def default_service_accounts(cluster: Cluster) -> None:
    make(cluster, NAMESPACES, "default")
    await run(cluster)
    assert found(cluster, SERVICE_ACCOUNTS, "default")


@behaviour("RootCertificates")
async def root_certificates(cluster: Cluster) -> None:
    make(cluster, NAMESPACES, "default")
    await run(cluster)
    assert found(cluster, CONFIG_MAPS, "kube-root-ca.crt")["data"] == {"ca.crt": "CA"}


@behaviour("Quotas")
async def quotas(cluster: Cluster) -> None:
    make(cluster, SECRETS, "s")
    make(cluster, RESOURCE_QUOTAS, "q", spec={"hard": {"secrets": "5"}})
    await run(cluster)
    assert status(cluster, RESOURCE_QUOTAS, "q")["used"] == {"secrets": "1"}


@behaviour("GarbageCollector")
async def garbage_collector(cluster: Cluster) -> None:
    owner = {"apiVersion": "v1", "kind": "Secret", "name": "gone", "uid": "nobody's"}
    make(cluster, CONFIG_MAPS, "orphan", about={"ownerReferences": [owner]})
    await run(cluster, 30)
    assert count(cluster, CONFIG_MAPS) == 0


# workloads --------------------------------------------------------------------------------------------------------------------------------


@behaviour("ReplicaSets")
async def replica_sets(cluster: Cluster) -> None:
    make(cluster, REPLICA_SETS, "web", spec={"replicas": 2, "selector": SELECTOR, "template": TEMPLATE})
    await run(cluster)
    assert count(cluster, PODS) == 2


@behaviour("ReplicationControllers")
async def replication_controllers(cluster: Cluster) -> None:
    make(cluster, REPLICATION_CONTROLLERS, "web", spec={"replicas": 2, "selector": LABELS, "template": TEMPLATE})
    await run(cluster)
    assert count(cluster, PODS) == 2


@behaviour("Deployments")
async def deployments(cluster: Cluster) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}
    make(cluster, DEPLOYMENTS, "web", spec={"replicas": 2, "selector": SELECTOR, "template": TEMPLATE, "strategy": strategy})
    await run(cluster)
    assert [obj["spec"]["replicas"] for obj in cluster.api.all(REPLICA_SETS)] == [2]


@behaviour("StatefulSets")
async def stateful_sets(cluster: Cluster) -> None:
    make(cluster, STATEFUL_SETS, "db", spec={
        "replicas": 2, "selector": SELECTOR, "template": TEMPLATE, "serviceName": "db", "updateStrategy": {"type": "OnDelete"},
    })  # fmt: skip
    await run(cluster)
    assert found(cluster, PODS, "db-0")


@behaviour("DaemonSets")
async def daemon_sets(cluster: Cluster) -> None:
    for name in ("n1", "n2"):
        node(cluster, name)
    make(cluster, DAEMON_SETS, "log", spec={"selector": SELECTOR, "template": TEMPLATE, "updateStrategy": {"type": "OnDelete"}})
    await run(cluster)
    assert count(cluster, PODS) == 2


@behaviour("Jobs")
async def jobs(cluster: Cluster) -> None:
    make(cluster, JOBS, "j", spec={"parallelism": 2, "completions": 2, "backoffLimit": 6, "selector": SELECTOR, "template": TEMPLATE})
    await run(cluster)
    assert count(cluster, PODS) == 2


@behaviour("CronJobs")
async def cron_jobs(cluster: Cluster) -> None:
    template = {"spec": {"parallelism": 1, "completions": 1, "backoffLimit": 6, "selector": SELECTOR, "template": TEMPLATE}}
    make(cluster, CRON_JOBS, "c", spec={"schedule": "* * * * *", "concurrencyPolicy": "Allow", "jobTemplate": template})
    await run(cluster, 65)
    assert count(cluster, JOBS) == 1


@behaviour("TimeToLive")
async def time_to_live(cluster: Cluster) -> None:
    ended = {"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": time.stamp()}], "completionTime": time.stamp()}
    spec = {"ttlSecondsAfterFinished": 10, "backoffLimit": 6, "selector": SELECTOR, "template": TEMPLATE}
    make(cluster, JOBS, "j", spec=spec, status=ended)
    await run(cluster, 30)
    assert count(cluster, JOBS) == 0


@behaviour("Autoscaling")
async def autoscaling(cluster: Cluster) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "gone"}
    make(cluster, HORIZONTAL_POD_AUTOSCALERS, "h", spec={"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 2, "metrics": []})
    await run(cluster, 30)
    assert condition(cluster, HORIZONTAL_POD_AUTOSCALERS, "h", "AbleToScale")["reason"] == "FailedGetScale"


@behaviour("Disruption")
async def disruption(cluster: Cluster) -> None:
    make(cluster, POD_DISRUPTION_BUDGETS, "b", spec={"selector": SELECTOR, "minAvailable": 1})
    await run(cluster)
    assert status(cluster, POD_DISRUPTION_BUDGETS, "b")["disruptionsAllowed"] == 0


@behaviour("StaleDisruption")
async def stale_disruption(cluster: Cluster) -> None:
    node(cluster)
    made = pod(cluster, "p")
    target = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "lastTransitionTime": time.stamp()}
    cluster.api.set(PODS, made, status={**made["status"], "conditions": [target]})
    await run(cluster, 130)
    assert condition(cluster, PODS, "p", "DisruptionTarget")["status"] == "False"


# roles, accounts, certificates ------------------------------------------------------------------------------------------------------------


@behaviour("ClusterRoleAggregation")
async def cluster_role_aggregation(cluster: Cluster) -> None:
    make(cluster, CLUSTER_ROLES, "all", aggregationRule={"clusterRoleSelectors": [SELECTOR]}, rules=[])
    make(cluster, CLUSTER_ROLES, "part", about={"labels": LABELS}, rules=[{"verbs": ["get"]}])
    await run(cluster)
    assert found(cluster, CLUSTER_ROLES, "all")["rules"] == [{"verbs": ["get"]}]


@behaviour("AccountTokens")
async def account_tokens(cluster: Cluster) -> None:
    make(cluster, SERVICE_ACCOUNTS, "bot")
    about = {"annotations": {"kubernetes.io/service-account.name": "bot"}}
    make(cluster, SECRETS, "s", about=about, type="kubernetes.io/service-account-token")
    with tempfile.NamedTemporaryFile() as key:
        key.write(making.new_key())
        key.flush()
        await run(cluster, account_key_file=Path(key.name))
    assert found(cluster, SECRETS, "s")["data"]["token"]


def ask_for_certificate(cluster: Cluster, signer: str) -> Object:
    return cluster.api.create(CERTIFICATE_SIGNING_REQUESTS, identities.request(signer))


@behaviour("RequestApproval")
async def request_approval(cluster: Cluster) -> None:
    ask_for_certificate(cluster, "kube-apiserver-client-kubelet")
    cluster.api.may = lambda spec: True
    await run(cluster)
    assert condition(cluster, CERTIFICATE_SIGNING_REQUESTS, "r", "Approved")


@behaviour("RequestSigning")
async def request_signing(cluster: Cluster) -> None:
    made = ask_for_certificate(cluster, "kube-apiserver-client")
    cluster.api.set(CERTIFICATE_SIGNING_REQUESTS, made, status={"conditions": [{"type": "Approved", "status": "True"}]})
    with tempfile.TemporaryDirectory() as directory:
        await run(cluster, 5, **identities.authority(Path(directory)))
    assert status(cluster, CERTIFICATE_SIGNING_REQUESTS, "r")["certificate"]


@behaviour("RequestCleaning")
async def request_cleaning(cluster: Cluster) -> None:
    ask_for_certificate(cluster, "kube-apiserver-client")
    await run(cluster, 86_500)
    assert cluster.api.all(CERTIFICATE_SIGNING_REQUESTS) == []


# volumes ----------------------------------------------------------------------------------------------------------------------------------


@behaviour("ClaimProtection")
async def claim_protection(cluster: Cluster) -> None:
    make(cluster, PERSISTENT_VOLUME_CLAIMS, "c", spec={})
    await run(cluster)
    assert meta.finalizers(found(cluster, PERSISTENT_VOLUME_CLAIMS, "c")) == ["kubernetes.io/pvc-protection"]


@behaviour("VolumeProtection")
async def volume_protection(cluster: Cluster) -> None:
    make(cluster, PERSISTENT_VOLUMES, "v", spec={})
    await run(cluster)
    assert meta.finalizers(found(cluster, PERSISTENT_VOLUMES, "v")) == ["kubernetes.io/pv-protection"]


@behaviour("AttributesProtection")
async def attributes_protection(cluster: Cluster) -> None:
    make(cluster, VOLUME_ATTRIBUTES_CLASSES, "fast", driverName="d")
    await run(cluster)
    assert meta.finalizers(found(cluster, VOLUME_ATTRIBUTES_CLASSES, "fast")) == ["kubernetes.io/vac-protection"]


@behaviour("VolumeBinder")
async def volume_binder(cluster: Cluster) -> None:
    spec = {"accessModes": ["ReadWriteOnce"]}
    make(cluster, PERSISTENT_VOLUMES, "v", spec={**spec, "capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": "Retain"})
    make(cluster, PERSISTENT_VOLUME_CLAIMS, "c", spec={**spec, "resources": {"requests": {"storage": "1Gi"}}})
    await run(cluster)
    assert status(cluster, PERSISTENT_VOLUME_CLAIMS, "c")["phase"] == "Bound"


@behaviour("EphemeralVolumes")
async def ephemeral_volumes(cluster: Cluster) -> None:
    node(cluster)
    volume = {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"]}}}}
    pod(cluster, "p", volumes=[volume])
    await run(cluster)
    assert found(cluster, PERSISTENT_VOLUME_CLAIMS, "p-scratch")


# nodes ------------------------------------------------------------------------------------------------------------------------------------


@behaviour("NodeLifecycle")
async def node_lifecycle(cluster: Cluster) -> None:
    node(cluster)
    await run(cluster, 120)
    assert condition(cluster, NODES, "n1", "Ready")["status"] == "Unknown"


@behaviour("NodeTTL")
async def node_ttl(cluster: Cluster) -> None:
    node(cluster)
    await run(cluster)
    assert meta.annotations(found(cluster, NODES, "n1"))["node.alpha.kubernetes.io/ttl"] == "0"


@behaviour("TaintEviction")
async def taint_eviction(cluster: Cluster) -> None:
    node(cluster, taints=[{"key": "out", "effect": "NoExecute"}])
    pod(cluster, "p")
    await run(cluster)
    assert meta.deleting(found(cluster, PODS, "p"))


@behaviour("PodGarbageCollector")
async def pod_garbage_collector(cluster: Cluster) -> None:
    pod(cluster, "p", node="gone")
    await run(cluster, 120)
    assert count(cluster, PODS) == 0


# services, policies -----------------------------------------------------------------------------------------------------------------------


def service(cluster: Cluster, **spec: Any) -> None:
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    make(cluster, SERVICES, "web", spec={"ports": ports, "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], **spec})


@behaviour("ServiceRanges")
async def service_ranges(cluster: Cluster) -> None:
    make(cluster, SERVICE_CIDRS, "a", spec={"cidrs": ["10.0.0.0/24"]})
    await run(cluster)
    assert condition(cluster, SERVICE_CIDRS, "a", "Ready")["status"] == "True"


@behaviour("EndpointSlices")
async def endpoint_slices(cluster: Cluster) -> None:
    service(cluster, selector=LABELS)
    await run(cluster)
    assert count(cluster, ENDPOINT_SLICES) == 1


@behaviour("Endpoints")
async def endpoints(cluster: Cluster) -> None:
    service(cluster, selector=LABELS)
    await run(cluster)
    assert found(cluster, ENDPOINTS, "web")


@behaviour("EndpointMirrors")
async def endpoint_mirrors(cluster: Cluster) -> None:
    service(cluster)
    make(cluster, ENDPOINTS, "web", subsets=[{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}])
    await run(cluster)
    [mirror] = cluster.api.all(ENDPOINT_SLICES)
    assert mirror["endpoints"][0]["addresses"] == ["192.0.2.1"]


@behaviour("PolicyTypes")
async def policy_types(cluster: Cluster) -> None:
    rule = {"operations": ["*"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}
    checks = [{"expression": "object.spec.replicas > 1"}]
    make(cluster, VALIDATING_ADMISSION_POLICIES, "p", spec={"matchConstraints": {"resourceRules": [rule]}, "validations": checks})
    await run(cluster)
    assert status(cluster, VALIDATING_ADMISSION_POLICIES, "p")["observedGeneration"] == 1


@behaviour("StorageVersionMigrations")
async def storage_version_migrations(cluster: Cluster) -> None:
    make(cluster, STORAGE_VERSION_MIGRATIONS, "m", spec={"resource": {"group": "example.com", "resource": "things"}})
    await run(cluster, 90)
    assert status(cluster, STORAGE_VERSION_MIGRATIONS, "m")["conditions"][0]["type"] == "Failed"
