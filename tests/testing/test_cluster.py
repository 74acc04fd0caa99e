"""A cluster inside pytest, driven by the official client."""

import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client, config, watch

from kapi import testing
from kapi.testing import Cluster
from tests.controllers.test_identities import request

pytestmark = pytest.mark.slow


@pytest.fixture
def api(cluster: Cluster) -> Iterator[client.ApiClient]:
    made = config.new_client_from_config(str(cluster.kubeconfig))
    yield made
    made.rest_client.pool_manager.clear()
    made.close()


def test_a_pod_runs(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    spec = client.V1PodSpec(containers=[client.V1Container(name="c", image="anything")])
    core.create_namespaced_pod("default", client.V1Pod(metadata=client.V1ObjectMeta(name="p"), spec=spec))
    until = watch.Watch()
    for event in until.stream(core.list_namespaced_pod, "default", timeout_seconds=10):
        if event["object"].status.phase == "Running":
            until.stop()
    assert core.read_namespaced_pod("p", "default").spec.node_name == "node-0"


def test_the_token_is_the_administrator_s(cluster: Cluster, api: client.ApiClient) -> None:
    answered = client.AuthenticationV1Api(api).create_token_review({"spec": {"token": cluster.token}})
    assert "system:masters" in answered.status.user.groups
    assert "-----BEGIN CERTIFICATE-----" in cluster.authority.read_text()


def test_several_nodes_and_nothing_left() -> None:
    threads = threading.active_count()
    started = time.perf_counter()
    with testing.cluster(nodes=3) as made:
        assert time.perf_counter() - started < 5
        api = config.new_client_from_config(str(made.kubeconfig))
        assert [n.metadata.name for n in client.CoreV1Api(api).list_node().items] == ["node-0", "node-1", "node-2"]
        api.rest_client.pool_manager.clear()
        api.close()
    assert not made.directory.exists()
    assert threading.active_count() == threads
    with pytest.raises(OSError):
        urllib.request.urlopen(made.server, timeout=1)


def test_what_controllers_sign_is_signed(api: client.ApiClient) -> None:
    """An approved request gets its certificate, a Secret of an account its token."""
    requests, core = client.CertificatesV1Api(api), client.CoreV1Api(api)
    made = requests.create_certificate_signing_request(request("kube-apiserver-client", "alice", "team"))
    made.status.conditions = [{"type": "Approved", "status": "True", "reason": "Test"}]
    requests.replace_certificate_signing_request_approval("r", made)
    annotations = {"kubernetes.io/service-account.name": "default"}
    secret = {"metadata": {"name": "token", "annotations": annotations}, "type": "kubernetes.io/service-account-token"}
    core.create_namespaced_secret("default", secret)
    first(requests.list_certificate_signing_request, lambda one: one.status.certificate)
    first(core.list_namespaced_secret, lambda one: "token" in (one.data or {}), "default")


def first(listed: Callable[..., Any], true: Callable[[Any], Any], *where: str) -> None:
    """Watch until an object is so."""
    until = watch.Watch()
    assert any(true(event["object"]) for event in until.stream(listed, *where, timeout_seconds=10))
