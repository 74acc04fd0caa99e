"""Pods, services and kubelets that attack the server which asks them, and clients that attack it through a proxy."""

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from kapi import limits
from tests.attacks import peers
from tests.attacks.peers import own_address
from tests.attacks.victim import Victim

pytestmark = pytest.mark.slow
NS = "/api/v1/namespaces/default"
POD = {"metadata": {"generateName": "p-"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
TOO_LARGE = f"server response headers exceeded {limits.PEER_HEAD_BYTES} bytes; aborted"


@pytest.fixture(scope="module", autouse=True)
def account(victim: Victim) -> None:
    """Pods need the account of their namespace."""
    assert victim.ask("POST", f"{NS}/serviceaccounts", {"metadata": {"name": "default"}})[0] == 201


@contextmanager
def pod(victim: Victim, say: peers.Say) -> Iterator[str]:
    """A pod whose address is a peer's; what is given is the path of its proxy."""
    with peers.answering(say, own_address()) as peer, placed(victim, own_address()) as name:
        yield f"{NS}/pods/{name}:{peer.port}/proxy"


@contextmanager
def placed(victim: Victim, address: str) -> Iterator[str]:
    """The name of a pod whose status has this address."""
    code, created = victim.ask("POST", f"{NS}/pods", POD)
    assert code == 201, created
    name = created["metadata"]["name"]
    status = {"status": {"podIP": address, "podIPs": [{"ip": address}]}}
    patch = {"Content-Type": "application/merge-patch+json"}
    assert victim.ask("PATCH", f"{NS}/pods/{name}/status", status, headers=patch)[0] == 200
    try:
        yield name
    finally:
        victim.ask("DELETE", f"{NS}/pods/{name}?gracePeriodSeconds=0")


UNBOUNDED = {
    "header lines": peers.saying(OK, again=b"X-Y: " + b"z" * 1000 + b"\r\n", times=300_000),
    "one header": peers.saying(OK, b"X: ", again=peers.MEGABYTE, times=300),
    "one status line": peers.saying(b"HTTP/1.1 200 ", again=peers.MEGABYTE, times=300),
    "1xx answers": peers.saying(again=b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 1000, times=10_000),
    "spaces": peers.saying(again=b"\r\n" * 100_000, times=1000),
}


@pytest.mark.parametrize("what", UNBOUNDED)
def test_heads_without_end(victim: Victim, what: str) -> None:
    with pod(victim, UNBOUNDED[what]) as path, victim.watched(f"pods/proxy: endless {what}") as cost:
        for _ in range(5):
            code, status = victim.ask("GET", f"{path}/x")
            assert code == 503
            assert status["message"].endswith(TOO_LARGE) or "malformed HTTP response" in status["message"]
    cost.check()
    assert cost.megabytes <= 16


UNENDING = {
    "chunk extension": peers.saying(CHUNKED, b"2\r\nok\r\n2;a=", again=peers.MEGABYTE, times=300),
    "trailers": peers.saying(CHUNKED, b"2\r\nok\r\n0\r\n", again=b"X: " + b"y" * 1000 + b"\r\n", times=300_000),
    "one trailer": peers.saying(CHUNKED, b"2\r\nok\r\n0\r\nX: ", again=peers.MEGABYTE, times=300),
}


@pytest.mark.parametrize("what", UNENDING)
def test_what_is_no_body_without_end(victim: Victim, what: str) -> None:
    with pod(victim, UNENDING[what]) as path, victim.watched(f"pods/proxy: endless {what}") as cost:
        for _ in range(3):
            with pytest.raises((http.client.IncompleteRead, ConnectionError, ssl.SSLEOFError)):
                victim.ask("GET", f"{path}/x")
    cost.check()
    assert cost.megabytes <= 16


def test_a_body_of_any_length_passes(victim: Victim) -> None:
    size = 200
    say = peers.saying(OK + b"Content-Length: %d\r\n\r\n" % (size << 20), again=peers.MEGABYTE, times=size)
    with pod(victim, say) as path, victim.watched(f"pods/proxy: a body of {size} MB") as cost, request(victim, f"GET {path}/x") as line:
        peers.read(line, size << 20)
    cost.check()
    assert cost.megabytes <= 16


@contextmanager
def request(victim: Victim, first: str, *more: str) -> Iterator[ssl.SSLSocket]:
    """A connection on which a request was sent."""
    with victim.connect() as line:
        line.sendall("\r\n".join((f"{first} HTTP/1.1", "Host: x", f"Authorization: Bearer {victim.token}", *more, "", "")).encode())
        yield line


def pushed(line: ssl.SSLSocket, megabytes: int) -> int:
    """How many bytes of so many MB are taken before nothing is taken for a second."""
    line.settimeout(1.0)
    taken = 0
    with suppress(TimeoutError, ssl.SSLWantWriteError, ConnectionError):
        while taken < megabytes << 20:
            line.sendall(peers.MEGABYTE[: 1 << 16])
            taken += 1 << 16
    return taken


def test_clients_that_do_not_read(victim: Victim) -> None:
    """Ten clients, each with an answer of 100 MB under way."""
    say = peers.saying(OK + b"\r\n", again=peers.MEGABYTE, times=100)
    with pod(victim, say) as path, victim.watched("pods/proxy: 10 clients that do not read 100 MB") as cost, ExitStack() as open_ones:
        for _ in range(10):
            open_ones.enter_context(request(victim, f"GET {path}/x"))
        for _ in range(100):
            victim.ask("GET", "/version")
    cost.check()
    assert cost.megabytes <= 32


UPGRADE = ("Connection: Upgrade", "Upgrade: SPDY/3.1")
GRANTED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"


def test_what_is_sent_behind_an_upgrade_that_is_not_answered(victim: Victim) -> None:
    attack = "pods/proxy: 80 MB behind a pending upgrade"
    with pod(victim, peers.silent) as path, victim.watched(attack) as cost, request(victim, f"GET {path}/x", *UPGRADE) as line:
        assert pushed(line, 80) < 20 << 20
    cost.check()
    assert cost.megabytes <= 8


def test_what_is_sent_behind_an_upgrade_whose_peer_cannot_be_reached(victim: Victim) -> None:
    """While the server tries to connect nobody reads the client's connection but the server itself."""
    with socket.create_server((own_address(), 0), backlog=0) as full, ExitStack() as open_ones:
        for _ in range(3):  # fill its queue: who comes now is not answered
            waiting = open_ones.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        path = f"{NS}/pods/{open_ones.enter_context(placed(victim, own_address()))}:{full.getsockname()[1]}/proxy/x"
        attack = "pods/proxy: 80 MB behind an upgrade while connecting"
        with victim.watched(attack) as cost, request(victim, f"GET {path}", *UPGRADE) as line:
            assert pushed(line, 80) < 20 << 20
    cost.check()
    assert cost.megabytes <= 8


def test_what_is_sent_on_an_upgrade_that_nobody_reads(victim: Victim) -> None:
    def granted(line: socket.socket) -> None:
        line.sendall(GRANTED)
        peers.silent(line)

    attack = "pods/proxy: 80 MB on a stream that nobody reads"
    with pod(victim, granted) as path, victim.watched(attack) as cost, request(victim, f"GET {path}/x", *UPGRADE) as line:
        assert line.recv(1000).startswith(b"HTTP/1.1 101 ")
        assert pushed(line, 80) < 20 << 20
    cost.check()
    assert cost.megabytes <= 8


@pytest.mark.parametrize("what", UNBOUNDED)
def test_upgrades_answered_without_end(victim: Victim, what: str) -> None:
    with pod(victim, UNBOUNDED[what]) as path, victim.watched(f"pods/proxy: upgrade, endless {what}") as cost:
        with request(victim, f"GET {path}/x", *UPGRADE) as line:
            answer = b""
            while data := line.recv(1 << 16):
                answer += data
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert b"error dialing backend: " in answer
    cost.check()
    assert cost.megabytes <= 8


def test_many_that_do_not_answer(victim: Victim) -> None:
    with pod(victim, peers.silent) as path, victim.watched("pods/proxy: 100 peers that do not answer") as cost, ExitStack() as open_ones:
        for _ in range(100):
            open_ones.enter_context(request(victim, f"GET {path}/x"))
    cost.check()


# where a proxy leads --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "169.254.169.254", "::ffff:127.0.0.1", "fe80::1", "224.0.0.1"])
def test_a_pod_that_says_it_is_this_server(victim: Victim, address: str) -> None:
    """A writer of pods/status sends the administrator's proxy to the server itself: what it answers there is not shown."""
    code, created = victim.ask("POST", f"{NS}/pods", POD)
    assert code == 201
    name, patch = created["metadata"]["name"], {"Content-Type": "application/merge-patch+json"}
    status = {"status": {"podIP": address, "podIPs": [{"ip": address}]}}
    if victim.ask("PATCH", f"{NS}/pods/{name}/status", status, headers=patch)[0] == 200:
        code, body = victim.ask("GET", f"{NS}/pods/https:{name}:{victim.port}/proxy/version")
        assert (code, body["message"]) == (400, "address not allowed")


@pytest.mark.parametrize("endpoint", [{}, {"targetRef": {"kind": "Pod", "name": "somebody", "namespace": "default"}}])
def test_endpoints_that_are_no_pods(victim: Victim, endpoint: dict[str, object]) -> None:
    """Whoever writes EndpointSlices would reach every port that the server reaches."""
    reached: list[bytes] = []

    def say(line: socket.socket) -> None:
        reached.append(b"reached")
        line.sendall(OK + b"Content-Length: 6\r\n\r\nsecret")

    with peers.answering(say, own_address()) as peer:
        service = {"metadata": {"generateName": "s-"}, "spec": {"ports": [{"port": 80}]}}
        code, created = victim.ask("POST", f"{NS}/services", service)
        assert code == 201, created
        name = created["metadata"]["name"]
        slice_ = {
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}}, "addressType": "IPv4",
            "ports": [{"name": "", "port": peer.port}], "endpoints": [{"addresses": [own_address()], **endpoint}],
        }  # fmt: skip
        assert victim.ask("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice_)[0] == 201
        code, status = victim.ask("GET", f"{NS}/services/{name}:80/proxy/")
    assert (code, status["message"]) == (503, f'no endpoints available for service "{name}:80"')
    assert reached == []
