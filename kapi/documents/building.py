"""Builds and caches documents about everything that is served (discovery, OpenAPI): once for all requests, until the catalogue changes.

They are built in a worker thread, one at a time, in turns, so that the thread also does other work. They are cached in gzip, so that the
cache, and what a slow client holds, is small. `discovery` and `openapi` define their content.
"""

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import orjson

from kapi.objects import offload
from kapi.objects.meta import Object
from kapi.registry.catalogue import Catalogue

Result = TypeVar("Result")

TURN = 0.01
"""Seconds of work on a document before the worker thread does other work."""
_PIECE = 72 * 1024
_GZIP = zlib.MAX_WBITS | 16


class Entry(NamedTuple):
    """A field of a document: `key: value` in the object at the path `section`. Entries of one section are adjacent."""

    section: tuple[str, ...]
    key: str
    value: Any


Entries = Iterable[Entry]
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


async def shared(catalogue: Catalogue, key: Hashable, work: Callable[[Catalogue], Awaitable[Result]]) -> Result:
    """The result of `work(catalogue)`, cached in the catalogue under `key`. Concurrent callers share one run. Raises what `work` raises."""
    task: asyncio.Task[Result] | None = catalogue.kept.get(key)
    if task is None:
        task = catalogue.kept[key] = asyncio.create_task(_made(catalogue, key, work))
        task.add_done_callback(lambda done: _forget_failed(catalogue.kept, key, done))
    return await asyncio.shield(task)


def _forget_failed(kept: dict[Any, Any], key: Hashable, done: asyncio.Task[Any]) -> None:
    if (done.cancelled() or done.exception() is not None) and kept.get(key) is done:
        del kept[key]


async def _made(catalogue: Catalogue, key: Hashable, work: Callable[[Catalogue], Awaitable[Result]]) -> Result:
    generation = catalogue.generation
    async with _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        if generation == catalogue.generation:
            return await work(catalogue.copy())
    return await shared(catalogue, key, work)  # the catalogue has changed: share the run for the new one


async def packed(chunks: Iterable[bytes]) -> bytes:
    """The chunks compressed with gzip; they are produced and compressed in a worker thread, in turns."""
    packer, rest, out = zlib.compressobj(1, zlib.DEFLATED, _GZIP), iter(chunks), list[bytes]()
    while await offload.run(_some, rest, packer, out):
        pass
    return b"".join(out)


def _some(chunks: Iterator[bytes], packer: Any, out: list[bytes]) -> bool:
    """Compress chunks for one turn; False after the last."""
    end = time.perf_counter() + TURN
    for piece in chunks:
        out.append(packer.compress(piece))
        if time.perf_counter() > end:
            return True
    out.append(packer.flush())
    return False


def unpacked(document: bytes) -> Iterator[bytes]:
    """The decompressed document in chunks of at most 72 KiB."""
    rest = zlib.decompressobj(_GZIP)
    piece = rest.decompress(document, _PIECE)
    while piece:
        yield piece
        piece = rest.decompress(rest.unconsumed_tail, _PIECE)


def as_json(entries: Entries) -> Iterator[bytes]:
    """The chunks of a JSON document."""
    path: tuple[str, ...] = ()
    before, comma = b"{", b""
    for section, key, value in entries:
        while path != section[: len(path)]:
            path, before, comma = path[:-1], before + b"}", b","
        for name in section[len(path) :]:
            before, comma = before + comma + orjson.dumps(name) + b":{", b""
        path = section
        yield before + comma + orjson.dumps(key) + b":" + orjson.dumps(value)
        before, comma = b"", b","
    yield before + b"}" * (len(path) + 1)


def whole(entries: Entries) -> Object:
    """The document as one JSON object."""
    out: Object = {}
    for section, key, value in entries:
        inner = out
        for name in section:
            inner = inner.setdefault(name, {})
        inner[key] = value
    return out
