"""Work too long for the event loop, done in a few worker threads: `await offload.run(function, *args)`.

What runs there works on values of its own or only looks things up; whoever awaits it reads again what may have changed meanwhile.
How many such works there are at once bounds the memory they take; what decides whether one is long is the caller's to say.
"""

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, TypeVar

from kapi import limits

Result = TypeVar("Result")

SWITCH = 0.001
"""Seconds a thread keeps the interpreter while another one waits for it: the event loop is to wait no longer for its turn."""


@cache
def _workers() -> ThreadPoolExecutor:
    sys.setswitchinterval(SWITCH)
    return ThreadPoolExecutor(limits.OFFLOAD_THREADS, thread_name_prefix="kapi-offload")


async def run(function: Callable[..., Result], *args: Any, **named: Any) -> Result:
    """What the function gives or raises."""
    return await asyncio.get_running_loop().run_in_executor(_workers(), partial(function, *args, **named))
