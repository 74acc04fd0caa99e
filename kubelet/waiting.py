"""Wait for the first of several events."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def within(event: asyncio.Event, seconds: float | None) -> None:
    """Wait until the event is set or `seconds` have passed (None: no limit)."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


async def first(*ways: Coroutine[Any, Any, Any], seconds: float | None = None) -> None:
    """Wait until one of the coroutines has ended or `seconds` have passed, then cancel the others. Raises what the first one raised."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
