"""The index of waiting watchers by interest: waking those of an event costs a few look-ups, however many wait for others.

Where many watchers have the same interest, wake-ups are coalesced: events in quick succession reach them together, some milliseconds
later. Each write costs every watcher a TLS record and a system call; for 50 watchers that is more than the change itself costs.
Woken watchers are queued (`turns`).
"""

import asyncio
from collections.abc import Callable, Iterable

from kapi.storage.entry import Event
from kapi.storage.turns import Interest, Line, Turns, Waiter

COALESCE_FROM = 8
"""The coalescing threshold: the number of watchers of one interest from which on their wake-ups are coalesced."""
PAUSE = 0.0004
"""Seconds between two coalesced wake-ups, for each watcher of the interest."""
LONGEST_PAUSE = 0.02
_WOKEN = 16 * 1024
"""What waking a task counts for in a turn, in bytes: its work follows outside the turn."""


class Waiting:
    """The watchers of one collection that have seen all events and wait."""

    def __init__(self, name: str, turns: Turns) -> None:
        self.fields: set[str] = set()
        """Fields by which a watcher selects, or once did."""
        self._name = name
        self._turns = turns
        self._line: Line = Line()
        self._waiters: dict[Interest, dict[Waiter, None]] = {}
        self._held: dict[Interest, int] = {}
        """Interest -> the sequence number of the first event whose wake-up is delayed."""
        self._next: dict[Interest, float] = {}
        """Interest -> when its watchers may be woken again, in the loop's time."""

    async def wait(self, interest: Interest, seconds: float | None, end: Callable[[], int]) -> int:
        """The sequence number of the next matching event; that of `end` when none came within `seconds`."""
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[int] = loop.create_future()

        def callback(number: int) -> int:
            if not woken.done():
                woken.set_result(number)
            return _WOKEN

        waiter = Waiter(interest, callback)
        self.enter(waiter)
        timer = loop.call_later(seconds, self._give_up, waiter, end) if seconds is not None else None
        try:
            return await woken
        finally:
            if timer:
                timer.cancel()
            self.leave(waiter)

    def enter(self, waiter: Waiter) -> None:
        """Wait for the next matching event."""
        waiters = self._waiters.get(waiter.interest)
        if waiters is None:
            self._waiters[waiter.interest] = {waiter: None}
        else:
            waiters[waiter] = None

    def leave(self, waiter: Waiter) -> None:
        """Neither wait nor be queued any more."""
        waiter.queued = False
        waiters = self._waiters.get(waiter.interest)
        if waiters is not None:
            waiters.pop(waiter, None)
        if not waiters:
            self._waiters.pop(waiter.interest, None)
            self._next.pop(waiter.interest, None)

    def is_idle(self, waiter: Waiter) -> bool:
        """Whether it waits, and no wake-up of it is delayed."""
        return waiter in self._waiters.get(waiter.interest, ()) and waiter.interest not in self._held

    def enqueue(self, waiter: Waiter, end: int) -> None:
        """Queue it without an event. One that waits has seen every matching event before `end`, or before the delayed one."""
        if waiter.queued:
            return
        waiters = self._waiters.get(waiter.interest, {})
        if waiter in waiters:
            waiter.number = self._held.get(waiter.interest, end)
            del waiters[waiter]
        self._turns.add(self._line, (waiter,))

    def wake(self, number: int, event: Event) -> None:
        """Wake the watchers that an event matches; `number` is its sequence number."""
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
        if len(waiters) >= COALESCE_FROM:
            loop = asyncio.get_running_loop()
            now = loop.time()
            due = self._next.get(interest, 0.0)
            if now < due:
                self._held[interest] = number
                loop.call_at(due, self._release, interest)
                return
            self._next[interest] = now + min(LONGEST_PAUSE, PAUSE * len(waiters))
        self._enqueue(interest, number)

    def _release(self, interest: Interest) -> None:
        """The pause is over: wake the watchers of an interest whose wake-up was delayed."""
        self._next[interest] = asyncio.get_running_loop().time() + min(LONGEST_PAUSE, PAUSE * len(self._waiters.get(interest, ())))
        self._enqueue(interest, self._held.pop(interest))

    def _enqueue(self, interest: Interest, number: int) -> None:
        waiters: Iterable[Waiter] | None = self._waiters.pop(interest, None)
        if waiters:
            for waiter in waiters:
                waiter.number = number
            self._turns.add(self._line, waiters)

    def wake_watchers(self, number: int) -> None:
        """Wake all watchers."""
        for interest in list(self._waiters):
            self._enqueue(interest, number)

    def _give_up(self, waiter: Waiter, end: Callable[[], int]) -> None:
        waiter.callback(waiter.number if waiter.queued else self._held.get(waiter.interest, end()))


def field_values(event: Event, field: str) -> set[str]:
    """The values of a field before and after the event."""
    after = event.entry.fields.get(field, "")
    return {after, event.previous.fields.get(field, "")} if event.previous else {after}
