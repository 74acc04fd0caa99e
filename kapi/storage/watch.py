"""A watcher: a place in its collection's steps. It has no queue, so a slow one costs nothing; one too slow is told 410."""

from collections.abc import Callable

from kapi.objects.errors import Expired
from kapi.storage.collection import Collection, Share
from kapi.storage.entry import Event
from kapi.storage.turns import Interest, Waiter


class Watch:
    """The steps of one interest after one revision: either asked for (`next`, `ready`) or followed (`follow`)."""

    def __init__(self, collection: Collection, interest: Interest, since: int, revision: Callable[[], int]) -> None:
        self.revision = since
        """Everything up to here has been handed out: what a bookmark says."""
        self._collection = collection
        self._interest = interest
        self._current = revision
        self._number = -1
        """Running number of the next step to look at; -1: not found yet."""
        self._before = -1, since
        """The same two before the last share."""
        self._waiter: Waiter | None = None

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
        self._find()
        events = self._collection.since(self._number, self._interest) if self._number < self._collection.end else []
        return self._handed(events, self._collection.end)

    # --- in turns with all other watchers

    def follow(self, look: Callable[[], int]) -> None:
        """Have `look` called soon, and again after each `again`, and after each `wait` once there is something to look at.

        It does a part of its work at a time and returns how many bytes it has written. It must not raise.
        """

        def tell(number: int) -> int:
            self._number = max(self._number, number)
            return look()

        self._waiter = Waiter(self._interest, tell)
        self.again()

    def again(self) -> None:
        """Stand in line for another turn."""
        if self._waiter:
            self._collection.waiting.stand(self._waiter, self._collection.end)

    def wait(self) -> None:
        """Have seen everything."""
        if self._waiter:
            self._collection.waiting.enter(self._waiter)

    def settle(self) -> bool:
        """Whether there is nothing of interest left: then everything is handed out, up to now."""
        collection = self._collection
        if self._waiter is None or not collection.waiting.quiet(self._waiter):
            return False
        self._handed([], collection.end)
        return True

    def leave(self) -> None:
        """Follow no more."""
        if self._waiter:
            self._collection.waiting.leave(self._waiter)
            self._waiter = None

    def some(self) -> Share:
        """As `ready`, but a share of them: none may mean that there was nothing of interest among those looked at."""
        self._find()
        self._before = self._number, self.revision
        share = self._collection.some(self._number, self._interest)
        events = self._handed(share.events, share.end)
        return share if len(events) == len(share.events) else Share(self._interest, share.start, share.end, share.seen, events, share.size)

    def put_back(self) -> None:
        """Have the last share handed out once more."""
        self._number, self.revision = self._before

    @property
    def behind(self) -> bool:
        """Whether there is more to look at."""
        return self._number < self._collection.end

    def _find(self) -> None:
        """Raises Expired when the next step is forgotten."""
        if self._number < 0:
            self._number = self._collection.number(self.revision)
        if self._number < self._collection.start:
            raise Expired(f"too old resource version: {self.revision} ({self._collection.floor})")

    def _handed(self, events: list[Event], end: int) -> list[Event]:
        """Take note that everything before running number `end` is handed out."""
        if events and events[0].revision <= self.revision:
            events = [event for event in events if event.revision > self.revision]
        self._number = end
        if end >= self._collection.end:
            self.revision = max(self.revision, self._current())
        elif events:
            self.revision = events[-1].revision
        return events
