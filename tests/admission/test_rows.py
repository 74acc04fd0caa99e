"""Each row of the admission chain does something: an API server with the whole chain does this, one with all but that plugin does not."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kapi.admission import chain
from kapi.apiserver import assembly
from kapi.apiserver.settings import Settings
from kapi.client import Client
from kapi.client.local import LocalTransport
from kapi.objects import errors, meta
from kapi.objects.meta import Object
from kapi.objects.resource import (
    CERTIFICATE_SIGNING_REQUESTS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    INGRESSES,
    LIMIT_RANGES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    RESOURCE_QUOTAS,
    SERVICE_ACCOUNTS,
    STORAGE_CLASSES,
    Resource,
)
from kapi.objects.user import MASTERS, User
from tests.api.asking import as_user, config_map
from tests.api.test_policies import bind, mutation, policy
from tests.api.test_webhooks import MUTATING, VALIDATING, register, webhook
from tests.controllers.test_identities import request
from tests.rows import missed
from tests.test_visible_lists import ADMISSION

Behaviour = Callable[[Client], Awaitable[None]]
BEHAVIOURS: dict[str, Behaviour] = {}
BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", False)
INGRESS_CLASSES = Resource("networking.k8s.io", "v1", "ingressclasses", "IngressClass", False)
NOWHERE = {"url": "https://127.0.0.1:1/"}
"""A webhook that nobody serves: whoever asks it fails."""


def behaviour(name: str) -> Callable[[Behaviour], None]:
    """The behaviour of the plugin of this name, told by the administrator's client."""

    def note(test: Behaviour) -> None:
        BEHAVIOURS[name] = test

    return note


@asynccontextmanager
async def serving(pki: Path) -> AsyncIterator[Client]:
    made = await assembly.assemble(Settings(data_dir=pki.parent, storage="memory:"), pki)
    client = Client(LocalTransport(made.app, User("admin", (MASTERS, "system:authenticated"))), agent="test")
    try:
        await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, namespace="default")
        yield client
    finally:
        await client.close()
        await made.caller.close()
        await made.app.rest.store.close()


def test_every_row_has_a_behaviour() -> None:
    assert set(BEHAVIOURS) == set(ADMISSION)


@pytest.mark.parametrize("name", ADMISSION)
async def test_with_the_row(name: str, pki: Path) -> None:
    async with serving(pki) as client:
        await BEHAVIOURS[name](client)


@pytest.mark.parametrize("name", ADMISSION)
async def test_without_the_row(name: str, pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = chain.plugins
    monkeypatch.setattr(chain, "plugins", lambda *given: [one for one in whole(*given) if (one.name or type(one).__name__) != name])
    async with serving(pki) as client:
        with missed():
            await BEHAVIOURS[name](client)


async def make(client: Client, where: Resource, name: str, *, handled: Object | None = None, **parts: Any) -> Object:
    """An object in namespace default, or in none."""
    namespace = "default" if where.namespaced else None
    return await client.create(where, {"metadata": {"name": name, **(handled or {})}, **parts}, namespace=namespace)


async def pod(client: Client, **spec: Any) -> Object:
    return await make(client, PODS, "p", spec={"containers": [{"name": "c", "image": "i"}], **spec})


async def denied(doing: Awaitable[Any], words: str) -> None:
    """The request is refused with these words."""
    with pytest.raises(errors.StatusError) as caught:
        await doing
    assert words in caught.value.message


async def permit(client: Client, user: str, resources: str, verbs: str, group: str = "certificates.k8s.io") -> Client:
    """A client of a user who may do so to the group's resources, and nothing else."""
    rule = {"apiGroups": [group], "resources": [resources], "verbs": verbs.split()}
    await make(client, CLUSTER_ROLES, user, rules=[rule])
    subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}
    await make(client, BINDINGS, user, roleRef={"apiGroup": subject["apiGroup"], "kind": "ClusterRole", "name": user}, subjects=[subject])
    return as_user(client, user, "system:authenticated")


def marked(kind: str) -> Object:
    """Metadata of the class that is taken when none is named."""
    return {"annotations": {f"{kind}.kubernetes.io/is-default-class": "true"}}


# all objects ------------------------------------------------------------------------------------------------------------------------------


@behaviour("NamespaceLifecycle")
async def namespace_lifecycle(client: Client) -> None:
    await denied(client.delete(NAMESPACES, "default"), "this namespace may not be deleted")


@behaviour("ResourceQuota")
async def resource_quota(client: Client) -> None:
    made = await make(client, RESOURCE_QUOTAS, "q", spec={"hard": {"configmaps": "0"}})
    status = {"hard": {"configmaps": "0"}, "used": {"configmaps": "0"}}
    await client.update(RESOURCE_QUOTAS, {**made, "status": status}, subresource="status")
    await denied(make(client, CONFIG_MAPS, "a"), "exceeded quota: q")


@behaviour("MutatingAdmissionPolicy")
async def mutating_admission_policy(client: Client) -> None:
    await mutation(client, 'Object{metadata: Object.metadata{labels: {"touched": "yes"}}}')
    assert meta.labels(await client.create(CONFIG_MAPS, config_map("a"))) == {"touched": "yes"}


@behaviour("ValidatingAdmissionPolicy")
async def validating_admission_policy(client: Client) -> None:
    await policy(client, "false")
    await bind(client)
    await denied(make(client, CONFIG_MAPS, "a"), "failed expression: false")


@behaviour("MutatingAdmissionWebhook")
async def mutating_admission_webhook(client: Client) -> None:
    await register(client, MUTATING, webhook("m", NOWHERE))
    await denied(make(client, CONFIG_MAPS, "a"), 'failed calling webhook "m.example.com"')


@behaviour("ValidatingAdmissionWebhook")
async def validating_admission_webhook(client: Client) -> None:
    await register(client, VALIDATING, webhook("v", NOWHERE))
    await denied(make(client, CONFIG_MAPS, "a"), 'failed calling webhook "v.example.com"')


# pods -------------------------------------------------------------------------------------------------------------------------------------


@behaviour("LimitRanger")
async def limit_ranger(client: Client) -> None:
    await make(client, LIMIT_RANGES, "l", spec={"limits": [{"type": "Container", "defaultRequest": {"cpu": "100m"}}]})
    made = await pod(client)
    assert made["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "100m"}


@behaviour("ServiceAccount")
async def service_account(client: Client) -> None:
    made = await pod(client)
    assert made["spec"]["serviceAccountName"] == "default"


@behaviour("PodSecurity")
async def pod_security(client: Client) -> None:
    enforced = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}
    await client.patch(NAMESPACES, "default", enforced)
    await denied(pod(client, hostNetwork=True), 'violates PodSecurity "baseline:latest"')


@behaviour("Priority")
async def priority(client: Client) -> None:
    assert (await pod(client))["spec"]["priority"] == 0


@behaviour("DefaultTolerationSeconds")
async def default_toleration_seconds(client: Client) -> None:
    assert [one["tolerationSeconds"] for one in (await pod(client))["spec"]["tolerations"]] == [300, 300]


@behaviour("RuntimeClass")
async def runtime_class(client: Client) -> None:
    await denied(pod(client, runtimeClassName="none"), 'RuntimeClass "none" not found')


@behaviour("PodTopologyLabels")
async def pod_topology_labels(client: Client) -> None:
    zone = {"topology.kubernetes.io/zone": "a"}
    await make(client, NODES, "n1", handled={"labels": zone})
    made = await pod(client, nodeName="n1")
    assert meta.labels(made) == zone


# roles ------------------------------------------------------------------------------------------------------------------------------------


@behaviour("PrivilegeEscalation")
async def privilege_escalation(client: Client) -> None:
    writer = await permit(client, "writer", "clusterroles", "create", BINDINGS.group)
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
    await denied(make(writer, CLUSTER_ROLES, "own", rules=[rule]), "permissions not currently held")


# nodes ------------------------------------------------------------------------------------------------------------------------------------


@behaviour("NodeRestriction")
async def node_restriction(client: Client) -> None:
    await make(client, NODES, "n1")
    node = as_user(client, "system:node:n1", "system:nodes", "system:authenticated")
    mine = {"metadata": {"labels": {"node-restriction.kubernetes.io/team": "me"}}}
    await denied(node.patch(NODES, "n1", mine), "is not allowed to modify labels: node-restriction.kubernetes.io/team")


@behaviour("TaintNodesByCondition")
async def taint_nodes_by_condition(client: Client) -> None:
    made = await make(client, NODES, "n1")
    assert made["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]


# storage, ingress -------------------------------------------------------------------------------------------------------------------------

CLAIM: Object = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


@behaviour("DefaultStorageClass")
async def default_storage_class(client: Client) -> None:
    await make(client, STORAGE_CLASSES, "fast", handled=marked("storageclass"), provisioner="example.com/disk")
    made = await make(client, PERSISTENT_VOLUME_CLAIMS, "c", spec=CLAIM)
    assert made["spec"]["storageClassName"] == "fast"


@behaviour("StorageObjectInUseProtection")
async def storage_object_in_use_protection(client: Client) -> None:
    made = await make(client, PERSISTENT_VOLUME_CLAIMS, "c", spec=CLAIM)
    assert meta.finalizers(made) == ["kubernetes.io/pvc-protection"]


@behaviour("PersistentVolumeClaimResize")
async def persistent_volume_claim_resize(client: Client) -> None:
    await make(client, STORAGE_CLASSES, "fixed", provisioner="example.com/disk", allowVolumeExpansion=False)
    made = await make(client, PERSISTENT_VOLUME_CLAIMS, "c", spec={**CLAIM, "storageClassName": "fixed", "volumeName": "v"})
    made = await client.update(PERSISTENT_VOLUME_CLAIMS, {**made, "status": {"phase": "Bound"}}, subresource="status")
    larger = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    doing = client.patch(PERSISTENT_VOLUME_CLAIMS, "c", larger, namespace="default")
    await denied(doing, "only dynamically provisioned pvc can be resized")


@behaviour("DefaultIngressClass")
async def default_ingress_class(client: Client) -> None:
    await make(client, INGRESS_CLASSES, "front", handled=marked("ingressclass"), spec={"controller": "example.com/front"})
    made = await make(client, INGRESSES, "i", spec={"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}})
    assert made["spec"]["ingressClassName"] == "front"


# certificates -----------------------------------------------------------------------------------------------------------------------------


@behaviour("CertificateApproval")
async def certificate_approval(client: Client) -> None:
    made = await client.create(CERTIFICATE_SIGNING_REQUESTS, request("kube-apiserver-client"))
    clerk = await permit(client, "clerk", "certificatesigningrequests/approval", "update")
    approved = {"conditions": [{"type": "Approved", "status": "True", "reason": "R"}]}
    doing = clerk.update(CERTIFICATE_SIGNING_REQUESTS, {**made, "status": approved}, subresource="approval")
    await denied(doing, "user not permitted to approve requests with signerName")


@behaviour("CertificateSigning")
async def certificate_signing(client: Client) -> None:
    made = await client.create(CERTIFICATE_SIGNING_REQUESTS, request("kube-apiserver-client"))
    clerk = await permit(client, "clerk", "certificatesigningrequests/status", "update")
    failed = {"conditions": [{"type": "Failed", "status": "True", "reason": "R"}]}
    doing = clerk.update(CERTIFICATE_SIGNING_REQUESTS, {**made, "status": failed}, subresource="status")
    await denied(doing, "user not permitted to sign requests with signerName")


@behaviour("CertificateSubjectRestriction")
async def certificate_subject_restriction(client: Client) -> None:
    made = request("kube-apiserver-client", organization=MASTERS)
    await denied(client.create(CERTIFICATE_SIGNING_REQUESTS, made), "signer with system:masters group is not allowed")
