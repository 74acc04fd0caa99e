"""Time in tests: a loop whose hours pass in milliseconds, stories told on it, a turn of any loop, and a thread held."""

import asyncio
import os
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from kapi.objects import time

EPOCH = 1_767_225_600.0
Stage = TypeVar("Stage")


class _Jumping(selectors.DefaultSelector):
    """A selector that, rather than waiting, moves the clock on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("nothing will ever happen: every task waits and no timer runs")
        self.now += max(timeout, 0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


async def turn() -> None:
    """Whatever is ready to run has run once."""
    await asyncio.sleep(0)


def _sockets() -> set[str]:
    """This process's open sockets: 'socket:[12345]'."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(os.readlink(path))
    return {name for name in found if name.startswith("socket:")}


@asynccontextmanager
async def sockets_closed() -> AsyncIterator[None]:
    """Sockets opened in the block are closed when it is left: clients that end without waiting for TLS get the turns they need."""
    before = _sockets()
    yield
    async with asyncio.timeout(10):
        while _sockets() - before:
            await turn()


async def later(seconds: float) -> None:
    """Let virtual time pass; everything due by then has happened."""
    assert isinstance(asyncio.get_running_loop(), VirtualLoop), "in real time, wait for what should happen"
    await asyncio.sleep(seconds)


def hold(seconds: float) -> None:
    """Keep this thread, and the loop that runs on it, busy."""
    end = perf_counter() + seconds
    while perf_counter() < end:
        pass


class _Told(Exception):
    """The story is over: its group ends whatever still runs."""


def stories_on(stage: Callable[[asyncio.TaskGroup], Stage]) -> Callable[[Callable[[Stage], Awaitable[None]]], Callable[[], None]]:
    """A decorator that makes a test of `async def test(stage)`, run in virtual time; tasks live in the group that `stage` is made with."""

    def story(test: Callable[[Stage], Awaitable[None]]) -> Callable[[], None]:
        async def told() -> None:
            try:
                async with asyncio.TaskGroup() as group:
                    await test(stage(group))
                    raise _Told
            except* _Told:
                pass

        def run() -> None:
            loop = VirtualLoop()
            time.set_clock(lambda: EPOCH + loop.time())
            try:
                loop.run_until_complete(told())
            finally:
                time.set_clock(None)
                loop.close()

        run.__name__, run.__module__, run.__doc__ = test.__name__, test.__module__, test.__doc__
        return run

    return story
