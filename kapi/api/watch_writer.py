"""Writes the events of one watch to its client, in the turns of the watcher (kapi.storage.turns), as far as the client accepts them.

No task runs for that. The task of the request only waits: for a slow client, for lines made in a worker thread, for the end.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

from kapi.api import unsent
from kapi.api.eventlines import Lines
from kapi.api.unsent import Connection, Held
from kapi.storage.collection import SHARE, Share
from kapi.storage.watch import Watch

Send = Callable[[bytes], Awaitable[None]]
AtOnce = Callable[[bytes], bool]
_LOOK = 4096
"""Bytes that one call in a turn counts for, in addition to those it writes."""


class Client(NamedTuple):
    """Where the events are sent."""

    send: Send
    """Waits until the client accepts the bytes and writes them; b"" only waits."""
    at_once: AtOnce | None
    """Writes the bytes without waiting; returns False when the client is not ready for them."""
    connection: Connection | None
    """None for a client inside this process."""


class WatchWriter:
    """One watch that is written to its client, from its creation until `leave`."""

    def __init__(self, watch: Watch, lines: Lines, client: Client, withdrawn: Callable[[], bool]) -> None:
        """Once `withdrawn()` is true, the watch ends when all its events are written."""
        self._watch, self._lines, self._withdrawn = watch, lines, withdrawn
        self._send, self._at_once, self._connection = client
        self._unsent = unsent.of_loop()
        self._rest: Iterator[bytes] = iter(())
        self._held = 0, 0
        """What the remaining pieces hold in memory, see unsent.Held."""
        self._late = b""
        """A piece that the client has not accepted yet."""
        self._blocked = self._waited = False
        """Whether the task has to wait for the client; whether it has done so for this piece."""
        self._deferred = self._resumed = False
        """Whether a large event waits for free memory; whether it may be written now."""
        self._making: Share | None = None
        """Events whose lines the task has to have encoded in a worker thread, or converted by a webhook."""
        self._unfinished = self._marking = self._ended = False
        """Whether a line is partly written; whether a bookmark is due; whether there will be no further event."""
        self._wrote = asyncio.get_running_loop().time()
        self._failure: Exception | None = None
        self._called: asyncio.Future[None] | None = None
        """What the task waits for."""
        watch.follow(self._look)

    def leave(self) -> None:
        """End the watch: no further event is written."""
        self._watch.leave()
        self._unsent.leave(self)
        self._pass_on()
        if self._connection is not None:
            self._connection.leave()

    def resume(self) -> None:
        """Write the deferred large event: there is memory for it."""
        self._resumed = True
        self._watch.again()

    def cut(self) -> None:
        """Close the connection of a client that has been slow for too long."""
        if self._connection is not None:
            self._connection.abort()

    # --- the task

    async def run(self, seconds: float, quiet: float | None) -> None:
        """Run the watch for `seconds`; a bookmark is written after `quiet` seconds without an event (None: never).

        Raises Expired when events that were not sent yet are no longer in the log, and any error of encoding or sending an event.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not self._ended and (left := end - loop.time()) > 0:
            await self._until_called(left if quiet is None else min(left, self._wrote + quiet - loop.time()))
            if self._failure:
                raise self._failure
            if self._making is not None:
                with contextlib.suppress(TimeoutError):  # a webhook converts, and may take longer than the watch lasts
                    async with asyncio.timeout(end - loop.time()):
                        await self._make(self._making)
            elif self._blocked:
                await self._wait_for_client()
            elif quiet is not None and loop.time() >= self._wrote + quiet:
                self._marking, self._wrote = True, loop.time()
                self._watch.again()
        await self._finish(quiet is not None and not self._ended)

    async def _until_called(self, seconds: float) -> None:
        """Wait until the task has something to do, at most `seconds`."""
        if self._blocked or self._failure or self._ended or self._making is not None:
            return
        loop = asyncio.get_running_loop()
        self._called = loop.create_future()
        timer = loop.call_later(max(seconds, 0.0), self._call)
        try:
            await self._called
        finally:
            timer.cancel()

    def _call(self) -> None:
        if self._called is not None and not self._called.done():
            self._called.set_result(None)

    async def _make(self, share: Share) -> None:
        """Encode these events, converted where a webhook does so, then queue the watcher again."""
        self._rest = await self._lines.prepared(share)
        self._making = None
        self._watch.again()

    async def _wait_for_client(self) -> None:
        """Wait until the client accepts more, then queue the watcher again."""
        self._blocked = False
        if self._at_once is not None and not self._waited:
            self._waited = True
            await self._send(b"")
        else:
            await self._send_late()
        self._unsent.free(self)
        self._watch.again()

    async def _send_late(self) -> None:
        piece, self._late = self._late, b""
        await self._send(piece)
        self._note(piece)

    async def _finish(self, marking: bool) -> None:
        """Write the rest of a partly written line, or a last bookmark where all events are sent."""
        if marking and self._making is None and self._watch.advance_if_idle() and not self._late:
            self._late, self._unfinished = self._lines.bookmark(self._watch.revision), True
        self.leave()
        while self._unfinished and (self._late or self._take()):
            await self._send_late()

    # --- in turns

    def _look(self) -> int:
        """Write some events. Returns the bytes they count for in the turn."""
        self._deferred = False
        try:
            return self._write()
        except Exception as error:
            self._failure = error
            self._call()
            return _LOOK
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        """Let another watch write its large event, if there is memory for it."""
        if self._resumed:
            self._resumed = False
            self._unsent.admit()

    def _write(self) -> int:
        written = _LOOK
        while written < SHARE:
            if not (self._late or self._take() or self._find()):
                if self._deferred or self._making is not None:
                    return written
                if self._watch.behind:
                    break
                self._watch.wait()
                return written
            piece = self._late
            written += len(piece)
            if self._at_once is None or not self._at_once(piece):
                self._block()
                return written
            self._late = b""
            self._note(piece)
        self._watch.again()
        return written

    def _block(self) -> None:
        """Have the task wait for the client."""
        self._blocked = True
        self._call()
        if self._connection is not None:
            self._unsent.block(self, self._held)

    def _take(self) -> bool:
        """Set `_late` to the next piece of the current events; False when there is none."""
        self._late = next(self._rest, b"")
        return bool(self._late)

    def _find(self) -> bool:
        """The same with the next events of the watch, or with a bookmark that is due."""
        if self._making is not None:
            return False
        if self._watch.behind or self._marking:
            share = self._watch.some()
            if share.size >= SHARE and self._unsent.full and self._connection is not None:
                self._watch.put_back()
                self._deferred = True
                self._unsent.defer(self)
                return False
            self._held = self._holds(share)
            if self._lines.slow(share):
                self._making = share
                self._call()
                return False
            self._rest = self._lines.of(share)
            if self._take():
                return True
        if self._watch.behind:
            return False
        if self._marking:
            self._marking, self._late = False, self._lines.bookmark(self._watch.revision)
        elif self._withdrawn():
            self._ended = True
            self._call()
        return bool(self._late)

    def _holds(self, share: Share) -> Held:
        shared = self._lines.alike and self._at_once is not None and share.events
        return (share.events[-1].revision if shared else -id(self)), share.size

    def _note(self, piece: bytes) -> None:
        self._waited = False
        self._unfinished = not self._lines.ended(piece)
        self._wrote = asyncio.get_running_loop().time()
