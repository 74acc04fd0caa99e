"""An extension API server behind a Service and its EndpointSlice, as clients see it: kubectl, dynamic clients, kopf, Helm, upgrades."""

import asyncio
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kopf
import pytest
from kubernetes import client, dynamic
from kubernetes.aio import config as aio_config
from kubernetes.aio import dynamic as aio_dynamic
from websockets.sync.client import connect

from tests import extension
from tests.attacks.peers import own_address
from tests.clients.programs import program
from tests.clients.test_kopf import Operator
from tests.e2e.cluster import Cluster, Kubectl, line_with
from tests.extension import API, GROUP, Extension

pytestmark = pytest.mark.slow

NAME = f"v1.{GROUP}"
FLUNDER = {"apiVersion": f"{GROUP}/v1", "kind": "Flunder", "metadata": {"name": "a"}, "spec": {"weight": 3}}
INCOMPLETE = "unable to retrieve the complete list of server APIs: {0}: "


def available(kubectl: Kubectl) -> None:
    kubectl("wait", f"apiservice/{NAME}", "--for=condition=Available", "--timeout=30s")


@pytest.fixture
def wardle(cluster: Cluster, tmp_path: Path) -> Iterator[Extension]:
    """A running server, registered and found to be available."""
    kubectl = Kubectl(cluster, "default")
    with extension.serving(cluster.directory / "pki", tmp_path, own_address()) as running:
        objects = [*extension.service(running, own_address()), extension.api_service(443, running.authority)]
        kubectl.apply(*objects)
        available(kubectl)
        kubectl("get", "flunders", "-A")
        yield running
        for obj in reversed(objects):
            kubectl("delete", obj["kind"], obj["metadata"]["name"], "--ignore-not-found")


def test_kubectl(wardle: Extension, kubectl: Kubectl) -> None:
    row = next(line.split() for line in kubectl("api-resources").splitlines() if line.startswith("flunders"))
    assert row == ["flunders", "fl", f"{GROUP}/v1", "true", "Flunder"]
    assert f"{GROUP}/v1" in kubectl("api-versions").split()
    kubectl("create", "-f", "-", given=json.dumps(FLUNDER))
    assert kubectl("get", "fl", "a", "-o", "jsonpath={.spec.weight}") == "3"
    who = wardle.user(f"{API}/namespaces/{kubectl.namespace}/flunders/a")
    assert who == ("kubernetes-admin", ["system:masters", "system:authenticated"])
    assert kubectl("get", "flunders").split()[:3] == ["NAME", "AGE", "a"]
    with kubectl.running("get", "flunders", "-w", "-o", "name") as watching:
        assert "flunder" in line_with(watching.stdout, "a")
        kubectl("patch", "flunder", "a", "--type=merge", "-p", '{"spec": {"weight": 4}}')
        assert "flunder" in line_with(watching.stdout, "a")
    assert "How heavy it is." in kubectl("explain", "flunder.spec.weight")
    assert "How heavy it is." in kubectl("explain", "flunder.spec", "--output=plaintext-openapiv2")
    assert "deleted" in kubectl("delete", "flunder", "a")


def test_a_dead_server(wardle: Extension, kubectl: Kubectl) -> None:
    endpoints = extension.service(wardle, own_address())[1]
    kubectl("delete", "endpointslice", "wardle", "-n", "default")
    kubectl("wait", f"apiservice/{NAME}", "--for=condition=Available=False", "--timeout=30s")
    assert kubectl("get", "apiservice", NAME).split()[-3:-1] == ["False", "(EndpointsNotFound)"]
    refused = kubectl("get", "flunders", fails=True)
    assert "the server is currently unable to handle the request" in refused.err
    assert "flunders" not in kubectl("api-resources"), "what is stale is left out without a word: kubectl's cache does that"
    old = Kubectl(kubectl.cluster, kubectl.namespace, str(program("old", "kubectl")))
    told = old("api-resources", fails=True).err
    assert INCOMPLETE.format(f"{GROUP}/v1") + "the server is currently unable to handle the request" in told
    Kubectl(kubectl.cluster, "default").apply(endpoints)
    available(kubectl)
    assert "flunders" in kubectl("api-resources")


def test_an_api_service_without_a_backend_keeps_namespaces(kubectl: Kubectl) -> None:
    where = {"name": "adapter", "namespace": "custom-metrics"}
    spec = {"group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100, "service": where}
    obj = {
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
        "spec": {**spec, "insecureSkipTLSVerify": True},
    }  # fmt: skip
    kubectl.apply(obj)
    kubectl("wait", "apiservice/v1beta1.external.metrics.k8s.io", "--for=condition=Available=False", "--timeout=10s")
    try:
        assert "(ServiceUnavailable)" in kubectl("get", "--raw", "/apis/external.metrics.k8s.io/v1beta1", fails=True).err
        kubectl("create", "namespace", "hangs")
        kubectl("delete", "namespace", "hangs", "--wait=false")
        kubectl("wait", "namespace/hangs", "--for=condition=NamespaceDeletionDiscoveryFailure", "--timeout=20s")
        message = '{.status.conditions[?(@.type=="NamespaceDeletionDiscoveryFailure")].message}'
        api = "external.metrics.k8s.io/v1beta1"
        assert f"{INCOMPLETE.format(api)}stale GroupVersion discovery: {api}" in kubectl("get", "ns", "hangs", "-o", f"jsonpath={message}")
    finally:
        kubectl("delete", "apiservice", "v1beta1.external.metrics.k8s.io")
    kubectl("wait", "namespace/hangs", "--for=delete", "--timeout=30s")


def test_the_dynamic_client(wardle: Extension, api: client.ApiClient, kubectl: Kubectl, tmp_path: Path) -> None:
    found = dynamic.DynamicClient(api, cache_file=str(tmp_path / "discovery.json"))
    flunders = found.resources.get(api_version=f"{GROUP}/v1", kind="Flunder")
    assert flunders.create(body=FLUNDER, namespace=kubectl.namespace).metadata.uid == "u"
    events = flunders.watch(namespace=kubectl.namespace, timeout=10)
    assert next(iter(events))["type"] == "ADDED"
    assert [one.spec.weight for one in flunders.get(namespace=kubectl.namespace).items] == [3]
    flunders.delete(name="a", namespace=kubectl.namespace)


async def test_the_asynchronous_dynamic_client(wardle: Extension, cluster: Cluster, kubectl: Kubectl) -> None:
    made = await aio_config.new_client_from_config(str(cluster.kubeconfig))
    async with made as api, aio_dynamic.DynamicClient(api) as found:
        flunders = await found.resources.get(api_version=f"{GROUP}/v1", kind="Flunder")
        await flunders.create(body=FLUNDER, namespace=kubectl.namespace)
        assert (await flunders.get(name="a", namespace=kubectl.namespace)).spec.weight == 3
        await flunders.delete(name="a", namespace=kubectl.namespace)


async def test_kopf(wardle: Extension, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubectl.cluster.kubeconfig))
    operator = Operator(kubectl.namespace)

    @kopf.on.event(GROUP, "v1", "flunders", registry=operator.registry)
    async def seen(name: str, spec: Any, **_: Any) -> None:
        await operator.story.put((name, spec["weight"]))

    stop, ready = asyncio.Event(), asyncio.Event()
    kopf.on.login(registry=operator.registry)(kopf.login_with_kubeconfig)
    running = kopf.operator(
        registry=operator.registry, settings=operator.settings, namespaces=[kubectl.namespace], standalone=True,
        stop_flag=stop, ready_flag=ready,
    )  # fmt: skip
    task = asyncio.create_task(running)
    await asyncio.wait_for(ready.wait(), 10)
    await asyncio.to_thread(kubectl, "create", "-f", "-", given=json.dumps(FLUNDER))
    assert await operator.next() == ("a", 3)
    stop.set()
    await asyncio.wait_for(task, 10)
    await asyncio.to_thread(kubectl, "delete", "flunder", "a")


def test_helm_has_its_objects(wardle: Extension, kubectl: Kubectl, tmp_path: Path) -> None:
    helm = Kubectl(kubectl.cluster, kubectl.namespace, str(program("new", "helm")))
    (tmp_path / "fish" / "templates").mkdir(parents=True)
    (tmp_path / "fish" / "Chart.yaml").write_text("apiVersion: v2\nname: fish\nversion: 0.1.0\n")
    (tmp_path / "fish" / "templates" / "a.yaml").write_text(json.dumps(FLUNDER))
    assert "STATUS: deployed" in helm("install", "one", str(tmp_path / "fish"), "--server-side=false")
    assert ("default", "a") in wardle.objects or (kubectl.namespace, "a") in wardle.objects
    helm("uninstall", "one")
    assert not wardle.objects


def test_an_upgrade_passes(wardle: Extension, cluster: Cluster, kubectl: Kubectl) -> None:
    token = (cluster.directory / "tokens.csv").read_text().partition(",")[0]
    context = ssl.create_default_context(cafile=str(cluster.directory / "pki" / "ca.crt"))
    path = f"{API}/namespaces/{kubectl.namespace}/flunders/a/attach"
    head = f"POST {path}?stdin=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"
    with (
        socket.create_connection(("127.0.0.1", cluster.port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as line,
    ):
        line.sendall(head.encode())
        answer = line.makefile("rb")
        assert answer.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
        while answer.readline() != b"\r\n":
            continue
        for word in (b"one\n", b"two\n"):
            line.sendall(word)
            assert answer.readline() == word.upper()
    assert wardle.user(path)[0] == "admin"
    assert wardle.last(path).path.endswith("attach?stdin=1")


def test_a_websocket_passes(wardle: Extension, cluster: Cluster) -> None:
    token = (cluster.directory / "tokens.csv").read_text().partition(",")[0]
    context = ssl.create_default_context(cafile=str(cluster.directory / "pki" / "ca.crt"))
    url = f"wss://127.0.0.1:{cluster.port}{API}/namespaces/default/flunders/a/attach"
    with connect(url, ssl=context, additional_headers={"Authorization": f"Bearer {token}"}, proxy=None) as line:
        line.send(b"hello")
        assert line.recv() == b"HELLO"
