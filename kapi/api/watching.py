"""WATCH: the events after a revision, encoded as lines (`eventlines`) and written in turns (`watch_writer`).

Bookmarks tell the client the revision of a watch without events.
"""

import asyncio
import random
from collections.abc import AsyncIterator

from kapi.api import chunked, negotiation, options, reading, responses, unsent
from kapi.api.eventlines import Count, Lines
from kapi.api.negotiation import Form
from kapi.api.pinned import PinnedEntries
from kapi.api.protobuf_events import Frames
from kapi.api.request import Request
from kapi.api.watch_writer import AtOnce, Client, Send, WatchWriter
from kapi.http import server
from kapi.objects import errors, integers
from kapi.registry import conversion
from kapi.registry.conversion_review import ConversionFailed
from kapi.registry.kind import Kind
from kapi.registry.rest import Rest
from kapi.storage.store import Entry

_BOOKMARK_SECONDS = 60.0
_LONGEST_SECONDS = 1800
"""A watch without timeoutSeconds lasts between this and twice this, as in stock."""


class Watching:
    """One watch: what the client asked for, and how its events are written."""

    def __init__(
        self, request: Request, rest: Rest, kind: Kind, namespace: str, how: options.ListOptions, count: Count, *, whole: bool
    ) -> None:
        """`whole`: what is sent are whole lines, however long."""
        self.count = count
        self.request, self.rest, self.kind, self.namespace, self.how = request, rest, kind, namespace, how
        form = negotiation.of(request, kind)
        make = Frames if form.media is negotiation.PROTOBUF else Lines
        self.lines = make(request, kind, how.where, count, form, whole=whole)

    async def run(self, send: Send, at_once: AtOnce | None = None) -> None:
        """Send lines until the time is up or the client is gone; `at_once` may write them after the first `send`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self.how.timeout or random.randint(_LONGEST_SECONDS, 2 * _LONGEST_SECONDS))
        since, initial = await self._start()
        try:
            await self._follow(send, at_once, deadline, since, initial)
        except (errors.Expired, errors.NotAcceptable) as error:
            await send(self.lines.error(error))
        except ConversionFailed as error:
            await send(self.lines.error(errors.internal(error.message)))

    async def _follow(
        self, send: Send, at_once: AtOnce | None, deadline: float, since: int, initial: list[Entry] | None
    ) -> None:
        """Raises Expired, ConversionFailed, and NotAcceptable for an object that the media type has no form for."""
        connection = unsent.connection(self.request)
        if initial is not None:
            self.count(len(initial))
            await self._begin(initial, send, at_once, connection)
            if self.how.initial_events and self.how.bookmarks:
                await send(self.lines.bookmark(since, ended=True))
        await send(b"")
        watch = self.rest.watch(self.kind, self.namespace, since, self.how.by_field.equals if self.how.by_field else None)
        writer = WatchWriter(watch, self.lines, Client(send, at_once, connection), self._withdrawn)
        try:
            await writer.run(deadline - asyncio.get_running_loop().time(), _BOOKMARK_SECONDS if self.how.bookmarks else None)
        finally:
            writer.leave()

    async def _begin(self, initial: list[Entry], send: Send, at_once: AtOnce | None, connection: unsent.Connection | None) -> None:
        """Send the objects that existed, piece by piece; they are the request's until then."""
        if connection is None:
            await self._write(initial, lambda piece: False, send)
            return
        start = unsent.Start(send, connection)
        with PinnedEntries(self.request, self.rest.store, initial):
            try:
                await self._write(initial, lambda piece: start.at_once(piece, at_once), start.send)
            finally:
                start.leave()

    async def _write(self, initial: list[Entry], at_once: AtOnce, send: Send) -> None:
        async for entries in self._batches(initial):
            await chunked.write_all(self.lines.initial(entries), at_once, send, long=not self.lines.plain)

    async def _batches(self, entries: list[Entry]) -> AsyncIterator[list[Entry]]:
        """The entries in this version."""
        if self.kind.strategy.converter is None:
            yield entries
            return
        async for batch in conversion.batches(self.kind, entries):
            yield batch

    def _withdrawn(self) -> bool:
        return self.kind.strategy.withdrawn

    async def _start(self) -> tuple[int, list[Entry] | None]:
        """The revision to watch from, and the entries to send before as ADDED."""
        version = self.how.version
        if version and version != "0" and not self.how.initial_events:
            return integers.parse(version), None
        if self.how.initial_events is False:
            return self.rest.store.revision, None
        if version and integers.parse(version) > self.rest.store.revision:
            raise reading.too_new(integers.parse(version), self.rest.store.revision)
        page = await reading.matching(self.rest, self.kind, self.namespace, self.how)
        return page.revision, page.entries


async def serve(request: Request, rest: Rest, kind: Kind, namespace: str, how: options.ListOptions, count: Count) -> None:
    """Answer a watch over plain HTTP: an endless chunked body."""
    at_once = request.scope["extensions"].get(server.PIECE)
    watching = Watching(request, rest, kind, namespace, how, count, whole=at_once is None)
    form = watching.lines.form
    media = form.media
    if form.media is negotiation.PROTOBUF or (form == Form() and ";stream=watch" in request.accept):
        media += b";stream=watch"
    headers = [(b"content-type", media), *responses.common_headers(request)]
    started = False

    async def send(lines: bytes) -> None:
        nonlocal started
        if not started:
            started = True
            await request.send({"type": "http.response.start", "status": 200, "headers": headers})
        await request.send({"type": "http.response.body", "body": lines, "more_body": True})

    running = asyncio.ensure_future(watching.run(send, at_once))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((running, gone), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
            await request.send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        gone.cancel()
        running.cancel()


async def _gone(request: Request) -> None:
    """Return when the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
