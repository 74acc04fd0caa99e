"""A server of a few small answers, one a connection, for processes that serve little and should stay small: health checks, figures.

It reads a request's head and no more; `server` is for everything else.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)
REQUEST_SECONDS, LONGEST_HEAD = 5.0, 64 * 1024
_PHRASES = {200: "OK", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 500: "Internal Server Error", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: its path, its headers (names in lower case), and the subject of a verified client certificate as ssl gives it."""

    path: str
    headers: Mapping[str, str]
    certificate: dict[str, Any] | None = None


def answer(status: int, body: bytes, kind: str = "text/plain; charset=utf-8", **headers: str | int) -> bytes:
    """The whole answer; names of further headers are written with underscores."""
    more = "".join(f"{name.replace('_', '-').title()}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} {_PHRASES[status]}\r\nContent-Type: {kind}\r\nX-Content-Type-Options: nosniff\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def _asked(head: bytes, tls: Any) -> Asked:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    path = first.split(" ")[1] if " " in first else ""
    return Asked(path, {name.strip().lower(): value.strip() for name, _, value in pairs}, (tls.getpeercert() or None) if tls else None)


async def listen(
    address: str, port: int, reply: Callable[[Asked], Awaitable[bytes]], tls: ssl.SSLContext | None = None
) -> asyncio.Server:  # fmt: skip
    """Answer on the port until the server is closed. Raises OSError when it is taken."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await reply(_asked(head, writer.get_extra_info("ssl_object"))))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            log.debug("a request on port %d was cut off", port)
        finally:
            writer.close()

    return await asyncio.start_server(serve, address, port, limit=LONGEST_HEAD, ssl=tls)
