"""What `kapi.testing` leaves of itself: nothing in the process of the test, and no file however that process ends."""

import asyncio
import gc
import locale
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kapi import testing

pytestmark = pytest.mark.slow
KILLED = """
import kapi, os, signal, sys
with kapi.testing.cluster() as cluster:
    print(cluster.directory, flush=True)
    {end}
"""


def _logger(name: str) -> tuple[Any, ...]:
    found = logging.getLogger(name)
    return list(found.handlers), found.level, found.propagate, found.disabled, list(found.filters)


def state(loggers: list[str]) -> dict[str, Any]:
    """All of a process that something in it could change for everybody."""
    umask = os.umask(0o22)
    os.umask(umask)
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()
    return {
        "collector": (gc.isenabled(), gc.get_threshold(), list(gc.callbacks), gc.get_debug()),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "mask": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "threads": {thread.name for thread in threading.enumerate()},
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "children": children,
        "environment": dict(os.environ),
        "directory": (os.getcwd(), umask, sys.path[:]),
        "warnings": list(warnings.filters),
        "loggers": {name: _logger(name) for name in loggers},
        "hooks": (sys.excepthook, sys.unraisablehook, threading.excepthook, sys.breakpointhook, sys.displayhook),
        "asyncio": type(asyncio.get_event_loop_policy()),
        "sundry": (socket.getdefaulttimeout(), sys.getrecursionlimit(), locale.setlocale(locale.LC_ALL)),
        "switching": sys.getswitchinterval(),  # shorter while a worker thread of a cluster runs
        "files": sorted(os.listdir(tempfile.gettempdir())),
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _files_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@contextmanager
def unusual() -> Iterator[None]:
    """A process whose owner has set things differently, and will find out when they are not kept."""
    thresholds, access = gc.get_threshold(), logging.getLogger("uvicorn.access")
    handler, before = logging.NullHandler(), signal.signal(signal.SIGTERM, lambda *_: None)
    gc.set_threshold(701, 11, 12)
    gc.callbacks.append(print_nothing)
    gc.freeze()
    access.addHandler(handler)
    try:
        yield
    finally:
        access.removeHandler(handler)
        gc.unfreeze()
        gc.callbacks.remove(print_nothing)
        gc.set_threshold(*thresholds)
        signal.signal(signal.SIGTERM, before)


def print_nothing(phase: str, info: dict[str, int]) -> None:
    """A callback of the owner's."""


def test_the_process_is_as_it_was() -> None:
    with testing.cluster():
        """Whatever is loaded is loaded now."""
    loggers = ["", "kapi", "uvicorn", "uvicorn.access", "uvicorn.error", "asyncio", "websockets"]
    with unusual():
        before = state(loggers)
        with testing.cluster(nodes=2):
            during = state(loggers)
        assert state(loggers) == before
    for same in ("collector", "signals", "mask", "environment", "directory", "warnings", "loggers", "hooks", "asyncio", "sundry"):
        assert during[same] == before[same], same
    assert len(during["files"]) == len(before["files"]) + 1


def test_garbage_of_the_test_is_still_collected() -> None:
    """A cycle that is made while there is a cluster goes when the collector looks, during it and after it."""

    def cycle() -> weakref.ref[Any]:
        made = Node()
        made.me = made
        return weakref.ref(made)

    early = cycle()
    with testing.cluster():
        late = cycle()
        gc.collect()
        assert (early(), late()) == (None, None)
        late = cycle()
    gc.collect()
    assert late() is None


class Node:
    me: "Node"


def test_a_failed_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = state([])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(testing, "_free_port", lambda: taken.getsockname()[1])
        with pytest.raises(Exception, match=r"Port \d+ can't be used"), testing.cluster():
            pass
    assert state([]) == before


@pytest.mark.parametrize("nodes", [0, -1, "2", 1.5])
def test_a_cluster_without_nodes_is_refused(nodes: Any) -> None:
    before = state([])
    sentence = f"nodes must be an integer of at least 1, not {nodes!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"), testing.cluster(nodes):
        raise AssertionError("it started")
    assert state([]) == before


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("signal.pause()", -signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.abort()", -signal.SIGABRT),
        ("os._exit(3)", 3),
        ("sys.exit(4)", 4),
        ("raise KeyboardInterrupt", -signal.SIGINT),
    ],
)
def test_no_file_is_left(end: str, status: int, tmp_path: Path) -> None:
    """Whoever removes the files holds the error stream until it is done, so its end is theirs."""
    command = [sys.executable, "-c", KILLED.format(end=end)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)}) as process:
        assert process.stdout
        directory = Path(process.stdout.readline().decode().strip())
        assert directory.parent == tmp_path
        if end == "signal.pause()":
            assert directory.exists()
            process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == status
    assert list(tmp_path.iterdir()) == []


def test_importing_kapi_is_enough_and_light() -> None:
    script = "import sys, kapi; assert not [m for m in sys.modules if m.startswith('kapi.')]; print(kapi.testing.cluster.__module__)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout == "kapi.testing\n"
    with pytest.raises(AttributeError, match="module 'kapi' has no attribute 'nothing'"):
        __import__("kapi").nothing  # noqa: B018
