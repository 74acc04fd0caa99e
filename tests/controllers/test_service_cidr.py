"""Stories of ServiceCIDRs and the addresses in them."""


from kapi.controllers.service_cidr import FINALIZER, ServiceRanges
from kapi.objects import meta
from kapi.objects.resource import IP_ADDRESSES, SERVICE_CIDRS
from tests.controllers.story import Cluster, story


def add(cluster: Cluster, name: str, *cidrs: str) -> None:
    cluster.api.create(SERVICE_CIDRS, {"metadata": {"name": name}, "spec": {"cidrs": list(cidrs)}})


def condition(cluster: Cluster, name: str) -> tuple[str, str, str]:
    found = cluster.api.get(SERVICE_CIDRS, name)
    assert found is not None
    [ready] = found["status"]["conditions"]
    return ready["status"], ready["reason"], ready["message"]


@story
async def test_ready_and_protected(cluster: Cluster) -> None:
    add(cluster, "a", "10.0.0.0/24")
    await cluster.run(ServiceRanges)
    found = cluster.api.get(SERVICE_CIDRS, "a")
    assert found is not None
    assert meta.finalizers(found) == [FINALIZER]
    assert condition(cluster, "a") == ("True", "", "Kubernetes Service CIDR is ready")


@story
async def test_an_address_needs_a_range(cluster: Cluster) -> None:
    add(cluster, "a", "10.0.0.0/24")
    await cluster.run(ServiceRanges)
    cluster.api.create(IP_ADDRESSES, {"metadata": {"name": "10.0.0.7"}, "spec": {}})
    found = cluster.api.get(SERVICE_CIDRS, "a")
    assert found is not None
    cluster.api.delete(SERVICE_CIDRS, found, {})
    await cluster.advance(30)
    assert condition(cluster, "a")[:2] == ("False", "Terminating")
    add(cluster, "b", "10.0.0.0/16")
    await cluster.advance(1)
    assert cluster.api.get(SERVICE_CIDRS, "a") is None, "the other range has the address, and everybody had the time to hear of it"


@story
async def test_a_range_nobody_needs_goes_after_a_while(cluster: Cluster) -> None:
    add(cluster, "a", "10.0.0.0/24")
    await cluster.run(ServiceRanges)
    found = cluster.api.get(SERVICE_CIDRS, "a")
    assert found is not None
    cluster.api.delete(SERVICE_CIDRS, found, {})
    await cluster.advance(8)
    assert cluster.api.get(SERVICE_CIDRS, "a") is not None
    await cluster.advance(3)
    assert cluster.api.get(SERVICE_CIDRS, "a") is None
