"""What every client is pointed at: a cluster without containers, and a namespace of one's own."""

import itertools
from collections.abc import Iterator

import pytest
from kubernetes import client, config

from tests.e2e.cluster import Cluster, Kubectl, started

_numbers = itertools.count(1)


@pytest.fixture(scope="package")
def cluster() -> Iterator[Cluster]:
    with started("--simulate") as cluster:
        yield cluster


@pytest.fixture
def kubectl(cluster: Cluster) -> Iterator[Kubectl]:
    """kubectl in a namespace of its own."""
    kubectl = Kubectl(cluster, f"clients-{next(_numbers)}")
    kubectl("create", "namespace", kubectl.namespace)
    kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=10s")
    yield kubectl
    kubectl("delete", "namespace", kubectl.namespace, "--wait=false")


@pytest.fixture(scope="package")
def api(cluster: Cluster) -> Iterator[client.ApiClient]:
    """The official client, as the administrator."""
    with config.new_client_from_config(str(cluster.kubeconfig)) as api:
        yield api
        api.rest_client.pool_manager.clear()


@pytest.fixture(scope="module")
def space(request: pytest.FixtureRequest, api: client.ApiClient) -> Iterator[str]:
    """The name of a namespace of the module's own."""
    name = request.module.__name__.rpartition(".")[2].replace("_", "-")
    core = client.CoreV1Api(api)
    core.create_namespace({"metadata": {"name": name}})
    yield name
    core.delete_namespace(name)
