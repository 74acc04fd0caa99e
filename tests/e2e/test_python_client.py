"""The official Python client: CRUD, watches that resume, patches, streams, leader election, the dynamic client."""

import gc
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client, config, dynamic, watch
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from kubernetes.stream import portforward, stream

from tests.e2e.cluster import Cluster, Kubectl
from tests.e2e.test_streams import pod

pytestmark = pytest.mark.slow


def connected(cluster: Cluster) -> Iterator[client.ApiClient]:
    api = config.new_client_from_config(str(cluster.kubeconfig))
    yield api
    api.rest_client.pool_manager.clear()
    api.close()


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """The client leaves sockets of its streams and watches to the collector, which warns of each: here, not in a later test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def api(sim: Kubectl) -> Iterator[client.ApiClient]:
    """The client of a cluster without containers."""
    yield from connected(sim.cluster)


@pytest.fixture
def maps(api: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(api)


def config_map(name: str, **data: str) -> client.V1ConfigMap:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"test": "yes"}), data=data)


def test_crud(sim: Kubectl, maps: client.CoreV1Api) -> None:
    made = maps.create_namespaced_config_map(sim.namespace, config_map("a", k="1"))
    assert made.metadata.creation_timestamp.tzinfo is not None
    made.data["k"] = "2"
    changed = maps.replace_namespaced_config_map("a", sim.namespace, made)
    assert changed.metadata.resource_version != made.metadata.resource_version
    with pytest.raises(client.ApiException) as stale:
        maps.replace_namespaced_config_map("a", sim.namespace, made)
    assert (stale.value.status, stale.value.reason) == (409, "Conflict")
    assert maps.read_namespaced_config_map("a", sim.namespace).data == {"k": "2"}
    assert [i.metadata.name for i in maps.list_namespaced_config_map(sim.namespace, label_selector="test=yes").items] == ["a"]
    maps.delete_namespaced_config_map("a", sim.namespace)
    with pytest.raises(client.ApiException) as gone:
        maps.read_namespaced_config_map("a", sim.namespace)
    assert gone.value.status == 404


def test_patches(sim: Kubectl, maps: client.CoreV1Api) -> None:
    maps.create_namespaced_config_map(sim.namespace, config_map("a", k="1"))
    assert maps.patch_namespaced_config_map("a", sim.namespace, {"data": {"l": "2"}}).data == {"k": "1", "l": "2"}
    steps = [{"op": "remove", "path": "/data/k"}]
    assert maps.patch_namespaced_config_map("a", sim.namespace, steps).data == {"l": "2"}


def test_pages(sim: Kubectl, maps: client.CoreV1Api) -> None:
    for i in range(5):
        maps.create_namespaced_config_map(sim.namespace, config_map(f"m{i}"))
    names, token = [], ""
    while token is not None:
        page = maps.list_namespaced_config_map(sim.namespace, label_selector="test=yes", limit=2, _continue=token)
        names += [i.metadata.name for i in page.items]
        token = page.metadata._continue
    assert names == [f"m{i}" for i in range(5)]


def test_watch_and_resume(sim: Kubectl, maps: client.CoreV1Api) -> None:
    """A second watch goes on where the first one ended."""
    for i in range(3):
        maps.create_namespaced_config_map(sim.namespace, config_map(f"m{i}"))
    first = watch.Watch()
    seen = []
    for event in first.stream(maps.list_namespaced_config_map, sim.namespace, label_selector="test=yes", timeout_seconds=5):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 3:
            version = event["object"].metadata.resource_version
            first.stop()
    maps.delete_namespaced_config_map("m1", sim.namespace)
    maps.create_namespaced_config_map(sim.namespace, config_map("m3"))
    second = watch.Watch()
    for event in second.stream(maps.list_namespaced_config_map, sim.namespace, resource_version=version, timeout_seconds=5):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 5:
            second.stop()
    assert seen == [("ADDED", "m0"), ("ADDED", "m1"), ("ADDED", "m2"), ("DELETED", "m1"), ("ADDED", "m3")]


def test_a_workload(sim: Kubectl, api: client.ApiClient) -> None:
    apps = client.AppsV1Api(api)
    labels = {"app": "web"}
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels), spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="x")])
    )
    spec = client.V1DeploymentSpec(replicas=2, selector=client.V1LabelSelector(match_labels=labels), template=template)
    made = client.V1Deployment(metadata=client.V1ObjectMeta(name="web"), spec=spec)
    apps.create_namespaced_deployment(sim.namespace, made)
    until = watch.Watch()
    for event in until.stream(apps.list_namespaced_deployment, sim.namespace, timeout_seconds=20):
        if event["object"].status.available_replicas == 2:
            until.stop()
    assert apps.read_namespaced_deployment_scale("web", sim.namespace).status.replicas == 2
    apps.patch_namespaced_deployment_scale("web", sim.namespace, {"spec": {"replicas": 0}})
    assert apps.read_namespaced_deployment("web", sim.namespace).spec.replicas == 0


def test_the_dynamic_client(sim: Kubectl, api: client.ApiClient, tmp_path: Any) -> None:
    found = dynamic.DynamicClient(api, cache_file=str(tmp_path / "discovery.json"))
    maps = found.resources.get(api_version="v1", kind="ConfigMap")
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}
    maps.create(body=body, namespace=sim.namespace)
    assert maps.get(name="a", namespace=sim.namespace).data.k == "v"
    body["data"] = {"k": "w"}
    assert maps.server_side_apply(body=body, namespace=sim.namespace, field_manager="test", force_conflicts=True).data.k == "w"
    assert len(found.resources.search(kind="Deployment", group="apps")) == 1
    maps.delete(name="a", namespace=sim.namespace)


def test_leader_election(sim: Kubectl, api: client.ApiClient) -> None:
    """One candidate leads; another one sees that it does."""
    client.Configuration.set_default(api.configuration)
    led = threading.Event()
    me = f"candidate-{uuid.uuid4()}"
    lock = LeaseLock("leader", sim.namespace, me)
    election = electionconfig.Config(
        lock, lease_duration=10, renew_deadline=8, retry_period=2, onstarted_leading=led.set, onstopped_leading=None
    )
    elector = leaderelection.LeaderElection(election)
    assert elector.try_acquire_or_renew()
    lease = client.CoordinationV1Api(api).read_namespaced_lease("leader", sim.namespace)
    assert lease.spec.holder_identity == me
    rival = leaderelection.LeaderElection(
        electionconfig.Config(
            LeaseLock("leader", sim.namespace, "rival"), lease_duration=10, renew_deadline=8, retry_period=2,
            onstarted_leading=led.set, onstopped_leading=None,
        )
    )  # fmt: skip
    assert not rival.try_acquire_or_renew()


def test_errors_are_told(sim: Kubectl, maps: client.CoreV1Api) -> None:
    with pytest.raises(client.ApiException) as refused:
        maps.create_namespaced_config_map(sim.namespace, config_map("BAD"))
    assert refused.value.status == 422
    assert "a lowercase RFC 1123 subdomain must consist of" in refused.value.body


@pytest.fixture
def shell(kubectl: Kubectl) -> Kubectl:
    """A pod named shell with real containers, that echoes on port 7000."""
    ready = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}
    kubectl.apply(pod("shell", "nc -ll -p 7000 -e cat & touch /tmp/ready; wait", readinessProbe=ready))
    kubectl("wait", "--for=condition=Ready", "pod/shell", "--timeout=20s")
    return kubectl


@pytest.fixture
def real_api(shell: Kubectl) -> Iterator[client.CoreV1Api]:
    for api in connected(shell.cluster):
        yield client.CoreV1Api(api)


@pytest.mark.containers
def test_exec(shell: Kubectl, real_api: client.CoreV1Api) -> None:
    call: Callable[..., Any] = real_api.connect_get_namespaced_pod_exec
    command = ["sh", "-c", "echo out; echo err >&2; read line; echo got $line; exit 3"]
    talk = stream(
        call, "shell", shell.namespace, command=command, stdin=True, stdout=True, stderr=True, tty=False, _preload_content=False
    )
    talk.write_stdin("words\n")
    talk.run_forever(timeout=10)
    assert talk.read_stdout() == "out\ngot words\n"
    assert talk.read_stderr() == "err\n"
    assert talk.returncode == 3
    talk.close()
    out = stream(call, "shell", shell.namespace, command=["echo", "hello"], stdin=False, stdout=True, stderr=True, tty=False)
    assert out == "hello\n"


@pytest.mark.containers
def test_logs(shell: Kubectl, real_api: client.CoreV1Api) -> None:
    assert real_api.read_namespaced_pod_log("shell", shell.namespace) == ""


@pytest.mark.containers
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_port_forward(shell: Kubectl, real_api: client.CoreV1Api) -> None:
    forwarding = portforward(real_api.connect_get_namespaced_pod_portforward, "shell", shell.namespace, ports="7000")
    socket = forwarding.socket(7000)
    socket.settimeout(10)
    data = b"0123456789" * 5000
    socket.sendall(data)
    back = b""
    while len(back) < len(data):
        back += socket.recv(1 << 16)
    assert back == data
    assert forwarding.error(7000) is None
    socket.close()
    forwarding.websocket.close()
    del socket, forwarding
    gc.collect()
