"""The server's side of a WebSocket on an upgraded connection; frames by the `websockets` library, without its I/O."""

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

_READ_BYTES = 1 << 12
"""Bytes read in a turn of the event loop: 680 empty frames at most, which take 10 ms."""
_quiet = logging.getLogger("kapi.http.websocket")
_quiet.setLevel(logging.WARNING)
_CLOSE_SECONDS = 1.0


class NoWebSocket(ValueError):
    """The request is not a WebSocket handshake."""


class Unsupported(NoWebSocket):
    """The request offers none of the subprotocols."""


class WebSocket:
    """Messages both ways on an upgraded connection. Made by `accept`."""

    def __init__(self, protocol: ServerProtocol, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._protocol, self._reader, self._writer = protocol, reader, writer
        self.subprotocol = str(protocol.subprotocol or "")
        streams = writer.transport.get_protocol()
        self._streams = streams if isinstance(streams, Streams) else None
        if self._streams is not None:
            self._streams.on_refused = self._refuse

    async def messages(self) -> AsyncIterator[bytes]:
        """Received messages, text as bytes; ends when the peer closes."""
        message, frames = bytearray(), 0
        while True:
            for event in self._protocol.events_received():
                if not isinstance(event, Frame) or event.opcode not in (Opcode.BINARY, Opcode.TEXT, Opcode.CONT):
                    continue
                message += event.data
                frames += 1
                if event.fin:
                    yield bytes(message)
                    message.clear()
                    frames = 0
            if frames > limits.WEBSOCKET_MESSAGE_FRAMES and self._protocol.state is State.OPEN:
                self._protocol.fail(CloseCode.MESSAGE_TOO_BIG, "too many frames of a message")
            await self._flush()
            if self._protocol.state is not State.OPEN:
                return
            data = await self._reader.read(_READ_BYTES)
            if not data or self._protocol.state is not State.OPEN:
                self._protocol.receive_eof()
                return
            self._protocol.receive_data(data)
            if self._streams is not None:
                self._streams.message = len(message) + len(self._protocol.reader.buffer)
            await asyncio.sleep(0)

    def _refuse(self) -> None:
        """Close because too many bytes are buffered for all connections; the message in progress is lost."""
        if self._protocol.state is State.OPEN:
            self._protocol.fail(CloseCode.MESSAGE_TOO_BIG, "too many bytes wait for their message's end")
            self._writer.write(b"".join(self._protocol.data_to_send()))
        self._reader.feed_eof()

    async def send(self, data: bytes) -> None:
        """Send one binary message. Raises ConnectionError once the peer is gone."""
        self._check_open()
        self._protocol.send_binary(data)
        await self._flush()

    async def send_text(self, data: bytes) -> None:
        self._check_open()
        self._protocol.send_text(data)
        await self._flush()

    def _check_open(self) -> None:
        if self._protocol.state is not State.OPEN:
            raise ConnectionResetError("the WebSocket is closed")

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Do the closing handshake. Received bytes are read to its end: the system resets a socket that is closed with unread bytes, and
        the peer would lose the close frame."""
        if self._protocol.state is not State.OPEN:  # the peer has closed, or violated the protocol: nothing it sends is read
            asyncio.get_running_loop().call_later(limits.REFUSED_SECONDS, self._writer.transport.abort)
            if self._streams is not None:
                self._streams.ignore()
        try:
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(code, reason)
                await self._flush()
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._drain_until_closed()
        except (ConnectionError, ProtocolError, TimeoutError):
            pass
        finally:
            self._writer.close()

    async def _drain_until_closed(self) -> None:
        """Read and drop everything until the peer's close frame; abort after WEBSOCKET_CLOSING_BYTES."""
        left = limits.WEBSOCKET_CLOSING_BYTES
        while self._protocol.close_rcvd is None and (data := await self._reader.read(_READ_BYTES)):
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
    """The bytes of the request: the library's parser has to read it itself."""
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
    """Answer a handshake. `take_over` returns the connection; only called when the handshake is valid. Raises NoWebSocket.

    `subprotocols`: what is supported, "" for none; None where any one will do.
    """
    chosen = _chosen(scope, subprotocols)
    wanted = [Subprotocol(chosen)] if chosen else None
    protocol = ServerProtocol(subprotocols=wanted, max_size=limits.WEBSOCKET_MESSAGE_BYTES, logger=_quiet)
    protocol.receive_data(_handshake(scope))
    requests = protocol.events_received()
    if not requests or not isinstance(requests[0], Request):
        raise NoWebSocket("unable to upgrade: no WebSocket handshake")
    response = protocol.accept(requests[0])
    if response.status_code != 101:
        raise NoWebSocket("unable to upgrade: no WebSocket handshake")
    reader, writer = take_over()
    protocol.send_response(response)
    websocket = WebSocket(protocol, reader, writer)
    await websocket._flush()
    return websocket
