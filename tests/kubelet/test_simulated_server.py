"""What simulated nodes say of themselves over their shared port: each its own name and its own pods, and nothing to other machines."""

import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from kapi import testing
from kapi.objects import quantity
from kapi.testing import Cluster

pytestmark = pytest.mark.slow
NODES = ("node-0", "node-1", "node-2")
POD = {"containers": [{"name": "c", "image": "x", "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1}}]}


class Nodes:
    """A cluster with a pod on each node, all of them ready."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.uids: dict[str, str] = {}
        for node in NODES:
            pod = {"metadata": {"name": f"on-{node}"}, "spec": {**POD, "nodeName": node}}
            self.uids[node] = json.loads(self.ask("/api/v1/namespaces/default/pods", pod))["metadata"]["uid"]
        ready: set[str] = set()
        watch = "/api/v1/namespaces/default/pods?watch=true&timeoutSeconds=20"
        with self._open(watch) as events:
            while len(ready) < len(NODES):
                pod = json.loads(events.readline())["object"]
                conditions = pod.get("status", {}).get("conditions") or ()
                ready |= {pod["metadata"]["name"] for c in conditions if c["type"] == "Ready" and c["status"] == "True"}

    def _open(self, path: str, body: Any = None, server: str = "") -> Any:
        trust = ssl.create_default_context(cafile=str(self._cluster.authority))
        trust.check_hostname = not server
        headers = {"Authorization": f"Bearer {self._cluster.token}", "Content-Type": "application/json"}
        raw = None if body is None else json.dumps(body).encode()
        return urlopen(Request((server or self._cluster.server) + path, raw, headers), context=trust, timeout=20)

    def ask(self, path: str, body: Any = None, server: str = "") -> str:
        with self._open(path, body, server) as answer:
            return str(answer.read().decode())

    def proxied(self, node: str, path: str) -> str:
        return self.ask(f"/api/v1/nodes/{node}/proxy/{path}")

    def port(self) -> int:
        node = json.loads(self.ask("/api/v1/nodes/node-0"))
        return int(node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"])


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with testing.cluster(nodes=len(NODES)) as cluster:
        yield Nodes(cluster)


@pytest.mark.parametrize("node", NODES)
def test_the_summary_is_of_one_node(nodes: Nodes, node: str) -> None:
    found = json.loads(nodes.proxied(node, "stats/summary"))
    assert found["node"]["nodeName"] == node
    assert [pod["podRef"]["name"] for pod in found["pods"]] == [f"on-{node}"]
    capacity = json.loads(nodes.ask(f"/api/v1/nodes/{node}"))["status"]["capacity"]
    memory, fs = found["node"]["memory"], found["node"]["fs"]
    assert memory["availableBytes"] + memory["usageBytes"] == quantity.value(capacity["memory"])
    assert fs["capacityBytes"] == quantity.value(capacity["ephemeral-storage"])


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("path", ["pods", "runningpods/"])
def test_pods_are_of_one_node(nodes: Nodes, node: str, path: str) -> None:
    assert [pod["metadata"]["name"] for pod in json.loads(nodes.proxied(node, path))["items"]] == [f"on-{node}"]


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("path", ["metrics/resource", "metrics/cadvisor", "metrics/probes"])
def test_metrics_are_of_one_node(nodes: Nodes, node: str, path: str) -> None:
    said = nodes.proxied(node, path)
    assert [other for other in NODES if f'pod="on-{other}"' in said] == [node]


@pytest.mark.parametrize("node", NODES)
def test_the_kubelet_knows_its_name(nodes: Nodes, node: str) -> None:
    said = nodes.proxied(node, "metrics")
    assert f'kubelet_node_name{{node="{node}"}} 1' in said
    assert "kubelet_running_pods 1\n" in said


def test_configurations_differ(nodes: Nodes) -> None:
    ranges = [json.loads(nodes.proxied(node, "configz"))["kubeletconfig"]["podCIDR"] for node in NODES]
    assert ranges == ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"]


def test_events_name_their_node(nodes: Nodes) -> None:
    events = json.loads(nodes.ask("/api/v1/namespaces/default/events"))["items"]
    hosts = {e["involvedObject"]["name"]: e["source"]["host"] for e in events if e["source"].get("component") == "kubelet"}
    assert hosts == {**{f"on-{node}": node for node in NODES}, **{node: node for node in NODES}}


def test_logs_are_had_of_the_node_of_the_pod(nodes: Nodes) -> None:
    assert nodes.proxied("node-1", "containerLogs/default/on-node-1/c") == ""
    with pytest.raises(HTTPError) as refused:
        nodes.proxied("node-1", "containerLogs/default/on-node-2/c")
    assert (refused.value.code, refused.value.read()) == (404, b'pods "on-node-2" not found\n')
    refused.value.close()


def test_an_address_of_no_node(nodes: Nodes) -> None:
    with pytest.raises(URLError, match="Connection refused"):
        nodes.ask("/pods", server=f"https://127.0.0.1:{nodes.port()}")


@pytest.mark.containers
def test_another_machine_does_not_reach_them(nodes: Nodes) -> None:
    """Another network namespace stands for it."""
    name, near, far = "kapi-test-lo", "169.254.77.1", "169.254.77.2"
    connect = f"import socket; socket.create_connection(('{near}', int(__import__('sys').argv[1])), 5)"

    def reached(port: int) -> bool:
        command = ["ip", "netns", "exec", name, sys.executable, "-c", connect, str(port)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    commands = (
        f"netns add {name}", f"link add {name} type veth peer name eth0 netns {name}", f"addr add {near}/30 dev {name}",
        f"link set {name} up", f"-n {name} addr add {far}/30 dev eth0", f"-n {name} link set eth0 up",
    )  # fmt: skip
    try:
        for command in commands:
            subprocess.run(["ip", *command.split()], check=True)
        with socket.create_server((near, 0)) as seen:
            assert reached(seen.getsockname()[1])
        assert not reached(nodes.port())
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False)
