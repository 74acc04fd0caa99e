"""The types of the log: an Entry is the state of a key, an Event one revision of it, a Change a write on its way to the backend.

A body is JSON bytes beginning with {"metadata":{ ; the body of an Entry carries its revision spliced in as resourceVersion,
the body of a Change does not (and that form is what a backend keeps).
"""

import asyncio
from bisect import bisect_right
from collections.abc import Mapping
from typing import NamedTuple

from kapi.objects import nested
from kapi.objects.meta import Object

HEAD = b'{"metadata":{'
ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"


class Entry:
    """One object as it was at one revision."""

    __slots__ = ("body", "created", "fields", "key", "labels", "revision")

    def __init__(self, key: str, revision: int, created: int, body: bytes, labels: Mapping[str, str], fields: Mapping[str, str]) -> None:
        self.key = key
        self.revision = revision
        self.created = created
        """The revision at which the key was created (etcd's create revision)."""
        self.body = body
        self.labels = labels
        self.fields = fields

    @property
    def obj(self) -> Object:
        """The parsed body, a new object each time: the caller may change it."""
        parsed: Object = nested.loads(self.body)
        return parsed

    def __repr__(self) -> str:
        return f"Entry({self.key!r} at {self.revision})"


class Event:
    """One revision of one key. Of a DELETED one, `entry` is the last state with the revision of the deletion."""

    __slots__ = ("entry", "lines", "previous", "revision", "time", "type")

    def __init__(self, type: str, entry: Entry, previous: Entry | None, time: float) -> None:
        self.type = type
        self.entry = entry
        self.previous = previous
        self.revision = entry.revision
        self.time = time
        """When it was applied, seconds since the epoch: history is kept for a while."""
        self.lines: dict[bytes, bytes] | None = None
        """Encoded forms, kept here by the API, so that each is made once for all watchers."""

    def __repr__(self) -> str:
        return f"Event({self.type} {self.entry.key!r} at {self.revision})"


class Change:
    """One write on its way through a backend. The backend sets `revision`; `done` is None when no commit waits for it."""

    __slots__ = ("body", "created", "deadline", "done", "expect", "fields", "key", "labels", "revision")

    def __init__(
        self,
        key: str,
        body: bytes | None,
        *,
        expect: int | None = None,
        created: int = 0,
        deadline: float = 0.0,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
        done: "asyncio.Future[Entry] | None" = None,
        revision: int = 0,
    ) -> None:
        self.key = key
        self.body = body
        """None deletes."""
        self.expect = expect
        self.created = created
        """Revision of the key's creation; 0 when this change creates it."""
        self.deadline = deadline
        """When the key expires, seconds since the epoch; 0 never."""
        self.labels = labels
        """None: not known (read from disk, or written by another server); the store computes them from the body."""
        self.fields = fields
        self.done = done
        self.revision = revision


class Page(NamedTuple):
    """The result of a list. `more`: whether keys follow the last entry; `remaining`: how many, matching or not; `revision`: its own."""

    entries: list[Entry]
    more: bool
    remaining: int
    revision: int

    def of(self, found: list[Entry], limit: int) -> "Page":
        """The page with only these of its entries, of which at most `limit` (0: all) are returned."""
        if not limit or len(found) < limit:
            return self._replace(entries=found, more=False, remaining=0)
        left = len(self.entries) - bisect_right(self.entries, found[limit - 1].key, key=lambda entry: entry.key)
        return self._replace(entries=found[:limit], more=left > 0, remaining=left)


class Mismatch(Exception):
    """The key was not at the expected revision; `current` is its entry, None when it does not exist."""

    def __init__(self, current: Entry | None) -> None:
        super().__init__(f"found {current!r}" if current else "found nothing")
        self.current = current


def splice(body: bytes, revision: int) -> bytes:
    """The body with its resourceVersion first in metadata."""
    rest = body[len(HEAD) :]
    return b'%s"resourceVersion":"%d"%s%s' % (HEAD, revision, b"" if rest[:1] == b"}" else b",", rest)


def respliced(body: bytes, old: int, new: int) -> bytes:
    """The body of an entry with its revision replaced: the last state of a deleted object."""
    width = len(HEAD) + len(b'"resourceVersion":"') + len(str(old))
    return b'%s"resourceVersion":"%d%s' % (HEAD, new, body[width:])
