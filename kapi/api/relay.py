"""Passing a request on to somebody else (a kubelet, a pod, an extension API server) and the answer back.

Plain requests are parsed, so that the caller's connection stays usable; an upgrade is spliced, byte for byte, from its first byte on.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httptools

from kapi.api.request import Request
from kapi.http import server, splicing
from kapi.objects import errors

Headers = list[tuple[bytes, bytes]]
_HOP = frozenset({b"connection", b"keep-alive", b"proxy-authenticate", b"te", b"trailer", b"transfer-encoding", b"upgrade"})
_PRIVATE = frozenset({b"authorization", b"host", b"content-length"})
_BLOCK = 1 << 16
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Peer:
    """Who to pass a request on to."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    name: str = ""
    """What the certificate must be for, where it is not `host`."""


async def _connect(peer: Peer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    name = (peer.name or peer.host) if peer.tls else None
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            return await asyncio.open_connection(peer.host, peer.port, ssl=peer.tls, limit=1 << 20, server_hostname=name)
    except (OSError, TimeoutError) as why:
        text = f"dial tcp {peer.host}:{peer.port}: {_reason(why)}"
        raise errors.ServiceUnavailable(f"error trying to reach service: {text}", {}) from None


def _reason(why: BaseException) -> str:
    if isinstance(why, ConnectionRefusedError):
        return "connect: connection refused"
    return "i/o timeout" if isinstance(why, TimeoutError) else f"connect: {getattr(why, 'strerror', None) or why}"


def _head(request: Request, method: str, path: str, peer: Peer, extra: Headers, *, upgrade: bool) -> bytes:
    lines = [f"{method} {path} HTTP/1.1".encode(), b"host: %s:%d" % (peer.host.encode(), peer.port)]
    for name, value in request.scope["headers"]:
        if name in _PRIVATE or name.startswith(b"impersonate-") or (name in _HOP and not upgrade):
            continue
        lines.append(name + b": " + value)
    lines += [name + b": " + value for name, value in extra]
    return b"\r\n".join(lines) + b"\r\n\r\n"


async def splice(request: Request, peer: Peer, path: str) -> None:
    """Give the caller's connection to the peer: the upgrade request, its answer and all that follows."""
    reader, writer = await _connect(peer)
    try:
        writer.write(_head(request, request.method, path, peer, [], upgrade=True))
        await writer.drain()
        near_reader, near_writer = request.scope["extensions"][server.UPGRADE]()
        await splicing.join(near_reader, near_writer, reader, writer)
    finally:
        writer.close()


class Answer:
    """The peer's answer: status and headers first, then the body in pieces."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.headers: Headers = []
        self.status = 0
        self._reader = reader
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._begun = self._done = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._begun = True

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        self._done = True

    async def begin(self) -> None:
        """Read up to the end of the headers."""
        while not self._begun:
            await self._feed()

    async def _feed(self) -> None:
        data = await self._reader.read(_BLOCK)
        if not data:
            self._done = self._begun = True
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as why:
            raise errors.ServiceUnavailable(f"error trying to reach service: malformed HTTP response: {why}", {}) from None

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        while True:
            if self._parts:
                parts, self._parts = self._parts, []
                yield b"".join(parts)
            if self._done:
                return
            await self._feed()

    async def body(self) -> bytes:
        return b"".join([piece async for piece in self.pieces()])


async def exchange(
    request: Request, peer: Peer, path: str, *, method: str = "", body: bytes = b"", headers: Headers | None = None
) -> tuple[Answer, asyncio.StreamWriter]:
    """Ask the peer; whoever calls this closes the writer."""
    reader, writer = await _connect(peer)
    try:
        extra = [(b"connection", b"close"), (b"content-length", b"%d" % len(body)), *(headers or ())]
        writer.write(_head(request, method or request.method, path, peer, extra, upgrade=False) + body)
        await writer.drain()
        answer = Answer(reader)
        await answer.begin()
        if not answer.status:
            raise errors.ServiceUnavailable("error trying to reach service: EOF", {})
    except BaseException:
        writer.close()
        raise
    return answer, writer


async def forward(request: Request, peer: Peer, path: str, *, headers: Headers | None = None) -> None:
    """Pass the request on and the answer back, whatever it is; upgrades are spliced."""
    if server.UPGRADE in (request.scope.get("extensions") or {}):
        await splice(request, peer, path)
        return
    answer, writer = await exchange(request, peer, path, body=await request.body(), headers=headers)
    try:
        kept = [(n, v) for n, v in answer.headers if n not in _HOP]
        await send(request, answer, kept)
    finally:
        writer.close()


async def send(request: Request, answer: Answer, headers: Headers) -> None:
    """The peer's answer as ours, piece by piece; stops when the caller is gone."""
    out: dict[str, Any] = {"type": "http.response.start", "status": answer.status, "headers": headers}
    await request.send(out)
    gone = asyncio.ensure_future(_gone(request))
    pieces = answer.pieces()
    try:
        while not gone.done():
            step = asyncio.ensure_future(anext(pieces, None))
            await asyncio.wait((step, gone), return_when=asyncio.FIRST_COMPLETED)
            if not step.done():
                step.cancel()
                return
            piece = step.result()
            if piece is None:
                break
            await request.send({"type": "http.response.body", "body": piece, "more_body": True})
        await request.send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
