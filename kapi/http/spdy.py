"""SPDY/3.1 as far as Kubernetes' streams use it, the client's side: many streams on one connection, identified by their headers.

Frames: SYN_STREAM opens, SYN_REPLY accepts, data flows both ways, FIN half-closes, RST_STREAM breaks off, PING is answered. Header blocks
are compressed with a dictionary both sides know. Flow control is TCP's: Kubernetes' servers keep no windows. Source: SPDY Draft 3.1.
"""

import asyncio
import struct
import zlib
from collections.abc import Mapping

from kapi import limits

VERSION = 3
SYN_STREAM, SYN_REPLY, RST_STREAM, PING = 1, 2, 3, 6
FIN = 0x01
_FRAME = 16 * 1024

_WORDS = (  # noqa: SIM905 - a list of words reads best so
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow authorization "
    "cache-control connection content-base content-encoding content-language content-length content-location content-md5 content-range "
    "content-type date etag expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified "
    "location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding "
    "upgrade user-agent vary via warning www-authenticate method get status"
).split()
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative Information204 No "
    "Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 "
    "Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,"
    "image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,"
    "sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
_MORE = ("200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin")


def _sized(text: str) -> bytes:
    return struct.pack("!I", len(text)) + text.encode()


DICTIONARY = b"".join(map(_sized, (*_WORDS, *_MORE))) + _TAIL.encode()
"""The compression dictionary of header blocks; its Adler-32 is 0xe3c6a7c2."""


class Broken(ConnectionError):
    """The peer reset a stream, closed the connection, or violated the protocol."""


class Stream:
    """One stream: bytes both ways, each direction closed on its own."""

    def __init__(self, connection: "Connection", number: int) -> None:
        self.number = number
        self.accepted = asyncio.Event()
        self.broken = False
        self._connection = connection
        self._parts: asyncio.Queue[bytes] = asyncio.Queue(limits.SPDY_WAITING_FRAMES)
        self._ended = False

    async def read(self) -> bytes:
        """Some bytes; b"" at the end."""
        if self._ended and self._parts.empty():
            return b""
        return await self._parts.get()

    async def read_all(self) -> bytes:
        parts = []
        while data := await self.read():
            parts.append(data)
        return b"".join(parts)

    async def write(self, data: bytes) -> None:
        """Send bytes; waits while the connection's buffer is full. Raises Broken."""
        view = memoryview(data)
        while view:
            if self.broken:
                raise Broken("the stream was reset")
            await self._connection.send_data(self.number, bytes(view[:_FRAME]))
            view = view[_FRAME:]

    async def close(self) -> None:
        """Half-close: no more will be written."""
        if not self.broken:
            await self._connection.send_data(self.number, b"", FIN)

    async def feed(self, data: bytes) -> None:
        await self._parts.put(data)

    def end(self, *, broken: bool = False) -> None:
        """No more will be received; `broken`: the stream was reset."""
        self.broken = self.broken or broken
        self.accepted.set()
        if not self._ended:
            self._ended = True
            if not self._parts.full():
                self._parts.put_nowait(b"")


class Connection:
    """The client's side of an upgraded connection. `run` must be running while streams are used."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._deflate = zlib.compressobj(zlib.Z_BEST_SPEED, zdict=DICTIONARY)
        self._streams: dict[int, Stream] = {}
        self._next = 1

    async def open(self, headers: Mapping[str, str]) -> Stream:
        """Open a stream; returns when the peer has accepted it. Raises Broken, also after STREAM_SECONDS."""
        stream = self._streams[self._next] = Stream(self, self._next)
        block = struct.pack("!I", len(headers)) + b"".join(_sized(k.lower()) + _sized(v) for k, v in headers.items())
        packed = self._deflate.compress(block) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        self._control(SYN_STREAM, 0, struct.pack("!IIH", self._next, 0, 0) + packed)
        self._next += 2
        await self._writer.drain()
        try:
            await asyncio.wait_for(stream.accepted.wait(), limits.STREAM_SECONDS)
        except TimeoutError:
            raise Broken("the stream was not accepted in time") from None
        if stream.broken:
            raise Broken("the stream was refused")
        return stream

    def _control(self, kind: int, flags: int, payload: bytes) -> None:
        self._writer.write(struct.pack("!HHI", 0x8000 | VERSION, kind, flags << 24 | len(payload)) + payload)

    async def send_data(self, number: int, data: bytes, flags: int = 0) -> None:
        self._writer.write(struct.pack("!II", number, flags << 24 | len(data)) + data)
        await self._writer.drain()

    async def run(self) -> None:
        """Read frames until the connection ends, then end every stream."""
        try:
            while True:
                first, second = struct.unpack("!II", await self._reader.readexactly(8))
                size = second & 0xFFFFFF
                if size > limits.SPDY_FRAME_BYTES:
                    raise Broken(f"a frame of {size} bytes")
                payload = await self._reader.readexactly(size)
                if first >> 31:
                    self._handle(first & 0xFFFF, second >> 24, payload)
                    await self._writer.drain()
                else:
                    await self._data(first, second >> 24, payload)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            for stream in self._streams.values():
                stream.end(broken=True)
            self._writer.close()

    async def _data(self, number: int, flags: int, payload: bytes) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        if payload:
            await stream.feed(payload)
        if flags & FIN:
            stream.end()

    def _handle(self, kind: int, flags: int, payload: bytes) -> None:
        number = struct.unpack_from("!I", payload)[0] & 0x7FFFFFFF if len(payload) >= 4 else 0
        stream = self._streams.get(number)
        if kind == PING:
            self._control(PING, 0, payload)
        elif stream is None:
            return
        elif kind == SYN_REPLY:
            stream.accepted.set()
            if flags & FIN:
                stream.end()
        elif kind == RST_STREAM:
            stream.end(broken=True)
