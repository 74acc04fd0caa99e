"""Who waits for which steps of a collection, and waking them: a few look-ups a step, however many wait for other things.

A crowd that waits for the same is not woken for every step: steps that follow each other quickly reach it together, some
milliseconds later. A write costs every watcher a record and a system call; 50 watchers would cost more than the change itself.
"""

import asyncio
from collections.abc import Callable

from kapi.storage.entry import Event

CROWD = 8
"""From how many watchers of the same thing on steps are gathered for them."""
PAUSE = 0.0004
"""Seconds between two wakings of a crowd, for each watcher in it."""
LONGEST_PAUSE = 0.02

Waiter = asyncio.Future[int]
Interest = tuple[str, str, str]
"""What a watcher watches: a prefix (the collection, a namespace in it, or one key), and a field with its value, or '' twice."""


class Waiting:
    """The watchers of one collection that have seen everything and wait."""

    def __init__(self, name: str) -> None:
        self.fields: set[str] = set()
        """Fields that somebody waits for or did."""
        self._name = name
        self._waiters: dict[Interest, list[Waiter]] = {}
        self._held: dict[Interest, int] = {}
        """What a crowd waits for -> the running number of the first step it was not yet told of."""
        self._next: dict[Interest, float] = {}
        """When a crowd may be woken again, in the loop's time."""

    async def wait(self, interest: Interest, seconds: float | None, end: Callable[[], int]) -> int:
        """The running number of the first step of interest that comes; when none came in time, what `end` is then."""
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        self._waiters.setdefault(interest, []).append(waiter)
        timer = loop.call_later(seconds, self._give_up, waiter, interest, end) if seconds is not None else None
        try:
            return await waiter
        finally:
            if timer:
                timer.cancel()
            self._leave(waiter, interest)

    def wake(self, number: int, event: Event) -> None:
        """Tell whoever waits for this step, whose running number is `number`."""
        if not self._waiters:
            return
        key = event.entry.key
        for prefix in {self._name, key[: key.rindex("/") + 1], key}:
            self._wake((prefix, "", ""), number)
            for field in self.fields:
                for value in field_values(event, field):
                    self._wake((prefix, field, value), number)

    def _wake(self, interest: Interest, number: int) -> None:
        waiters = self._waiters.get(interest)
        if not waiters or interest in self._held:
            return
        if len(waiters) >= CROWD:
            loop = asyncio.get_running_loop()
            now = loop.time()
            due = self._next.get(interest, 0.0)
            if now < due:
                self._held[interest] = number
                loop.call_at(due, self._release, interest)
                return
            self._next[interest] = now + min(LONGEST_PAUSE, PAUSE * len(waiters))
        self._tell(interest, number)

    def _release(self, interest: Interest) -> None:
        """The pause of a crowd is over."""
        self._next[interest] = asyncio.get_running_loop().time() + min(LONGEST_PAUSE, PAUSE * len(self._waiters.get(interest, ())))
        self._tell(interest, self._held.pop(interest))

    def _tell(self, interest: Interest, number: int) -> None:
        for waiter in self._waiters.pop(interest, ()):
            if not waiter.done():
                waiter.set_result(number)

    def rouse(self, number: int) -> None:
        """Wake everybody."""
        for interest in list(self._waiters):
            self._tell(interest, number)

    def _give_up(self, waiter: Waiter, interest: Interest, end: Callable[[], int]) -> None:
        if not waiter.done():
            waiter.set_result(self._held.get(interest, end()))

    def _leave(self, waiter: Waiter, interest: Interest) -> None:
        waiting = self._waiters.get(interest)
        if waiting and waiter in waiting:
            waiting.remove(waiter)
            if not waiting:
                del self._waiters[interest]
                self._next.pop(interest, None)


def field_values(event: Event, field: str) -> set[str]:
    """What the field was before the step and is after it."""
    after = event.entry.fields.get(field, "")
    return {after, event.previous.fields.get(field, "")} if event.previous else {after}
