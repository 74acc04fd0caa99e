"""A component as a process: it runs until SIGTERM or SIGINT, notifies its parent that it is ready or why it failed (like sd_notify), and
fails with one sentence.

`kapi.cli` starts and stops the processes of a cluster.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from io import TextIOWrapper
from typing import Any

from kapi import logs
from kapi.http import connections

READY_FD = "KAPI_READY_FD"
"""Environment variable: the descriptor a component writes to when it is ready."""
READY = b"ready"
"""The message that means ready; any other is the reason of a failure."""
PRIVATE = 0o077
"""The umask of processes that write into a data directory."""
Run = Callable[[Coroutine[Any, Any, None]], None]


class Failure(Exception):
    """A failure the user can fix: one sentence (or a few lines), printed without a traceback; exit status 1."""


def reason(why: Exception) -> str:
    """An error as a part of a sentence: 'FILE: No such file or directory', without Python's '[Errno 2]'."""
    if isinstance(why, OSError) and why.strerror:
        return f"{why.filename}: {why.strerror}" if why.filename else why.strerror
    return str(why)


def notify_ready() -> None:
    """Notify the parent process that this component is ready."""
    _notify(READY)


def notify_failed(why: str) -> None:
    """Notify the parent process that this component failed before it was ready; the parent prints the sentence."""
    _notify(why.encode(errors="surrogateescape"))


def _notify(message: bytes) -> None:
    descriptor = os.environ.pop(READY_FD, "")
    if descriptor:
        with contextlib.suppress(BrokenPipeError):  # the parent was killed meanwhile
            os.write(int(descriptor), message)
        os.close(int(descriptor))


def open_standard_streams() -> None:
    """Open /dev/null for standard streams that are closed: else the next file that is opened, a database say, would be written to by
    whatever prints. What standard output's encoding lacks is printed as '?'."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest that is free
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - until the process ends
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # ✓ on a terminal that has no such sign


def find_system_programs() -> None:
    """nft and conntrack are in directories that Debian leaves out of an ordinary user's PATH."""
    listed = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([*listed, *(d for d in ("/usr/local/sbin", "/usr/sbin", "/sbin") if d not in listed)])


@contextlib.contextmanager
def private() -> Iterator[None]:
    """Files created within the block are accessible only to their user."""
    before = os.umask(PRIVATE)
    try:
        yield
    finally:
        os.umask(before)


def supervise(name: str, version: str, settings: Any, main: Coroutine[Any, Any, None], run: Run = asyncio.run) -> int:
    """Run a component until SIGTERM or SIGINT, then cancel it; logging is configured by its settings. Returns the exit status.

    Raises Failure.
    """
    connections.raise_file_limit()
    try:
        with logs.component(name, settings, version) as stop:
            run(_until_stopped(main, stop))
    except logs.Unusable as why:
        main.close()
        raise Failure(str(why)) from None
    except BaseExceptionGroup as several:
        first = several.exceptions[0]
        if isinstance(first, Failure):
            raise first from None
        raise
    return 0


async def _until_stopped(main: Coroutine[Any, Any, None], stop: logs.Stop) -> None:
    task = asyncio.ensure_future(main)

    def end(number: signal.Signals) -> None:
        stop.reason = number.name
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    with contextlib.suppress(asyncio.CancelledError):
        await task
