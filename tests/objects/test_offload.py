"""Work beside the event loop: results, errors, how much at once, and what it leaves behind."""

import asyncio
import sys
import threading

import pytest

from kapi import limits
from kapi.objects import offload


async def test_the_event_loop_goes_on() -> None:
    """A work that waits for the loop gets what it waits for."""
    asked = threading.Event()
    working = asyncio.ensure_future(offload.run(asked.wait, 10))
    await asyncio.sleep(0)
    asked.set()
    assert await working


async def test_an_error_is_the_callers() -> None:
    with pytest.raises(ZeroDivisionError):
        await offload.run(divmod, 1, 0)


async def test_so_many_at_once() -> None:
    gate, running = threading.Event(), threading.Semaphore(limits.OFFLOAD_THREADS)

    def work() -> bool:
        """Whether there were no more than there may be."""
        free = running.acquire(blocking=False)
        gate.wait(10)
        if free:
            running.release()
        return free

    works = [asyncio.ensure_future(offload.run(work)) for _ in range(3 * limits.OFFLOAD_THREADS)]
    await asyncio.sleep(0)
    gate.set()
    assert all(await asyncio.gather(*works))


async def test_the_switch_interval_is_put_back() -> None:
    before = sys.getswitchinterval()
    assert await offload.run(sys.getswitchinterval) == offload.SWITCH
    assert sys.getswitchinterval() == before
