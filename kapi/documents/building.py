"""Documents about everything that is served (discovery, OpenAPI): each is made once for all who ask, and kept until the catalogue changes.

They are made beside the event loop, in turns between which other work there goes on, one document at a time; and kept packed, so that
what is kept and what a client that reads slowly holds is small. What is in them is for `discovery` and `openapi` to say.
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
"""Seconds a document is worked on before others have the worker."""
_PIECE = 72 * 1024
_GZIP = zlib.MAX_WBITS | 16


class Entry(NamedTuple):
    """A part of a document: `key` with `value` in the object that the keys of `section` lead to; sections follow each other."""

    section: tuple[str, ...]
    key: str
    value: Any


Entries = Iterable[Entry]
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


async def shared(catalogue: Catalogue, key: Hashable, work: Callable[[Catalogue], Awaitable[Result]]) -> Result:
    """What `work` makes of the catalogue as it is when its turn comes; kept under this key. Raises what `work` raises."""
    task: asyncio.Task[Result] | None = catalogue.kept.get(key)
    if task is None:
        task = catalogue.kept[key] = asyncio.create_task(_made(catalogue, key, work))
        task.add_done_callback(lambda done: _forget_failed(catalogue.kept, key, done))
    return await asyncio.shield(task)


def _forget_failed(kept: dict[Any, Any], key: Hashable, done: asyncio.Task[Any]) -> None:
    if (done.cancelled() or done.exception() is not None) and kept.get(key) is done:
        del kept[key]


async def _made(catalogue: Catalogue, key: Hashable, work: Callable[[Catalogue], Awaitable[Result]]) -> Result:
    asked = catalogue.generation
    async with _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        if asked == catalogue.generation:
            return await work(catalogue.copy())
    return await shared(catalogue, key, work)  # of what is served by now, together with all who ask for that


async def packed(chunks: Iterable[bytes]) -> bytes:
    """The pieces in gzip, made and packed in turns."""
    packer, rest, out = zlib.compressobj(1, zlib.DEFLATED, _GZIP), iter(chunks), list[bytes]()
    while await offload.run(_some, rest, packer, out):
        pass
    return b"".join(out)


def _some(chunks: Iterator[bytes], packer: Any, out: list[bytes]) -> bool:
    """Pack pieces for a turn; False after the last."""
    end = time.perf_counter() + TURN
    for piece in chunks:
        out.append(packer.compress(piece))
        if time.perf_counter() > end:
            return True
    out.append(packer.flush())
    return False


def unpacked(document: bytes) -> Iterator[bytes]:
    """The document as it was before it was packed, in pieces."""
    rest = zlib.decompressobj(_GZIP)
    piece = rest.decompress(document, _PIECE)
    while piece:
        yield piece
        piece = rest.decompress(rest.unconsumed_tail, _PIECE)


def as_json(entries: Entries) -> Iterator[bytes]:
    """The pieces of a JSON document."""
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
    """The document as one object."""
    out: Object = {}
    for section, key, value in entries:
        inner = out
        for name in section:
            inner = inner.setdefault(name, {})
        inner[key] = value
    return out
