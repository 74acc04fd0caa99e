"""Bounds the bytes that are buffered for all connections of a server: incomplete requests, and responses that are not read.

What responses keep of states that the store has forgotten counts as well. There is no exact running
count. A connection reports bytes it starts to buffer; once the reports might exceed the bound, all connections with buffers are
asked for their sizes. If these exceed it, the largest of the user with the most bytes are refused, so nothing ever waits for room.
Unauthenticated connections have a smaller bound within it. After a flood, freed memory is returned to the system.
"""

import asyncio
import ctypes
import logging
from collections.abc import Callable, Iterator
from typing import Protocol

from kapi import limits, logs

log = logging.getLogger(__name__)
_STEP = 1 << 20
"""The least reported bytes between two queries of all connections: a query takes a microsecond for each."""
_RESTED_SECONDS = 3.0
"""Seconds from a flood to the check whether it is over."""
_LIBC = ctypes.CDLL(None)
_TRIM: Callable[[int], int] | None = getattr(_LIBC, "malloc_trim", None)


class Pinned(Protocol):
    """Old states of objects that a response keeps in memory until it is written."""

    @property
    def forgotten(self) -> int:
        """Bytes of all states that nobody else keeps since the response began."""

    @property
    def size(self) -> int:
        """Bytes of the states that it keeps."""


class Holder(Protocol):
    """A connection, as the allowance sees it."""

    @property
    def user(self) -> str:
        """The authenticated user; "" for an unauthenticated connection."""

    def waiting(self) -> int:
        """Bytes that are buffered for it."""

    def sending(self) -> bytes:
        """A long body that is not sent completely; one that several connections share counts once."""

    @property
    def pinned(self) -> Pinned | None:
        """What its response keeps."""

    def refuse(self) -> bool:
        """Drop what is buffered, and respond with the reason where that is possible. False where it is being processed already."""


class Allowance:
    """The bytes that all connections of a server may buffer."""

    def __init__(self) -> None:
        self._holders: dict[Holder, None] = {}
        self._left = self._room(0, 0)
        self._freed = 0
        self._timer: asyncio.TimerHandle | None = None

    def keeps(self, holder: Holder, size: int) -> None:
        """`size` more bytes are buffered for this connection."""
        self._holders[holder] = None
        self._left -= size
        if self._left <= 0:
            self._look()

    def dropped(self, holder: Holder) -> None:
        """The connection has ended."""
        self._holders.pop(holder, None)
        self._freed += 1
        if self._freed >= limits.FREED_CONNECTIONS:
            self._rest_soon()

    def sizes(self) -> dict[Holder, int]:
        """The buffered bytes of each connection; those without any are dropped from the table."""
        shared: set[int] = set()
        out = {}
        for holder in self._holders:
            size, body = holder.waiting(), holder.sending()
            if body and id(body) not in shared:
                shared.add(id(body))
                size += len(body)
            if size:
                out[holder] = size
        self._holders = dict.fromkeys(out)
        for holder, size in self._pinned():
            out[holder] += size
        return out

    def _pinned(self) -> Iterator[tuple[Holder, int]]:
        """What responses keep: what was forgotten since the next younger one began counts for each, so that all of it counts once."""
        younger = 0
        for forgotten, _, holder, pinned in sorted((p.forgotten, id(h), h, p) for h in self._holders if (p := h.pinned) is not None):
            if forgotten > younger:
                yield holder, min(forgotten - younger, pinned.size)
            younger = forgotten

    def _look(self) -> None:
        """Query all connections, and refuse some where the bound is exceeded."""
        sizes = self.sizes()
        strangers = {holder: size for holder, size in sizes.items() if not holder.user}
        self._bound(strangers, limits.WAITING_BYTES_OF_STRANGERS)
        self._bound(sizes | strangers, limits.WAITING_BYTES)
        self._left = self._room(sum(sizes.values()), sum(strangers.values()))
        self._rest_soon()

    @staticmethod
    def _room(all_: int, strangers: int) -> int:
        """Bytes that can be reported before the bound may be exceeded."""
        return max(_STEP, min(limits.WAITING_BYTES - all_, limits.WAITING_BYTES_OF_STRANGERS - strangers) // 2)

    def _bound(self, sizes: dict[Holder, int], most: int) -> None:
        """Refuse the largest connections of the user with the most bytes until three quarters of `most` remain; refused ones count 0."""
        total = sum(sizes.values())
        if total <= most:
            return
        users: dict[str, list[tuple[int, int, Holder]]] = {}
        for holder, size in sizes.items():
            users.setdefault(holder.user, []).append((size, id(holder), holder))
        sums = {user: sum(size for size, *_ in held) for user, held in users.items()}
        for held in users.values():
            held.sort()
        log.warning("Too many bytes wait for connections: the largest are refused", extra=logs.once("waiting", bytes=total))
        while total > most * 3 // 4 and sums:
            user = max(sums, key=sums.__getitem__)
            size, _, holder = users[user].pop()
            if holder.refuse():
                sizes[holder] = 0
                sums[user] -= size
                total -= size
            if not users[user]:
                del sums[user]

    # afterwards ---------------------------------------------------------------------------------------------------------------------

    def _rest_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_RESTED_SECONDS, self._rest)

    def _rest(self) -> None:
        """Return freed memory to the system, which the allocator would keep; check again later while much is buffered."""
        self._timer = None
        self._freed = 0
        if _TRIM is not None:
            _TRIM(0)
        if sum(self.sizes().values()) > limits.WAITING_BYTES // 8:
            self._rest_soon()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
