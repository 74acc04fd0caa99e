"""The work queue, in virtual time."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from kapi.client import Queue
from tests.moments import VirtualLoop, later, turn


def run(story: Coroutine[Any, Any, None]) -> None:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(story)
    finally:
        loop.close()


def test_a_key_waits_once_and_has_one_worker() -> None:
    async def story() -> None:
        queue: Queue[str] = Queue()
        queue.add("a")
        queue.add("a")
        assert len(queue) == 1
        assert await queue.get() == "a"
        queue.add("a")
        getter = asyncio.create_task(queue.get())
        await later(1)
        assert not getter.done()
        queue.done("a")
        assert await getter == "a"
        queue.done("a")
        assert queue.idle

    run(story())


def test_of_several_delays_the_earliest_counts() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        queue: Queue[str] = Queue()
        queue.add_after("a", 10)
        queue.add_after("a", 3)
        queue.add_after("b", 5)
        assert (await queue.get(), loop.time()) == ("a", 3)
        assert (await queue.get(), loop.time()) == ("b", 5)
        queue.done("a")
        await later(100)
        assert len(queue) == 0

    run(story())


def test_failures_back_off_until_forgotten() -> None:
    async def story() -> None:
        queue: Queue[str] = Queue(base=1, limit=5)
        assert [queue.retry("a") for _ in range(4)] == [1, 2, 4, 5]
        assert queue.failures("a") == 4
        queue.forget("a")
        assert queue.retry("a") == 1
        queue.close()

    run(story())


def test_a_cancelled_getter_loses_nothing() -> None:
    async def story() -> None:
        queue: Queue[str] = Queue()
        first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
        await turn()
        queue.add("a")
        first.cancel()
        assert await second == "a"

    run(story())
