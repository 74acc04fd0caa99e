"""Stories of namespaces: what each of them gets, and how they end."""

from kapi.controllers.namespace import Namespaces
from kapi.controllers.namespace_content import DefaultServiceAccounts, RootCertificates
from kapi.objects import meta
from kapi.objects.resource import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, PODS, SECRETS, SERVICE_ACCOUNTS
from tests.controllers.story import Cluster, story


@story
async def test_every_namespace_gets_account_and_authority_again_and_again(cluster: Cluster) -> None:
    cluster.api.create(NAMESPACES, {"metadata": {"name": "a"}})
    await cluster.run(DefaultServiceAccounts, RootCertificates)
    cluster.api.create(NAMESPACES, {"metadata": {"name": "b"}})
    await cluster.advance()
    for space in "ab":
        assert cluster.api.get(SERVICE_ACCOUNTS, f"{space}/default")
        found = cluster.api.get(CONFIG_MAPS, f"{space}/kube-root-ca.crt")
        assert found is not None
        assert found["data"] == {"ca.crt": "CA"}
    cluster.api.remove(SERVICE_ACCOUNTS, cluster.api.all(SERVICE_ACCOUNTS, "a")[0])
    found = cluster.api.all(CONFIG_MAPS, "a")[0]
    cluster.api.set(CONFIG_MAPS, found, data={"ca.crt": "forged"})
    await cluster.advance()
    assert cluster.api.get(SERVICE_ACCOUNTS, "a/default")
    assert cluster.api.all(CONFIG_MAPS, "a")[0]["data"] == {"ca.crt": "CA"}


@story
async def test_an_ending_namespace_is_emptied_and_goes(cluster: Cluster) -> None:
    space = cluster.api.create(NAMESPACES, {"metadata": {"name": "a"}})
    for where in (PODS, SECRETS, DEPLOYMENTS):
        cluster.api.create(where, {"metadata": {"name": "x", "namespace": "a"}, "spec": {}})
    cluster.api.create(SECRETS, {"metadata": {"name": "x", "namespace": "b"}})
    await cluster.run(Namespaces)
    cluster.api.delete(NAMESPACES, space, {})
    await cluster.advance()
    assert cluster.api.all(NAMESPACES) == []
    assert [meta.namespace(s) for s in cluster.api.all(SECRETS)] == ["b"]


@story
async def test_pods_go_before_what_they_use_and_what_remains_is_told(cluster: Cluster) -> None:
    space = cluster.api.create(NAMESPACES, {"metadata": {"name": "a"}})
    pod = cluster.api.create(PODS, {"metadata": {"name": "x", "namespace": "a"}, "spec": {"nodeName": "n1"}})
    held = {"name": "y", "namespace": "a", "finalizers": ["example.com/hold"]}
    cluster.api.create(SECRETS, {"metadata": held})
    await cluster.run(Namespaces)
    cluster.api.delete(NAMESPACES, space, {})
    await cluster.advance()
    assert cluster.api.all(SECRETS)[0]["metadata"].get("deletionTimestamp") is None
    conditions = {c["type"]: c for c in cluster.api.all(NAMESPACES)[0]["status"]["conditions"]}
    assert conditions["NamespaceContentRemaining"]["message"] == "Some resources are remaining: pods. has 1 resource instances"
    cluster.api.remove(PODS, pod)
    await cluster.advance()
    conditions = {c["type"]: c for c in cluster.api.all(NAMESPACES)[0]["status"]["conditions"]}
    wanted = "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    assert conditions["NamespaceFinalizersRemaining"]["message"] == wanted
    secret = cluster.api.all(SECRETS)[0]
    cluster.api.remove(SECRETS, secret)
    await cluster.advance(20)
    assert cluster.api.all(NAMESPACES) == []
