"""Following a watch: its events are written where the watcher is told of them, in its turn and as far as the client takes them.

No task runs for that: the watch's own task only waits for what takes time, a client that is slow or the end.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from kapi.api.eventlines import Lines
from kapi.storage.collection import SHARE
from kapi.storage.watch import Watch

Send = Callable[[bytes], Awaitable[None]]
AtOnce = Callable[[bytes], bool]
_LOOK = 4096
"""What a look counts for in a turn beside what it writes, in bytes."""


class Following:
    """One watch that is followed, from when it is made until `leave`."""

    def __init__(self, watch: Watch, lines: Lines, send: Send, at_once: AtOnce | None, withdrawn: Callable[[], bool]) -> None:
        """`at_once` writes without waiting, or is False when the client has to be waited for: `send` of nothing does that.

        Without it, `send` writes. Once `withdrawn`, the watch ends when all is written.
        """
        self._watch, self._lines, self._send, self._at_once, self._withdrawn = watch, lines, send, at_once, withdrawn
        self._pieces: Iterator[bytes] = iter(())
        self._late = b""
        """A piece that the client did not take yet."""
        self._blocked = self._waited = False
        """Whether the task is to wait for the client; whether it has."""
        self._unfinished = self._marking = self._ended = False
        """Whether a line is written in part; whether a bookmark is due; whether there will be nothing more."""
        self._wrote = asyncio.get_running_loop().time()
        self._failure: Exception | None = None
        self._called: asyncio.Future[None] | None = None
        """What the task waits for."""
        watch.follow(self._look)

    def leave(self) -> None:
        """Follow no more."""
        self._watch.leave()

    # --- the task

    async def run(self, seconds: float, quiet: float | None) -> None:
        """Follow for so long; a bookmark is written when nothing was for `quiet` seconds.

        Raises Expired when what the client has yet to be told is forgotten, and whatever keeps events from being written.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not self._ended and (left := end - loop.time()) > 0:
            await self._until_called(left if quiet is None else min(left, self._wrote + quiet - loop.time()))
            if self._failure:
                raise self._failure
            if self._blocked:
                await self._wait_for_client()
            elif quiet is not None and loop.time() >= self._wrote + quiet:
                self._marking, self._wrote = True, loop.time()
                self._watch.again()
        await self._finish(quiet is not None and not self._ended)

    async def _until_called(self, seconds: float) -> None:
        """Wait until there is something to do for the task, or so long."""
        if self._blocked or self._failure or self._ended:
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

    async def _wait_for_client(self) -> None:
        """Wait until the client takes more, and stand in line again."""
        self._blocked = False
        if self._at_once is not None and not self._waited:
            self._waited = True
            await self._send(b"")
        else:
            await self._send_late()
        self._watch.again()

    async def _send_late(self) -> None:
        piece, self._late = self._late, b""
        await self._send(piece)
        self._note(piece)

    async def _finish(self, marking: bool) -> None:
        """Write what remains of a line whose beginning is written; where there is nothing more to say, a last bookmark."""
        if marking and self._watch.settle() and not self._late:
            self._late, self._unfinished = self._lines.bookmark(self._watch.revision), True
        self.leave()
        while self._unfinished and (self._late or self._take()):
            await self._send_late()

    # --- in turns

    def _look(self) -> int:
        """Write a share; the bytes it took."""
        try:
            return self._write()
        except Exception as error:
            self._failure = error
            self._call()
            return _LOOK

    def _write(self) -> int:
        written = _LOOK
        while written < SHARE:
            if not (self._late or self._take() or self._find()):
                if not self._watch.behind:
                    self._watch.wait()
                    return written
                break
            piece = self._late
            written += len(piece)
            if self._at_once is None or not self._at_once(piece):
                self._blocked = True
                self._call()
                return written
            self._late = b""
            self._note(piece)
        self._watch.again()
        return written

    def _take(self) -> bool:
        """Make the next piece of the events at hand the late one; False when there is none."""
        self._late = next(self._pieces, b"")
        return bool(self._late)

    def _find(self) -> bool:
        """The same of the next steps, and of what is to be said when there are none."""
        if self._watch.behind or self._marking:
            self._pieces = self._lines.of(self._watch.some())
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

    def _note(self, piece: bytes) -> None:
        self._waited = False
        self._unfinished = not piece.endswith(b"\n")
        self._wrote = asyncio.get_running_loop().time()
