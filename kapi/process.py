"""A program of ours as a process, whichever it is: it runs until SIGTERM or SIGINT, tells whoever started it that it is ready or why it
gives up, and fails with one sentence.

What a process does is its room's; how the processes of a cluster are started and stopped is `kapi.cli`'s.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from kapi import logs
from kapi.http import connections

READY_FD = "KAPI_READY_FD"
"""Environment variable: the descriptor a component writes to when it is ready."""
READY = b"ready"
"""What it writes then."""
PRIVATE = 0o077
"""The umask of everything that writes into a data directory."""
Run = Callable[[Coroutine[Any, Any, None]], None]


class Failure(Exception):
    """Something a person can mend: one clear sentence (or a few lines), printed as it is; exit status 1."""


def say_ready() -> None:
    """Called by a component: tell whoever started it that it is ready."""
    _say(READY)


def say_failed(why: str) -> None:
    """Called by a component that gives up before it is ready: the sentence whoever started it shows."""
    _say(why.encode())


def _say(what: bytes) -> None:
    descriptor = os.environ.pop(READY_FD, "")
    if descriptor:
        with contextlib.suppress(BrokenPipeError):  # who started it was killed meanwhile
            os.write(int(descriptor), what)
        os.close(int(descriptor))


def find_system_programs() -> None:
    """nft and conntrack are in directories that Debian leaves out of an ordinary user's PATH."""
    listed = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([*listed, *(d for d in ("/usr/local/sbin", "/usr/sbin", "/sbin") if d not in listed)])


@contextlib.contextmanager
def private() -> Iterator[None]:
    """What this process makes within the block is for its user only."""
    before = os.umask(PRIVATE)
    try:
        yield
    finally:
        os.umask(before)


def supervise(name: str, version: str, settings: Any, main: Coroutine[Any, Any, None], run: Run = asyncio.run) -> int:
    """Run a component until SIGTERM or SIGINT, then end it in order; it logs meanwhile as its settings say. The exit status.

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
