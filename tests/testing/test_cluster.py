"""A cluster inside pytest, driven by the official client."""

import threading
import time
import urllib.request
from collections.abc import Iterator

import pytest
from kubernetes import client, config, watch

from kapi import testing
from kapi.testing import Cluster

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
