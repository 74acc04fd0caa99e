"""Runs functions that are too long for the event loop in a few worker threads: `await offload.run(function, *args)`.

Functions must work on their own values or only read shared ones; after awaiting, callers must read again what may have changed. Callers
decide by size what is worth offloading. A request that has several functions run on one body takes a `Turn` for all of them: the number of
bytes worked on at once bounds the memory they take. Requests that have to wait meanwhile, for rules or webhooks, have a line of their own.
"""

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from kapi import limits

Result = TypeVar("Result")

SWITCH = 0.001
"""Seconds a worker thread may hold the interpreter lock while the event loop waits for it."""


class _Switching:
    """Shortens the interpreter's switch interval while worker threads run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._works = 0
        self._before = 0.0

    @contextmanager
    def short(self) -> Iterator[None]:
        with self._lock:
            self._works += 1
            if self._works == 1:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(SWITCH)
        try:
            yield
        finally:
            with self._lock:
                self._works -= 1
                if not self._works:
                    sys.setswitchinterval(self._before)


_switching = _Switching()


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(limits.OFFLOAD_THREADS, thread_name_prefix="kapi-offload")


async def run(function: Callable[..., Result], *args: Any, **named: Any) -> Result:
    """The function's result or exception."""
    with _switching.short():
        return await asyncio.get_running_loop().run_in_executor(_workers(), partial(function, *args, **named))


_rules: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


async def run_rules(function: Callable[..., Result], *args: Any) -> Result:
    """The same of a function that evaluates clients' expressions, which may take long: these never take the last worker thread."""
    loop = asyncio.get_running_loop()
    free = _rules.get(loop)
    if free is None:
        free = _rules[loop] = asyncio.Semaphore(max(1, limits.OFFLOAD_THREADS - 1))
    async with free:
        return await run(function, *args)


class TooMuch(Exception):
    """As much is under way as may be: come again."""


class Line:
    """Who works on large bodies, and who waits to, in order; `most`: bytes at once, unless one is larger."""

    def __init__(self, most: int = limits.WORKED_BYTES) -> None:
        self.most = most
        self.worked = 0
        self.waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def move(self) -> None:
        """Let those work whose turn it is; who does not wait any more leaves the line."""
        while self.waiting:
            size, turn = self.waiting[0]
            if not turn.done():
                if self.worked and self.worked + size > self.most:
                    return
                self.worked += size
                turn.set_result(None)
            self.waiting.popleft()


_lines: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[Line, Line]] = WeakKeyDictionary()
"""Of requests that only work, and of those that wait for rules or webhooks."""


class Turn:
    """A request's right to work on so many bytes, from when `ready` is done until it is given back."""

    def __init__(self, size: int, line: Line | None = None, *, waits: bool = False) -> None:
        """`line`: another one than those of all large bodies.

        `waits`: rules are evaluated or webhooks called meanwhile, which may take seconds.
        """
        loop = asyncio.get_running_loop()
        self.size, self._line = size, line or _lines.setdefault(loop, (Line(), Line()))[waits]
        self._given_back = False
        self.ready: asyncio.Future[None] = loop.create_future()
        self._line.waiting.append((size, self.ready))
        self._line.move()

    def give_back(self) -> None:
        """Somebody else may work, or the turn is not waited for any more."""
        if not self.ready.done():
            self.ready.cancel()
        if not self._given_back and not self.ready.cancelled() and self.ready.exception() is None:
            self._line.worked -= self.size
        self._given_back = True
        self._line.move()
