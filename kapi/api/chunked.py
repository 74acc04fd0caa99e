"""Long answers in chunks: a list of any size takes the memory of a few chunks, and lets others have the event loop between them.

The chunks are whole JSON items, encoded one at a time. Short responses are sent at once, as all others are.
"""

import asyncio
import time
import zlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from functools import partial
from itertools import chain

import orjson

from kapi.api import negotiation, responses
from kapi.api.negotiation import Form
from kapi.api.request import Request
from kapi.http import exchange, server
from kapi.http.exchange import TURN
from kapi.objects import errors, nested, offload

SIZE = 72 * 1024
"""Bytes a chunk: TLS out of Python is fastest near this size."""
_END = b"]}"
"""What ends a list."""


async def write_all(
    chunks: Iterable[bytes], at_once: Callable[[bytes], bool], write: Callable[[bytes], Awaitable[None]], *, long: bool = False
) -> None:
    """Write long chunks in turns of some milliseconds, between which the event loop sees to everything else.

    `at_once` writes without waiting, or is False when the client is slow: then `write` waits for it, and that is nobody's turn.
    `long`: a chunk may take long to make; they are made beside the event loop.
    """
    rest = iter(chunks)
    if long:
        await _write_long(rest, at_once, write)
        return
    turn = exchange.turn()
    while True:
        late = b""
        async with turn:
            end = time.perf_counter() + TURN
            for chunk in rest:
                if chunk and not at_once(chunk):
                    late = chunk
                    break
                if time.perf_counter() > end:
                    break
            else:
                return
            await asyncio.sleep(0)
        if late:
            await write(late)


async def _write_long(rest: Iterator[bytes], at_once: Callable[[bytes], bool], write: Callable[[bytes], Awaitable[None]]) -> None:
    while batch := await offload.run(_some, rest):
        for chunk in filter(None, batch):
            if not at_once(chunk):
                await write(chunk)


def _some(rest: Iterator[bytes]) -> list[bytes]:
    """The next chunks: until they are worth packing, or for a turn's time; [] at the end."""
    out: list[bytes] = []
    size, end = 0, time.perf_counter() + TURN
    for chunk in rest:
        out.append(chunk)
        size += len(chunk)
        if size >= responses.GZIP_FROM or time.perf_counter() > end:
            break
    return out


def blocks(items: Iterable[bytes], separator: bytes = b"") -> Iterator[bytes]:
    """The items joined to blocks of about SIZE, a separator before each block but the first.

    A large item stays the bytes it is, which others may be sent as well: then they wait in memory once.
    """
    block: list[bytes] = []
    size = 0
    for item in items:
        block.append(item)
        size += len(item)
        if size < SIZE:
            continue
        if size >= 2 * SIZE and not block[0]:
            yield separator
            del block[0]
        yield separator.join(block)
        block, size = [b""] if separator else [], 0  # the separator is joined to the front, without a copy of the block
    if size:
        yield separator.join(block)


def cut(block: bytes) -> Iterator[bytes]:
    """Pieces of a block that one large item has made too long."""
    if len(block) < 2 * SIZE:
        yield block
        return
    for start in range(0, len(block), SIZE):
        yield block[start : start + SIZE]


async def send(request: Request, head: bytes, items: Iterable[bytes], form: Form, *, long: bool = False) -> None:
    """Answer with head, the items with commas between them, and the end; packed when that pays and the client takes it.

    `long`: an item may take long to make.
    """
    readable = _readable(request, head, items, form)
    chunks = readable or chain((head,), blocks(items, b","), (_END + b"\n",))
    await write(request, chunks, form.media, long=long or readable is not None)


def _readable(request: Request, head: bytes, items: Iterable[bytes], form: Form) -> Iterator[bytes] | None:
    """The chunks of what people read, an item each; None for plain JSON."""
    if form.media is negotiation.YAML:
        return _yaml(head, items, _END)
    return _pretty(head, items, _END) if responses.pretty(request, form) else None


async def send_batches(request: Request, head: bytes, made: list[bytes], more: AsyncIterator[list[bytes]], form: Form) -> None:
    """The same of items of which only the first are made, and more come a few at a time while the answer is written.

    Raises ConnectionResetError where no more can be made: there is no other way left to say so.
    """

    def chunks(items: Iterator[bytes]) -> Iterator[bytes]:
        return _readable(request, head, items, form) or chain((head,), _joined(items), (_END + b"\n",))

    await write_batches(request, chunks, made, more, form.media)


async def write_batches(
    request: Request, chunks: Callable[[Iterator[bytes]], Iterator[bytes]], made: list[bytes], more: AsyncIterator[list[bytes]],
    media: bytes,
) -> None:  # fmt: skip
    """The same; `chunks` makes them of the items, at least one of each."""
    supply = deque(made)
    made.clear()
    rest = iter(await _begin(request, chunks(_taken(supply)), media, ()))
    while not request.gone:
        try:
            while len(supply) < 2 and (batch := await anext(more, None)):
                supply += batch
        except errors.StatusError as why:
            raise ConnectionResetError(why.message) from None
        chunk = await offload.run(next, rest, None)
        if chunk is None:
            break
        if chunk and request.method != "HEAD":
            await _write(request, chunk)
    await request.send({"type": "http.response.body", "body": b"", "more_body": False})


def _taken(supply: deque[bytes]) -> Iterator[bytes]:
    """The items that are there, until there is none."""
    while supply:
        yield supply.popleft()


def _joined(items: Iterable[bytes]) -> Iterator[bytes]:
    separator = b""
    for item in items:
        yield separator + item
        separator = b","


async def write(
    request: Request, chunks: Iterator[bytes], media: bytes, headers: Iterable[tuple[bytes, bytes]] = (), *, long: bool = False
) -> None:
    """Answer with these chunks: at once when they are few, else in turns. `long`: a chunk may take long to make."""
    if long:
        chunks = while_connected(request, chunks)
    first = await offload.run(_some, chunks) if long else _some(chunks)
    more = await offload.run(next, chunks, None) if long else next(chunks, None)
    if more is None:
        await responses.send(request, 200, b"".join(first), media, list(headers))
    else:
        await _stream(request, chain(first, (more,), chunks), media, headers, long)


def while_connected(request: Request, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks, none of which is made for a client that has disconnected."""
    rest = iter(chunks)
    while not request.gone and (chunk := next(rest, None)) is not None:
        yield chunk


async def _begin(request: Request, chunks: Iterable[bytes], media: bytes, more: Iterable[tuple[bytes, bytes]]) -> Iterable[bytes]:
    """Write the head of an answer; the chunks as they are to follow."""
    headers = [(b"content-type", media), *responses.common_headers(request), *more]
    if "gzip" in request.encoding:
        headers += [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
        chunks = _packed(chunks)
    chunks = _counted(request, chunks)
    request.end_turn()
    await request.send({"type": "http.response.start", "status": 200, "headers": headers})
    return chunks


async def _stream(request: Request, chunks: Iterable[bytes], media: bytes, more: Iterable[tuple[bytes, bytes]], long: bool) -> None:
    chunks = await _begin(request, chunks, media, more)
    if request.method != "HEAD":
        at_once = request.scope["extensions"].get(server.PIECE, lambda chunk: False)
        await write_all(chunks, at_once, partial(_write, request), long=long)
    await request.send({"type": "http.response.body", "body": b"", "more_body": False})


def _pretty(head: bytes, items: Iterable[bytes], tail: bytes) -> Iterator[bytes]:
    """Indented, an item at a time."""
    lines = (orjson.dumps(nested.loads(item), option=orjson.OPT_INDENT_2).replace(b"\n", b"\n    ") for item in items)
    start, _, end = orjson.dumps(orjson.loads(head + b"0" + tail), option=orjson.OPT_INDENT_2).rpartition(b"    0\n  ")
    first = next(lines, None)
    if first is None:
        yield start.rstrip() + end
        return
    yield b"%s    %s" % (start, first)
    for line in lines:
        yield b",\n    " + line
    yield b"\n  " + end


def _yaml(head: bytes, items: Iterable[bytes], tail: bytes) -> Iterator[bytes]:
    """As YAML, keys sorted, an item at a time."""
    around = orjson.loads(head + tail)
    listed = next(key for key, value in around.items() if value == [])
    for key in sorted(around):
        first = next(iter(items := iter(items)), None) if key == listed else None
        if first is None:
            yield responses.yaml_bytes({key: around[key]})
            continue
        yield b"%s:\n" % key.encode()
        for item in chain((first,), items):
            yield responses.yaml_bytes([nested.plain(item)])


async def _write(request: Request, chunk: bytes) -> None:
    await request.send({"type": "http.response.body", "body": chunk, "more_body": True})


def _counted(request: Request, chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        request.size += len(chunk)
        yield chunk


def _packed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    for chunk in chunks:
        yield packer.compress(chunk)
    yield packer.flush()


def head(kind: str, api_version: str, metadata: object, *, items: str = "items", **more: object) -> bytes:
    """A list up to its first item: {"kind":"PodList","apiVersion":"v1","metadata":{…},"items":[ ."""
    start = orjson.dumps({"kind": kind, "apiVersion": api_version, "metadata": metadata, **more})
    return b'%s,"%s":[' % (start[:-1], items.encode())
