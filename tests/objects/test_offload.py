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


async def test_rules_leave_a_thread_to_others() -> None:
    gate = threading.Event()
    rules = [asyncio.ensure_future(offload.run_rules(gate.wait, 10)) for _ in range(2 * limits.OFFLOAD_THREADS)]
    try:
        await asyncio.wait_for(offload.run(str, 1), 5)
        assert not any(rule.done() for rule in rules)
    finally:
        gate.set()
    assert all(await asyncio.gather(*rules))


async def test_the_switch_interval_is_put_back() -> None:
    before = sys.getswitchinterval()
    assert await offload.run(sys.getswitchinterval) == offload.SWITCH
    assert sys.getswitchinterval() == before


# turns --------------------------------------------------------------------------------------------------------------------------------

MOST = limits.WORKED_BYTES


async def test_turns_come_in_order() -> None:
    first, large, small = offload.Turn(MOST // 2), offload.Turn(MOST), offload.Turn(1)
    assert (first.ready.done(), large.ready.done(), small.ready.done()) == (True, False, False)
    first.give_back()
    assert (large.ready.done(), small.ready.done()) == (True, False)
    large.give_back()
    assert small.ready.done()
    small.give_back()


async def test_requests_that_wait_for_rules_hold_up_only_each_other() -> None:
    ruled, other = offload.Turn(MOST, waits=True), offload.Turn(1, waits=True)
    plain = offload.Turn(MOST)
    assert (ruled.ready.done(), other.ready.done(), plain.ready.done()) == (True, False, True)
    ruled.give_back()
    assert other.ready.done()
    other.give_back()
    plain.give_back()


async def test_what_is_larger_than_all_works_alone() -> None:
    huge, other = offload.Turn(2 * MOST), offload.Turn(1)
    assert huge.ready.done()
    assert not other.ready.done()
    huge.give_back()
    assert other.ready.done()
    other.give_back()


async def test_who_does_not_wait_any_more_leaves_the_line() -> None:
    first, gone, refused, last = (offload.Turn(MOST) for _ in range(4))
    gone.give_back()
    refused.ready.set_exception(offload.TooMuch())
    with pytest.raises(offload.TooMuch):
        await refused.ready
    refused.give_back()
    first.give_back()
    assert last.ready.done()
    last.give_back()
    assert offload.Turn(MOST).ready.done(), "all of it was given back, once"
