"""Connections as asyncio's streams that lose nothing: what a peer says before it closes or breaks off is read, however slowly.

Left alone, uvloop's TLS takes up to 256 KiB from the socket while its user reads nothing, and drops them once it finds the end of the
connection behind them; asyncio's streams drop what they hold once a connection breaks.
"""

import asyncio
import ssl
from typing import Any, cast


def keep_unread(transport: Any) -> None:
    """Have TLS read nothing from its socket, not even the end of it, before its user has taken what was read."""
    if transport.get_extra_info("sslcontext") is not None and not transport.is_closing():
        transport.set_read_buffer_limits(high=1)


class Reader(asyncio.StreamReader):
    """A stream that returns what has come before it raises why the connection broke."""

    _broken: Exception | None = None
    _buffer: bytearray
    _exception: Exception | None
    _paused: bool

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)  # whoever waits wants more than there is
        if self._buffer:
            self._exception, self._broken = None, exc
            self._paused = False  # there is no transport any more that could go on

    async def _wait_for_data(self, func_name: str) -> None:
        if self._broken is not None:
            raise self._broken
        await super()._wait_for_data(func_name)  # type: ignore[misc]


class _Protocol(asyncio.StreamReaderProtocol):
    """A stream's protocol that knows its transport once there is one."""

    transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        super().connection_made(transport)


async def connect(
    host: str, port: int, tls: ssl.SSLContext | None = None, *, name: str | None = None, limit: int = 1 << 16
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection which reads twice `limit` bytes ahead; `name` is that in the certificate. Raises OSError."""
    loop = asyncio.get_running_loop()
    reader = Reader(limit, loop)
    protocol = _Protocol(reader, loop=loop)
    try:
        transport, _ = await loop.create_connection(lambda: protocol, host, port, ssl=tls, server_hostname=name)
    except BaseException:
        if protocol.transport is not None:
            protocol.transport.abort()  # cancelled just as it was made: the loop would first wait for the peer to close
        raise
    keep_unread(transport)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
