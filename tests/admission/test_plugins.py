"""Namespaces, nodes, storage, certificates, quota, and the chain itself."""

from typing import Any

import pytest

from kapi.admission import certificates, chain, namespace_lifecycle, storage, taint_nodes
from kapi.admission.plugin import Plugin
from kapi.admission.resource_quota import ResourceQuota
from kapi.objects import errors
from kapi.objects.resource import (
    CERTIFICATE_SIGNING_REQUESTS,
    CONFIG_MAPS,
    INGRESSES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    RESOURCE_QUOTAS,
    STORAGE_CLASSES,
)
from kapi.objects.user import Attributes, Decision


def refusal(call: Any, attrs: Any) -> str:
    with pytest.raises(errors.StatusError) as caught:
        call(attrs)
    return caught.value.message


def named(name: str, **rest: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **rest}


def test_namespaces_must_be_there_and_stay(world: Any) -> None:
    plugin = namespace_lifecycle.NamespaceLifecycle(world.reader)
    attrs = world.attrs(CONFIG_MAPS, named("a"))
    assert refusal(plugin.mutate, attrs) == 'namespaces "ns" not found'
    world.add(NAMESPACES, "ns", status={"phase": "Terminating"})
    with pytest.raises(errors.Forbidden) as caught:
        plugin.mutate(attrs)
    why = "unable to create new content in namespace ns because it is being terminated"
    assert caught.value.message == f'configmaps "a" is forbidden: {why}'
    assert caught.value.status()["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    assert "may not be deleted" in refusal(plugin.mutate, world.attrs(NAMESPACES, None, "DELETE", old=named("default")))


def test_new_nodes_are_not_ready(world: Any) -> None:
    attrs = world.attrs(NODES, named("n"))
    taint_nodes.TaintNodesByCondition().mutate(attrs)
    taint_nodes.TaintNodesByCondition().mutate(attrs)
    assert attrs.new["spec"]["taints"] == [{"key": taint_nodes.NOT_READY, "effect": "NoSchedule"}]


def test_default_classes(world: Any) -> None:
    mark = {"storageclass.kubernetes.io/is-default-class": "true"}
    world.add(STORAGE_CLASSES, "slow", annotations=mark)
    attrs = world.attrs(PERSISTENT_VOLUME_CLAIMS, named("c", spec={}))
    storage.DefaultStorageClass(world.reader).mutate(attrs)
    assert attrs.new["spec"] == {"storageClassName": "slow"}
    none = world.attrs(PERSISTENT_VOLUME_CLAIMS, named("c", spec={"storageClassName": ""}))
    storage.DefaultStorageClass(world.reader).mutate(none)
    assert none.new["spec"] == {"storageClassName": ""}
    world.add(storage.INGRESS_CLASSES, "web", annotations={"ingressclass.kubernetes.io/is-default-class": "true"})
    ingress = world.attrs(INGRESSES, named("i", spec={}))
    storage.DefaultIngressClass(world.reader).mutate(ingress)
    assert ingress.new["spec"] == {"ingressClassName": "web"}


def test_claims_are_protected_and_grow_only_where_allowed(world: Any) -> None:
    attrs = world.attrs(PERSISTENT_VOLUME_CLAIMS, named("c"))
    storage.StorageObjectInUseProtection().mutate(attrs)
    assert attrs.new["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]

    def claim(size: str) -> dict[str, Any]:
        spec = {"storageClassName": "s", "resources": {"requests": {"storage": size}}}
        return named("c", spec=spec, status={"phase": "Bound"})

    plugin = storage.PersistentVolumeClaimResize(world.reader)
    grow = world.attrs(PERSISTENT_VOLUME_CLAIMS, claim("2Gi"), "UPDATE", old=claim("1Gi"))
    assert "only dynamically provisioned pvc can be resized" in refusal(plugin.validate, grow)
    world.add(STORAGE_CLASSES, "s", allowVolumeExpansion=True)
    plugin.validate(grow)


class Clerk:
    """Allows what it was told to."""

    def __init__(self, *allowed: tuple[str, str]) -> None:
        self.allowed = allowed

    def authorize(self, asked: Attributes) -> Decision:
        return Decision((asked.verb, asked.name) in self.allowed)


def test_approving_needs_the_right_to(world: Any) -> None:
    old = named("r", spec={"signerName": "example.com/s"})
    attrs = world.attrs(CERTIFICATE_SIGNING_REQUESTS, old, "UPDATE", old=old, subresource="approval")
    message = refusal(certificates.CertificateApproval(Clerk()).validate, attrs)
    assert message == (
        'certificatesigningrequests.certificates.k8s.io "r" is forbidden: '
        'user not permitted to approve requests with signerName "example.com/s"'
    )
    certificates.CertificateApproval(Clerk(("approve", "example.com/*"))).validate(attrs)


def quota(hard: dict[str, str], used: dict[str, str]) -> dict[str, Any]:
    return {"spec": {"hard": hard}, "status": {"hard": hard, "used": used}}


async def test_quota_counts_and_refuses(world: Any) -> None:
    world.add(RESOURCE_QUOTAS, "q", "ns", **quota({"pods": "2", "requests.cpu": "1"}, {"pods": "1", "requests.cpu": "500m"}))
    plugin = ResourceQuota(world.reader)
    pod = named("p", spec={"containers": [{"name": "c", "resources": {"requests": {"cpu": "300m"}}}]})
    await plugin.validate(world.attrs(PODS, pod))
    status = world.reader.get(RESOURCE_QUOTAS, "ns", "q")["status"]
    assert status["used"] == {"pods": "2", "requests.cpu": "800m"}


async def test_an_exceeded_quota_says_what(world: Any) -> None:
    world.add(RESOURCE_QUOTAS, "q", "ns", **quota({"pods": "1", "requests.cpu": "1"}, {"pods": "1", "requests.cpu": "0"}))
    pod = named("p", spec={"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]})
    with pytest.raises(errors.Forbidden) as caught:
        await ResourceQuota(world.reader).validate(world.attrs(PODS, pod))
    why = "exceeded quota: q, requested: pods=1,requests.cpu=2, used: pods=1,requests.cpu=0, limited: pods=1,requests.cpu=1"
    assert caught.value.message == f'pods "p" is forbidden: {why}'


async def test_a_quota_on_compute_wants_it_said(world: Any) -> None:
    world.add(RESOURCE_QUOTAS, "q", "ns", **quota({"limits.cpu": "1"}, {"limits.cpu": "0"}))
    with pytest.raises(errors.Forbidden, match=r"failed quota: q: must specify limits\.cpu for: c"):
        await ResourceQuota(world.reader).validate(world.attrs(PODS, named("p", spec={"containers": [{"name": "c"}]})))


async def test_a_quota_limits_nothing_before_its_status_says_what(world: Any) -> None:
    world.add(RESOURCE_QUOTAS, "q", "ns", spec={"hard": {"pods": "0"}})
    attrs = world.attrs(PODS, named("p", spec={"containers": [{"name": "c"}]}))
    await ResourceQuota(world.reader).validate(attrs)
    world.add(RESOURCE_QUOTAS, "q", "ns", spec={"hard": {"pods": "0"}}, status={"hard": {"pods": "0"}})
    with pytest.raises(errors.Forbidden, match="status unknown for quota: q, resources: pods"):
        await ResourceQuota(world.reader).validate(attrs)


async def test_scoped_quotas_leave_other_pods_alone(world: Any) -> None:
    limited = quota({"pods": "0"}, {"pods": "0"})
    limited["spec"]["scopes"] = ["NotBestEffort"]
    world.add(RESOURCE_QUOTAS, "q", "ns", **limited)
    await ResourceQuota(world.reader).validate(world.attrs(PODS, named("p", spec={"containers": [{"name": "c"}]})))


async def test_the_chain_asks_in_order_and_only_who_cares(world: Any) -> None:
    asked: list[str] = []

    class Plain(Plugin):
        def __init__(self, name: str, operation: str) -> None:
            self.name, self.operation = name, operation

        def handles(self, operation: str, resource: Any, subresource: str) -> bool:
            return operation == self.operation

        def mutate(self, attrs: Any) -> Any:
            asked.append(self.name)

    class Waiting(Plain):
        async def mutate(self, attrs: Any) -> None:
            asked.append(f"{self.name} waited")

    links = chain.Chain([Plain("a", "CREATE"), Waiting("b", "CREATE"), Plain("c", "DELETE")])
    await links.mutate(world.attrs(PODS, named("p")))
    await links.validate(world.attrs(PODS, named("p")))
    assert asked == ["a", "b waited"]


async def test_who_checks_sees_what_all_who_mutate_have_left(world: Any) -> None:
    asked: list[str] = []

    class Changing(Plugin):
        def handles(self, operation: str, resource: Any, subresource: str) -> bool:
            return True

        def mutate(self, attrs: Any) -> Any:
            asked.append("mutate")
            attrs.should_reinvoke = True

        def validate(self, attrs: Any) -> Any:
            asked.append("validate")

    class Checking(Changing):
        def check(self, attrs: Any) -> None:
            asked.append("check")

    links, attrs = chain.Chain([Checking(), Changing()]), world.attrs(PODS, named("p"))
    await links.mutate(attrs)
    await links.validate(attrs)
    assert asked == ["mutate"] * 4 + ["check"] + ["validate"] * 2


def test_the_list_is_in_stocks_order(world: Any) -> None:
    names = [plugin.name for plugin in chain.default(world.reader.store, world.kinds).plugins]
    assert names[:3] == ["NamespaceLifecycle", "LimitRanger", "ServiceAccount"]
    assert names[-1] == "ResourceQuota"
    assert len(set(names)) == len(names)
