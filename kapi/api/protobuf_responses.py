"""Answers in protobuf: objects and lists of them, each object encoded once for each revision (kapi.registry.protobuf_cache).

A list says how long it is before its first item: its items are gone through twice, first for their sizes, and never held together but
where they are kept anyway.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import chain, islice

from kapi import limits
from kapi.api import chunked, responses
from kapi.api.negotiation import PROTOBUF, Form
from kapi.api.request import Request
from kapi.http import exchange
from kapi.http.exchange import TURN
from kapi.objects import errors, offload
from kapi.objects.meta import Object
from kapi.registry import conversion, protobuf_cache
from kapi.registry.kind import Kind
from kapi.storage.store import Entry

_AT_ONCE = 10_000
"""Items that are looked up in one turn."""
_SOME = 16
"""Items that are looked at between two looks at the clock."""


async def send_entry(request: Request, kind: Kind, entry: Entry, code: int = 200) -> None:
    """A stored object."""
    if len(entry.body) < limits.OFFLOAD_BYTES or protobuf_cache.known(kind, entry):
        item = protobuf_cache.item(kind, entry)
    else:
        item = await offload.run(protobuf_cache.item, kind, entry)
    await responses.send(request, code, protobuf_cache.body(kind, item), PROTOBUF)


async def send_stored(request: Request, code: int, kind: Kind, stored: bytes) -> None:
    """An object in its stored form's bytes."""
    if len(stored) < limits.OFFLOAD_BYTES:
        item = protobuf_cache.item_of(kind, stored)
    else:
        item = await offload.run(protobuf_cache.item_of, kind, stored)
    await responses.send(request, code, protobuf_cache.body(kind, item), PROTOBUF)


async def send_list(request: Request, kind: Kind, entries: list[Entry], meta: Object, form: Form) -> None:
    """A list of these entries, or of their metadata."""
    if not form.shape and len(entries) <= _AT_ONCE and (found := protobuf_cache.all_known(kind, entries)) is not None:
        await _send(request, kind.resource.api_version, _list_kind(kind), meta, sum(map(len, found)), found)
        return
    long = any(len(entry.body) >= limits.OFFLOAD_BYTES and not protobuf_cache.known(kind, entry) for entry in entries)
    version, name = kind.resource.api_version, _list_kind(kind)
    if form.shape:
        version, name, long = f"meta.k8s.io/{form.version}", "PartialObjectMetadataList", long or kind.custom
        if await conversion.needed(kind, entries):
            await _send_converted(request, kind, entries, meta, form)
            return
    items = _items(kind, entries, form)
    if long:
        items = chunked.while_connected(request, items)
    size = await _size(items, long) if long or len(entries) > _SOME else sum(map(len, items))
    await _send(request, version, name, meta, size, _items(kind, entries, form), long=long)


async def _send_converted(request: Request, kind: Kind, entries: list[Entry], meta: Object, form: Form) -> None:
    """The metadata of objects that a webhook converts. Those beyond CONVERSION_LIST_BYTES are converted again as they are written, since
    the answer begins with its size. Raises ConversionFailed while nothing is written."""
    made: list[bytes] = []
    size = kept = 0
    async for items in _converted(kind, entries, form):
        size += sum(map(len, items))
        if size <= limits.CONVERSION_LIST_BYTES:
            made += items
            kept = size
        if request.gone:
            return
    before, after = protobuf_cache.around("PartialObjectMetadataList", f"meta.k8s.io/{form.version}", meta, size)
    rest = _same(_converted(kind, entries[len(made) :], form), size - kept)
    await chunked.write_batches(request, lambda items: chain((before,), items, (after,)), made, rest, PROTOBUF)


async def _converted(kind: Kind, entries: list[Entry], form: Form) -> AsyncIterator[list[bytes]]:
    async for batch in conversion.batches(kind, entries):
        yield await offload.run(list, _items(kind, batch, form))


async def _same(batches: AsyncIterator[list[bytes]], left: int) -> AsyncIterator[list[bytes]]:
    """The batches, `left` bytes together. Raises InternalError."""
    async for items in batches:
        left -= sum(map(len, items))
        if left < 0:
            break
        yield items
    if left:
        raise errors.InternalError("conversion webhook converts the same objects differently")


def _list_kind(kind: Kind) -> str:
    return kind.list_kind or f"{kind.resource.kind}List"


async def _send(
    request: Request, api_version: str, kind: str, meta: Object, size: int, items: Iterable[bytes], *, long: bool = False
) -> None:
    """A list of items that are `size` bytes together. `long`: one may take long to make."""
    before, after = protobuf_cache.around(kind, api_version, meta, size)
    await chunked.write(request, chunked.blocks(chain((before,), items, (after,))), PROTOBUF, long=long)


def _items(kind: Kind, entries: list[Entry], form: Form) -> Iterator[bytes]:
    if not form.shape:
        return protobuf_cache.items(kind, entries)
    found = (protobuf_cache.partial(kind, entry) for entry in entries)
    return found if form.version == "v1" else (b"\x0a" + item[1:] for item in found)


async def _size(items: Iterable[bytes], long: bool) -> int:
    """Bytes of all items. They are made, which is done in turns, or beside the event loop where one may take `long`."""
    rest, total, turn = iter(items), 0, exchange.turn()
    while True:
        if long:
            more = await offload.run(_some_sizes, rest)
        else:
            async with turn:
                more = _some_sizes(rest)
        if more is None:
            return total
        total += more
        await asyncio.sleep(0)


def _some_sizes(items: Iterator[bytes]) -> int | None:
    """Bytes of the items of a turn; None at the end."""
    total, end = 0, time.perf_counter() + TURN
    while more := sum(map(len, islice(items, _SOME))):
        total += more
        if time.perf_counter() > end:
            break
    return total or None
