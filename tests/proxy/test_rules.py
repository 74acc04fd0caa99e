"""What is written for a service port, and that a change touches only what differs."""

from typing import Any

from kapi.proxy import conntrack, model, rules
from kapi.proxy.model import NodeLocation, ServicePort
from kapi.proxy.rules import EMPTY, EMPTY_NODE_PORTS, EMPTY_SERVICES, FIREWALL, HAIRPIN, NODE_PORTS, SERVICES, Fragment, Options
from kapi.proxy.table import Table
from tests.proxy.making import endpoint, piece, service

HERE = NodeLocation("here")


def port_of(*addresses: str, node: str = "here", **spec: Any) -> ServicePort:
    protocol = spec.pop("protocol", "TCP")
    ports = [{"name": "http", "port": 80, "protocol": protocol, "nodePort": spec.pop("nodePort", 0)}]
    slices = [piece(*(endpoint(a, node) for a in addresses), protocol=protocol)] if addresses else []
    return model.service_ports(service(ports=ports, **spec), slices, HERE)[0]


def written(*addresses: str, options: Options | None = None, **spec: Any) -> Fragment:
    return rules.fragment(port_of(*addresses, **spec), options or Options())


def test_a_cluster_ip_with_two_endpoints() -> None:
    out = written("10.0.0.1", "10.0.0.2")
    ((chain, (rule,)),) = out.chains.items()
    assert chain.startswith("service-")
    assert chain.endswith("-default/web/tcp/http")
    assert rule == "meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.0.0.1 . 8080, 1 : 10.0.0.2 . 8080 }"
    assert out.elements[SERVICES, "10.96.0.10 . tcp . 80"] == f"goto {chain}"
    assert (HAIRPIN, "10.0.0.1 . 10.0.0.1") in out.elements


def test_no_endpoints_is_refused_and_none_here_is_dropped() -> None:
    assert written().elements[EMPTY_SERVICES, "10.96.0.10 . tcp . 80"] == "goto reject-it"
    out = written("10.0.0.2", node="there", internalTrafficPolicy="Local")
    assert out.elements[EMPTY_SERVICES, "10.96.0.10 . tcp . 80"] == "drop"
    assert (SERVICES, "10.96.0.10 . tcp . 80") not in out.elements


def test_a_node_port_is_masqueraded_unless_policy_is_local() -> None:
    out = written("10.0.0.1", nodePort=30080, type="NodePort")
    outside = out.elements[NODE_PORTS, "tcp . 30080"].removeprefix("goto ")
    assert out.chains[outside][0] == "jump mark-for-masquerade"
    local = written("10.0.0.1", nodePort=30080, type="NodePort", externalTrafficPolicy="Local")
    outside = local.elements[NODE_PORTS, "tcp . 30080"].removeprefix("goto ")
    assert local.chains[outside][-1].startswith("goto local-")
    assert "jump mark-for-masquerade" not in local.chains[outside]


def test_a_local_node_port_without_local_endpoints_drops_but_serves_this_node() -> None:
    out = written("10.0.0.2", node="there", nodePort=30080, type="NodePort", externalTrafficPolicy="Local")
    assert out.elements[EMPTY_NODE_PORTS, "tcp . 30080"] == "drop"
    outside = out.elements[NODE_PORTS, "tcp . 30080"].removeprefix("goto ")
    assert out.chains[outside][-1].startswith("fib saddr type local goto service-")


def test_source_ranges_guard_only_balancer_addresses() -> None:
    status = {"loadBalancer": {"ingress": [{"ip": "5.6.7.8"}]}}
    out = written("10.0.0.1", type="LoadBalancer", status=status, loadBalancerSourceRanges=["10.0.0.0/8"])
    guard = out.elements[FIREWALL, "5.6.7.8 . tcp . 80"].removeprefix("goto ")
    assert out.chains[guard] == ("ip saddr { 10.0.0.0/8 } return", "drop")
    assert (FIREWALL, "10.96.0.10 . tcp . 80") not in out.elements


def test_affinity_remembers_clients_for_each_endpoint() -> None:
    out = written("10.0.0.1", "10.0.0.2", sessionAffinity="ClientIP")
    assert len(out.sets) == 2
    assert all("timeout 10800s" in text for text in out.sets.values())
    service_chain = next(rules for name, rules in out.chains.items() if name.startswith("service-"))
    assert service_chain[0].startswith("ip saddr @affinity-")


def test_traffic_from_outside_the_pods_is_masqueraded_when_their_range_is_known() -> None:
    out = written("10.0.0.1", options=Options(cluster_cidr="fd00::/48,10.0.0.0/16"))
    first = next(iter(out.chains.values()))[0]
    assert first == "ip daddr 10.96.0.10 tcp dport 80 ip saddr != 10.0.0.0/16 jump mark-for-masquerade"


def test_ipv6_targets_are_bracketed() -> None:
    obj = service(clusterIP="fd00::10")
    port = model.service_ports(obj, [piece(endpoint("fd00::1"))], HERE)[0]
    assert next(iter(rules.fragment(port, Options()).chains.values())) == ("meta l4proto tcp dnat to [fd00::1]:8080",)


def test_a_change_of_endpoints_rewrites_one_chain() -> None:
    table = Table("IPv4")
    first = table.replace({"web": written("10.0.0.1")})
    assert "add element ip kapi service-ips" in first
    script = table.replace({"web": written("10.0.0.1", "10.0.0.2")})
    assert script.count("flush chain") == 1
    assert "service-ips" not in script
    assert table.replace({"web": written("10.0.0.1", "10.0.0.2")}) == ""


def test_shared_elements_stay_until_the_last_owner_goes() -> None:
    table = Table("IPv4")
    table.replace({"a": written("10.0.0.1"), "b": written("10.0.0.1", clusterIP="10.96.0.11")})
    assert "hairpin" not in table.replace({"a": EMPTY})
    assert "delete element ip kapi hairpin { 10.0.0.1 . 10.0.0.1 }" in table.replace({"b": EMPTY})
    assert table.fragment() == Fragment()


def test_the_first_owner_of_an_address_keeps_it() -> None:
    table = Table("IPv4")
    table.replace({"a": written("10.0.0.1")})
    later = written("10.0.0.2")
    assert "add element ip kapi service-ips" not in table.replace({"b": later})
    takeover = table.replace({"a": EMPTY})
    assert "delete element ip kapi service-ips { 10.96.0.10 . tcp . 80 }" not in takeover or "add element ip kapi service-ips" in takeover


def test_udp_flows_to_endpoints_that_went_are_forgotten() -> None:
    old, new = port_of("10.0.0.1", "10.0.0.2", protocol="UDP"), port_of("10.0.0.1", protocol="UDP")
    (command,) = conntrack.stale(old, new)
    assert command[-2:] == ("--dst-nat", "10.0.0.2")
    assert conntrack.stale(port_of("10.0.0.1"), None) == []
    (begun,) = conntrack.stale(port_of(protocol="UDP"), new)
    assert "--dst-nat" not in begun
