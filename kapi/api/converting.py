"""Lists of custom resources that a webhook converts: a few objects at a time, so that no more than these wait in memory.

What fails before the answer has begun is the answer. An answer that is long has begun by then, and is cut off.
"""

from collections.abc import AsyncIterator, Callable, Iterable

from kapi import limits
from kapi.api import chunked
from kapi.api.negotiation import Form
from kapi.api.request import Request
from kapi.objects import offload
from kapi.registry import conversion
from kapi.registry.kind import Kind
from kapi.storage.collection import Where
from kapi.storage.store import Entry, Page

Items = Callable[[list[Entry]], Iterable[bytes]]
"""What makes items or rows of entries."""


async def send(request: Request, kind: Kind, head: bytes, entries: list[Entry], items: Items, form: Form) -> None:
    """A list of these entries. Raises ConversionFailed while nothing is written."""
    made: list[bytes] = []
    size = 0
    batches = conversion.batches(kind, entries)
    async for batch in batches:
        if request.gone:
            return
        made += await offload.run(_made, items, batch)
        size += sum(map(len, made[-len(batch) :]))
        if size > limits.CONVERSION_LIST_BYTES:
            await chunked.send_batches(request, head, made, _more(batches, items), form)
            return
    await chunked.send(request, head, made, form, long=True)


async def _more(batches: AsyncIterator[list[Entry]], items: Items) -> AsyncIterator[list[bytes]]:
    async for batch in batches:
        yield await offload.run(_made, items, batch)


def _made(items: Items, entries: list[Entry]) -> list[bytes]:
    return list(items(entries))


async def matching(kind: Kind, page: Page, where: Where, limit: int, name: str) -> Page:
    """The page of what selectors choose, which look at converted objects; `name`: the one name that they ask for, or ''."""
    if name:
        page = page._replace(entries=[entry for entry in page.entries if entry.key.endswith(f"/{name}")])
    found: list[Entry] = []
    size = 0
    begin = 0
    async for batch in conversion.batches(kind, page.entries):
        for stored, entry in zip(page.entries[begin : begin + len(batch)], batch, strict=True):
            if where(entry):
                size += len(entry.body)
                found.append(entry if size <= limits.CONVERSION_LIST_BYTES else stored)
        begin += len(batch)
        if limit and len(found) >= limit:
            break
    return page.of(found, limit)
