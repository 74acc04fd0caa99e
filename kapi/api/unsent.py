"""Bounds the memory of events that slow watch clients have not read, for all watches together.

A connection buffers some pieces, and a partly written event stays in memory until its client has read it. Above the bound, further large
events, and what a watch begins with, wait; clients that have read nothing for a while are disconnected, those first that have been slow
for longest.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol
from weakref import WeakKeyDictionary

from kapi import limits
from kapi.api.request import Request
from kapi.http import server

HIGH_WATER = 16 * 1024
"""Bytes that TLS may buffer for a watch before the watch has to wait."""
BUFFERED = 144 * 1024
"""Bytes buffered for a client that does not read: in TLS, in the transport, and the piece that exceeds each buffer."""

Held = tuple[int, int]
"""A partly written event: a number, equal for watchers that share its bytes, and its size in bytes."""


class Slow(Protocol):
    """A watcher."""

    def resume(self) -> None:
        """Write the large event that was deferred."""

    def cut(self) -> None:
        """Close the connection."""


class Unsent:
    """The watchers of one event loop that wait for slow clients, and the bytes these hold."""

    def __init__(self) -> None:
        self.bytes = 0
        self._blocked: dict[Slow, tuple[float, Held]] = {}
        """Since when each is blocked (loop time) and what it holds; the longest blocked is first."""
        self._holders: dict[Held, int] = {}
        self._deferred: dict[Slow, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def full(self) -> bool:
        """Whether large events have to wait."""
        return self.bytes >= limits.WATCHES_UNSENT_BYTES

    def defer(self, one: Slow) -> None:
        """Call its `resume` when there is memory for its event."""
        self._deferred[one] = None

    def block(self, one: Slow, held: Held) -> None:
        """Count what it holds: its client does not accept more."""
        self._blocked[one] = asyncio.get_running_loop().time(), held
        holders = self._holders[held] = self._holders.get(held, 0) + 1
        self.bytes += BUFFERED + (held[1] if holders == 1 else 0)
        self._set_timer()

    def free(self, one: Slow) -> None:
        """Count it no longer: its client has read all, or is disconnected."""
        found = self._blocked.pop(one, None)
        if found is None:
            return
        held = found[1]
        holders = self._holders[held] = self._holders[held] - 1
        self.bytes -= BUFFERED + (0 if holders else held[1])
        if not holders:
            del self._holders[held]
        self.admit()

    def admit(self) -> None:
        """Resume one deferred watcher, if there is memory. A resumed watcher calls this when it has written its event."""
        if self._deferred and not self.full:
            other = next(iter(self._deferred))
            del self._deferred[other]
            other.resume()

    def leave(self, one: Slow) -> None:
        """Forget a watcher that has ended."""
        self._deferred.pop(one, None)
        self.free(one)

    def _set_timer(self) -> None:
        if self.full and self._timer is None and self._blocked:
            since, _ = next(iter(self._blocked.values()))
            self._timer = asyncio.get_running_loop().call_at(since + limits.WATCH_STALLED_SECONDS, self._cut)

    def _cut(self) -> None:
        self._timer = None
        stalled = asyncio.get_running_loop().time() - limits.WATCH_STALLED_SECONDS
        for one, (since, _) in list(self._blocked.items()):
            if since > stalled or not self.full:
                break
            self.free(one)
            one.cut()
        self._set_timer()


class Start:
    """The beginning of a watch, what was there before it: pieces that its client may take slowly."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]], connection: "Connection") -> None:
        self._send, self._connection = send, connection
        self._unsent = of_loop()
        self._room: asyncio.Future[None] | None = None

    def at_once(self, piece: bytes, write: Callable[[bytes], bool] | None) -> bool:
        """Write it without waiting. False when the client, or others', have to be waited for."""
        return write is not None and not self._unsent.full and write(piece)

    async def send(self, piece: bytes) -> None:
        """Write a piece when there is room for it and the client takes it."""
        if self._unsent.full:
            self._room = asyncio.get_running_loop().create_future()
            self._unsent.defer(self)
            await self._room
        self._unsent.block(self, (-id(self), len(piece)))
        self._pass_on()
        try:
            await self._send(piece)
        finally:
            self._unsent.free(self)

    def resume(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _pass_on(self) -> None:
        """Let another watcher go on, if there is memory for it."""
        room, self._room = self._room, None
        if room is not None and room.done():
            self._unsent.admit()

    def cut(self) -> None:
        self._connection.abort()

    def leave(self) -> None:
        """All is written, or the client is gone, which may be just when there was room."""
        self._unsent.leave(self)
        self._pass_on()


_all: WeakKeyDictionary[asyncio.AbstractEventLoop, Unsent] = WeakKeyDictionary()


def of_loop() -> Unsent:
    """The instance of the running event loop."""
    return _all.setdefault(asyncio.get_running_loop(), Unsent())


class Connection:
    """The connection of a watch; its write buffer is small until `leave`."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(HIGH_WATER)

    def abort(self) -> None:
        self._transport.abort()

    def leave(self) -> None:
        """Restore the usual write buffer for the next request on the connection."""
        if not self._transport.is_closing():
            self._transport.set_write_buffer_limits()


def connection(request: Request) -> Connection | None:
    """The connection of a request; None for a request from inside this process."""
    found = (request.scope.get("extensions") or {}).get(server.CONNECTION)
    transport: asyncio.Transport | None = found.transport if found is not None else None
    return None if transport is None else Connection(transport)
