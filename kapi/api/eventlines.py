"""The lines of a watch: one JSON line (or YAML document) for each event, made once for all watchers that see it alike.

A selector turns an object that crosses into it to ADDED and one that leaves it to DELETED. Lines of large objects are written in slices of
what the store keeps, and never made as a whole.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain

import orjson

from kapi import limits
from kapi.api import chunked, negotiation, reading, responses
from kapi.api.negotiation import Form
from kapi.api.request import Request
from kapi.objects import errors, offload
from kapi.objects.meta import Object
from kapi.registry import conversion, encoding, table
from kapi.registry.kind import MARK, Kind
from kapi.schema import decode
from kapi.storage.collection import SHARE, Share
from kapi.storage.entry import respliced
from kapi.storage.store import Entry, Event

_INITIAL_EVENTS_END = "k8s.io/initial-events-end"
_SLICE = 16 * 1024 - 64
"""Bytes of a large object that are written at a time: what a connection buffers whose client does not read is a few of these."""
Where = Callable[[Entry], bool]
Count = Callable[[int], None]
Seen = tuple[str, Entry, Event]
"""An event as a watcher sees it: its type, the object, and what happened."""


class Lines:
    """Encodes the events of one watch. `whole`: each piece is one line, however long."""

    def __init__(self, request: Request, kind: Kind, where: Where | None, count: Count, form: Form, *, whole: bool) -> None:
        """`count` is called with the number of events that are encoded."""
        self.form = form
        self._kind, self._where, self._count, self._whole = kind, where, count, whole
        self._headed = True
        self.plain = not self.form.shape and self.form.media is negotiation.JSON
        self._converts = kind.strategy.converter is not None
        self.alike = self.plain and where is None and not kind.converts
        """Whether the bytes are those of every other watch of this kind without a selector."""
        self._key = kind.head
        """The key under which bytes that are alike for all watches are cached on an event."""
        if self.form.shape == "Table":
            self._include = reading.include_object(request)

    def ended(self, piece: bytes) -> bool:
        """Whether a line ends with this piece, the next of what is written."""
        return piece.endswith(b"\n")

    def initial(self, entries: Iterable[Entry]) -> Iterator[bytes]:
        """The objects that existed when the watch began, in pieces."""
        if self._whole:
            return (self._line("ADDED", entry, None) for entry in entries)
        return chunked.blocks(chain.from_iterable(map(self._added, entries)))

    def _added(self, entry: Entry) -> Iterator[bytes]:
        if len(entry.body) < chunked.SIZE:
            return iter((self._line("ADDED", entry, None),))
        if not self._stored(entry):
            return chunked.cut(self._line("ADDED", entry, None))
        return self._sliced("ADDED", entry, entry.body[:_SLICE])

    def slow(self, share: Share) -> bool:
        """Whether encoding these events takes time: in a worker thread (`made`), or because a webhook converts them first."""
        if self._large(share):
            return True
        return self._converts and any(conversion.needs_webhook(self._kind, entry) for entry in _states(share.events))

    def _large(self, share: Share) -> bool:
        return not self.plain and share.size >= limits.OFFLOAD_BYTES

    async def prepared(self, share: Share) -> Iterator[bytes]:
        """The pieces of slow events. Raises ConversionFailed."""
        if self._converts:
            found = {id(state): entry for state, entry in zip(*await self._converted(share.events), strict=True)}
            events = [_restated(event, found) for event in share.events]
            share = Share(share.interest, share.start, share.end, share.seen, events, share.size)
        return await offload.run(self.made, share) if self._large(share) else self.of(share)

    async def _converted(self, events: list[Event]) -> tuple[list[Entry], list[Entry]]:
        states = list(_states(events))
        return states, await conversion.recent(self._kind, states)

    def made(self, share: Share) -> Iterator[bytes]:
        """These events in pieces, all lines made; that of a large object in YAML is the same bytes for all who see it alike."""
        seen = [one for event in share.events if (one := self._seen(event))]
        self._count(len(seen))
        lines = [self._line(*one) for one in seen]
        return iter(lines) if self._whole else chain.from_iterable(map(chunked.cut, lines))

    def of(self, share: Share) -> Iterator[bytes]:
        """These events in pieces of about chunked.SIZE, in one for all who see them alike where they are short."""
        if not self.alike or share.size >= SHARE or not share:
            return self._cut_up(share.events[::-1])
        self._count(len(share.events))
        block = share.blocks.get(self._key)
        if block is None:
            block = share.blocks[self._key] = b"".join([self._line(event.type, event.entry, event) for event in share.events])
        return iter((block,))

    def _cut_up(self, events: list[Event]) -> Iterator[bytes]:
        """Pieces of events in reverse order of the list, which is emptied: a partly written event keeps no other in memory."""
        block: list[bytes] = []
        size = 0
        while events:
            seen = self._seen(events.pop())
            if seen is None:
                continue
            self._count(1)
            long = self._long(*seen) if len(seen[1].body) >= chunked.SIZE else None
            if long is None:
                block.append(self._line(*seen))
                size += len(block[-1])
            del seen
            if block and (long or size >= chunked.SIZE):
                yield b"".join(block)
                block, size = [], 0
            if long:
                yield from long
        if block:
            yield b"".join(block)

    def _long(self, type_: str, entry: Entry, event: Event) -> Iterator[bytes]:
        """One event in pieces."""
        if self._whole:
            return iter((self._line(type_, entry, event),))
        if not self._stored(entry):
            return chunked.cut(self._line(type_, entry, event))
        start = respliced(entry.body[:_SLICE], entry.revision, event.revision)
        return self._sliced(type_, entry, start)

    def _sliced(self, type_: str, entry: Entry, start: bytes) -> Iterator[bytes]:
        """A stored object's line in pieces. `start` is the body's first slice."""
        end = entry.body.rindex(MARK) if self._kind.custom else len(entry.body) - 1
        return _slices(b'{"type":"%s","object":%s' % (type_.encode(), self._kind.head), entry.body, start, end)

    def _seen(self, event: Event) -> Seen | None:
        """The event for this watcher; None where the selector excludes it."""
        where = self._where
        if where is None:
            return event.type, event.entry, event
        now = where(event.entry) and event.type != "DELETED"
        before = event.previous is not None and where(event.previous)
        if now:
            return "MODIFIED" if before else "ADDED", event.entry, event
        if not before:
            return None
        return "DELETED", event.entry if event.type == "DELETED" else event.previous or event.entry, event

    def _stored(self, entry: Entry) -> bool:
        """Whether the object is sent as it is stored."""
        return self.plain and not (self._kind.converts and self._kind.differs(entry.body))

    def _line(self, type_: str, entry: Entry, event: Event | None) -> bytes:
        """One event's line; cached on the event when it is the same for every watcher of this kind."""
        if event is not None and entry.revision != event.revision:
            entry = left(event)
        if not self._stored(entry):
            return self._shaped(type_, entry)
        head = self._kind.head
        if self._kind.custom:
            return b'{"type":"%s","object":%s}\n' % (type_.encode(), encoding.wire(self._kind, entry.body))
        if event is None or type_ != event.type:
            return b'{"type":"%s","object":%s%s}\n' % (type_.encode(), head, entry.body[1:])
        if event.lines is None:
            event.lines = {}
        line = event.lines.get(head)
        if line is None:
            line = event.lines[head] = b'{"type":"%s","object":%s%s}\n' % (type_.encode(), head, entry.body[1:])
        return line

    def _shaped(self, type_: str, entry: Entry) -> bytes:
        if self.form.media is negotiation.YAML and not self.form.shape:
            return _yaml_lines.encoded(type_, self._kind, entry)
        obj: Object = encoding.parse(self._kind, entry)
        if self.form.shape == "Table":
            obj = self._table(obj)
        elif self.form.shape:
            obj = table.partial(obj, self.form.version)
        return self._encoded({"type": type_, "object": obj})

    def _encoded(self, event: Object) -> bytes:
        if self.form.media is negotiation.YAML:
            return b"---\n" + responses.yaml_bytes(event)
        return orjson.dumps(event) + b"\n"

    def bookmark(self, revision: int, *, ended: bool = False) -> bytes:
        """The line of a bookmark: all events up to `revision` were sent. `ended`: it is the one after the initial objects."""
        meta: Object = {"resourceVersion": str(revision)}
        if ended:
            meta["annotations"] = {_INITIAL_EVENTS_END: "true"}
        obj = self._empty(meta)
        if self.form.shape == "Table":
            obj = self._table({**obj, "metadata": {"name": "", **meta}})
            if shown := obj["rows"][0]["object"]:
                shown["metadata"] = meta
        elif self.form.shape:
            obj = table.partial(obj, self.form.version)
        return self._encoded({"type": "BOOKMARK", "object": obj})

    def _empty(self, meta: Object) -> Object:
        """An object of this kind that has metadata only, as Go writes it."""
        kind, resource = self._kind, self._kind.resource
        bare: Object = {"metadata": meta} if kind.custom else decode.read({"metadata": meta}, kind.schema)[0]
        return {"kind": resource.kind, "apiVersion": resource.api_version, **bare}

    def _table(self, obj: Object) -> Object:
        """A Table of one row; columns are described in the first."""
        meta, headed = {"resourceVersion": obj["metadata"]["resourceVersion"]}, self._headed
        self._headed = False
        return table.table(self._kind, [obj], meta, self._include, version=self.form.version, headed=headed)

    def error(self, error: errors.StatusError) -> bytes:
        """The last line of a watch that ends with an error."""
        return self._encoded({"type": "ERROR", "object": error.status()})


def _states(events: Iterable[Event]) -> Iterator[Entry]:
    """The states of objects that these events tell of."""
    for event in events:
        yield event.entry
        if event.previous is not None:
            yield event.previous


def _restated(event: Event, found: Mapping[int, Entry]) -> Event:
    """The event with other states of its object."""
    previous = found[id(event.previous)] if event.previous is not None else None
    out = Event(event.type, found[id(event.entry)], previous, event.time)
    out.revision = event.revision
    return out


class Latest:
    """The bytes of the event that took long to encode last. One is enough: watchers receive an event one after the other."""

    def __init__(self, encode: Callable[[str, Kind, Entry], bytes]) -> None:
        """`encode(type, kind, entry)` makes them."""
        self._encode = encode
        self._last: tuple[str, Kind, Entry, bytes] | None = None
        """One value, because worker threads set it."""

    def encoded(self, type_: str, kind: Kind, entry: Entry) -> bytes:
        """The bytes of this event."""
        last = self._last
        if last is not None:
            last_type, last_kind, last_entry, raw = last
            if last_entry.body is entry.body and last_entry.key == entry.key and last_type == type_ and last_kind is kind:
                return raw
        raw = self._encode(type_, kind, entry)
        self._last = type_, kind, entry, raw
        return raw


def _yaml_line(type_: str, kind: Kind, entry: Entry) -> bytes:
    return b"---\n" + responses.yaml_bytes({"type": type_, "object": encoding.parse(kind, entry)})


_yaml_lines = Latest(_yaml_line)


def _slices(head: bytes, body: bytes, start: bytes, end: int) -> Iterator[bytes]:
    """The line of a stored object: head, body behind its brace and up to `end`, what closes both. `start` is the body's first slice."""
    piece = head + start[1:]
    for at in range(_SLICE, end, _SLICE):
        yield piece
        piece = body[at : min(at + _SLICE, end)]
    yield piece + b"}}\n"


def left(event: Event) -> Entry:
    """An object that no longer matches: its last matching state at the revision of the change."""
    last = event.previous
    assert last is not None
    return Entry(last.key, event.revision, last.created, respliced(last.body, last.revision, event.revision), last.labels, last.fields)
