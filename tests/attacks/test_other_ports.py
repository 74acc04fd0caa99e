"""The kubelet's port and a health port under the same attacks as the API server: memory stays, newcomers are served."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, repeat

import pytest

from kapi.cli import processes
from kapi.cli.processes import Process
from tests.attacks.victim import MEGABYTES
from tests.e2e.cluster import Cluster, free_port
from tests.listening import listening, status

pytestmark = pytest.mark.slow
MB = 1 << 20


@dataclass
class Port:
    """A port that speaks TLS, and the process behind it; `path` is answered with `code`, unauthenticated."""

    address: str
    number: int
    pid: int
    path: str
    code: int

    def connect(self) -> socket.socket:
        return socket.create_connection((self.address, self.number), timeout=10)

    def talk(self) -> ssl.SSLSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(self.connect())

    def serves(self) -> None:
        assert status(self.address, self.number, self.path) == self.code


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("ports"), "--simulate")
    cluster.up()
    yield cluster
    cluster.down()


@pytest.fixture(scope="module", params=["kubelet", "health"])
def port(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Port]:
    if request.param == "kubelet":
        pid = cluster.pid("simulated")
        address, number = next((str(a), p) for a, p in listening([pid]) if p != cluster.port)
        yield Port(address, number, pid, "/pods", 401)
        return
    number, process = free_port(), Process("scheduler", cluster.directory)
    kubeconfig = str(cluster.directory / "pki" / "scheduler.conf")
    started = process.start(processes.python("kapi", "scheduler", "--kubeconfig", kubeconfig, "--secure-port", str(number)))
    started.wait(60)
    yield Port("127.0.0.1", number, process.pid, "/healthz", 200)
    process.stop()
    started.child.wait()


@contextlib.contextmanager
def little_memory(port: Port) -> Iterator[None]:
    port.serves()  # what is loaded with the first connection is loaded
    before = processes.resident(port.pid)
    yield
    assert (processes.resident(port.pid) - before) / MB <= MEGABYTES


@pytest.mark.parametrize("tls", [False, True], ids=["silent", "idle"])
def test_crowds(port: Port, tls: bool) -> None:
    with little_memory(port), ExitStack() as stack:
        for _ in range(700):
            with contextlib.suppress(OSError):  # it was cut at once
                stack.enter_context(port.talk() if tls else port.connect())
        port.serves()


@pytest.mark.parametrize("block", [b"A: " + b"x" * MB + b"\r\n", b"x" * MB, b"a:\r\n" * (MB // 4)], ids=["headers", "header", "lines"])
def test_heads_without_end(port: Port, block: bytes) -> None:
    blocks = chain([b"GET / HTTP/1.1\r\nHost: x\r\n"], repeat(block))
    with little_memory(port), port.talk() as line, contextlib.suppress(OSError):  # in the end it hangs up
        for part in blocks:
            line.sendall(part)
    port.serves()


def test_bytes_that_are_no_tls(port: Port) -> None:
    with little_memory(port), ExitStack() as stack:
        for _ in range(200):
            line = stack.enter_context(port.connect())
            line.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
        port.serves()


def test_malformed(port: Port) -> None:
    for sent in (b"nonsense\r\n\r\n", b"GET /a b HTTP/1.1\r\n\r\n", b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", b"\r\n\r\n\r\n\r\n"):
        with port.talk() as line:
            line.sendall(sent)
            assert line.recv(1 << 16).startswith(b"HTTP/1.1 400 Bad Request\r\n"), sent
