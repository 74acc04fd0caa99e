"""What another user of the machine gets of a running cluster: no file, and no port or socket that answers more than health."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster
from tests.listening import listening

STRANGER = 65534
HEALTH = {"/healthz", "/livez", "/readyz", "/version"}
"""Paths that anybody may ask."""
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def scanned(cluster: Cluster) -> dict[str, list[str]]:
    """What the scan as another user found: {"files": [...], "answers": [...], "sockets": [...], "ports": [...]}."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.stranger", str(STRANGER), str(cluster.directory)], capture_output=True, text=True, check=False,
        cwd=ROOT, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        what, _, rest = line.partition(" ")
        found.setdefault(what, []).append(rest)
    return found


def judge(cluster: Cluster, names: list[str]) -> None:
    found = scanned(cluster)
    assert found["user"] == [str(STRANGER)]
    assert "files" not in found
    assert "connects" not in found, "Unix sockets"
    assert "datagrams" not in found, "UDP"
    ports = {f"{address}:{port}" for address, port in listening([cluster.pid(name) for name in names])}
    assert ports <= set(found["port"]), "every port was found and asked"
    open_paths = {(line.split()[1], line.split()[2]) for line in found.get("answers", ())}
    assert {path for path, _ in open_paths} <= HEALTH, open_paths
    assert found["asked"], "paths were asked"


@pytest.mark.slow
def test_a_simulated_cluster(simulated: Cluster) -> None:
    judge(simulated, ["simulated"])


@pytest.mark.containers
def test_a_cluster_with_containers(real: Cluster) -> None:
    judge(real, ["apiserver", "control", "kubelet", "containerd"])


def test_the_scan_sees_what_is_open(open_cluster: Cluster) -> None:
    """A directory, a port and sockets that are open to all are found."""
    found = scanned(open_cluster)
    assert {Path(path).name for path in found["files"]} == {"data", "secret", "open.sock"}
    assert sorted(line.rpartition("/")[2] for line in found["connects"]) == ["open.sock", "stranger-test"]
    assert len(found["datagrams"]) == 1
    assert {line.split()[1] for line in found["answers"]} >= {"/"}


OPEN = """
import http.server, os, socket, sys
directory = sys.argv[1]
os.umask(0)
os.makedirs(directory)
open(f"{directory}/secret", "w").write("x")
datagrams = socket.socket(type=socket.SOCK_DGRAM)
datagrams.bind(("127.0.0.1", 0))
sockets = [socket.socket(socket.AF_UNIX) for _ in range(2)]
for one, name in zip(sockets, (f"{directory}/open.sock", "\\0/stranger-test")):
    one.bind(name)
    one.listen()
http.server.SimpleHTTPRequestHandler.log_message = lambda *_: None
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
print("up", flush=True)
server.serve_forever()
"""


@pytest.fixture
def open_cluster(tmp_path: Path) -> Iterator[Cluster]:
    for parent in (tmp_path, *list(tmp_path.parents)[:2]):
        parent.chmod(0o711)
    made = Cluster(tmp_path / "data")
    with subprocess.Popen([sys.executable, "-c", OPEN, str(made.directory)], stdout=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield made
        process.kill()
