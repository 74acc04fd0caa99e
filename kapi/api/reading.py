"""GET: one object, a list (in pages), as JSON bytes joined from what the store keeps, or as Table and PartialObjectMetadata."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import orjson

from kapi import limits
from kapi.api import chunked, continuing, converting, negotiation, options, protobuf_responses, responses
from kapi.api.negotiation import Form
from kapi.api.pinned import PinnedEntries
from kapi.api.request import Request
from kapi.objects import errors, integers, offload, time
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.registry import conversion, encoding, table
from kapi.registry.kind import Kind
from kapi.registry.rest import Rest
from kapi.storage.collection import Where
from kapi.storage.store import Entry, Page

_MANY = 1000
"""Entries that are looked at in one turn."""
_FEW = 16
"""Entries of a list that is written at once, if they are short."""
_INCLUDES = ("", "None", "Metadata", "Object")


async def get(request: Request, rest: Rest, kind: Kind, namespace: str, name: str) -> None:
    """Answer with one object."""
    form = negotiation.of(request, kind)
    if request.scope["query_string"]:
        wanted = options.get_version(request.query)
        if wanted > rest.store.revision:
            raise too_new(wanted, rest.store.revision)
    entry = rest.get(kind, namespace, name)
    if kind.strategy.converter is not None:
        entry = await conversion.one(kind, entry)
    if form.media is negotiation.PROTOBUF and not form.shape:
        await protobuf_responses.send_entry(request, kind, entry)
        return
    if not form.shape and not request.scope["query_string"]:
        await responses.send_encoded(request, 200, encoding.wire(kind, entry.body), form)
        return
    await send_stored(request, 200, kind, entry.body, form)


async def send_stored(request: Request, code: int, kind: Kind, stored: bytes, form: Form) -> None:
    """A stored body in the form the client asked for."""
    if not form.shape:
        if form.media is negotiation.PROTOBUF:
            await protobuf_responses.send_stored(request, code, kind, stored)
        else:
            await responses.send_encoded(request, code, encoding.wire(kind, stored), form)
        return
    obj = await encoding.loaded(kind, stored)
    if form.shape == "Table":
        meta = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        made = partial(table.table, kind, [obj], meta, include_object(request), version=form.version)
        out = await offload.run(made) if kind.custom or len(stored) >= limits.OFFLOAD_BYTES else made()
    elif form.shape == "PartialObjectMetadata":
        out = table.partial(obj, form.version)
    else:
        raise errors.NotAcceptable("406: Not Acceptable", {})
    await responses.send_object(request, code, out, form)


def include_object(request: Request) -> str:
    """The includeObject parameter of a Table request."""
    value = request.query.get("includeObject", "")
    if value not in _INCLUDES:
        raise errors.BadRequest(f"unrecognized includeObject value: {go_quote(value)}")
    return value


async def list_(request: Request, rest: Rest, kind: Kind, namespace: str, how: options.ListOptions) -> None:
    """Answer with a page of a list, made as it is sent."""
    form = negotiation.of(request, kind)
    page = await page_of(rest, kind, namespace, how)
    with PinnedEntries(request, rest.store, page.entries):
        await send_page(request, kind, page.entries, list_meta(kind, namespace, how, page), form)


async def send_page(request: Request, kind: Kind, entries: list[Entry], meta: Object, form: Form) -> None:
    """A list of these entries in the form the client asked for."""
    if form.media is negotiation.PROTOBUF:
        await protobuf_responses.send_list(request, kind, entries, meta, form)
    elif form.shape:
        head, items = _shaped(request, kind, meta, form)
        if await conversion.needed(kind, entries):
            await converting.send(request, kind, head, entries, items, form)
        else:
            await chunked.send(request, head, items(entries), form, long=_long(kind, entries))
    else:
        await send_list(request, kind, entries, meta, form)


def _long(kind: Kind, entries: list[Entry]) -> bool:
    """Whether rows take long to make: columns may be made of anything, and each object is read."""
    return kind.custom or any(len(entry.body) >= limits.OFFLOAD_BYTES for entry in entries)


def _shaped(request: Request, kind: Kind, meta: Object, form: Form) -> tuple[bytes, Callable[[list[Entry]], Iterator[bytes]]]:
    """The head of a Table or a PartialObjectMetadataList, and what makes its rows or items."""
    version = f"meta.k8s.io/{form.version}"
    if form.shape != "Table":
        head = chunked.head("PartialObjectMetadataList", version, meta)
        return head, lambda entries: (orjson.dumps(table.partial(e.obj, form.version)) for e in entries)
    include, now = include_object(request), time.now()
    head = chunked.head("Table", version, meta, items="rows", columnDefinitions=table.columns(kind))
    return head, lambda entries: (orjson.dumps(table.row(kind, encoding.parse(kind, e), include, now)) for e in entries)


async def send_list(request: Request, kind: Kind, entries: list[Entry], meta: Object, form: Form) -> None:
    """A list of these entries."""
    if kind.custom:
        meta.setdefault("continue", "")
    head = chunked.head(kind.list_kind or f"{kind.resource.kind}List", kind.resource.api_version, meta)
    if await conversion.needed(kind, entries):
        await converting.send(request, kind, head, entries, partial(encoding.items, kind), form)
        return
    items = encoding.items(kind, entries)
    if _short(entries) and form.media is negotiation.JSON and not responses.pretty(request, form):
        await responses.send(request, 200, b"%s%s]}\n" % (head, b",".join(items)), form.media)
    else:
        await chunked.send(request, head, items, form)


def _short(entries: list[Entry]) -> bool:
    """Whether the list is surely one piece."""
    return len(entries) <= _FEW and sum([len(entry.body) for entry in entries]) < chunked.SIZE


async def page_of(rest: Rest, kind: Kind, namespace: str, how: options.ListOptions) -> Page:
    """The entries asked for. Raises Timeout for a revision of the future, Expired for a forgotten one."""
    current = rest.store.revision
    wanted = integers.parse(how.version) if how.version and not how.after else how.at
    if wanted > current:
        raise too_new(wanted, current)
    prefix = kind.prefix(namespace)
    after = prefix + how.after if how.after else ""
    try:
        return await matching(rest, kind, namespace, how, after=after, limit=how.limit, at=how.at)
    except errors.Expired as error:
        if how.after:
            error.metadata = {"continue": continuing.encode(continuing.ANY_STATE, how.after)}
        raise


async def matching(rest: Rest, kind: Kind, namespace: str, how: options.ListOptions, *, limit: int = 0, **which: Any) -> Page:
    """The page of what the selectors choose; many entries are looked at in turns."""
    where = how.where
    if where is not None and kind.strategy.converter is not None:
        return await converting.matching(kind, rest.page(kind, namespace, how.name, **which), where, limit, how.name)
    if where is None or how.name:
        return rest.page(kind, namespace, how.name, limit=limit, equals=how.equals, where=where, **which)
    if limit:  # most pages are full after a few entries
        try:
            return rest.page(kind, namespace, limit=limit, equals=how.equals, where=_within(where, _MANY), **which)
        except _TooMany:
            await asyncio.sleep(0)
    page = rest.page(kind, namespace, equals=how.equals, **which)
    found: list[Entry] = []
    for start in range(0, len(page.entries), _MANY):
        if start:
            await asyncio.sleep(0)
        found += filter(where, page.entries[start : start + _MANY])
        if limit and len(found) >= limit:
            break
    return page.of(found, limit)


class _TooMany(Exception):
    """More entries would have to be looked at than may be in one turn."""


def _within(where: Where, most: int) -> Where:
    """The same test for so many entries; of one more it raises _TooMany."""
    left = iter(range(most))

    def look(entry: Entry) -> bool:
        if next(left, None) is None:
            raise _TooMany
        return where(entry)

    return look


def too_new(wanted: int, current: int) -> errors.Timeout:
    details = {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}], "retryAfterSeconds": 1}
    return errors.Timeout(f"Timeout: Too large resource version: {wanted}, current: {current}", details)


def list_meta(kind: Kind, namespace: str, how: options.ListOptions, page: Page) -> Object:
    """ListMeta of a page: revision, continue token, and how many remain (unknown when a selector filters)."""
    meta: Object = {"resourceVersion": str(page.revision)}
    if page.more and page.entries:
        after = page.entries[-1].key.removeprefix(kind.prefix(namespace))
        meta["continue"] = continuing.encode(page.revision, after)
        if how.where is None:
            meta["remainingItemCount"] = page.remaining
    return meta
