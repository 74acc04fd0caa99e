"""A kubelet with nothing but its own certificate registers, runs the pods of its node, and reports: its rights suffice."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from certs import kubeconfig
from tests.attacks.identities import kubelet
from tests.attacks.victim import ROOT, Victim, running

pytestmark = pytest.mark.slow
PODS = "/api/v1/namespaces/default/pods"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


@contextmanager
def node(server: Victim, name: str) -> Iterator[None]:
    """A simulated node whose kubelet acts under its own identity."""
    certificate, key = kubelet(server, name)
    pki, config = server.directory / "pki", server.directory / f"{name}.conf"
    at = f"https://127.0.0.1:{server.port}"
    config.write_bytes(kubeconfig.text(at, (pki / "ca.crt").read_bytes(), certificate.read_bytes(), key.read_bytes()))
    command = [sys.executable, "-m", "kubelet", "--simulate", "--kubeconfig", str(config), "--node-name", name, "--port", "0"]
    process = subprocess.Popen([*command, "--root-dir", str(server.directory / name)], cwd=ROOT)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def until(server: Victim, path: str, true: Callable[[int, Any], bool]) -> None:
    """Ask until it is so."""
    deadline = time.monotonic() + 30
    while not true(*server.ask("GET", path)):
        assert time.monotonic() < deadline, path


def ready(code: int, found: Any) -> bool:
    conditions = found["status"].get("conditions") or () if code == 200 else ()
    return any((c["type"], c["status"]) == ("Ready", "True") for c in conditions)


def test_a_node_with_its_own_rights_only(tmp_path: Path) -> None:
    with running(tmp_path) as server, node(server, "n1"), node(server, "n2"):
        for name in ("n1", "n2"):
            until(server, f"/api/v1/nodes/{name}", ready)
            until(server, f"{LEASES}/{name}", lambda code, found: code == 200)
        assert server.ask("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})[0] == 201
        for name in ("n1", "n2"):
            pod = {"metadata": {"name": name}, "spec": {"nodeName": name, "containers": [{"name": "c", "image": "i"}]}}
            assert server.ask("POST", PODS, pod)[0] == 201
        for name in ("n1", "n2"):
            until(server, f"{PODS}/{name}", ready)
        assert server.ask("DELETE", f"{PODS}/n1")[0] == 200
        until(server, f"{PODS}/n1", lambda code, found: code == 404)
