"""The server's side of a WebSocket on a connection that was taken over; frames by the `websockets` library, without its I/O."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

from websockets.exceptions import ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from kapi import limits
from kapi.http.connections import Streams

_BLOCK = 1 << 12
"""Bytes read in a turn of the event loop: 680 empty frames at most, which take 10 ms."""
_quiet = logging.getLogger("kapi.http.websocket")
_quiet.setLevel(logging.WARNING)
_GOODBYE_SECONDS = 1.0


class NoWebSocket(ValueError):
    """The request is no WebSocket handshake."""


class Unsupported(NoWebSocket):
    """The request offers none of the subprotocols."""


class WebSocket:
    """Messages both ways on a taken-over connection. Make it with `accept`."""

    def __init__(self, protocol: ServerProtocol, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._protocol, self._reader, self._writer = protocol, reader, writer
        self.subprotocol = str(protocol.subprotocol or "")
        streams = writer.transport.get_protocol()
        self._streams = streams if isinstance(streams, Streams) else None
        if self._streams is not None:
            self._streams.say = self._refuse

    async def messages(self) -> AsyncIterator[bytes]:
        """Messages as they come, text as bytes; ends when the other side closes."""
        message = bytearray()
        while True:
            for event in self._protocol.events_received():
                if not isinstance(event, Frame) or event.opcode not in (Opcode.BINARY, Opcode.TEXT, Opcode.CONT):
                    continue
                message += event.data
                if event.fin:
                    yield bytes(message)
                    message.clear()
            await self._flush()
            if self._protocol.state is not State.OPEN:
                return
            data = await self._reader.read(_BLOCK)
            if not data or self._protocol.state is not State.OPEN:
                self._protocol.receive_eof()
                return
            self._protocol.receive_data(data)
            if self._streams is not None:
                self._streams.message = len(message) + len(self._protocol.reader.buffer)
            await asyncio.sleep(0)

    def _refuse(self) -> None:
        """Too many bytes wait for connections: this message will not come to its end."""
        if self._protocol.state is State.OPEN:
            self._protocol.fail(CloseCode.MESSAGE_TOO_BIG, "too many bytes wait for their message's end")
            self._writer.write(b"".join(self._protocol.data_to_send()))
        self._reader.feed_eof()

    async def send(self, data: bytes) -> None:
        """One binary message. Raises ConnectionError once the other side is gone."""
        self._alive()
        self._protocol.send_binary(data)
        await self._flush()

    async def send_text(self, data: bytes) -> None:
        self._alive()
        self._protocol.send_text(data)
        await self._flush()

    def _alive(self) -> None:
        if self._protocol.state is not State.OPEN:
            raise ConnectionResetError("the WebSocket is closed")

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye and hang up; bytes under way the other way would make the system cut the line before that is heard."""
        if self._protocol.state is not State.OPEN:  # it has ended, or broken the rules: nothing it sends is of interest
            asyncio.get_running_loop().call_later(limits.REFUSED_SECONDS, self._writer.transport.abort)
        try:
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(code, reason)
                await self._flush()
                async with asyncio.timeout(_GOODBYE_SECONDS):
                    await self._answered()
        except (ConnectionError, ProtocolError, TimeoutError):
            pass
        finally:
            self._writer.close()

    async def _answered(self) -> None:
        """Read on, dropping everything, until the other side has said goodbye as well, or too much."""
        left = limits.WEBSOCKET_CLOSING_BYTES
        while self._protocol.close_rcvd is None and (data := await self._reader.read(_BLOCK)):
            self._protocol.receive_data(data)
            self._protocol.events_received()
            left -= len(data)
            if left < 0:
                self._writer.transport.abort()
            await asyncio.sleep(0)

    async def _flush(self) -> None:
        data = b"".join(self._protocol.data_to_send())
        if data:
            self._writer.write(data)
            await self._writer.drain()


def _handshake(scope: dict[str, Any]) -> bytes:
    """The request as it came in: the library's parser wants to have read it itself."""
    lines = [b"GET " + scope["raw_path"] + b" HTTP/1.1", *(k + b": " + v for k, v in scope["headers"])]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _chosen(scope: dict[str, Any], supported: Sequence[str] | None) -> str:
    """The first subprotocol offered that is supported; whichever is offered where that does not matter. Raises NoWebSocket."""
    values = [value.decode("latin-1") for key, value in scope["headers"] if key == b"sec-websocket-protocol"]
    offered: list[str] = [name for value in values for part in value.split(",") if (name := part.strip())]
    if supported is None and len(offered) > 1:
        raise NoWebSocket("bad subprotocol")
    for name in offered or [""]:
        if supported is None or name in supported:
            return name
    raise Unsupported(f"requested protocol(s) are not supported: [{' '.join(offered)}]; supports [{' '.join(supported or ())}]")


async def accept(scope: dict[str, Any], take_over: Any, subprotocols: Sequence[str] | None = None) -> WebSocket:
    """Answer a handshake. `take_over` gives the connection; only called when the handshake is good. Raises NoWebSocket.

    `subprotocols`: what is supported, "" for none; None where any one will do.
    """
    chosen = _chosen(scope, subprotocols)
    wanted = [Subprotocol(chosen)] if chosen else None
    protocol = ServerProtocol(subprotocols=wanted, max_size=limits.WEBSOCKET_MESSAGE_BYTES, logger=_quiet)
    protocol.receive_data(_handshake(scope))
    asked = protocol.events_received()
    if not asked or not isinstance(asked[0], Request):
        raise NoWebSocket("unable to upgrade: no WebSocket handshake")
    response = protocol.accept(asked[0])
    if response.status_code != 101:
        raise NoWebSocket("unable to upgrade: no WebSocket handshake")
    reader, writer = take_over()
    protocol.send_response(response)
    out = WebSocket(protocol, reader, writer)
    await out._flush()
    return out
