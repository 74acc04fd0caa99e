"""Waiting for changes of stored objects, for what is done level-based in the API server's own process."""

import asyncio
from collections.abc import Iterable

from kapi.objects import errors
from kapi.storage.store import Store


async def changed(store: Store, since: int, prefixes: Iterable[str]) -> None:
    """Returns once something below one of the prefixes has changed after revision `since`."""
    waiting = [asyncio.ensure_future(store.watch(prefix, since).next()) for prefix in prefixes]
    try:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if (error := task.exception()) and not isinstance(error, errors.Expired):
                raise error
    finally:
        for task in waiting:
            task.cancel()
