"""Numbered channels in the messages of a WebSocket, in all the forms clients speak.

A message begins with its channel: as a byte, or (base64 subprotocols) as a digit, the rest in base64. Versions differ in how the end
of a command is sent: before v4 as a text, and only when it failed; from v4 on as a Status; v5 can close a channel.
"""

import base64
import binascii
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from kapi.http import websocket

REMOTE_COMMAND = (
    "", "channel.k8s.io", "base64.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "v5.channel.k8s.io",
)  # fmt: skip
"""Subprotocols of exec and attach; "": none is asked for."""
TUNNEL = "SPDY/3.1+portforward.k8s.io"
PORT_FORWARD = ("", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", TUNNEL)
_ZERO = ord("0")


class Channels:
    """The channels of a socket, as its subprotocol has them."""

    def __init__(self, socket: "websocket.WebSocket") -> None:
        self._socket = socket
        self._base64 = "base64." in socket.subprotocol
        self._status = socket.subprotocol.startswith(("v4.", "v5."))
        self.closing = socket.subprotocol.startswith("v5.")
        """Whether the client may close a channel."""

    async def send(self, channel: int, data: bytes = b"") -> None:
        """One message on a channel. Raises ConnectionError once the other side is gone."""
        if self._base64:
            await self._socket.send_text(chr(_ZERO + channel).encode() + base64.b64encode(data))
        else:
            await self._socket.send(bytes([channel]) + data)

    async def messages(self) -> AsyncIterator[tuple[int, bytes]]:
        """(channel, data) as they arrive; invalid base64 is dropped."""
        async for message in self._socket.messages():
            if message and self._base64:
                try:
                    yield message[0] - _ZERO, base64.b64decode(message[1:], validate=True)
                except binascii.Error:
                    continue
            elif message:
                yield message[0], message[1:]

    def ending(self, status: bytes) -> bytes:
        """The message at the end of a command, from the Status of the runtime; b"" for none."""
        if self._status:
            return status
        try:
            found = orjson.loads(status)
            return b"" if found["status"] == "Success" else str(found["message"]).encode()
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return status
