"""A server of a few small answers, one a connection, for processes that serve little and should stay small: health checks, figures.

It reads a request's head and no more; `server` is for everything else.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kapi import logs

log = logging.getLogger(__name__)
REQUEST_SECONDS, LONGEST_HEAD = 5.0, 64 * 1024
_PHRASES = {200: "OK", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 500: "Internal Server Error", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: its path, its headers (names in lower case), and the verified client certificate in DER."""

    path: str
    headers: Mapping[str, str]
    certificate: bytes | None = None


def answer(status: int, body: bytes, kind: str = "text/plain; charset=utf-8", **headers: str | int) -> bytes:
    """The whole answer; names of further headers are written with underscores."""
    more = "".join(f"{name.replace('_', '-').title()}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} {_PHRASES[status]}\r\nContent-Type: {kind}\r\nX-Content-Type-Options: nosniff\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def _asked(head: bytes, tls: Any) -> Asked:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    path = first.split(" ")[1] if " " in first else ""
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Asked(path, headers, tls.getpeercert(binary_form=True) if tls else None)


class Listener:
    """Answers on a port until it is closed. What TLS needs is loaded with the first connection: most ports are never asked."""

    def __init__(self, sock: socket.socket, reply: Callable[[Asked], Awaitable[bytes]], tls: Callable[[], ssl.SSLContext] | None) -> None:
        self._sock, self._reply, self._tls = sock, reply, tls
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._starting: asyncio.Task[None] | None = None
        self._loop.add_reader(sock, self._first)

    def _first(self) -> None:
        self._loop.remove_reader(self._sock)
        self._starting = self._loop.create_task(self._start())

    async def _start(self) -> None:
        try:
            context = self._tls() if self._tls else None
            self._server = await asyncio.start_server(self._serve, sock=self._sock, limit=LONGEST_HEAD, ssl=context)
        except OSError as why:
            log.warning("A port is not served", extra=logs.fields(port=self._sock.getsockname()[1], error=why))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._reply(_asked(head, writer.get_extra_info("ssl_object"))))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            log.debug("A request was cut off", extra=logs.fields(address=writer.get_extra_info("sockname")))
        finally:
            writer.close()

    def close(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
        if self._server is not None:
            self._server.close()
        else:
            self._loop.remove_reader(self._sock)
            self._sock.close()


def listen(
    address: str, port: int, reply: Callable[[Asked], Awaitable[bytes]], tls: Callable[[], ssl.SSLContext] | None = None
) -> Listener:  # fmt: skip
    """Answer on the port from now on. Raises OSError when it is taken."""
    sock = socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    sock.setblocking(False)
    return Listener(sock, reply, tls)
