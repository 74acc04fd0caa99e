"""Turns: who is told of steps waits in line, so that a crowd of watchers holds the event loop for milliseconds at a time.

Collections take turns with each other; within one it is first come, first served.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable

TURN = 0.003
"""Seconds after which the event loop sees to everything else."""
BYTES = 512 * 1024
"""The same in bytes: what is written costs once more when the system takes it, after the turn."""

Interest = tuple[str, str, str]
"""What a watcher watches: a prefix (the collection, a namespace in it, or one key), and a field with its value, or '' twice."""


class Waiter:
    """A watcher that waits, or is in line; in its turn `tell` is called with a running number and returns the bytes it has written."""

    __slots__ = ("in_line", "interest", "number", "tell")

    def __init__(self, interest: Interest, tell: Callable[[int], int]) -> None:
        self.interest = interest
        self.tell = tell
        self.number = -1
        """The running number of the first step it is to be told of."""
        self.in_line = False


Line = deque[Waiter]


class Turns:
    """The lines of all collections."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque()
        """Those with somebody in them; the first is served next."""
        self._scheduled = False

    def add(self, line: Line, waiters: Iterable[Waiter]) -> None:
        """Put waiters at the end of the line of their collection."""
        if not line:
            self._lines.append(line)
        for waiter in waiters:
            waiter.in_line = True
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
        """Tell the first in the line whose turn it is, unless it has left."""
        line = self._lines[0]
        waiter = line.popleft()
        if not line:
            self._lines.popleft()
        elif len(self._lines) > 1:
            self._lines.rotate(-1)
        if not waiter.in_line:
            return 0
        waiter.in_line = False
        return waiter.tell(waiter.number)
