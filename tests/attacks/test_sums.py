"""Crowds of requests, each of which is within its bounds: what all of them may take together is bounded, and is given back."""

import contextlib
import json
import re
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from kapi import limits
from tests.attacks.asking import MAPS, config_map, made
from tests.attacks.test_websockets import TEXT, frame, opened
from tests.attacks.victim import HELD, P99, Cost, Victim

pytestmark = pytest.mark.slow
MB = 1 << 20
ALL = limits.WAITING_BYTES / MB + 64
"""MB that a crowd may take: what waits, beside what one request may take."""
KEPT = 40
"""MB that may be left of it."""


def check(cost: Cost) -> None:
    assert cost.megabytes <= ALL, f"{cost.attack}: {cost.megabytes:.0f} MB"
    assert cost.held <= HELD, f"{cost.attack}: the event loop was held {cost.held:.0f} ms"
    assert cost.p99 <= P99, f"{cost.attack}: another user's GET took {cost.p99:.0f} ms (p99)"


def resident(victim: Victim) -> float:
    """MB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{victim.pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def settled(victim: Victim, most: float, seconds: float = 15.0) -> float:
    """MB of its memory, once they are few."""
    end = time.monotonic() + seconds
    while (now := resident(victim)) > most and time.monotonic() < end:
        time.sleep(0.1)
    return now


def test_unfinished_messages(victim: Victim) -> None:
    with victim.watched("60 WebSockets with 7 MB of a message each") as cost, ExitStack() as stack:
        lines = []
        for _ in range(60):
            line = stack.enter_context(opened(victim))
            line.settimeout(5)
            with contextlib.suppress(OSError):
                line.sendall(frame(TEXT, b"x" * (7 * MB), 7 * MB + 1))
            lines.append(line)
    check(cost)


def head(victim: Victim, length: int, query: str = "?dryRun=All") -> bytes:
    return (
        f"POST {MAPS}{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {victim.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def test_unfinished_bodies(victim: Victim) -> None:
    with victim.watched("190 bodies of 3 MB without their end") as cost, ExitStack() as stack:
        for _ in range(190):
            line = stack.enter_context(victim.connect())
            line.sendall(head(victim, 3 * MB) + b" " * (3 * MB - 1))
    check(cost)


def test_large_dry_runs(victim: Victim) -> None:
    body = json.dumps({**config_map("large"), "data": {f"k{i}": "v" * 50 for i in range(15_000)}}).encode()
    with victim.watched(f"100 dry runs of {len(body) / MB:.1f} MB at once") as cost, ExitStack() as stack:
        lines = [stack.enter_context(victim.connect()) for _ in range(100)]
        for line in lines:
            line.sendall(head(victim, len(body)) + body)
        codes = [line.recv(1 << 12)[9:12] for line in lines]
    cost.note = f"{codes.count(b'201')} done, {codes.count(b'429')} refused"
    check(cost)


def test_unread_watches(victim: Victim) -> None:
    made(victim, MAPS, config_map("seen"))
    asked = f"GET {MAPS}?watch=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {victim.token}\r\n\r\n".encode()
    with ExitStack() as stack:
        lines = [stack.enter_context(victim.connect()) for _ in range(300)]
        for line in lines:
            line.sendall(asked)
            assert line.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        with victim.watched("300 watches not read, of 20 MB of changes") as cost:
            for number in range(40):
                obj = {**config_map("seen"), "data": {"number": str(number), "text": "x" * 500_000}}
                assert victim.ask("PUT", f"{MAPS}/seen", obj)[0] == 200
    check(cost)
