"""What waits in memory on behalf of all connections of a server: what came and is not complete, and what is not taken by its reader.

Nothing is counted up and down. A connection says that it keeps some bytes; once what was said might be too much, all that keep any are
asked how much waits. Is it too much, then of whoever has most of it the largest are refused, so nobody ever waits for room. Strangers have
an allowance of their own within it. When a flood is over, what it took is given back to the system.
"""

import asyncio
import ctypes
import logging
from collections.abc import Callable
from typing import Protocol

from kapi import limits, logs

log = logging.getLogger(__name__)
_STEP = 1 << 20
"""Bytes after which those who keep any are asked at the earliest: that takes a microsecond for each."""
_RESTED_SECONDS = 3.0
"""From a flood to the look whether it is over."""
_LIBC = ctypes.CDLL(None)
_TRIM: Callable[[int], int] | None = getattr(_LIBC, "malloc_trim", None)


class Holder(Protocol):
    """A connection, as the allowance sees it."""

    @property
    def user(self) -> str:
        """Who is on the other side; "" is a stranger."""

    def waiting(self) -> int:
        """Bytes that are kept for it."""

    def sending(self) -> bytes:
        """A long body of which a part is still to be sent; several connections may share one, which then counts once."""

    def refuse(self) -> bool:
        """Let go of what waits, with a word why where there is somebody to hear it. False where that will be done with by itself."""


class Allowance:
    """The bytes that all connections of a server may keep waiting."""

    def __init__(self) -> None:
        self._holders: dict[Holder, None] = {}
        self._left = self._room(0, 0)
        self._freed = 0
        self._timer: asyncio.TimerHandle | None = None

    def keeps(self, holder: Holder, size: int) -> None:
        """So many more bytes wait for this connection."""
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
        """What waits for each of them; those for whom nothing does are forgotten."""
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
        return out

    def _look(self) -> None:
        """Ask everybody, and refuse some where it is too much."""
        sizes = self.sizes()
        strangers = {holder: size for holder, size in sizes.items() if not holder.user}
        self._bound(strangers, limits.WAITING_BYTES_OF_STRANGERS)
        self._bound(sizes | strangers, limits.WAITING_BYTES)
        self._left = self._room(sum(sizes.values()), sum(strangers.values()))
        self._rest_soon()

    @staticmethod
    def _room(all_: int, strangers: int) -> int:
        """Bytes that can be kept before it may be too much."""
        return max(_STEP, min(limits.WAITING_BYTES - all_, limits.WAITING_BYTES_OF_STRANGERS - strangers) // 2)

    def _bound(self, sizes: dict[Holder, int], most: int) -> None:
        """Refuse the largest of whoever has most until there is room again; what is refused counts as nothing."""
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
        """Give freed memory back, which the allocator would keep for the next flood; look again while much waits."""
        self._timer = None
        self._freed = 0
        if _TRIM is not None:
            _TRIM(0)
        if sum(self.sizes().values()) > limits.WAITING_BYTES // 8:
            self._rest_soon()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
