"""Watch: events from a revision on, one JSON line each, encoded once for all watchers that see it alike.

A selector turns an object that crosses into it to ADDED and one that leaves it to DELETED. Bookmarks say how far a quiet watch has come.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import orjson

from kapi.api import options, pieces, reading, responses
from kapi.api.request import Request
from kapi.api.responses import Form
from kapi.http import server
from kapi.objects import errors
from kapi.objects.meta import Object
from kapi.registry import encoding, table
from kapi.registry.kind import Kind
from kapi.registry.rest import Rest
from kapi.storage.store import Entry, Event

_BOOKMARK_SECONDS = 60.0
_LONGEST_SECONDS = 1800
"""A watch without timeoutSeconds lasts between this and twice this, as in stock."""
_INITIAL_EVENTS_END = "k8s.io/initial-events-end"
Count = Callable[[int], None]


class Watching:
    """One watch: what the client asked for, and how its events are written."""

    def __init__(self, request: Request, rest: Rest, kind: Kind, namespace: str, how: options.ListOptions, count: Count) -> None:
        self.count = count
        self.request, self.rest, self.kind, self.namespace, self.how = request, rest, kind, namespace, how
        self.form = responses.negotiate(request.accept.replace(";stream=watch", ""))
        self._headed = True
        self._plain = not self.form.shape and self.form.media is responses.JSON
        if self.form.shape == "Table":
            self._include = reading.include_object(request)

    async def run(self, send: Callable[[bytes], Any]) -> None:
        """Send lines until the time is up or the client is gone."""
        loop = asyncio.get_running_loop()
        seconds = self.how.timeout or random.randint(_LONGEST_SECONDS, 2 * _LONGEST_SECONDS)
        deadline = loop.time() + seconds
        since, initial = await self._start()
        if initial is not None:
            self.count(len(initial))
            await pieces.write_all(pieces.blocks(self.line("ADDED", e, None) for e in initial), lambda block: False, send)
            if self.how.initial_events and self.how.bookmarks:
                await send(self._bookmark(since, ended=True))
        watch = self.rest.watch(self.kind, self.namespace, since, self.how.by_field.equals if self.how.by_field else None)
        where = self.how.where
        while (left := deadline - loop.time()) > 0:
            try:
                events = await watch.next(0 if self.kind.strategy.withdrawn else min(left, _BOOKMARK_SECONDS))
            except errors.Expired as error:
                await send(self._error(error))
                return
            lines = [self.line(e.type, e.entry, e) for e in events] if where is None else self._selected(events, where)
            if lines:
                self.count(len(lines))
                for block in pieces.blocks(lines):
                    await send(block)
            elif self.kind.strategy.withdrawn:
                return
            elif not events and self.how.bookmarks:
                await send(self._bookmark(watch.revision))

    async def _start(self) -> tuple[int, list[Entry] | None]:
        """The revision to watch from, and the entries to send before as ADDED."""
        version = self.how.version
        if version and version != "0" and not self.how.initial_events:
            return int(version), None
        if self.how.initial_events is False:
            return self.rest.store.revision, None
        if version and int(version) > self.rest.store.revision:
            raise reading.too_new(int(version), self.rest.store.revision)
        page = await reading.matching(self.rest, self.kind, self.namespace, self.how)
        return page.revision, page.entries

    def _selected(self, events: list[Event], where: Callable[[Entry], bool]) -> list[bytes]:
        lines = []
        for event in events:
            now = where(event.entry) and event.type != "DELETED"
            before = event.previous is not None and where(event.previous)
            if now:
                lines.append(self.line("MODIFIED" if before else "ADDED", event.entry, event))
            elif before:
                lines.append(self._left(event) if event.type != "DELETED" else self.line("DELETED", event.entry, event))
        return lines

    def _left(self, event: Event) -> bytes:
        """An object that no longer matches: DELETED, in its last matching state at the revision of the change."""
        previous = event.previous
        assert previous is not None
        obj = previous.obj
        obj["metadata"]["resourceVersion"] = str(event.revision)
        stored = orjson.dumps({"metadata": obj["metadata"], **{k: v for k, v in obj.items() if k != "metadata"}})
        return self.line("DELETED", Entry(previous.key, event.revision, previous.created, stored, previous.labels, previous.fields), None)

    def line(self, type_: str, entry: Entry, event: Event | None) -> bytes:
        """One event's line; kept with the event when it reads the same for every watcher of this kind."""
        if not self._plain or (self.kind.converts and self.kind.differs(entry.body)):
            return self._shaped(type_, entry)
        head = self.kind.head
        if event is None or type_ != event.type:
            return b'{"type":"%s","object":%s%s}\n' % (type_.encode(), head, entry.body[1:])
        if event.lines is None:
            event.lines = {}
        line = event.lines.get(head)
        if line is None:
            line = event.lines[head] = b'{"type":"%s","object":%s%s}\n' % (type_.encode(), head, entry.body[1:])
        return line

    def _shaped(self, type_: str, entry: Entry) -> bytes:
        obj: Object = encoding.parse(self.kind, entry)
        if self.form.shape == "Table":
            meta = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            obj = table.table(self.kind, [obj], meta, self._include, version=self.form.version, headed=self._headed)
            self._headed = False
        elif self.form.shape:
            obj = table.partial(obj, self.form.version)
        return self._encoded({"type": type_, "object": obj})

    def _encoded(self, event: Object) -> bytes:
        if self.form.media is responses.YAML:
            return b"---\n" + responses.yaml_bytes(event)
        return orjson.dumps(event) + b"\n"

    def _bookmark(self, revision: int, *, ended: bool = False) -> bytes:
        meta: Object = {"resourceVersion": str(revision), **({} if self.kind.custom else {"creationTimestamp": None})}
        if ended:
            meta["annotations"] = {_INITIAL_EVENTS_END: "true"}
        resource = self.kind.resource
        obj: Object = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta}
        if self.form.shape == "Table":
            rows = (
                [{"cells": [], "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta}}]
                if ended
                else []
            )
            obj = {
                "kind": "Table",
                "apiVersion": f"meta.k8s.io/{self.form.version}",
                "metadata": meta,
                "columnDefinitions": None,
                "rows": rows,
            }
        elif self.form.shape:
            obj = table.partial(obj, self.form.version)
        return self._encoded({"type": "BOOKMARK", "object": obj})

    def _error(self, error: errors.StatusError) -> bytes:
        return self._encoded({"type": "ERROR", "object": error.status()})


async def serve(request: Request, rest: Rest, kind: Kind, namespace: str, how: options.ListOptions, count: Count) -> None:
    """Answer a watch over plain HTTP: an endless chunked body."""
    watching = Watching(request, rest, kind, namespace, how, count)
    media = b"application/json;stream=watch" if watching.form == Form() and ";stream=watch" in request.accept else watching.form.media
    headers = [(b"content-type", media), *responses.common_headers(request)]
    started = False
    at_once = request.scope["extensions"].get(server.PIECE)

    async def send(lines: bytes) -> None:
        nonlocal started
        if started and at_once and at_once(lines):
            return
        if not started:
            started = True
            await request.send({"type": "http.response.start", "status": 200, "headers": headers})
        await request.send({"type": "http.response.body", "body": lines, "more_body": True})

    running = asyncio.ensure_future(watching.run(send))
    try:
        await asyncio.sleep(0)
        if not running.done() and not started:
            await send(b"")
        gone = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait((running, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
        if running.done():
            running.result()
            if not started:
                await send(b"")
            await request.send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        running.cancel()


async def _gone(request: Request) -> None:
    """Return when the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
