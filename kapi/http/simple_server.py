"""A minimal HTTP server for health checks and metrics, one request a connection, which costs an idle process hardly any memory.

It reads a request's header block and no body; `server` is for everything else.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from kapi import limits, logs
from kapi.http import connections
from kapi.http.connections import Connection, Connections, Streams

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """A request: its path with the query, its headers (names in lower case), and the verified client certificate in DER."""

    path: str
    headers: Mapping[str, str]
    certificate: bytes | None = None


def response(status: int, body: bytes, kind: str = "text/plain; charset=utf-8", **headers: str | int) -> bytes:
    """A complete response. `headers`: further ones, with underscores for hyphens in their names."""
    more = "".join(f"{name.replace('_', '-').title()}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {kind}\r\nX-Content-Type-Options: nosniff\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


class Malformed(ValueError):
    """The header block is not that of a request."""


def _parse(head: bytes, tls: Any) -> Request:
    """Raises Malformed."""
    request_line, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(":") for line in lines if line]
    method, _, rest = request_line.partition(" ")
    path, _, version = rest.partition(" ")
    if not (method.isalpha() and path.startswith("/") and version in ("HTTP/1.0", "HTTP/1.1") and all(colon for _, colon, _ in pairs)):
        raise Malformed
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Request(path, headers, tls.getpeercert(binary_form=True) if tls else None)


class Listener:
    """Serves a port until it is closed. TLS is set up with the first connection, because most ports never get one."""

    def __init__(self, sock: socket.socket, reply: Callable[[Request], Awaitable[bytes]], tls: Callable[[], ssl.SSLContext] | None) -> None:
        self._sock, self._reply, self._tls = sock, reply, tls
        self._loop = asyncio.get_running_loop()
        self._connections = Connections(limits.HEALTH_CONNECTIONS)
        self._accepting: asyncio.Task[None] | None = None
        self._loop.add_reader(sock, self._start_accepting)

    def _start_accepting(self) -> None:
        self._loop.remove_reader(self._sock)
        self._accepting = self._loop.create_task(self._accept())

    async def _accept(self) -> None:
        try:
            await connections.accept(self._sock, self._connections, self._protocol, self._tls() if self._tls else None)
        except OSError as why:
            log.warning("A port is not served", extra=logs.fields(port=self._sock.getsockname()[1], error=why))

    def _protocol(self, connection: Connection) -> asyncio.BaseProtocol:
        return Streams(asyncio.StreamReader(limits.HEALTH_HEADER_BYTES, self._loop), connection, self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(limits.HEALTH_REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                try:
                    payload = await self._reply(_parse(head, writer.get_extra_info("ssl_object")))
                except Malformed:
                    payload = response(400, b"400 Bad Request")
                writer.write(payload)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            log.debug("A request was cut off", extra=logs.fields(address=writer.get_extra_info("sockname")))
        finally:
            writer.close()

    def close(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
        else:
            self._loop.remove_reader(self._sock)
        self._sock.close()


def listen(
    address: str, port: int, reply: Callable[[Request], Awaitable[bytes]], tls: Callable[[], ssl.SSLContext] | None = None
) -> Listener:  # fmt: skip
    """Serve the port from now on; `reply` returns a complete response. Raises OSError when the port is in use."""
    sock = socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    sock.setblocking(False)
    return Listener(sock, reply, tls)
