"""Between objects and the bytes an entry keeps: `{"metadata":{…},…}` without kind, apiVersion and resourceVersion.

Of a custom resource the apiVersion it was written in comes last: a definition may change the version it stores, and what is there already
stays in the one it is in.
"""

from collections.abc import Iterable, Iterator
from operator import attrgetter

import orjson

from kapi import limits
from kapi.objects import errors, nested, offload
from kapi.objects.meta import Object
from kapi.registry.kind import MARK, Kind
from kapi.storage.store import Entry

_HEAD = ("metadata", "kind", "apiVersion")


def body(obj: Object, custom: bool = False) -> bytes:
    """What is stored: metadata first (so that the store can splice the revision in), then the rest as it came."""
    meta = obj["metadata"]
    if "resourceVersion" in meta:
        meta = {k: v for k, v in meta.items() if k != "resourceVersion"}
    return _whole(obj, meta, custom)


def _whole(obj: Object, meta: Object, custom: bool) -> bytes:
    out = {"metadata": meta, **{k: v for k, v in obj.items() if k not in _HEAD}}
    if custom:
        out["apiVersion"] = obj["apiVersion"]
    return _written(out)


def _written(obj: Object) -> bytes:
    """Raises BadRequest for what is nested too deeply (254 levels)."""
    try:
        return orjson.dumps(obj)
    except TypeError as why:
        raise errors.BadRequest(f"the object cannot be encoded: {why}") from None


def wire(kind: Kind, stored: bytes) -> bytes:
    """The object as GET answers it."""
    if kind.differs(stored):
        return orjson.dumps(served(kind, nested.loads(stored)))
    return b"%s%s}" % (kind.head, stored[1 : stored.rindex(MARK)]) if kind.custom else kind.head + stored[1:]


def item(kind: Kind, stored: bytes) -> bytes:
    """The object as an item of a list: built-in kinds leave kind and apiVersion out."""
    if kind.custom:
        return wire(kind, stored)
    if kind.differs(stored):
        obj = served(kind, nested.loads(stored))
        return orjson.dumps({k: v for k, v in obj.items() if k not in ("kind", "apiVersion")})
    return stored


_body = attrgetter("body")


def items(kind: Kind, entries: Iterable[Entry]) -> Iterator[bytes]:
    """Entries as items of a list, one at a time."""
    if kind.converts:
        return (item(kind, entry.body) for entry in entries)
    return map(_body, entries)


def served(kind: Kind, stored: Object) -> Object:
    """The parsed stored form with kind and apiVersion, in the version of `kind`."""
    resource = kind.resource
    obj = {"kind": resource.kind, "apiVersion": kind.unmarked if kind.custom else resource.api_version, **stored}
    out = kind.strategy.from_storage(obj, resource.api_version)
    if kind.custom and "apiVersion" not in stored:  # of an older release: which of the stored versions it is in is only assumed
        return kind.strategy.pruned(out)
    return out


def parse(kind: Kind, entry: Entry) -> Object:
    """A fresh copy of the stored object, in the served version."""
    return served(kind, entry.obj)


async def parsed(kind: Kind, entry: Entry) -> Object:
    """The same, of a large object beside the event loop."""
    return await loaded(kind, entry.body)


async def loaded(kind: Kind, stored: bytes) -> Object:
    """The same of a body."""
    if len(stored) < limits.OFFLOAD_BYTES:
        return _load(kind, stored)
    return await offload.run(_load, kind, stored)


def _load(kind: Kind, stored: bytes) -> Object:
    return served(kind, nested.loads(stored))


def final(kind: Kind, obj: Object) -> bytes:
    """The stored form's bytes of an object that is not stored (dry run): its resourceVersion stays."""
    return unstored(kind, kind.strategy.to_storage(obj, kind.resource.api_version))


def unstored(kind: Kind, obj: Object) -> bytes:
    """The same of an object that is in the right version already."""
    return _whole(obj, obj["metadata"], kind.custom)
