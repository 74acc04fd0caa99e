"""A cluster and the machine it is on: its neighbours, its end, and what a pod reaches of it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from kapi.api import settings
from kapi.cli import cleanup
from kapi.cli.processes import Process
from tests.e2e.cluster import IMAGE, Cluster, Kubectl, free_port, line_with, started
from tests.e2e.conftest import left_of, processes_of
from tests.listening import PATHS, listening, status

TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"


@pytest.fixture
def foreground(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """`kapi up --simulate --foreground`, on its way."""
    command = [sys.executable, "-m", "kapi", "up", "--simulate", "--foreground", "--no-kubeconfig", "--data-dir", str(tmp_path)]
    process = subprocess.Popen([*command, "--port", str(free_port())], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    yield process
    process.communicate(timeout=20)
    assert processes_of(tmp_path) == []


@pytest.mark.slow
def test_ctrl_c_ends_a_cluster_in_the_foreground(foreground: "subprocess.Popen[str]") -> None:
    line_with(foreground.stdout, "Press ctrl-C to stop.")
    foreground.send_signal(signal.SIGINT)
    line_with(foreground.stdout, "The cluster is down.")
    assert foreground.wait(20) == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_start_that_is_broken_off_leaves_nothing(foreground: "subprocess.Popen[str]", number: signal.Signals) -> None:
    line_with(foreground.stdout, "Certificates and keys")
    foreground.send_signal(number)
    assert foreground.wait(20) == 130


@pytest.mark.containers
def test_a_neighbour_comes_and_goes(real: Cluster, kubectl: Kubectl) -> None:
    kubectl("run", "web", f"--image={IMAGE}", "--", "httpd", "-f", "-p", "8080")
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=20s")
    before, names = set(left_of(real.directory)), cleanup.marks(real.directory)
    assert {f"table ip {names.table}", f"table ip {names.bridge}-pods", names.bridge} <= before
    with started("--simulate") as other:
        cleanup.expect(other.directory)  # as if it had had containers
    assert set(left_of(real.directory)) == before
    assert kubectl.field("pod/web", ".status.containerStatuses[0].restartCount") == "0"


@pytest.mark.containers
def test_status_tells_of_processes_and_nodes(real: Cluster) -> None:
    lines = real.kapi("status").splitlines()
    assert [line.split()[0] for line in lines] == ["kubelet", "control", "apiserver", "containerd", "all", "node"]
    assert lines[-1].split()[1:] == [os.uname().nodename.lower(), "Ready"]


@pytest.mark.containers
def test_roles_components_and_logs(real: Cluster, kubectl: Kubectl) -> None:
    assert kubectl("get", "nodes", "--no-headers").split()[:3] == [os.uname().nodename.lower(), "Ready", "control-plane"]
    components = [line.split() for line in kubectl("get", "componentstatuses", "--no-headers").splitlines()]
    assert components == [["scheduler", "Healthy", "ok"], ["controller-manager", "Healthy", "ok"], ["etcd-0", "Healthy", "ok"]]
    for name, serving in (("apiserver", f":{real.port}"), ("kubelet", ":10250")):
        said = real.kapi("logs", name)
        assert f'{name} "Starting" version="v1.36.2" pid={Process(name, real.directory).pid}' in said
        assert re.search(rf'"Serving" address="[^"]*{serving}"', said)
    assert "port=10257" in real.kapi("logs", "control")
    assert "level=info" in real.kapi("logs", "containerd", "--tail", "50")


@pytest.mark.containers
def test_it_listens_where_its_pods_and_nodes_are(real: Cluster) -> None:
    own = settings.own_address()
    assert listening([real.pid("apiserver")]) == {(ip_address(host), real.port) for host in ("127.0.0.1", own)}
    assert listening([real.pid("kubelet")]) == {(ip_address(own), 10250)}
    assert listening([real.pid("control")]) == {(ip_address("127.0.0.1"), port) for port in (10257, 10259)}
    assert {status(own, 10250, path) for path in (*PATHS, "/healthz")} == {401}


@pytest.mark.containers
def test_a_pods_token_is_good_at_the_api_server(real: Cluster, kubectl: Kubectl) -> None:
    script = f"nc -w 5 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT < /dev/null && cat {TOKEN}"
    kubectl("run", "web", f"--image={IMAGE}", "--restart=Never", "--", "sh", "-c", script)
    kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/web", "--timeout=20s")
    token = kubectl("logs", "web")
    me = ["--server", f"https://127.0.0.1:{real.port}", "--certificate-authority", str(real.directory / "pki" / "ca.crt"), "--token", token]
    user = kubectl.json("--kubeconfig", os.devnull, *me, "auth", "whoami")["status"]["userInfo"]
    assert user["username"] == f"system:serviceaccount:{kubectl.namespace}:default"
    assert user["extra"]["authentication.kubernetes.io/pod-name"] == ["web"]


@pytest.mark.containers
def test_figures_of_what_runs(kubectl: Kubectl) -> None:
    kubectl("run", "web", f"--image={IMAGE}", "--", "httpd", "-f", "-p", "8080")
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=20s")
    node = f"/api/v1/nodes/{os.uname().nodename.lower()}/proxy"
    pods = json.loads(kubectl("get", "--raw", f"{node}/stats/summary"))["pods"]
    (mine,) = [p for p in pods if p["podRef"]["namespace"] == kubectl.namespace]
    assert 0 < mine["memory"]["workingSetBytes"] < 64 << 20
    samples = kubectl("get", "--raw", f"{node}/metrics/resource")
    assert f'pod_memory_working_set_bytes{{namespace="{kubectl.namespace}",pod="web"}}' in samples
    assert "kubelet_running_pods" in kubectl("get", "--raw", f"{node}/metrics")


@pytest.mark.containers
def test_an_end_after_containerd_was_killed(real: Cluster, kubectl: Kubectl) -> None:
    """Containers outlive containerd; `kapi down` finds them all the same, and `kapi up` goes on with the same data."""
    kubectl("run", "web", f"--image={IMAGE}", "--", "httpd", "-f", "-p", "8080")
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=20s")
    real.kill("kubelet")
    real.kill("containerd")
    real.down()
    assert left_of(real.directory) == []
    real.up()
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=20s")
