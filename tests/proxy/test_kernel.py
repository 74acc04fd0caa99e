"""The rules in a real kernel: a node with a bridge, two pods and a client outside, all in network namespaces of their own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from kapi.proxy import model, rules
from kapi.proxy.model import NodeLocation
from kapi.proxy.rules import Fragment, Options
from kapi.proxy.table import Table
from tests.proxy.making import endpoint, piece, service

pytestmark = [pytest.mark.containers, pytest.mark.slow]

SERVER = """
import socket, sys, threading
name = sys.argv[1].encode()
tcp = socket.create_server(("0.0.0.0", 8080)); udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(("0.0.0.0", 8080))
def datagrams():
    while True:
        _, peer = udp.recvfrom(100); udp.sendto(name + b" " + peer[0].encode(), peer)
threading.Thread(target=datagrams, daemon=True).start()
print("up", flush=True)
while True:
    c, peer = tcp.accept(); c.sendall(name + b" " + peer[0].encode()); c.close()
"""
CLIENT = """
import socket, sys
kind, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM); s.settimeout(0.4)
try:
    s.connect((address, port))
    if kind == "udp": s.send(b"?")
    print(s.recv(100).decode())
except TimeoutError: print("timeout")
except ConnectionRefusedError: print("refused")
"""


class Node:
    """A node in a network namespace, with its pods."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.processes: list[subprocess.Popen[str]] = []
        self.spaces: list[str] = []
        self.table = Table("IPv4")

    def sh(self, text: str) -> None:
        for line in text.strip().splitlines():
            subprocess.run(line.replace("@", self.tag).split(), check=True)

    def space(self, name: str) -> str:
        self.spaces.append(f"{self.tag}{name}")
        self.sh(f"ip netns add @{name}\nip -n @{name} link set lo up")
        return f"{self.tag}{name}"

    def attach(self, name: str, address: str, gateway: str, bridge: str) -> None:
        self.space(name)
        self.sh(f"""
ip -n @node link add v{name} type veth peer name eth0 netns @{name}
ip -n @node link set v{name} master {bridge} up
ip -n @{name} addr add {address}/24 dev eth0
ip -n @{name} link set eth0 up
ip -n @{name} route add default via {gateway}""")

    def build(self) -> None:
        self.space("node")
        for bridge, address in (("pods", "10.88.0.1"), ("wire", "192.168.77.1")):
            self.sh(f"""
ip -n @node link add {bridge} type bridge
ip -n @node addr add {address}/24 dev {bridge}
ip -n @node link set {bridge} up""")
        self.sh("ip netns exec @node sysctl -q -w net.ipv4.ip_forward=1 net.ipv4.icmp_ratelimit=0 net.ipv4.conf.all.send_redirects=0")
        self.sh("ip netns exec @node sysctl -q -w net.bridge.bridge-nf-call-iptables=0")
        self.sh("ip -n @node route add default via 192.168.77.9")
        self.attach("p1", "10.88.0.2", "10.88.0.1", "pods")
        self.attach("p2", "10.88.0.3", "10.88.0.1", "pods")
        self.attach("out", "192.168.77.9", "192.168.77.1", "wire")
        for pod in ("p1", "p2"):
            self.sh(f"ip netns exec @node bridge link set dev v{pod} hairpin on")
            self.serve(pod)

    def serve(self, where: str) -> None:
        command = ["ip", "netns", "exec", f"{self.tag}{where}", sys.executable, "-c", SERVER, where]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"

    def nft(self, script: str) -> None:
        subprocess.run(["ip", "netns", "exec", f"{self.tag}node", "nft", "-f", "-"], input=script, text=True, check=True)

    def write(self, options: Options, *ports: model.ServicePort) -> None:
        self.table = Table("IPv4")
        self.table.replace({p.name: rules.fragment(p, options) for p in ports})
        self.nft(rules.everything(["IPv4"], options, {"IPv4": self.table.fragment()}))

    def change(self, options: Options, **ports: model.ServicePort | None) -> None:
        changes = {p.name if p else name: rules.fragment(p, options) if p else Fragment() for name, p in ports.items()}
        self.nft(self.table.replace(changes))

    def listing(self, what: str) -> str:
        command = ["ip", "netns", "exec", f"{self.tag}node", "nft", "list", what]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def ask(self, where: str, address: str, port: int, kind: str = "tcp") -> str:
        command = ["ip", "netns", "exec", f"{self.tag}{where}", sys.executable, "-S", "-c", CLIENT, kind, address, str(port)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def destroy(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space], check=False)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    assert os.geteuid() == 0
    assert shutil.which("nft")
    built = Node(f"kpt{os.getpid()}")
    try:
        built.build()
        yield built
    finally:
        built.destroy()


OPTIONS = Options(masquerade_same_link=True)


def made(*addresses: str, where: str = "here", protocol: str = "TCP", **spec: Any) -> model.ServicePort:
    ports = [{"name": "http", "port": 80, "protocol": protocol, "nodePort": spec.pop("nodePort", 0)}]
    slices = [piece(*(endpoint(a, where) for a in addresses), protocol=protocol)] if addresses else []
    return model.service_ports(service(ports=ports, **spec), slices, NodeLocation("here"))[0]


def test_pods_node_and_outside_reach_a_cluster_ip(node: Node) -> None:
    node.write(OPTIONS, made("10.88.0.3"))
    assert node.ask("p1", "10.96.0.10", 80).startswith("p2 ")
    assert node.ask("node", "10.96.0.10", 80).startswith("p2 ")
    assert node.ask("out", "10.96.0.10", 80) == "p2 192.168.77.9"
    assert node.ask("p1", "10.96.0.10", 81) == "refused"


def test_a_pod_reaches_itself_through_its_service(node: Node) -> None:
    node.write(OPTIONS, made("10.88.0.2"))
    assert node.ask("p1", "10.96.0.10", 80) == "p1 10.88.0.1"


def test_both_endpoints_get_traffic(node: Node) -> None:
    node.write(OPTIONS, made("10.88.0.2", "10.88.0.3"))
    seen = {node.ask("out", "10.96.0.10", 80).split()[0] for _ in range(12)}
    assert seen == {"p1", "p2"}


def test_without_endpoints_connections_are_refused_and_come_back(node: Node) -> None:
    node.write(OPTIONS, made(nodePort=30080, type="NodePort"))
    assert [node.ask(w, "10.96.0.10", 80) for w in ("p1", "node", "out")] == ["refused"] * 3
    assert node.ask("out", "192.168.77.1", 30080) == "refused"
    node.change(OPTIONS, web=made("10.88.0.3", nodePort=30080, type="NodePort"))
    assert node.ask("out", "192.168.77.1", 30080) == "p2 10.88.0.1"
    node.change(OPTIONS, **{"default/web/tcp/http": None})
    listed = node.listing("ruleset")
    assert "10.96.0.10" not in listed
    assert "default/web" not in listed


def test_node_port_with_policy_local_keeps_the_client_address(node: Node) -> None:
    node.write(OPTIONS, made("10.88.0.3", nodePort=30080, type="NodePort", externalTrafficPolicy="Local"))
    assert node.ask("out", "192.168.77.1", 30080) == "p2 192.168.77.9"
    node.write(OPTIONS, made("10.88.0.3", where="there", nodePort=30080, type="NodePort", externalTrafficPolicy="Local"))
    assert node.ask("out", "192.168.77.1", 30080) == "timeout"
    assert node.ask("node", "192.168.77.1", 30080).startswith("p2 ")


def test_source_ranges_of_a_load_balancer(node: Node) -> None:
    status = {"loadBalancer": {"ingress": [{"ip": "172.31.0.5"}]}}
    node.write(OPTIONS, made("10.88.0.3", type="LoadBalancer", status=status, loadBalancerSourceRanges=["10.0.0.0/8"]))
    assert node.ask("out", "172.31.0.5", 80) == "timeout"
    assert node.ask("p1", "172.31.0.5", 80).startswith("p2 ")


def test_session_affinity_keeps_a_client_at_its_endpoint(node: Node) -> None:
    node.write(OPTIONS, made("10.88.0.2", "10.88.0.3", sessionAffinity="ClientIP"))
    assert len({node.ask("out", "10.96.0.10", 80) for _ in range(8)}) == 1


def test_udp_and_external_addresses(node: Node) -> None:
    node.write(OPTIONS, made("10.88.0.3", protocol="UDP", externalIPs=["172.31.0.6"]))
    assert node.ask("p1", "10.96.0.10", 80, "udp").startswith("p2 ")
    assert node.ask("out", "172.31.0.6", 80, "udp") == "p2 10.88.0.1"


def test_cleanup_leaves_no_table(node: Node) -> None:
    node.write(OPTIONS, made("10.88.0.3"))
    node.nft(rules.cleanup(["IPv4"]))
    assert node.listing("tables") == ""


def test_where_bridged_replies_are_seen_clients_keep_their_address(node: Node) -> None:
    switch = "ip netns exec @node sysctl -q -w net.bridge.bridge-nf-call-iptables="
    node.sh(switch + "1")
    try:
        node.write(Options(), made("10.88.0.3"))
        assert node.ask("p1", "10.96.0.10", 80) == "p2 10.88.0.2"
        node.write(Options(), made("10.88.0.2"))
        assert node.ask("p1", "10.96.0.10", 80) == "p1 10.88.0.1"
    finally:
        node.sh(switch + "0")
