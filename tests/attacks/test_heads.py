"""Requests that never end, or whose first lines are as long as they may be: refused in Go's words, at little cost."""

import contextlib
import select
import ssl
import time
from collections.abc import Iterator
from itertools import chain, repeat

import pytest

from kapi import limits
from tests.attacks.requests import MAPS
from tests.attacks.victim import Victim

pytestmark = pytest.mark.slow
MB = 1 << 20
WAIT = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
START = b"GET / HTTP/1.1\r\nHost: x\r\n"


def answer(line: ssl.SSLSocket, blocks: Iterator[bytes]) -> tuple[bytes, int]:
    """What the server says while it is sent one block after the other, and how many bytes those were. It hangs up then."""
    received, sent, left, end = b"", 0, memoryview(next(blocks)), time.monotonic() + 20
    line.setblocking(False)
    try:
        while time.monotonic() < end:
            with contextlib.suppress(*WAIT):
                received += (data := line.recv(1 << 16))
                if not data:
                    break
            with contextlib.suppress(*WAIT):
                sent += (size := line.send(left[: 1 << 16]) if left and not received else 0)
                left = left[size:] or memoryview(next(blocks, b""))
            select.select([line], [line] if left and not received else [], [], 0.05)
    except OSError:
        return received, sent
    assert received, "no answer"
    return received, sent


UNBOUNDED = {
    "200 MB of headers": chain([START], repeat(b"A: " + b"x" * (MB - 5) + b"\r\n", 200)),
    "a header of 200 MB": chain([START + b"A: "], repeat(b"x" * MB, 200)),
    "a header's name of 200 MB": chain([START], repeat(b"x" * MB, 200)),
    "a URL of 100 MB": chain([b"GET /"], repeat(b"x" * MB, 100)),
    "a query of 100 MB": chain([b"GET /?"], repeat(b"x" * MB, 100)),
    "a method of 100 MB": repeat(b"GET" * MB, 33),
    "200 MB of spaces": chain([b"GET "], repeat(b" " * MB, 200)),
    "200 MB of empty lines": repeat(b"\r\n" * MB, 100),
    "10,000 headers": chain([START], [b"A: b\r\n" * 10_000 + b"\r\n"]),
    "250,000 headers": chain([START], [b"a:\r\n" * 250_000 + b"\r\n"]),
}
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
BAD = b"HTTP/1.1 400 Bad Request\r\n"


@pytest.mark.parametrize("what", UNBOUNDED)
def test_heads_without_end(victim: Victim, what: str) -> None:
    with victim.watched(what) as cost, victim.connect() as line:
        received, sent = answer(line, iter(UNBOUNDED[what]))
    cost.note = f"refused after {sent / MB:.1f} MB"
    assert received.startswith((TOO_LARGE, BAD))
    assert sent < 20 * MB
    cost.check()


SPACE = b"%E2%80%8B"
"""U+200B, which is escaped wherever it is quoted."""
LONG = {
    "a path of 1 MB": (b"GET /" + b"x" * (MB - 4096) + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 414 "),
    "a path of 330,000 percent signs": (b"GET /" + b"%41" * 330_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 414 "),
    "a path of 4,000 slashes": (b"GET " + b"/" * 4000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 403 "),
    "a query of 500,000 parameters": (b"GET /api/v1/pods?" + b"a&" * 500_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 414 "),
    "a query of 90,000 parameters": (b"GET /api/v1/pods?" + b"a&" * 90_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", BAD),
    "a query of 10,000 parameters": (b"GET /api/v1/pods?" + b"a=%41&" * 9_999 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 403 "),
    "a query of 330,000 percent signs": (b"GET /api/v1/pods?a=" + b"%41" * 330_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 414 "),
    "a timeout of 110,000 spaces": (b"GET /version?timeout=" + SPACE * 110_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 414 "),
    "a timeout of 21,000 spaces": (b"GET /version?timeout=" + SPACE * 21_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", BAD),
    "21,000 spaces left out": (b"GET /healthz?verbose&exclude=" + SPACE * 21_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 "),
    "a limit of 21,000 spaces": (b"GET /nope?limit=" + SPACE * 21_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 403 "),
    "a header of 1 MB": (START + b"Authorization: Bearer " + b"x" * (MB - 4096) + b"\r\n\r\n", b"HTTP/1.1 401 "),
    "an Accept header of 1 MB": (START + b"Accept: " + b"a/b," * (MB // 4 - 1024) + b"\r\n\r\n", b"HTTP/1.1 403 "),
    "an Accept header of 1 MB, asking for the version": (
        b"GET /version HTTP/1.1\r\nHost: x\r\nAccept: " + b"a/b," * (MB // 4 - 1024) + b"\r\n\r\n", b"HTTP/1.1 200 "
    ),
    "1,900 headers": (START + b"Accept: a/b\r\n" * 1900 + b"\r\n", b"HTTP/1.1 403 "),
}


@pytest.mark.parametrize("what", LONG)
def test_heads_as_long_as_may_be(victim: Victim, what: str) -> None:
    sent, expected = LONG[what]
    with victim.watched(what) as cost:
        for _ in range(4):
            with victim.connect() as line:
                line.sendall(sent)
                assert line.recv(1 << 16).startswith(expected)
    cost.check()


def test_impersonating_long_names(victim: Victim) -> None:
    headers = {"Impersonate-User": "\u200b".encode() * 300_000}
    with victim.watched("a user of 900 kB impersonated") as cost:
        status, answer = victim.ask("GET", MAPS, headers={name: value.decode("latin-1") for name, value in headers.items()})
    assert (status, answer["message"]) == (400, "the Impersonate headers are too long: limit is 65536")
    cost.check()


def test_many_long_paths_are_not_remembered(victim: Victim) -> None:
    with victim.watched("2,000 different paths, as long as may be") as cost, victim.connect() as line:
        for number in range(2000):
            line.sendall(b"GET /api/v1/%0*d HTTP/1.1\r\nHost: x\r\n\r\n" % (limits.PATH_BYTES - 8, number))
            received = b""
            while not received.endswith(b'"code":403}\n'):
                received += line.recv(1 << 16)
                assert received.startswith(b"HTTP/1.1 403 ")
    cost.check()


CHUNKED = b"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer "
BODIES = {
    "200 MB of a chunk's extensions": chain([b"1;a="], repeat(b"x" * MB, 200)),
    "200 MB of extensions, a byte of data in each chunk": repeat((b"1;a=" + b"x" * 4090 + b"\r\n{\r\n") * 256, 200),
    "200 MB of trailers": chain([b"2\r\n{}\r\n0\r\n"], repeat(b"A: " + b"x" * 1019 + b"\r\n", 200_000)),
    "200 MB of one trailer": chain([b"2\r\n{}\r\n0\r\nA: "], repeat(b"x" * MB, 200)),
    "200 MB of body": repeat(b"100000\r\n" + b"x" * MB + b"\r\n", 200),
}


@pytest.mark.parametrize("what", BODIES)
def test_bodies_without_end(victim: Victim, what: str) -> None:
    with victim.watched(what) as cost, victim.connect() as line:
        received, sent = answer(line, chain([CHUNKED + victim.token.encode() + b"\r\n\r\n"], BODIES[what]))
    cost.note = f"refused after {sent / MB:.1f} MB"
    assert received.startswith((BAD, TOO_LARGE, b"HTTP/1.1 413 ")), received[:100]
    assert sent < 40 * MB
    cost.check()
