"""A watcher: a place in its collection's steps. It has no queue, so a slow one costs nothing; one too slow is told 410."""

import asyncio
from collections.abc import Callable

from kapi.objects.errors import Expired
from kapi.storage.collection import Collection, Interest, Waiter
from kapi.storage.entry import Event


class Watch:
    """The steps of one interest after one revision."""

    def __init__(self, collection: Collection, interest: Interest, since: int, revision: Callable[[], int]) -> None:
        self.revision = since
        """Everything up to here has been handed out: what a bookmark says."""
        self._collection = collection
        self._interest = interest
        self._current = revision
        self._number = -1
        """Running number of the next step to look at; -1: not found yet."""

    async def next(self, timeout: float | None = None) -> list[Event]:  # noqa: ASYNC109
        """All steps not handed out yet, waiting for one if there is none; [] after `timeout` seconds.

        Raises Expired ("too old resource version: 5 (9)") when steps are asked for that are forgotten.
        """
        events = self.ready()
        if events or timeout == 0:
            return events
        self._number = await self._wait(timeout)
        return self.ready()

    def ready(self) -> list[Event]:
        """The same without waiting."""
        collection = self._collection
        if self._number < 0:
            self._number = collection.number(self.revision)
        if self._number < collection.start:
            raise Expired(f"too old resource version: {self.revision} ({collection.floor})")
        events = collection.since(self._number, self._interest) if self._number < collection.end else []
        if events and events[0].revision <= self.revision:
            events = [event for event in events if event.revision > self.revision]
        self._number = collection.end
        self.revision = max(self.revision, self._current())
        return events

    async def _wait(self, seconds: float | None) -> int:
        """The number of the first step that concerns this watcher, or of the end when there was none in time."""
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        self._collection.waiters.setdefault(self._interest, []).append(waiter)
        timer = loop.call_later(seconds, self._give_up, waiter) if seconds is not None else None
        try:
            return await waiter
        finally:
            if timer:
                timer.cancel()
            self._leave(waiter)

    def _give_up(self, waiter: Waiter) -> None:
        if not waiter.done():
            waiter.set_result(self._collection.end)

    def _leave(self, waiter: Waiter) -> None:
        waiting = self._collection.waiters.get(self._interest)
        if waiting and waiter in waiting:
            waiting.remove(waiter)
            if not waiting:
                del self._collection.waiters[self._interest]
