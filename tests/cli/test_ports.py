"""Where clusters and their parts listen, and what anybody gets there unauthenticated: nothing but health."""

import os
import socket
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from kapi import testing
from kapi.apiserver import settings
from kapi.cli import processes
from kapi.cli.processes import Process
from tests.e2e.cluster import Cluster, free_port
from tests.listening import PATHS, listening, status

pytestmark = pytest.mark.slow
HEALTH = ("/healthz", "/livez", "/readyz", "/version")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "data")
    yield cluster
    cluster.kapi("down")


def test_a_simulated_cluster_is_this_machine_s_own(cluster: Cluster) -> None:
    cluster.kapi("up", "--simulate", "--nodes", "3", "--port", str(cluster.port), "--no-kubeconfig")
    found = listening([cluster.pid("simulated")])
    assert len(found) == 4  # the API server and three kubelets
    assert all(address.is_loopback for address, _ in found)
    answers = {(path, status(address, port, path)) for address, port in found for path in PATHS}
    assert {code for _, code in answers} == {401, 403}
    assert {status("127.0.0.1", cluster.port, path) for path in HEALTH} == {200}


def test_a_simulated_cluster_for_others(cluster: Cluster) -> None:
    cluster.kapi("up", "--simulate", "--port", str(cluster.port), "--no-kubeconfig", "--bind-address", "0.0.0.0")
    found = listening([cluster.pid("simulated")])
    assert (ip_address("0.0.0.0"), cluster.port) in found
    assert all(address.is_loopback for address, port in found if port != cluster.port)


def test_a_cluster_in_a_test_is_its_own() -> None:
    before = listening([os.getpid()])
    with testing.cluster() as cluster:
        found = listening([os.getpid()]) - before
        assert (ip_address("127.0.0.1"), cluster.port) in found
        assert all(address.is_loopback for address, _ in found)


OWN = settings.own_address()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), {"127.0.0.1", OWN}),
        (("--bind-address", "127.0.0.1"), {"127.0.0.1"}),
        (("--bind-address", "127.0.0.9"), {"127.0.0.1", "127.0.0.9"}),
        (("--advertise-address", "127.0.0.8"), {"127.0.0.1", "127.0.0.8"}),
        (("--bind-address", "0.0.0.0"), {"0.0.0.0"}),
    ],
    ids=["default", "loopback", "another", "advertised", "everywhere"],
)
def test_an_api_server(tmp_path: Path, options: tuple[str, ...], expected: set[str]) -> None:
    port, process = free_port(), Process("apiserver", tmp_path)
    started = process.start(processes.python("kapi", "apiserver", "--data-dir", str(tmp_path), "--port", str(port), *options))
    started.wait(60)
    try:
        assert listening([process.pid]) == {(ip_address(address), port) for address in expected}
        assert {status(next(iter(expected - {"0.0.0.0"}), "127.0.0.1"), port, path) for path in PATHS} <= {401, 403, 404}
    finally:
        process.stop()
        started.child.wait()


def test_an_address_of_another_machine(cluster: Cluster) -> None:
    options = ["--data-dir", str(cluster.directory), "--port", str(cluster.port), "--bind-address", "192.0.2.7"]
    refused = cluster._run([sys.executable, "-m", "kapi", "apiserver", *options], fails=True)
    assert "This machine has no address 192.0.2.7. Name another with --bind-address." in refused.err


def test_health_ports(cluster: Cluster) -> None:
    cluster.kapi("up", "--simulate", "--port", str(cluster.port), "--no-kubeconfig")
    port = free_port()
    kubeconfig = cluster.directory / "pki" / "scheduler.conf"
    process = Process("scheduler", cluster.directory)
    started = process.start(processes.python("kapi", "scheduler", "--kubeconfig", str(kubeconfig), "--secure-port", str(port)))
    started.wait(60)
    try:
        assert listening([process.pid]) == {(ip_address("127.0.0.1"), port)}
        assert {status("127.0.0.1", port, path) for path in PATHS} == {403}
        assert status("127.0.0.1", port, "/healthz") == 200
        assert status("127.0.0.1", port, "nonsense") == 400
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            assert b"HTTP/1." not in line.recv(100)
    finally:
        process.stop()
        started.child.wait()
