"""Objects in protobuf: encoded once for each revision, and kept while there is room.

An object is kept as a field with number 2, tag and length included: it is the object of a body (runtime.Unknown) and an item of a list.
What the encoding is, kapi.schema.protobuf_encoding knows.
"""

import random
import threading
from collections.abc import Iterable, Iterator

from kapi import limits
from kapi.objects import nested
from kapi.objects.meta import Object
from kapi.registry import encoding
from kapi.registry.kind import Encoded, Kind
from kapi.schema import builtin, protobuf_encoding
from kapi.schema.protobuf_encoding import END, framed, head, varint
from kapi.storage.store import Entry

_COST = 256
"""Bytes a kept object takes beside its own."""


class Kept:
    """Bounds what all kinds keep together: where there is no room, others go, whichever."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = 0
        self._places: list[tuple[Encoded, str]] = []
        self._lock = threading.Lock()

    def add(self, of: Encoded, key: str, revision: int, encoded: bytes) -> None:
        """Keep an object, unless a newer revision of it is there."""
        with self._lock:
            before = of.get(key)
            if before is not None and before[0] >= revision:
                return
            if before is None:
                self._places.append((of, key))
            else:
                self.size -= len(before[1]) + _COST
            of[key] = revision, encoded
            self.size += len(encoded) + _COST
            while self.size > self._most:
                self._drop(random.randrange(len(self._places)))

    def _drop(self, at: int) -> None:
        of, key = self._places[at]
        self._places[at] = self._places[-1]
        self._places.pop()
        self.size -= len(of.pop(key)[1]) + _COST


KEPT = Kept(limits.PROTOBUF_KEPT_BYTES)


def known(kind: Kind, entry: Entry) -> bool:
    """Whether an entry's object is kept."""
    found = kind.protobuf.get(entry.key)
    return found is not None and found[0] == entry.revision


def all_known(kind: Kind, entries: list[Entry]) -> list[bytes] | None:
    """The objects of all entries if they are all kept."""
    kept = kind.protobuf.get
    found = [one[1] for entry in entries if (one := kept(entry.key)) is not None and one[0] == entry.revision]
    return found if len(found) == len(entries) else None


def item(kind: Kind, entry: Entry) -> bytes:
    """An object as the store has it, in the version of its kind."""
    found = kind.protobuf.get(entry.key)
    if found is not None and found[0] == entry.revision:
        return found[1]
    encoded = item_of(kind, entry.body)
    if entry.revision:
        KEPT.add(kind.protobuf, entry.key, entry.revision, encoded)
    return encoded


def items(kind: Kind, entries: Iterable[Entry]) -> Iterator[bytes]:
    """The same of many, one at a time."""
    kept = kind.protobuf
    for entry in entries:
        found = kept.get(entry.key)
        yield found[1] if found is not None and found[0] == entry.revision else item(kind, entry)


def item_of(kind: Kind, stored: bytes) -> bytes:
    """The same of a stored form's bytes, which is not kept."""
    obj = nested.loads(stored)
    if kind.converts:
        obj = encoding.served(kind, obj)
    return framed(2, protobuf_encoding.encoder(kind.schema.name).message(obj))


def forget(kind: Kind, entry: Entry) -> None:
    """Keep an object no longer that is deleted, of which this is the last state."""
    KEPT.add(kind.protobuf, entry.key, entry.revision, b"")


def body(kind: Kind, encoded: bytes) -> bytes:
    """The body that carries an item."""
    return kind.protobuf_head + encoded + END


def partial(kind: Kind, entry: Entry) -> bytes:
    """The metadata of an object alone, as an item: of built-in kinds, the first field of the object."""
    if kind.custom:
        obj = encoding.parse(kind, entry)
        return framed(2, _METADATA.message({"metadata": obj["metadata"]}))
    encoded = item(kind, entry)
    start = _number(encoded, 1)[1]
    size, at = _number(encoded, start + 1)
    return framed(2, encoded[start : at + size])


BETA = "meta.k8s.io/v1beta1"
"""In this version of PartialObjectMetadataList the items have number 1, and the metadata of the list has 2."""
_LIST_META = protobuf_encoding.encoder(builtin.META + "ListMeta")
_METADATA = protobuf_encoding.encoder(builtin.META + "PartialObjectMetadata")


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at


def around(kind: str, api_version: str, meta: Object, size: int) -> tuple[bytes, bytes]:
    """What stands before and after the items of a list, which are `size` bytes together."""
    listed = _LIST_META.message(meta)
    if api_version == BETA:
        after = framed(2, listed)
        return head(api_version, kind) + b"\x12" + varint(len(after) + size), after + END
    before = framed(1, listed)
    return head(api_version, kind) + b"\x12" + varint(len(before) + size) + before, END
