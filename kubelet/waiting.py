"""Waiting for the first of several things."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def within(event: asyncio.Event, seconds: float | None) -> None:
    """Until the event is set, or so many seconds have passed (None: for ever)."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


async def first(*ways: Coroutine[Any, Any, Any], seconds: float | None = None) -> None:
    """Until one of them has ended or so many seconds have passed; then the others are broken off. Raises what the one raised."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
