"""A cluster and the machine it is on: its neighbours, its end, and what a pod reaches of it."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from kapi.apiserver import settings
from kapi.cli import cleanup, datadir, layout
from kapi.cli.processes import Process
from kubelet import cgroups
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
def test_a_cluster_in_the_foreground_that_is_stopped_from_elsewhere_ends(foreground: "subprocess.Popen[str]", tmp_path: Path) -> None:
    line_with(foreground.stdout, "Press ctrl-C to stop.")
    subprocess.run([sys.executable, "-m", "kapi", "down", "--data-dir", str(tmp_path)], check=True, capture_output=True)
    assert foreground.wait(20) == 0
    assert foreground.stdout
    assert foreground.stdout.read() == "The cluster was stopped from elsewhere.\n"


@pytest.mark.slow
def test_a_cluster_in_the_foreground_that_is_killed_ends(foreground: "subprocess.Popen[str]", tmp_path: Path) -> None:
    line_with(foreground.stdout, "Press ctrl-C to stop.")
    process = Process("simulated", tmp_path)
    pid = process.pid
    process.signal(signal.SIGKILL)
    assert foreground.wait(20) == 1
    assert foreground.stderr
    sentence = f"simulated (pid {pid}) ended unasked, and with it the cluster. Its log: {process.log_file}"
    assert foreground.stderr.read() == f"kapi up: {sentence}\n"


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
    before, names = set(left_of(real.directory)), cleanup.machine_names(real.directory)
    assert {f"table ip {names.table}", f"table ip {names.bridge}-pods", names.bridge} <= before
    with started("--simulate") as other:
        cleanup.set_marker(other.directory)  # as if it had had containers
    assert set(left_of(real.directory)) == before
    assert kubectl.field("pod/web", ".status.containerStatuses[0].restartCount") == "0"


@pytest.fixture
def orphaned() -> Iterator[Path]:
    """A data directory of a cluster that had containers, none of whose processes run; what a test leaves is taken away."""
    directory = Path(tempfile.mkdtemp(prefix="kapi-e2e-"))
    datadir.prepare(directory)
    cleanup.set_marker(directory)
    yield directory
    cleanup.clean_machine(directory)
    shutil.rmtree(directory)


@contextmanager
def running(command: list[str], program: str | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that is gone with the block, however that ends."""
    with subprocess.Popen(command, executable=program) as process:
        try:
            yield process
        finally:
            process.kill()


def down(directory: Path) -> None:
    subprocess.run([sys.executable, "-m", "kapi", "down", "--data-dir", str(directory)], check=True, capture_output=True, timeout=40)
    assert left_of(directory) == []


@pytest.mark.containers
def test_a_process_in_a_cgroup_of_the_cluster_is_ended(orphaned: Path) -> None:
    group = f"{cleanup.machine_names(orphaned).cgroup}/kubepods/besteffort/podx"
    cgroups.make(group, {"shares": 2})
    with running(["sleep", "1000"]) as process:
        (cgroups.directories(group)[0] / "cgroup.procs").write_text(str(process.pid))
        down(orphaned)
        assert process.wait(5) == -signal.SIGKILL


@pytest.mark.containers
def test_a_container_that_was_created_and_never_started(orphaned: Path) -> None:
    """As containerd leaves it when it is killed in between: `runc init` waits for the word to go on, in a cgroup of the pod."""
    state, name = "/run/containerd/runc/k8s.io", f"kapi-test-{os.getpid()}"
    bundle = cleanup.runtime(orphaned).root / "state" / "io.containerd.runtime.v2.task" / "k8s.io" / name
    (bundle / "rootfs" / "bin").mkdir(parents=True)
    shutil.copy(str(shutil.which("busybox")), bundle / "rootfs" / "bin" / "sh")
    subprocess.run(["runc", "spec"], cwd=bundle, check=True)
    spec = json.loads((bundle / "config.json").read_text())
    spec["process"]["terminal"] = False
    spec["linux"]["cgroupsPath"] = f"{cleanup.machine_names(orphaned).cgroup}/kubepods/podx/{name}"
    (bundle / "config.json").write_text(json.dumps(spec))
    create = ["runc", "--root", state, "create", "--pid-file", str(bundle / "pid"), "--bundle", str(bundle), name]
    subprocess.run(create, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    waiting = os.pidfd_open(int((bundle / "pid").read_text()))
    down(orphaned)
    assert select.select([waiting], [], [], 5)[0], "it still runs"
    os.close(waiting)
    assert not Path(state, name).exists()


@pytest.mark.containers
def test_a_shim_without_its_containerd(orphaned: Path) -> None:
    """containerd, started again for it, knows nothing of this one."""
    arguments = ["-namespace", "k8s.io", "-id", "x", "-address", str(cleanup.runtime(orphaned).socket)]
    command = ["containerd-shim-runc-v2", "-c", "import time; time.sleep(1000)", *arguments]
    with running(command, sys.executable) as shim:
        down(orphaned)
        assert shim.wait(5) == -signal.SIGKILL


@pytest.mark.containers
def test_a_network_namespace_that_only_the_bridge_knows(orphaned: Path) -> None:
    bridge, name, link = cleanup.machine_names(orphaned).bridge, f"cni-test-{os.getpid()}", f"kt{os.getpid()}"
    for line in (
        f"link add {bridge} type bridge", f"netns add {name}", f"link add {link} type veth peer name eth0 netns {name}",
        f"link set {link} master {bridge}",
    ):  # fmt: skip
        subprocess.run(["ip", *line.split()], check=True)
    down(orphaned)
    assert not Path("/var/run/netns", name).exists()


@pytest.mark.containers
def test_down_goes_on_where_containerd_cannot_be_started(orphaned: Path) -> None:
    settings = cleanup.runtime(orphaned)
    settings.root.mkdir()
    (settings.root / "root").write_text("not a directory")
    command = ["containerd-shim-runc-v2", "-c", "import time; time.sleep(1000)", "-id", "x", "-address", str(settings.socket)]
    with running(command, sys.executable) as shim:
        down(orphaned)
        assert shim.wait(5) == -signal.SIGKILL


@pytest.mark.containers
def test_its_files_are_closed_to_others_and_known(real: Cluster, kubectl: Kubectl) -> None:
    kubectl("run", "web", f"--image={IMAGE}", "--", "sleep", "1000")
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=20s")
    with layout.open_directory(real.directory) as top:
        assert layout.unknown_entries(top) == [], "what is not in the table would keep `kapi reset` from deleting it"
        assert layout.fix_permissions(top) == [], "nothing is open to others"
        assert {entry.facts.st_mode & 0o777 for entry in layout.walk(top) if entry.path.endswith((".sock", ".ttrpc"))} == {0o600}
    assert real.directory.stat().st_mode & 0o777 == 0o700


READER = """
set -e
cat /config/a /secret/a /token/token /info/labels /one > /dev/null
cat /etc/hosts /etc/resolv.conf /etc/hostname > /dev/null
echo x > /scratch/x; echo y > /memory/y
umask; id -u
printf done > /dev/termination-log
sleep 1000
"""


@pytest.mark.containers
def test_a_pod_of_any_user_reads_its_volumes(kubectl: Kubectl) -> None:
    """The directories above them are closed to that user; what is in them has stock's modes."""
    kubectl("create", "configmap", "c", "--from-literal=a=1")
    kubectl("create", "secret", "generic", "s", "--from-literal=a=1")
    sources: dict[str, dict[str, Any]] = {
        "config": {"configMap": {"name": "c"}}, "secret": {"secret": {"secretName": "s"}}, "scratch": {"emptyDir": {}},
        "memory": {"emptyDir": {"medium": "Memory"}}, "token": {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        "info": {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    }  # fmt: skip
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in sources] + [{"name": "config", "mountPath": "/one", "subPath": "a"}]
    container = {"name": "main", "image": IMAGE, "command": ["sh", "-c", READER], "volumeMounts": mounts}
    volumes = [{"name": name, **source} for name, source in sources.items()]
    user = {"runAsUser": 12345, "runAsGroup": 12345, "runAsNonRoot": True}
    spec = {"containers": [container], "volumes": volumes, "securityContext": user}
    kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "reader", "labels": {"a": "b"}}, "spec": spec})
    kubectl("wait", "--for=condition=Ready", "pod/reader", "--timeout=20s")
    with kubectl.running("logs", "-f", "reader") as log:
        assert [line_with(log.stdout, ""), line_with(log.stdout, "")] == ["0022\n", "12345\n"]
    assert kubectl("exec", "reader", "--", "sh", "-c", "umask; ls /etc /bin > /dev/null && cat /dev/termination-log") == "0022\ndone"


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
    assert ':10257"' in real.kapi("logs", "control")
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
