"""One write that many watch: large objects, watchers that read and watchers that do not."""

import subprocess
import sys
import time
from collections.abc import Iterator
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


@pytest.mark.parametrize("count", [100, 1000])
def test_watchers_that_are_not_read(victim: Victim, count: int) -> None:
    """What they have yet to take is bounded, however many there are and however much is written."""
    with watchers(victim, count, 0), victim.watched(f"{count:,} watchers that do not read {WRITES} x 1 MB") as cost:
        for number in range(WRITES):
            write(victim, number)
    cost.check()
