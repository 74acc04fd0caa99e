"""A watcher: a cursor in its collection's ring of events. It has no queue, so a slow one costs no memory; one too slow gets 410 Expired.

Worked example, with the ring of `kapi.storage.collection` (start 2, end 5): a watch since revision r starts at the sequence number of the
first event after r, say cursor 3. `ready` returns the matching ones of e3 and e4 and moves the cursor to 5, the end; the watcher then
waits. The next event wakes it with 5, its sequence number. If the ring's start moves beyond the cursor first, `ready` raises Expired.
"""

from collections.abc import Callable

from kapi.objects.errors import Expired
from kapi.storage.collection import Collection, Share
from kapi.storage.entry import Event
from kapi.storage.turns import Interest, Waiter


class Watch:
    """The events of one interest after one revision: either pulled (`next`, `ready`) or pushed in turns (`follow`)."""

    def __init__(self, collection: Collection, interest: Interest, since: int, revision: Callable[[], int]) -> None:
        self.revision = since
        """All events up to this revision have been returned: the revision of a bookmark."""
        self._collection = collection
        self._interest = interest
        self._current = revision
        self._cursor = -1
        """Sequence number of the next event; -1 until it is looked up."""
        self._previous = -1, since
        """Cursor and revision before the last batch."""
        self._waiter: Waiter | None = None

    async def next(self, timeout: float | None = None) -> list[Event]:  # noqa: ASYNC109
        """All events that were not returned yet. Waits for one if there is none; [] after `timeout` seconds.

        Raises Expired ("too old resource version: 5 (9)") when the next event is dropped.
        """
        events = self.ready()
        if events or timeout == 0:
            return events
        woken_at = await self._collection.waiting.wait(self._interest, timeout, lambda: self._collection.end)
        self._cursor = max(self._cursor, woken_at)
        return self.ready()

    def ready(self) -> list[Event]:
        """The same without waiting."""
        self._seek()
        events = self._collection.since(self._cursor, self._interest) if self._cursor < self._collection.end else []
        return self._advance(events, self._collection.end)

    # --- in turns with all other watchers

    def follow(self, callback: Callable[[], int]) -> None:
        """Have `callback` called soon, once more after each `again`, and after each `wait` as soon as there is a matching event.

        It does a part of its work at a time and returns how many bytes it has written. It must not raise.
        """

        def advance(number: int) -> int:
            self._cursor = max(self._cursor, number)
            return callback()

        self._waiter = Waiter(self._interest, advance)
        self.again()

    def again(self) -> None:
        """Queue for another turn."""
        if self._waiter:
            self._collection.waiting.enqueue(self._waiter, self._collection.end)

    def wait(self) -> None:
        """Wait for the next matching event."""
        if self._waiter:
            self._collection.waiting.enter(self._waiter)

    def advance_if_idle(self) -> bool:
        """Whether there is no matching event left; if so, `revision` becomes the store's newest."""
        collection = self._collection
        if self._waiter is None or not collection.waiting.is_idle(self._waiter):
            return False
        self._advance([], collection.end)
        return True

    def leave(self) -> None:
        """Stop following."""
        if self._waiter:
            self._collection.waiting.leave(self._waiter)
            self._waiter = None

    def some(self) -> Share:
        """As `ready`, but one batch. An empty one may mean that none of the scanned events matched: see `behind`."""
        self._seek()
        self._previous = self._cursor, self.revision
        share = self._collection.some(self._cursor, self._interest)
        events = self._advance(share.events, share.end)
        return share if len(events) == len(share.events) else Share(self._interest, share.start, share.end, share.seen, events, share.size)

    def put_back(self) -> None:
        """Rewind to before the last batch, so that it is returned again."""
        self._cursor, self.revision = self._previous

    @property
    def behind(self) -> bool:
        """Whether there are events that were not scanned yet."""
        return self._cursor < self._collection.end

    def _seek(self) -> None:
        """Set the cursor at the first use. Raises Expired when the event there is dropped."""
        if self._cursor < 0:
            self._cursor = self._collection.number(self.revision)
        if self._cursor < self._collection.start:
            raise Expired(f"too old resource version: {self.revision} ({self._collection.compacted})")

    def _advance(self, events: list[Event], end: int) -> list[Event]:
        """Move the cursor to `end`, and `revision` with it. Returns the events without those that were returned before a rewind."""
        if events and events[0].revision <= self.revision:
            events = [event for event in events if event.revision > self.revision]
        self._cursor = end
        if end >= self._collection.end:
            self.revision = max(self.revision, self._current())
        elif events:
            self.revision = events[-1].revision
        return events
