"""Cluster IPs and node ports: chosen, named, taken, given back."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from kapi.objects import errors
from kapi.objects.meta import Object
from kapi.registry.allocators import Allocators, NumberAllocator
from kapi.registry.kind import Kind
from kapi.registry.kinds.core.service import ServiceStrategy
from kapi.storage.store import Store

SERVICES = cast(Kind, SimpleNamespace(collection="/core/services/"))
OTHERS = cast(Kind, SimpleNamespace(collection="/core/pods/"))


class Stored:
    """A store that holds these services."""

    def __init__(self, *services: Object) -> None:
        self.entries = [SimpleNamespace(obj=service) for service in services]

    def list(self, prefix: str) -> Any:
        return SimpleNamespace(entries=self.entries)


def allocators(*services: Object, **how: Any) -> Allocators:
    return Allocators(cast(Store, Stored(*services)), **how)


def service(**spec: Any) -> Object:
    obj = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], **spec}}
    ServiceStrategy().default(obj)
    return obj


def refusal(of: Allocators, obj: Object, old: Object | None = None) -> str:
    with pytest.raises(errors.Invalid) as caught:
        of.allocate(SERVICES, obj, old)
    return caught.value.message


def test_an_address_is_chosen_from_the_upper_band() -> None:
    obj = service()
    allocators(cidrs=["10.96.0.0/24"]).allocate(SERVICES, obj, None)
    spec = obj["spec"]
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert 17 <= int(spec["clusterIP"].rsplit(".", 1)[1]) <= 254
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")


def test_other_kinds_have_nothing_to_allocate() -> None:
    pod: Object = {"spec": {}}
    allocators().allocate(OTHERS, pod, None)()
    assert pod == {"spec": {}}


def test_a_named_address_is_taken_once() -> None:
    of = allocators()
    undo = of.allocate(SERVICES, service(clusterIP="10.96.0.9"), None)
    message = refusal(of, service(clusterIP="10.96.0.9"))
    assert "spec.clusterIPs: Invalid value: [\"10.96.0.9\"]: failed to allocate IP 10.96.0.9: " in message
    assert message.endswith("provided IP is already allocated")
    undo()
    of.allocate(SERVICES, service(clusterIP="10.96.0.9"), None)


def test_an_address_of_elsewhere() -> None:
    assert "failed to allocate IP 192.168.0.1: the provided network does not match the current range" in refusal(
        allocators(), service(clusterIP="192.168.0.1")
    )


def test_stored_services_hold_theirs() -> None:
    held = service(type="NodePort", clusterIP="10.96.0.9", clusterIPs=["10.96.0.9"], ports=[{"port": 80, "nodePort": 30080}])
    of = allocators(held)
    assert "provided IP is already allocated" in refusal(of, service(clusterIP="10.96.0.9"))
    taken = service(type="NodePort", ports=[{"port": 1, "nodePort": 30080}])
    assert refusal(of, taken).endswith("spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated")
    of.release(SERVICES, held)
    of.allocate(SERVICES, service(clusterIP="10.96.0.9"), None)


def test_node_ports() -> None:
    of = allocators()
    obj = service(type="NodePort", ports=[{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}, {"port": 80}])
    of.allocate(SERVICES, obj, None)
    dns, same, web = (port["nodePort"] for port in obj["spec"]["ports"])
    assert dns == same != web
    assert all(30086 <= port <= 32767 for port in (dns, web))
    far = service(type="NodePort", ports=[{"port": 1, "nodePort": 80}])
    assert "provided port is not in the valid range. The range of valid ports is 30000-32767" in refusal(of, far)


def test_a_dry_run_takes_nothing() -> None:
    of = allocators()
    for _ in range(2):
        of.allocate(SERVICES, service(clusterIP="10.96.0.9"), None, dry_run=True)


def test_an_update_keeps_what_it_leaves_out() -> None:
    of = allocators()
    old = service(type="NodePort")
    of.allocate(SERVICES, old, None)
    new = service(type="NodePort")
    of.allocate(SERVICES, new, old)
    assert new["spec"]["clusterIP"] == old["spec"]["clusterIP"]
    assert new["spec"]["ports"][0]["nodePort"] == old["spec"]["ports"][0]["nodePort"]


def test_a_failed_update_gives_back_what_it_took() -> None:
    of = allocators()
    old = service(clusterIP="10.96.0.9")
    of.allocate(SERVICES, old, None)
    undo = of.allocate(SERVICES, service(type="ExternalName", externalName="a.b"), old)
    undo()
    assert "already allocated" in refusal(of, service(clusterIP="10.96.0.9"))


def test_headless_services_have_no_address_but_families() -> None:
    obj = service(clusterIP="None")
    allocators().allocate(SERVICES, obj, None)
    assert obj["spec"]["clusterIPs"] == ["None"]
    assert (obj["spec"]["ipFamilies"], obj["spec"]["ipFamilyPolicy"]) == (["IPv4", "IPv6"], "RequireDualStack")


def test_dual_stack() -> None:
    single = allocators()
    assert "this cluster is not configured for dual-stack services" in refusal(single, service(ipFamilyPolicy="RequireDualStack"))
    both = allocators(cidrs=["10.96.0.0/16", "fd00::/112"])
    obj = service(ipFamilyPolicy="PreferDualStack")
    both.allocate(SERVICES, obj, None)
    assert obj["spec"]["ipFamilies"] == ["IPv4", "IPv6"]
    assert len(obj["spec"]["clusterIPs"]) == 2
    assert obj["spec"]["clusterIPs"][1].startswith("fd00::")
    text = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"
    assert text in refusal(both, service(ipFamilyPolicy="SingleStack", ipFamilies=["IPv4", "IPv6"]))


def test_a_health_check_port_is_chosen_where_it_is_needed() -> None:
    obj = service(type="LoadBalancer", externalTrafficPolicy="Local")
    allocators().allocate(SERVICES, obj, None)
    assert 30086 <= obj["spec"]["healthCheckNodePort"] <= 32767


def test_a_range_ends() -> None:
    numbers = NumberAllocator(10, 3, 2)
    assert numbers.allocate_next() == 12
    assert {numbers.allocate_next(), numbers.allocate_next()} == {10, 11}
    assert numbers.allocate_next() is None
    numbers.release(11)
    assert numbers.allocate_next() == 11
