"""`kapi up` to `kapi reset`, as a user types them, with simulated nodes."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.data_directories import snapshot
from tests.e2e.cluster import Cluster, Failed, Kubectl, free_port

pytestmark = pytest.mark.slow
OTHER = """apiVersion: v1
kind: Config
current-context: other
contexts: [{name: other, context: {cluster: other, user: other}}]
clusters: [{name: other, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: other, user: {token: t}}]
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Not up yet; down in the end."""
    cluster = Cluster(tmp_path / "data")
    cluster.env["KUBECONFIG"] = str(tmp_path / "kubeconfig")
    yield cluster
    cluster.kapi("down")


def test_a_cluster_s_life(cluster: Cluster, tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(OTHER)
    config.chmod(0o600)
    shown = cluster.kapi("up", "--simulate", "--nodes", "2", "--port", str(cluster.port))
    assert [line[1] for line in shown.splitlines()[:4]] == ["✓"] * 4
    assert "Next: kubectl --context kapi-data create deployment" in shown
    kubectl = Kubectl(cluster, "default")
    assert kubectl("--context", "kapi-data", "get", "nodes", "--no-headers").count(" Ready ") == 2
    assert kubectl("config", "current-context") == "kapi-data\n"
    assert "all" in cluster.kapi("status")
    with pytest.raises(Failed, match="A cluster is running from"):
        cluster.kapi("up", "--simulate", "--port", str(free_port()))
    assert "server: https://127.0.0.1" in cluster.kapi("kubeconfig")
    kubectl("--context", "kapi-data", "create", "configmap", "kept")
    assert "The cluster is down." in cluster.kapi("down")
    assert json.loads(kubectl("config", "view", "-o", "json"))["contexts"][0]["name"] == "other"
    assert "kapi" not in config.read_text()
    cluster.kapi("up", "--simulate", "--nodes", "2", "--port", str(cluster.port))
    assert kubectl("--context", "kapi-data", "get", "configmap", "kept", "-o", "name") == "configmap/kept\n"
    assert "is gone" in cluster.kapi("reset", "--yes")
    assert not cluster.directory.exists()


@pytest.mark.parametrize("there", ["not there", "empty"])
def test_a_first_start_that_fails_leaves_nothing(cluster: Cluster, tmp_path: Path, there: str) -> None:
    directory = tmp_path / "a" / "b"
    if there == "empty":
        directory.mkdir(parents=True)
    before = snapshot(tmp_path)
    with pytest.raises(Failed, match=r"This machine has no address 192\.0\.2\.7\. Name another with --bind-address\."):
        cluster.kapi("up", "--simulate", "--port", str(cluster.port), "--bind-address", "192.0.2.7", "--data-dir", str(directory))
    assert snapshot(tmp_path) == before


def test_a_later_start_that_fails_leaves_what_was_there(cluster: Cluster) -> None:
    cluster.kapi("up", "--simulate", "--port", str(cluster.port))
    cluster.kapi("down")
    with pytest.raises(Failed, match="This machine has no address"):
        cluster.kapi("up", "--simulate", "--port", str(cluster.port), "--bind-address", "192.0.2.7")
    assert (cluster.directory / "kapi.db").stat().st_size


def test_status_says_how_it_was_started(cluster: Cluster) -> None:
    options = ["--simulate", "--nodes", "2", "--port", str(cluster.port), "--context", "mine"]
    cluster.kapi("up", *options)
    cluster.kapi("down")
    with pytest.raises(Failed) as why:
        cluster.kapi("status")
    output = shlex.split(str(why.value).rpartition("Start one with: ")[2].splitlines()[0])
    assert output == ["kapi", "up", *options]
    cluster.kapi(*output[1:])


def test_down_where_nothing_is_up(cluster: Cluster) -> None:
    assert "No cluster is running from" in cluster.kapi("down")


def test_what_a_user_sees_of_it(cluster: Cluster) -> None:
    """Nodes by their names and roles, components that are well, and a log that says what happened."""
    cluster.kapi("up", "--simulate", "--nodes", "2", "--port", str(cluster.port), "--no-kubeconfig", "-v", "2", "--log-format", "json")
    cluster.env["KUBECONFIG"] = str(cluster.directory / "pki" / "admin.conf")
    kubectl = Kubectl(cluster, "default")
    nodes = [line.split()[:3] for line in kubectl("get", "nodes", "--no-headers").splitlines()]
    assert nodes == [["node-0", "Ready", "control-plane"], ["node-1", "Ready", "<none>"]]
    components = [line.split() for line in kubectl("get", "cs", "--no-headers").splitlines()]
    assert components == [["scheduler", "Healthy", "ok"], ["controller-manager", "Healthy", "ok"], ["etcd-0", "Healthy", "ok"]]
    cluster.kapi("down")
    output = [json.loads(line) for line in cluster.kapi("logs").splitlines()]
    assert [line["msg"] for line in (output[0], output[1], output[-1])] == ["Starting", "Serving", "Stopped"]
    assert output[0]["version"] == "v1.36.2"
    assert output[0]["settings"]["nodes"] == 2
    assert output[1]["address"].endswith(f":{cluster.port}")
    assert output[1]["storage"] == str(cluster.directory / "kapi.db")
    assert output[-1]["reason"] == "SIGTERM"
    assert {line["component"] for line in output} == {"simulated"}
    assert max(line["v"] for line in output) == 2


def test_nodes_with_a_name_of_their_own(cluster: Cluster) -> None:
    cluster.env["KUBECONFIG"] = str(cluster.directory / "pki" / "admin.conf")
    kubectl = Kubectl(cluster, "default")
    for count, names in (("1", ["mine"]), ("2", ["mine-0", "mine-1"])):
        cluster.kapi("up", "--simulate", "--nodes", count, "--node-name", "mine", "--port", str(cluster.port), "--no-kubeconfig")
        assert kubectl("get", "nodes", "-o", "name").split() == [f"node/{name}" for name in names]
        cluster.kapi("reset", "--yes")
