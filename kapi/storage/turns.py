"""Round-robin scheduling of woken watchers, so that thousands of them hold the event loop for milliseconds at a time.

Each collection has a queue of watchers. Queues are served in turn, one watcher at a time; within a queue in order of arrival.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable

TURN = 0.003
"""Seconds after which the event loop runs everything else that is ready."""
BYTES = 512 * 1024
"""The same in bytes: what is written costs time once more after the turn, when it goes to the socket."""

Interest = tuple[str, str, str]
"""What a watcher watches: a prefix (the collection, a namespace in it, or one key), and a field with its value, or '' twice."""


class Waiter:
    """A watcher that waits, or is queued. In its turn `callback` is called with a sequence number, and returns the bytes it has written."""

    __slots__ = ("callback", "interest", "number", "queued")

    def __init__(self, interest: Interest, callback: Callable[[int], int]) -> None:
        self.interest = interest
        self.callback = callback
        self.number = -1
        """The sequence number of the first event it has not seen."""
        self.queued = False


Line = deque[Waiter]


class Turns:
    """The queues of all collections."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque()
        """Those that are not empty; the first is served next."""
        self._scheduled = False

    def add(self, line: Line, waiters: Iterable[Waiter]) -> None:
        """Append waiters to the queue of their collection."""
        if not line:
            self._lines.append(line)
        for waiter in waiters:
            waiter.queued = True
            line.append(waiter)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        end, written = time.perf_counter() + TURN, 0
        try:
            while self._lines:
                written += self._serve()
                if written >= BYTES or time.perf_counter() >= end:
                    break
        finally:
            self._scheduled = bool(self._lines)
            if self._scheduled:
                asyncio.get_running_loop().call_soon(self._run)

    def _serve(self) -> int:
        """Call the first of the next queue, unless it has left. Returns the bytes it has written."""
        line = self._lines[0]
        waiter = line.popleft()
        if not line:
            self._lines.popleft()
        elif len(self._lines) > 1:
            self._lines.rotate(-1)
        if not waiter.queued:
            return 0
        waiter.queued = False
        return waiter.callback(waiter.number)
