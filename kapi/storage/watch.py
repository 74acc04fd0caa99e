"""A watcher: a place in its collection's steps. It has no queue, so a slow one costs nothing; one too slow is told 410."""

from collections.abc import Callable

from kapi.objects.errors import Expired
from kapi.storage.collection import Collection
from kapi.storage.entry import Event
from kapi.storage.waiting import Interest


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
        found = await self._collection.waiting.wait(self._interest, timeout, lambda: self._collection.end)
        self._number = max(self._number, found)
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
