"""Which endpoints a node sends traffic to."""

from typing import Any

import pytest

from kapi.proxy import model
from kapi.proxy.model import NodeLocation, ServicePort
from tests.proxy.making import endpoint, piece, service

HERE = NodeLocation("here", "a")


def only(obj: dict[str, Any], *slices: dict[str, Any]) -> ServicePort:
    (port,) = model.service_ports(obj, list(slices), HERE)
    return port


def test_ready_endpoints_of_the_named_port() -> None:
    port = only(service(), piece(endpoint("10.0.0.2"), endpoint("10.0.0.1"), endpoint("10.0.0.3", ready=False)))
    assert port.anywhere == (("10.0.0.1", 8080), ("10.0.0.2", 8080))
    assert (port.name, port.cluster_ip, port.port) == ("default/web/tcp/http", "10.96.0.10", 80)
    assert only(service(), piece(endpoint("10.0.0.1"), port_name="other")).anywhere == ()


def test_terminating_ones_serve_only_when_nothing_is_ready() -> None:
    leaving = endpoint("10.0.0.9", ready=False, serving=True, terminating=True)
    assert only(service(), piece(leaving)).anywhere == (("10.0.0.9", 8080),)
    assert only(service(), piece(leaving, endpoint("10.0.0.1"))).anywhere == (("10.0.0.1", 8080),)


@pytest.mark.parametrize("spec", [{"clusterIP": "None"}, {"type": "ExternalName"}, {"clusterIP": ""}])
def test_services_without_an_address_are_left_alone(spec: dict[str, Any]) -> None:
    assert model.service_ports(service(**spec), [], HERE) == []


def test_another_proxys_services_are_left_alone() -> None:
    obj = service()
    obj["metadata"]["labels"] = {model.PROXY_NAME: "mine"}
    assert model.service_ports(obj, [], HERE) == []


def test_policy_local_keeps_to_this_node() -> None:
    obj = service(externalTrafficPolicy="Local", internalTrafficPolicy="Local", type="NodePort")
    port = only(obj, piece(endpoint("10.0.0.1"), endpoint("10.0.0.2", "there")))
    assert port.internal == port.external == (("10.0.0.1", 8080),)
    assert len(port.anywhere) == 2
    far = only(obj, piece(endpoint("10.0.0.2", "there")))
    assert far.internal == ()
    assert far.exists


def test_hints_for_the_zone_hold_only_when_all_endpoints_have_them() -> None:
    near = endpoint("10.0.0.1", hints={"forZones": [{"name": "a"}]})
    far = endpoint("10.0.0.2", hints={"forZones": [{"name": "b"}]})
    assert only(service(), piece(near, far)).anywhere == (("10.0.0.1", 8080),)
    assert len(only(service(), piece(near, far, endpoint("10.0.0.3"))).anywhere) == 3
    assert only(service(), piece(far)).anywhere == (("10.0.0.2", 8080),)


def test_dual_stack_has_a_port_in_each_family() -> None:
    obj = service(clusterIPs=["10.96.0.10", "fd00::10"], externalIPs=["1.2.3.4", "fd00:1::1"])
    four, six = model.service_ports(obj, [piece(endpoint("10.0.0.1")), piece(endpoint("fd00::0:1"))], HERE)
    assert (four.family, four.external_ips, four.anywhere) == ("IPv4", ("1.2.3.4",), (("10.0.0.1", 8080),))
    assert (six.family, six.external_ips, six.anywhere) == ("IPv6", ("fd00:1::1",), (("fd00::1", 8080),))


def test_load_balancer_facts() -> None:
    status = {"loadBalancer": {"ingress": [{"ip": "5.6.7.8"}, {"ip": "5.6.7.9", "ipMode": "Proxy"}, {"hostname": "lb"}]}}
    obj = service(type="LoadBalancer", status=status, loadBalancerSourceRanges=["10.0.0.0/8", "fd00::/8"], sessionAffinity="ClientIP")
    port = only(obj)
    assert (port.balancer_ips, port.source_ranges, port.affinity) == (("5.6.7.8",), ("10.0.0.0/8",), 10800)


def test_health_check_counts_local_endpoints() -> None:
    obj = service(type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=30100)
    slices = [piece(endpoint("10.0.0.1"), endpoint("10.0.0.2", "there"), endpoint("10.0.0.3", ready=False))]
    assert model.health_check(obj, slices, HERE) == (30100, 1)
    assert model.health_check(service(), slices, HERE) == (0, 0)


def test_slices_name_their_service_unless_headless() -> None:
    one = piece(endpoint("10.0.0.1"))
    assert model.service_of_slice(one) == "default/web"
    one["metadata"]["labels"][model.HEADLESS] = ""
    assert model.service_of_slice(one) == ""
