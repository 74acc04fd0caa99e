"""The frames of a watch in protobuf: each is four bytes of its length and a WatchEvent, whose object is a body with a runtime.Unknown.

As the lines of JSON (`eventlines`), a frame is made once for all watchers that see the event alike.
"""

from collections.abc import Iterator
from itertools import pairwise

from kapi import limits
from kapi.api import chunked
from kapi.api.eventlines import Count, Latest, Lines, Where, left
from kapi.api.negotiation import Form
from kapi.api.request import Request
from kapi.objects.meta import Object
from kapi.registry import protobuf_cache
from kapi.registry.kind import Kind
from kapi.schema import protobuf_encoding
from kapi.schema.protobuf_encoding import framed
from kapi.storage.collection import Share
from kapi.storage.entry import DELETED
from kapi.storage.store import Entry, Event

_LENGTH = 4
_LONG = 4 * limits.OFFLOAD_BYTES
"""Bytes of events from which they are encoded beside the event loop."""


class Frames(Lines):
    """How one watch's events are written."""

    def __init__(self, request: Request, kind: Kind, where: Where | None, count: Count, form: Form, *, whole: bool) -> None:
        super().__init__(request, kind, where, count, form, whole=whole)
        self.alike = not form.shape and where is None
        self._key = b"k8s" + kind.head
        self._left = 0
        """Bytes that are missing of a frame whose beginning is written."""

    def ended(self, piece: bytes) -> bool:
        at = self._left
        while at < len(piece):
            at += _LENGTH + int.from_bytes(piece[at : at + _LENGTH], "big")
        self._left = at - len(piece)
        return not self._left

    def _large(self, share: Share) -> bool:
        """What others had made is at hand, and a few small objects are encoded in no time."""
        return share.size >= _LONG and not (self.alike and all(event.lines and self._key in event.lines for event in share.events))

    def _line(self, type_: str, entry: Entry, event: Event | None) -> bytes:
        if event is not None and entry.revision != event.revision:
            entry = left(event)
            return self._shaped(type_, entry) if self.form.shape else self._unkept(type_, entry)
        if event is None or not self.alike:
            return self._made(type_, entry)
        if len(entry.body) >= chunked.SIZE:
            return _large_frames.encoded(type_, self._kind, entry)
        if event.lines is None:
            event.lines = {}
        frame = event.lines.get(self._key)
        if frame is None:
            frame = event.lines[self._key] = self._made(type_, entry)
        return frame

    def _made(self, type_: str, entry: Entry) -> bytes:
        if self.form.shape:
            return self._shaped(type_, entry)
        if type_ == DELETED:
            protobuf_cache.forget(self._kind, entry)
            return self._unkept(type_, entry)
        return _frame(type_, protobuf_cache.body(self._kind, protobuf_cache.item(self._kind, entry)))

    def _unkept(self, type_: str, entry: Entry) -> bytes:
        return _frame(type_, protobuf_cache.body(self._kind, protobuf_cache.item_of(self._kind, entry.body)))

    def _encoded(self, event: Object) -> bytes:
        return _frame(event["type"], protobuf_encoding.whole(event["object"]))


def _frame(type_: str, body: bytes) -> bytes:
    event = framed(1, type_.encode()) + framed(2, framed(1, body))
    return len(event).to_bytes(_LENGTH, "big") + event


def _large_frame(type_: str, kind: Kind, entry: Entry) -> bytes:
    return _frame(type_, protobuf_cache.body(kind, protobuf_cache.item_of(kind, entry.body)))


_large_frames = Latest(_large_frame)


def messages(frames: bytes) -> Iterator[bytes]:
    """The events of whole frames, without their lengths."""
    ends = [0]
    while ends[-1] < len(frames):
        ends.append(ends[-1] + _LENGTH + int.from_bytes(frames[ends[-1] : ends[-1] + _LENGTH], "big"))
    for start, end in pairwise(ends):
        yield frames[start + _LENGTH : end]
