"""Crowds of connections, and connections on which nothing happens, slowly: authenticated users go on working.

The server may open 1,024 files here, and its time-outs are seconds.
"""

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kapi import limits
from tests.attacks.conftest import COSTS
from tests.attacks.victim import Victim, running

pytestmark = pytest.mark.slow
WAIT = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
FILES, CROWD = 1024, 1100
SHORT = {"HANDSHAKE_SECONDS": 4, "HEADER_SECONDS": 2, "BODY_SECONDS": 2, "IDLE_SECONDS": 4, "WRITE_SECONDS": 2}
MAPS = "/api/v1/namespaces/default/configmaps"
NOBODY = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Victim]:
    options = [word for name, seconds in SHORT.items() for word in ("--limit", f"{name}={seconds}")]
    with running(tmp_path_factory.mktemp("victim"), *options, files=FILES) as running_victim:
        yield running_victim
        request.config.stash.setdefault(COSTS, []).extend(running_victim.costs)


def files(victim: Victim) -> int:
    """Files the server has open."""
    return len(list(Path(f"/proc/{victim.pid}/fd").iterdir()))


def wait_for_connections(victim: Victim, most: int, seconds: float = 10.0) -> int:
    """Its open files, once they are few."""
    end = time.monotonic() + seconds
    while (now := files(victim)) > most and time.monotonic() < end:
        time.sleep(0.05)
    return now


@contextmanager
def open_connections(victim: Victim, number: int, enter: Callable[[socket.socket], socket.socket]) -> Iterator[list[socket.socket]]:
    """So many connections at once; `enter` does with each what the attacker does. Those that are cut meanwhile are part of it."""
    with ExitStack() as stack:
        out = []
        for _ in range(number):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", victim.port), timeout=10))
            try:
                out.append(stack.enter_context(enter(line)))
            except OSError:
                out.append(line)
        yield out


def cut(line: socket.socket, seconds: float = 10.0) -> float:
    """Seconds until the server closes the connection; fails when it does not."""
    began = time.monotonic()
    line.settimeout(seconds)
    try:
        while line.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - began


def cut_off(line: socket.socket) -> bytes:
    """What had been sent before the server closed the connection."""
    out = bytearray()
    with contextlib.suppress(OSError):
        while data := line.recv(1 << 20):
            out += data
    return bytes(out)


def request(victim: Victim, head: str) -> bytes:
    return f"{head} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {victim.token}\r\n".encode()


def still_serves(victim: Victim) -> None:
    """A newcomer gets an answer, and soon."""
    began = time.monotonic()
    assert victim.ask("GET", "/api/v1/namespaces/default", timeout=10)[0] == 200
    assert time.monotonic() - began < 5


# crowds -------------------------------------------------------------------------------------------------------------------------------


def test_no_handshake(victim: Victim) -> None:
    attack = f"{CROWD} connections without a handshake at {FILES} files"
    with victim.watched(attack) as cost, open_connections(victim, CROWD, lambda s: s) as lines:
        still_serves(victim)
        assert files(victim) <= FILES - limits.RESERVED_FILES
        assert cut(lines[-1]) < 2 * SHORT["HANDSHAKE_SECONDS"]
    cost.check()
    assert wait_for_connections(victim, 100) < 100


def test_no_file_left(tmp_path: Path) -> None:
    """There is no reserve here: accepting fails for want of files. The loop does not spin, and newcomers get their turn."""
    with running(tmp_path, "--limit", "RESERVED_FILES=-1000", files=256) as victim:
        attack = "600 connections without a handshake, at 256 files without a reserve"
        with victim.watched(attack) as cost, open_connections(victim, 600, lambda s: s):
            still_serves(victim)
            before, began = victim.cpu(), time.monotonic()
            time.sleep(1)
            assert victim.cpu() - before < 0.5 * (time.monotonic() - began)
        cost.check()
        still_serves(victim)


def test_idle_unauthenticated(victim: Victim) -> None:
    tls = victim.tls()

    def enter(line: socket.socket) -> socket.socket:
        talk = tls.wrap_socket(line, server_hostname="127.0.0.1")
        talk.sendall(NOBODY)
        assert talk.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        return talk

    with victim.watched(f"{CROWD} idle unauthenticated connections") as cost, open_connections(victim, CROWD, enter) as lines:
        still_serves(victim)
        assert files(victim) <= FILES - limits.RESERVED_FILES
        assert cut(lines[-1]) < 2 * SHORT["IDLE_SECONDS"]
    cost.check()
    assert wait_for_connections(victim, 100) < 100


def test_idle_authenticated(victim: Victim) -> None:
    tls, asking = victim.tls(), request(victim, "GET /api/v1/namespaces/default") + b"\r\n"

    def enter(line: socket.socket) -> socket.socket:
        talk = tls.wrap_socket(line, server_hostname="127.0.0.1")
        talk.sendall(asking)
        assert talk.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        return talk

    with victim.watched(f"{CROWD} idle connections of one user") as cost, open_connections(victim, CROWD, enter):
        still_serves(victim)
        assert files(victim) < FILES - limits.RESERVED_FILES // 2
    cost.check()


def test_garbage_for_a_handshake(victim: Victim) -> None:
    def enter(line: socket.socket) -> socket.socket:
        line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        return line

    with victim.watched("300 connections that speak no TLS") as cost, open_connections(victim, 300, enter) as lines:
        assert cut(lines[-1]) < 2
        assert wait_for_connections(victim, 100) < 100
        still_serves(victim)
    cost.check()


def test_half_closed(victim: Victim) -> None:
    tls = victim.tls()

    def enter(line: socket.socket) -> socket.socket:
        talk = tls.wrap_socket(line, server_hostname="127.0.0.1")
        talk.sendall(NOBODY)
        talk.shutdown(socket.SHUT_WR)
        return talk

    with victim.watched("300 half-closed connections") as cost, open_connections(victim, 300, enter) as lines:
        assert cut(lines[-1]) < 2
        assert wait_for_connections(victim, 100) < 100
    cost.check()


# slowness -----------------------------------------------------------------------------------------------------------------------------


def drip(line: ssl.SSLSocket, seconds: float = 10.0) -> float:
    """Send a byte now and then; seconds until the server has had enough."""
    began = time.monotonic()
    line.settimeout(0.05)
    while time.monotonic() - began < seconds:
        try:
            line.sendall(b"a")
            if not line.recv(1 << 16):
                return time.monotonic() - began
        except TimeoutError:
            continue
        except OSError:
            return time.monotonic() - began
    raise AssertionError("the server goes on reading")


def pushed(line: ssl.SSLSocket, block: bytes, most: int = 1 << 30) -> int:
    """Bytes the server takes of an endless stream of blocks, until it takes no more for a second or hangs up."""
    line.settimeout(1)
    sent = 0
    try:
        while sent < most:
            sent += line.send(block)
    except OSError:
        return sent
    raise AssertionError(f"{sent} bytes, and no end")


@pytest.mark.parametrize("before", [b"", NOBODY], ids=["first", "second"])
def test_slow_headers(victim: Victim, before: bytes) -> None:
    with victim.watched(f"headers byte by byte{', of a second request' if before else ''}") as cost, victim.connect() as line:
        line.sendall(before + b"GET / HTTP/1.1\r\nHost: x\r\nA: ")
        assert SHORT["HEADER_SECONDS"] - 0.2 < drip(line) < 2 * SHORT["HEADER_SECONDS"]
    cost.check()


def test_slow_body(victim: Victim) -> None:
    with victim.watched("a body byte by byte") as cost, victim.connect() as line:
        line.sendall(request(victim, f"POST {MAPS}") + b"Content-Length: 1000\r\n\r\n{")
        began = time.monotonic()
        line.settimeout(10)
        answer = line.recv(1 << 16)
        assert SHORT["BODY_SECONDS"] - 0.2 < time.monotonic() - began < 2 * SHORT["BODY_SECONDS"]
        assert answer.startswith(b"HTTP/1.1 504 ")
        assert b"Timeout: request did not complete within the allotted timeout" in answer
        assert cut(line) < 1
    cost.check()


def test_no_end_of_a_body_nobody_wants(victim: Victim) -> None:
    """The caller may not; what else it sends is thrown away, but not for ever."""
    with victim.watched("a body without end behind a 403") as cost, victim.connect() as line:
        line.sendall(b"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n")
        assert line.recv(1 << 16).startswith(b"HTTP/1.1 403 ")
        assert pushed(line, b"x" * (1 << 16)) < 4 * limits.UNREAD_BODY_BYTES
    cost.check()


def test_nobody_reads_a_long_list(victim: Victim) -> None:
    for number in range(100):
        config_map = {"metadata": {"name": f"m{number}"}, "data": {"k": "x" * 1000_000}}
        assert victim.ask("POST", MAPS, config_map)[0] == 201
    before = files(victim) + 2  # the other user's connection
    with victim.watched("eight readers of a list of 100 MB that do not read") as cost, ExitStack() as stack:
        lines = [stack.enter_context(victim.connect()) for _ in range(8)]
        for line in lines:
            line.sendall(request(victim, f"GET {MAPS}") + b"\r\n")
        wait_for_connections(victim, before)
        for line in lines:
            assert b"0\r\n\r\n" not in cut_off(line)[-8:]
    cost.check()


# pipelining ---------------------------------------------------------------------------------------------------------------------------


def test_pipelining(victim: Victim) -> None:
    """All are answered, one a turn of the loop."""
    with victim.watched("10,000 requests at once on one connection") as cost, victim.connect() as line:
        line.setblocking(False)
        left, answers, tail = memoryview(NOBODY * 10_000), 0, b""
        while answers < 10_000:
            with contextlib.suppress(*WAIT):
                if left:
                    left = left[line.send(left[: 1 << 16]) :]
            try:
                data = tail + line.recv(1 << 18)
                assert len(data) > len(tail)
                answers += data.count(b"HTTP/1.1 200 ")
                tail = data[-8:]
            except WAIT:
                time.sleep(0.001)
    cost.check()


def test_pipelining_without_reading(victim: Victim) -> None:
    with victim.watched("requests without end, their answers not read") as cost, victim.connect() as line:
        assert pushed(line, NOBODY * 1000) < 64 << 20
    cost.check()


def test_pipelining_behind_a_watch(victim: Victim) -> None:
    with victim.watched("requests without end behind a watch") as cost, victim.connect() as line:
        line.sendall(request(victim, "GET /api/v1/namespaces/default/secrets?watch=1") + b"\r\n")
        assert line.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        assert pushed(line, NOBODY * 1000) < 64 << 20
    cost.check()


def test_unfinished_heads_of_many_connections(victim: Victim) -> None:
    """Together they are bounded, and what is cut off is given back."""
    head = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 63_000) for n in range(16))
    for round_ in (1, 2):
        with victim.watched(f"1 MB of headers without an end on 60 connections, round {round_}") as cost, ExitStack() as closing:
            for line in [closing.enter_context(victim.connect()) for _ in range(60)]:
                with contextlib.suppress(OSError):  # the server has had enough of it
                    line.sendall(head)
        cost.check()
