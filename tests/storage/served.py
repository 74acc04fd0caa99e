"""A real API server over a directory that may be damaged: `kapi apiserver` in a process of its own."""

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from kapi.cli import processes
from kapi.cli.processes import Process
from tests.attacks.victim import Victim

MAPS = "/api/v1/namespaces/default/configmaps"


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """`kapi` with these arguments."""
    return subprocess.run(processes.python("kapi", *arguments), capture_output=True, text=True, timeout=60, check=False)


@contextlib.contextmanager
def serving(directory: Path, port: int, end: signal.Signals = signal.SIGKILL) -> Iterator[Victim]:
    """A server that is ready; ended by a signal, in order or not."""
    process = Process("apiserver", directory)
    options = ("--data-dir", str(directory), "--port", str(port), "--bind-address", "127.0.0.1")
    started = process.start(processes.python("kapi", "apiserver", *options))
    started.wait(60)
    try:
        yield Victim(directory, port, process.pid)
    finally:
        process.signal(end)
        started.child.wait(30)


def create(server: Victim, name: str, text: str = "") -> tuple[int, int]:
    """Create a config map; (status, revision)."""
    status, created = server.ask("POST", MAPS, {"metadata": {"name": name}, "data": {"text": text}})
    return status, int(created["metadata"].get("resourceVersion", 0)) if status == 201 else 0


def names(server: Victim) -> set[str]:
    status, found = server.ask("GET", MAPS)
    assert status == 200
    return {item["metadata"]["name"] for item in found["items"]}
