"""One write that many watch: large objects, watchers that read and watchers that do not."""

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.attacks.requests import MAPS, config_map, create
from tests.attacks.victim import ROOT, Victim

pytestmark = pytest.mark.slow
MEGABYTE = 1_000_000
WRITES = 30


@contextmanager
def watchers(victim: Victim, count: int, events: int) -> Iterator["subprocess.Popen[str]"]:
    """So many watchers of config maps, which begin now."""
    since = victim.ask("GET", MAPS)[1]["metadata"]["resourceVersion"]
    path = f"{MAPS}?watch=1&resourceVersion={since}"
    command = [sys.executable, "-m", "tests.attacks.watchers", str(victim.port), victim.token, path, str(count), str(events)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def write(victim: Victim, number: int) -> None:
    obj = {**config_map("large"), "data": {"k": chr(97 + number % 26) * MEGABYTE}}
    assert victim.ask("PUT", f"{MAPS}/large", obj)[0] == 200


@pytest.fixture(scope="module", autouse=True)
def large(victim: Victim) -> None:
    """The object, written so often that the server remembers as much of it as it ever does."""
    create(victim, MAPS, config_map("large"))
    for number in range(WRITES):
        write(victim, number)


@pytest.mark.parametrize("count", [100, 1000])
def test_a_large_object_that_many_watch(victim: Victim, count: int) -> None:
    with watchers(victim, count, 2) as following, victim.watched(f"{count:,} watchers of 2 x 1 MB") as cost:
        began = time.perf_counter()
        for number in range(2):
            write(victim, number)
        assert following.stdout
        assert int(following.stdout.readline()) > 2 * MEGABYTE
        cost.note = f"all told in {time.perf_counter() - began:.1f} s"
    cost.check()


def follow(line: http.client.HTTPResponse, end: bytes) -> int:
    """The bytes of a watch up to these."""
    size, last = 0, b""
    while end not in last:
        piece = line.read1(1 << 20)
        assert piece
        size += len(piece)
        last = last[-len(end) :] + piece
    return size


def test_a_large_object_that_many_watch_in_yaml(victim: Victim) -> None:
    since = victim.ask("GET", MAPS)[1]["metadata"]["resourceVersion"]
    headers = {"Authorization": f"Bearer {victim.token}", "Accept": "application/yaml"}
    lines = [http.client.HTTPSConnection("127.0.0.1", victim.port, context=victim.tls(), timeout=30) for _ in range(40)]
    for line in lines:
        line.request("GET", f"{MAPS}?watch=1&resourceVersion={since}", headers=headers)
    answers = [line.getresponse() for line in lines]
    with victim.watched("40 watchers in YAML of 1 MB") as cost:
        began = time.perf_counter()
        obj = {**config_map("large"), "data": {f"k{i}": "v" * 20 for i in range(30_000)}}
        assert victim.ask("PUT", f"{MAPS}/large", obj)[0] == 200
        with ThreadPoolExecutor(40) as threads:
            sizes = list(threads.map(lambda answer: follow(answer, b"type: MODIFIED"), answers))
        cost.note = f"all told in {time.perf_counter() - began:.1f} s"
    assert min(sizes) > 900_000
    for line in lines:
        line.close()
    cost.check()


@pytest.mark.parametrize("count", [100, 1000])
def test_watchers_that_are_not_read(victim: Victim, count: int) -> None:
    """What they have yet to take is bounded, however many there are and however much is written."""
    with watchers(victim, count, 0), victim.watched(f"{count:,} watchers that do not read {WRITES} x 1 MB") as cost:
        for number in range(WRITES):
            write(victim, number)
    cost.check()
