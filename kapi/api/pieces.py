"""Long answers in pieces: a list of any size takes the memory of a few pieces, and lets others have the event loop between them.

What is written are whole JSON items; whoever lists makes them one at a time. Short answers go out at once, as all others do.
"""

import asyncio
import time
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

import orjson

from kapi.api import responses
from kapi.api.request import Request
from kapi.api.responses import Form

SIZE = 72 * 1024
"""Bytes a piece: TLS out of Python is fastest near this size."""
TURN = 0.005
"""Seconds after which others have their turn on the event loop."""


class Turns:
    """When the event loop was last given to others."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def over(self) -> None:
        """Let others run when it is time."""
        if time.perf_counter() - self._since > TURN:
            await asyncio.sleep(0)
            self._since = time.perf_counter()


def blocks(items: Iterable[bytes], separator: bytes = b"") -> Iterator[bytes]:
    """The items joined to blocks of about SIZE, a separator before each block but the first."""
    block: list[bytes] = []
    size, before = 0, b""
    for item in items:
        block.append(item)
        size += len(item)
        if size >= SIZE:
            yield before + separator.join(block)
            block, size, before = [], 0, separator
    if block:
        yield before + separator.join(block)


async def send(request: Request, head: bytes, items: Iterable[bytes], tail: bytes, form: Form) -> None:
    """Answer with head, the items with commas between them, and tail; packed when that pays and the client takes it."""
    pieces = chain((head,), blocks(items, b","), (tail,))
    if request.method == "HEAD" or form.media is responses.YAML or "pretty" in request.query:
        await responses.send_encoded(request, 200, b"".join(pieces), form)
        return
    turns = Turns()
    first: list[bytes] = []
    size = 0
    for piece in pieces:
        first.append(piece)
        size += len(piece)
        if size >= responses.GZIP_FROM:
            break
        await turns.over()
    else:
        await responses.send_encoded(request, 200, b"".join(first), form)
        return
    await _stream(request, chain(first, pieces), form, turns)


async def _stream(request: Request, pieces: Iterable[bytes], form: Form, turns: Turns) -> None:
    headers = [(b"content-type", form.media), *responses.common_headers(request)]
    packer = zlib.compressobj(1, zlib.DEFLATED, 31) if "gzip" in request.encoding else None
    if packer:
        headers += [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
    await request.send({"type": "http.response.start", "status": 200, "headers": headers})
    for piece in pieces:
        packed = packer.compress(piece) if packer else piece
        if packed:
            await request.send({"type": "http.response.body", "body": packed, "more_body": True})
        await turns.over()
    await request.send({"type": "http.response.body", "body": packer.flush() if packer else b"", "more_body": False})


def head(kind: str, api_version: str, metadata: object, *, items: str = "items", **more: object) -> bytes:
    """A list up to its first item: {"kind":"PodList","apiVersion":"v1","metadata":{…},"items":[ ."""
    start = orjson.dumps({"kind": kind, "apiVersion": api_version, "metadata": metadata, **more})
    return b'%s,"%s":[' % (start[:-1], items.encode())
