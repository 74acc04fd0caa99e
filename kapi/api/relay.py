"""Forwards a request to a peer (a kubelet, a pod, an endpoint of a service) and its response back to the client.

Plain exchanges are parsed, so that the client's connection stays usable. An upgrade is requested in the same way; once the peer has agreed,
both connections are spliced byte for byte. Bodies are streamed in both directions, at the speed of the slower side. Callers choose the peer
and check that it may be reached (`proxies`).
"""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httptools

from kapi import limits
from kapi.api.request import Request
from kapi.http import failures, server, splicing, streams
from kapi.objects import errors

Headers = list[tuple[bytes, bytes]]
_HOP = frozenset((
    b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer",
    b"transfer-encoding", b"upgrade",
))  # fmt: skip
"""Hop-by-hop headers; those that Connection names are hop-by-hop as well."""
_PRIVATE = frozenset((b"authorization", b"host", b"content-length", b"expect", b"x-forwarded-for", b"x-forwarded-uri"))
"""Headers of the client that are not forwarded, or are replaced."""
_IDENTITY = (b"impersonate-", b"x-remote-")
_CORS = frozenset(b"access-control-allow-" + what for what in (b"credentials", b"headers", b"methods", b"origin"))
"""Response headers of a peer that would give web pages of other origins access to this API."""
_TOKEN = re.compile(rb"base64url\.bearer\.authorization\.k8s\.io\.[^,]*,?\s*")
"""A bearer token among the subprotocols of a WebSocket."""
_BLOCK = 1 << 16
_ONE = b"connection", b"close"
"""Asks for one answer only on a connection."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The server that a request is forwarded to."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    name: str = ""
    """The name in the peer's certificate, where it is not `host`."""
    identity: tuple[tuple[bytes, bytes], ...] = ()
    """Headers that name the user to the peer. The Host header is then the peer's own address."""

    @property
    def authority(self) -> str:
        """host:port."""
        return failures.address(self.host, self.port)

    def url(self, path: str) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}{path}"


class NoAnswer(Exception):
    """There is no usable response of the peer; the text is that of Go's net/http."""


class CutOff(ConnectionError):
    """The peer's response ended too early, so the response to the client must as well."""


async def connect(peer: Peer, buffer: int = limits.PEER_BUFFER_BYTES) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Reads so many bytes ahead at most. Raises NoAnswer."""
    name = (peer.name or peer.host) if peer.tls else None
    try:
        async with asyncio.timeout(limits.PEER_CONNECT_SECONDS):
            reader, writer = await streams.connect(peer.host, peer.port, peer.tls, name=name, limit=buffer // 2)
    except (OSError, TimeoutError) as why:
        raise NoAnswer(failures.message(why, peer.name or peer.host, failures.address(peer.host, peer.port))) from None
    except UnicodeError:  # a label of more than 63 characters
        raise NoAnswer(f"dial tcp: lookup {peer.host}: no such host") from None
    if peer.tls:
        writer.transport.set_write_buffer_limits(high=1)  # beside the 64 KiB of what is below it
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # Go's defaults: a peer that is gone is noticed
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    return reader, writer


def _connection_names(headers: Headers) -> set[bytes]:
    """The headers named by Connection."""
    return {word.strip().lower() for name, value in headers if name == b"connection" for word in value.split(b",")}


def _head(request: Request, method: str, path: str, peer: Peer, extra: Headers, *, host: str = "") -> bytes:
    """The header block for the peer: the client's headers without hop-by-hop and private ones; `host` replaces the peer's address."""
    given: Headers = request.scope["headers"]
    gone = _HOP | _PRIVATE | _connection_names(given) | {name for name, _ in peer.identity}
    lines = [f"{method} {path} HTTP/1.1".encode(), f"host: {host or peer.authority}".encode("latin-1")]
    for name, value in given:
        if name == b"sec-websocket-protocol":
            value = _TOKEN.sub(b"", value)
        if name not in gone and not name.startswith(_IDENTITY):
            lines.append(name + b": " + value)
    client = request.scope.get("client")
    seen = [value for name, value in given if name == b"x-forwarded-for"] + ([client[0].encode()] if client else [])
    more = [(b"x-forwarded-for", b", ".join(seen)), (b"x-forwarded-uri", request.scope["raw_path"]), *peer.identity, *extra]
    lines += [name + b": " + value for name, value in more]
    return b"\r\n".join(lines) + b"\r\n\r\n"


class Answer:
    """The peer's response: status and headers first, then the body in chunks."""

    def __init__(self, reader: asyncio.StreamReader, method: str) -> None:
        self.headers: Headers = []
        self.status = 0
        self.raw = b""
        """All bytes that were read up to the end of the header block."""
        self._reader, self._bodiless = reader, method == "HEAD"
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._bare = 0
        """Bytes read since the last chunk of the body."""
        self._done = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:  # afterwards come trailers
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self.status:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self.headers.clear()  # an interim response
            return
        self.status = status
        self._done = self._bodiless

    def on_body(self, body: bytes) -> None:
        self._bare = 0
        if not self._done:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        self._done = bool(self.status)

    async def begin(self) -> None:
        """Read up to the end of the head. Raises NoAnswer."""
        read: list[bytes] = []
        while not self.status:
            data = await self._read()
            if not data:
                raise NoAnswer("EOF")
            read.append(data)
        if self.status != 101 and not 200 <= self.status < 600:
            raise NoAnswer(f'malformed HTTP status code "{self.status}"')
        self.raw = b"".join(read)

    async def _read(self) -> bytes:
        """The next bytes, parsed. Raises NoAnswer."""
        try:
            data = await self._reader.read(_BLOCK)
        except OSError as why:
            raise NoAnswer(f"read tcp: {why}".lower()) from None
        self._bare += len(data)
        if self._bare > limits.PEER_HEAD_BYTES:
            raise NoAnswer(str(failures.head_too_large()))
        try:
            if data:
                self._parser.feed_data(data)
        except httptools.HttpParserError as why:
            if not self._done:  # bytes after the response are ignored
                raise NoAnswer(f"malformed HTTP response: {why}") from None
        except httptools.HttpParserUpgrade:
            self._done = True  # the following bytes are not HTTP
        return data

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks of the body as they arrive. Raises CutOff."""
        measured = any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers)
        while True:
            if self._parts:
                parts, self._parts = self._parts, []
                yield b"".join(parts)
            if self._done:
                return
            try:
                data = await self._read()
            except NoAnswer as why:
                raise CutOff(str(why)) from None
            if not data and measured:
                raise CutOff("unexpected EOF")
            self._done = self._done or not data

    async def text(self) -> str:
        """The first PEER_TEXT_BYTES of the body as text. Raises CutOff."""
        found = b""
        async for piece in self.chunks():
            found += piece
            if len(found) >= limits.PEER_TEXT_BYTES:
                break
        return found[: limits.PEER_TEXT_BYTES].decode(errors="replace").strip()


# the caller's side ----------------------------------------------------------------------------------------------------------------------


async def _upload(request: Request, writer: asyncio.StreamWriter | None, *, chunked: bool) -> None:
    """Forward the client's body, then wait until the client disconnects. Without a writer the body is dropped."""
    more = True
    while (message := await request.receive())["type"] != "http.disconnect":
        if writer is None or not more:
            continue
        more, piece = message.get("more_body", False), message.get("body", b"")
        if chunked:
            piece = (b"%x\r\n%s\r\n" % (len(piece), piece) if piece else b"") + (b"" if more else b"0\r\n\r\n")
        try:
            writer.write(piece)
            await writer.drain()
        except OSError:
            writer = None  # it may have responded before it closed


async def _while_wanted(request: Request, work: Coroutine[Any, Any, None], writer: asyncio.StreamWriter | None, chunked: bool) -> None:
    """Run `work` until it is done or the client disconnects."""
    working = asyncio.ensure_future(work)
    uploading = asyncio.ensure_future(_upload(request, writer, chunked=chunked))
    try:
        await asyncio.wait((working, uploading), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, uploading):
            task.cancel()
        found = await asyncio.gather(working, uploading, return_exceptions=True)
    for error in found:
        if isinstance(error, Exception):
            raise error


@asynccontextmanager
async def _asked(
    request: Request, peer: Peer, path: str, method: str, extra: Headers, host: str = ""
) -> AsyncIterator[tuple[Answer, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection on which the header block was sent, with the response to read. Raises NoAnswer."""
    reader, writer = await connect(peer)
    answer = Answer(reader, method)
    try:
        writer.write(_head(request, method, path, peer, extra, host=host))
        yield answer, reader, writer
    finally:
        leave(answer, writer)


def leave(answer: Answer, writer: asyncio.StreamWriter) -> None:
    """Close a connection that has served: nothing more is read of a peer that goes on sending, as TLS does while it says farewell."""
    if answer.status == 101:
        splicing.close(writer)
    else:
        writer.transport.abort()


async def exchange(request: Request, peer: Peer, path: str, send: Any, *, method: str = "") -> None:
    """Send the request to the peer and pass its response to `send`, a coroutine function; with a `method`, the client's body is not sent.

    Raises NoAnswer.
    """
    length = request.header(b"content-length")
    chunked = not method and request.header(b"transfer-encoding") != ""
    extra = [_ONE]
    if chunked:
        extra.append((b"transfer-encoding", b"chunked"))
    elif length and not method:
        extra.append((b"content-length", length.encode()))
    host = "" if method or peer.identity else request.header(b"host")
    async with _asked(request, peer, path, method or request.method, extra, host) as (answer, _, writer):

        async def work() -> None:
            await answer.begin()
            if answer.status == 101:
                raise NoAnswer('backend tried to switch protocol when "" was requested')
            await send(answer)

        await _while_wanted(request, work(), None if method else writer, chunked)


async def stream(request: Request, peer: Peer, path: str, carry: Any, refuse: Any) -> None:
    """GET from the peer for a client whose connection is taken over: calls `carry(answer)`, or `refuse(answer)` for an error response.

    Both are coroutine functions. Raises NoAnswer.
    """
    async with _asked(request, peer, path, "GET", [_ONE]) as (answer, _, _):

        async def work() -> None:
            await answer.begin()
            if answer.status >= 400:
                await refuse(answer)

        await _while_wanted(request, work(), None, chunked=False)
        if 200 <= answer.status < 400:
            await carry(answer)


async def forward(request: Request, peer: Peer, path: str, send: Any) -> None:
    """Forward the request and pass the response to `send`, a coroutine function; upgrades are spliced."""
    if server.UPGRADE in (request.scope.get("extensions") or {}):
        await splice(request, peer, path)
        return
    try:
        await exchange(request, peer, path, send)
    except NoAnswer as why:
        raise errors.ServiceUnavailable(f"error trying to reach service: {why}", {}) from None


async def splice(request: Request, peer: Peer, path: str) -> None:
    """Request an upgrade from the peer; splice both connections if it agrees, else forward its response."""
    extra: Headers = [(b"connection", b"Upgrade"), (b"upgrade", request.header(b"upgrade").encode("latin-1"))]
    try:
        host = "" if peer.identity else request.header(b"host")
        async with _asked(request, peer, path, request.method, extra, host) as (answer, reader, writer):

            async def work() -> None:
                await answer.begin()
                if answer.status >= 400:
                    await respond(request, answer, kept(answer))

            await _while_wanted(request, work(), None, chunked=False)
            if answer.status == 101:
                request.code = 101
                near_reader, near_writer = request.scope["extensions"][server.UPGRADE]()
                near_writer.write(answer.raw)
                await splicing.join(near_reader, near_writer, reader, writer)
    except NoAnswer as why:
        raise errors.StatusError(f"error dialing backend: {why}", reason="") from None
    if 200 <= answer.status < 400:
        raise errors.StatusError(f"invalid upgrade response: status code {answer.status}", reason="")


def kept(answer: Answer) -> Headers:
    """The headers of the peer's response that are forwarded to the client."""
    gone = _HOP | _CORS | _connection_names(answer.headers)
    if answer.status in (204, 304):
        gone |= {b"content-length"}  # such responses have no body
    return [(name, value) for name, value in answer.headers if name not in gone]


async def respond(request: Request, answer: Answer, headers: Headers, chunks: AsyncIterator[bytes] | None = None) -> None:
    """Send the peer's response to the client: its body, or `chunks` instead. Raises CutOff."""
    request.code = answer.status
    await request.send({"type": "http.response.start", "status": answer.status, "headers": headers})
    async for piece in chunks or answer.chunks():
        await request.send({"type": "http.response.body", "body": piece, "more_body": True})
    await request.send({"type": "http.response.body", "body": b""})
