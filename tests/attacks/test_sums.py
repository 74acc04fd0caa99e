"""Crowds of requests, each of which is within its bounds: what all of them may take together is bounded, and is given back."""

import contextlib
import json
import os
import re
import select
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kapi import limits
from tests.attacks.requests import ANYTHING, MAPS, config_map, create, custom, define, properties
from tests.attacks.test_websockets import FIN, TEXT, frame, opened
from tests.attacks.victim import HELD, P99, Cost, Victim

pytestmark = pytest.mark.slow
MB = 1 << 20
ALL = limits.WAITING_BYTES / MB + 64
"""MB that a crowd may take: what waits, beside what one request may take."""
KEPT = 40
"""MB that may be left of it."""
CLOSE = 0x8


@contextmanager
def flood(victim: Victim, attack: str) -> Iterator[tuple[Cost, ExitStack]]:
    """Measure a crowd whose connections are put on the stack, check what it cost, and that its memory comes back."""
    before = resident(victim)
    with victim.watched(attack) as cost, ExitStack() as stack:
        yield cost, stack
    left = wait_for_memory(victim, before + KEPT) - before
    cost.note = f"{cost.note} {left:.0f} MB left".strip()
    assert cost.megabytes <= ALL, f"{attack}: {cost.megabytes:.0f} MB"
    assert cost.held <= HELD, f"{attack}: the event loop was held {cost.held:.0f} ms"
    assert cost.p99 <= P99 * busy(), f"{attack}: another user's GET took {cost.p99:.0f} ms (p99)"
    assert left <= KEPT, f"{attack}: {left:.0f} MB are left of it"


def busy() -> float:
    """How much longer everything takes because others use the machine: what is measured with the clock is to be compared with that."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def resident(victim: Victim) -> float:
    """MB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{victim.pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def wait_for_memory(victim: Victim, most: float, seconds: float = 30.0) -> float:
    """MB of its memory, once they are few."""
    end = time.monotonic() + seconds
    while (now := resident(victim)) > most and time.monotonic() < end:
        time.sleep(0.1)
    return now


def lines(victim: Victim, number: int, stack: ExitStack) -> Iterator[ssl.SSLSocket]:
    """Connections."""
    tls = victim.tls()
    for _ in range(number):
        plain = socket.create_connection(("127.0.0.1", victim.port), timeout=30)
        yield stack.enter_context(tls.wrap_socket(plain, server_hostname="127.0.0.1"))


def said(line: ssl.SSLSocket) -> bytes:
    """What has come, without waiting for more."""
    line.setblocking(False)
    try:
        return line.recv(1 << 12)
    except OSError:
        return b""


def told(lines: list[ssl.SSLSocket], most: int) -> list[tuple[ssl.SSLSocket, bytes]]:
    """Those that have got something, with that: waits until they are more than `most`, and half a minute at the longest."""
    found: dict[ssl.SSLSocket, bytes] = {}
    end = time.monotonic() + 30
    while len(found) <= most and time.monotonic() < end:
        waiting = [line for line in lines if line not in found]
        found |= {line: answer for line in select.select(waiting, [], [], 1.0)[0] if (answer := said(line))}
    return list(found.items())


def head(victim: Victim, method: str, path: str, *headers: str) -> bytes:
    first = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {victim.token}\r\n"
    return (first + "".join(f"{header}\r\n" for header in headers) + "\r\n").encode()


def test_unfinished_messages(victim: Victim) -> None:
    with flood(victim, "60 WebSockets with 7 MB of a message each") as (cost, stack):
        watching = []
        for _ in range(60):
            line = stack.enter_context(opened(victim))
            with contextlib.suppress(OSError):
                line.sendall(frame(TEXT, b"x" * (7 * MB), 7 * MB + 1))
            watching.append(line)
        closed = [answer for line in watching if (answer := said(line))]
        cost.note = f"{len(closed)} closed"
        assert closed
        assert all(answer[0] == FIN | CLOSE and struct.unpack("!H", answer[2:4]) == (1009,) for answer in closed)


def test_unfinished_bodies(victim: Victim) -> None:
    """Those that are refused are told so, and their connections go on."""
    request = head(victim, "POST", f"{MAPS}?dryRun=All", "Content-Type: application/json", f"Content-Length: {3 * MB}")
    with flood(victim, "190 bodies of 3 MB without their end") as (cost, stack):
        sending = []
        for line in lines(victim, 190, stack):
            line.sendall(request + b" " * (3 * MB - 1))
            sending.append(line)
        refused = told(sending, 190 // 2)
        cost.note = f"{len(refused)} refused"
        assert len(refused) > 190 // 2
        for _, answer in refused:
            assert answer.startswith(b"HTTP/1.1 429 ")
            assert b"retry-after: 1\r\n" in answer.lower()
        line, _ = refused[-1]
        line.settimeout(10)
        line.sendall(b" " + head(victim, "GET", "/api/v1/namespaces/default"))
        assert line.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


def test_large_dry_runs(victim: Victim) -> None:
    """All are answered, one after the other."""
    body = json.dumps({**config_map("large"), "data": {f"k{i}": "v" * 50 for i in range(15_000)}}).encode()
    request = head(victim, "POST", f"{MAPS}?dryRun=All", "Content-Type: application/json", f"Content-Length: {len(body)}") + body
    with flood(victim, f"100 dry runs of {len(body) / MB:.1f} MB at once") as (cost, stack):
        asking = list(lines(victim, 100, stack))
        for line in asking:
            line.sendall(request)
        codes = [line.recv(1 << 12)[9:12] for line in asking]
        cost.note = f"{codes.count(b'201')} done, {codes.count(b'429')} refused"
        assert set(codes) <= {b"201", b"429"}
        assert codes.count(b"201") >= len(codes) // 2


def test_work_on_large_objects(victim: Victim) -> None:
    """Whatever is done to a large object by a short request is done to a few at a time."""
    schema = properties(spec={**ANYTHING, "properties": {"replicas": {"type": "integer"}}})
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    path = define(victim, "Scaled", schema, subresources={"scale": scale})
    create(victim, path, custom("Scaled", "large", spec={"replicas": 1, **{f"k{i}": "v" for i in range(80_000)}}))
    create(victim, MAPS, {**config_map("large"), "data": {f"k{i}": "v" for i in range(80_000)}})
    merge = "Content-Type: application/merge-patch+json"
    for what, method, at, body in (
        ("changes of the scale", "PATCH", f"{path}/large/scale", b'{"spec":{"replicas":3}}'),
        ("deletions", "DELETE", f"{MAPS}/large", b""),
        ("deletions of the collection", "DELETE", path, b""),
    ):
        request = head(victim, method, f"{at}?dryRun=All", merge, f"Content-Length: {len(body)}") + body
        with flood(victim, f"40 {what} of a large object at once") as (cost, stack):
            asking = list(lines(victim, 40, stack))
            for line in asking:
                line.sendall(request)
            assert {line.recv(1 << 12)[9:12] for line in asking} == {b"200"}
        cost.check()


@pytest.mark.parametrize(("changes", "size"), [(10, 500_000), (300, 5_000)])
def test_unread_watches(victim: Victim, changes: int, size: int) -> None:
    create(victim, MAPS, config_map("seen"))
    with flood(victim, f"300 watches that do not read {changes * size / MB:.0f} MB of {changes} changes") as (_, stack):
        watching = list(lines(victim, 300, stack))
        for line in watching:
            line.sendall(head(victim, "GET", f"{MAPS}?watch=1"))
            assert line.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        for number in range(changes):
            obj = {**config_map("seen"), "data": {"number": str(number), "text": "x" * size}}
            assert victim.ask("PUT", f"{MAPS}/seen", obj)[0] == 200


INITIAL = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"


@pytest.mark.parametrize(("what", "query"), [("lists", ""), ("watches", INITIAL)])
def test_old_states_that_unread_answers_list(victim: Victim, what: str, query: str) -> None:
    """Each answer lists states that are replaced before it is read."""

    def write(letter: str) -> None:
        for number in range(20):
            obj = {**config_map(f"old-{number}"), "data": {"text": letter * 1_000_000}}
            assert victim.ask("PUT", f"{MAPS}/old-{number}", obj)[0] == 200

    for number in range(20):
        create(victim, MAPS, config_map(f"old-{number}"))
    write("x")
    write("y")  # what the store itself keeps of the past is there
    with flood(victim, f"20 {what} that are not read while 20 MB change each time") as (_, stack):
        for generation, line in enumerate(lines(victim, 20, stack)):
            write(chr(97 + generation))
            line.sendall(head(victim, "GET", f"{MAPS}?{query}"))
            assert line.recv(1 << 12).startswith(b"HTTP/1.1 200 ")
    for number in range(20):
        victim.ask("DELETE", f"{MAPS}/old-{number}")


def test_unread_beginnings_of_watches(victim: Victim) -> None:
    for number in range(5):
        create(victim, MAPS, {**config_map(f"first-{number}"), "data": {"text": "x" * 1_000_000}})
    with flood(victim, "400 watches that do not read the 5 MB they begin with") as (_, stack):
        watching = list(lines(victim, 400, stack))
        for line in watching:
            line.sendall(head(victim, "GET", f"{MAPS}?{INITIAL}"))
        time.sleep(2 * limits.WATCH_STALLED_SECONDS)
    for number in range(5):
        victim.ask("DELETE", f"{MAPS}/first-{number}")


def test_long_heads_of_watches(victim: Victim) -> None:
    with flood(victim, "300 watches with 1 MB of headers each") as (_, stack):
        for line in lines(victim, 300, stack):
            with contextlib.suppress(OSError):
                line.sendall(head(victim, "GET", f"{MAPS}?watch=1", f"X-Long: {'x' * 1_000_000}"))


def test_unread_answers(victim: Victim) -> None:
    create(victim, MAPS, {**config_map("long"), "data": {"text": "x" * 1_000_000}})
    with flood(victim, "300 lists of a long object, as YAML, that are not read") as (_, stack):
        for line in lines(victim, 300, stack):
            line.sendall(head(victim, "GET", MAPS, "Accept: application/yaml"))
