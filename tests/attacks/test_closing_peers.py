"""Peers that close right behind a long body while the client is slow: it gets all of it, however its end is told."""

import hashlib
import random
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.attacks import peers
from tests.attacks.peers import own_address
from tests.attacks.test_proxies import GRANTED, NS, OK, UPGRADE, placed
from tests.attacks.victim import Victim

pytestmark = pytest.mark.slow
SIZE = 6 << 20
BODY = random.Random(36).randbytes(SIZE)
HEADS = {"content-length": OK + b"Content-Length: %d\r\n\r\n" % SIZE, "close": OK + b"Connection: close\r\n\r\n", "upgrade": GRANTED}
CHUNK = 50_000


def in_chunks(body: bytes) -> bytes:
    """A chunked body."""
    parts = (body[at : at + CHUNK] for at in range(0, len(body), CHUNK))
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


SAID = {**{name: head + BODY for name, head in HEADS.items()}, "chunked": OK + b"Transfer-Encoding: chunked\r\n\r\n" + in_chunks(BODY)}


@pytest.fixture(scope="module", autouse=True)
def account(victim: Victim) -> None:
    """Pods need the account of their namespace."""
    assert victim.ask("POST", f"{NS}/serviceaccounts", {"metadata": {"name": "default"}})[0] in (201, 409)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return peers.authority(tmp_path_factory.mktemp("peer"), "pod")[0]


def ended(line: socket.socket) -> None:
    """Close as most servers of TLS do: with a farewell, and without waiting for the other's."""
    if isinstance(line, ssl.SSLSocket):
        line.settimeout(0)
        try:
            line.unwrap()
        except (ssl.SSLError, OSError):  # the other's has not come
            return


@contextmanager
def slow(victim: Victim, path: str, *more: str) -> Iterator[ssl.SSLSocket]:
    """A client that keeps little of what it has not read, with its request sent."""
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15)
        plain.settimeout(30)
        plain.connect(("127.0.0.1", victim.port))
        with victim.tls().wrap_socket(plain, server_hostname="127.0.0.1") as line:
            head = (f"GET {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {victim.token}", *more, "", "")
            line.sendall("\r\n".join(head).encode())
            yield line


def read_slowly(line: ssl.SSLSocket) -> bytes:
    """All up to the end of the connection, a record at a time."""
    got = bytearray()
    while data := line.recv(1 << 14):
        got += data
        time.sleep(0.001)
    return bytes(got)


def body(answer: bytes) -> bytes:
    """What stands behind the head, its chunks joined."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head.lower():
        return rest
    out = bytearray()
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        out += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return bytes(out)


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("how", SAID)
def test_what_is_said_before_the_end_arrives(victim: Victim, tls: ssl.SSLContext, how: str, secure: bool) -> None:
    def say(line: socket.socket) -> None:
        line.sendall(SAID[how])
        ended(line)

    more = UPGRADE if how == "upgrade" else ("Connection: close",)
    with peers.answering(say, own_address(), tls if secure else None) as peer, placed(victim, own_address()) as name:
        path = f"{NS}/pods/{'https:' if secure else ''}{name}:{peer.port}/proxy/x"
        with slow(victim, path, *more) as line:
            got = body(read_slowly(line))
    assert len(got) == SIZE
    assert hashlib.sha256(got).digest() == hashlib.sha256(BODY).digest()
