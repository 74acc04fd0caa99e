"""Runs functions that are too long for the event loop in a few worker threads: `await offload.run(function, *args)`.

Functions must work on their own values or only read shared ones; after awaiting, callers must read again what may have changed. The
number of threads bounds the memory of concurrent work. Callers decide by size what is worth offloading.
"""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, TypeVar

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
