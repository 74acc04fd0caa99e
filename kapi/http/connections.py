"""The open connections of a server, and which are closed when there are too many: unauthenticated ones first, then idle ones.

A connection is unauthenticated until the application knows its caller. Unauthenticated ones are few, and the oldest is closed first, of
all or of an address that has half of them; then the one that has been idle longest. So a crowd of connections takes neither the memory
nor the files that the server needs to answer, to log and to reach others.
"""

import asyncio
import contextlib
import errno
import functools
import heapq
import itertools
import logging
import resource
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, Protocol

from kapi import limits

log = logging.getLogger(__name__)
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_ROOM = 32
"""Connections that are closed when no file is left."""
_QUIET_SECONDS = 60.0
"""Between two warnings that connections were closed or could not be accepted."""


def raise_file_limit() -> None:
    """Let this process open as many files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard or hard == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def capacity() -> int:
    """How many connections leave the process its reserve of files."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = limits.CONNECTIONS
    return most if files == resource.RLIM_INFINITY else max(1, min(most, files - limits.RESERVED_FILES))


class Served(Protocol):
    """What serves a connection."""

    def idle_since(self) -> float | None:
        """When its last answer was, of time.monotonic; None while a request is under way."""


class Connection:
    """One accepted socket, until it is closed."""

    __slots__ = ("address", "authenticated", "held", "served", "since", "sock", "table", "transport")

    def __init__(self, sock: socket.socket, address: str, table: "Connections") -> None:
        self.sock, self.address, self.table = sock, address, table
        self.since = time.monotonic()
        self.authenticated = False
        self.held = 0
        """Bytes of headers that have no end yet, from a caller who is not known."""
        self.transport: asyncio.Transport | None = None
        self.served: Served | None = None

    def opened(self, transport: asyncio.Transport, served: Served | None = None) -> None:
        """TLS is agreed on: from now on the transport is what is aborted, not the socket below it."""
        self.transport, self.served = transport, served

    def set_authenticated(self) -> None:
        """The application knows the caller."""
        self.authenticated = True
        self.table.promote(self)

    def hold(self, size: int) -> None:
        """So many more bytes of headers without an end have come."""
        self.held += size
        self.table.hold(size)

    def release(self) -> None:
        """The headers are complete."""
        self.table.hold(-self.held)
        self.held = 0

    def closed(self) -> None:
        self.served = self.transport = None
        self.table.dropped(self)

    def abort(self) -> None:
        """End it now, whatever it is doing."""
        self.table.dropped(self)
        if self.transport is not None:
            self.transport.abort()
        else:
            with contextlib.suppress(OSError):  # it ended by itself
                self.sock.shutdown(socket.SHUT_RDWR)


class Connections:
    """All connections of one server; unauthenticated ones in the order they came."""

    def __init__(self, most: int | None = None) -> None:
        self._most = most or capacity()
        self._most_unauthenticated = max(2, min(limits.UNAUTHENTICATED_CONNECTIONS, self._most // 2))
        self._most_of_address = self._most_unauthenticated // 2
        self._unauthenticated: dict[Connection, None] = {}
        self._by_address: dict[str, dict[Connection, None]] = {}
        self._authenticated: set[Connection] = set()
        self._held = 0
        self._warned = -_QUIET_SECONDS

    def __len__(self) -> int:
        return len(self._unauthenticated) + len(self._authenticated)

    def admit(self, sock: socket.socket, address: str) -> Connection | None:
        """A new connection; None when there are as many as there may be, all authenticated and busy."""
        if len(self) >= self._most and not self.make_room():
            return None
        made = Connection(sock, address, self)
        self._unauthenticated[made] = None
        of_address = self._by_address.setdefault(address, {})
        of_address[made] = None
        for members, most in ((of_address, self._most_of_address), (self._unauthenticated, self._most_unauthenticated)):
            if len(members) > most:
                self._abort(next(iter(members)))
        return made

    def hold(self, size: int) -> None:
        """More bytes of unfinished headers; when they are too many together, connections with most of them are closed."""
        self._held += size
        while size > 0 and self._held > limits.UNFINISHED_HEADER_BYTES and self._unauthenticated:
            self._abort(max(self._unauthenticated, key=lambda connection: connection.held))

    def accept_delay(self, address: str) -> float:
        """Seconds to wait before another one of this address is admitted, so that those before it have time to authenticate."""
        members = self._by_address.get(address, {})
        if len(members) < self._most_of_address:
            return 0.0
        return next(iter(members)).since + limits.UNAUTHENTICATED_SECONDS - time.monotonic()

    def make_room(self, number: int = 1) -> bool:
        """Close the oldest unauthenticated connections, else those that have been idle longest. False when there are neither."""
        oldest = list(itertools.islice(self._unauthenticated, number))
        if not oldest:
            idle = ((since, id(c), c) for c in self._authenticated if c.served is not None and (since := c.served.idle_since()) is not None)
            oldest = [connection for _, _, connection in heapq.nsmallest(max(number, self._most // 100), idle)]
        for connection in oldest:
            self._abort(connection)
        return bool(oldest)

    def _abort(self, connection: Connection) -> None:
        self.warn("%d connections, %d unauthenticated: the oldest is closed", len(self), len(self._unauthenticated))
        connection.abort()

    def warn(self, text: str, *values: object) -> None:
        """Say it in the log, once a minute."""
        if time.monotonic() - self._warned >= _QUIET_SECONDS:
            self._warned = time.monotonic()
            log.warning(text, *values)

    def promote(self, connection: Connection) -> None:
        if connection in self._unauthenticated:
            self._forget(connection)
            self._authenticated.add(connection)

    def dropped(self, connection: Connection) -> None:
        self._authenticated.discard(connection)
        if connection in self._unauthenticated:
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        connection.release()
        del self._unauthenticated[connection]
        of_address = self._by_address[connection.address]
        del of_address[connection]
        if not of_address:
            del self._by_address[connection.address]

    def abort_all(self) -> None:
        for connection in [*self._unauthenticated, *self._authenticated]:
            connection.abort()


async def accept(
    sock: socket.socket, connections: Connections, protocol: Callable[[Connection], asyncio.BaseProtocol], tls: ssl.SSLContext | None
) -> None:
    """Take connections from a listening socket until cancelled; `protocol` makes what serves one."""
    loop = asyncio.get_running_loop()
    opening: set[asyncio.Task[None]] = set()
    try:
        while True:
            try:
                made, peer = await loop.sock_accept(sock)
            except OSError as why:  # no file is left, or the caller is gone already
                connections.warn("a connection could not be accepted: %s", why.strerror)
                if why.errno in _NO_ROOM:
                    connections.make_room(_ROOM)
                await asyncio.sleep(limits.ACCEPT_PAUSE_SECONDS)
                continue
            address = peer[0] if peer else ""
            if (pause := connections.accept_delay(address)) > 0:
                await asyncio.sleep(min(pause, limits.ACCEPT_PAUSE_SECONDS))
            connection = connections.admit(made, address)
            if connection is None:
                made.close()
                continue
            task = loop.create_task(_open(connection, functools.partial(protocol, connection), tls))
            opening.add(task)
            task.add_done_callback(opening.discard)
    finally:
        for task in opening:
            task.cancel()


def _keep_alive(sock: socket.socket) -> None:
    """A peer that vanished is noticed by the system, as Go's listeners have it."""
    for level, name, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, limits.TCP_KEEPALIVE_SECONDS),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, limits.TCP_KEEPALIVE_SECONDS),
    ):
        sock.setsockopt(level, name, value)


async def _open(connection: Connection, protocol: Callable[[], asyncio.BaseProtocol], tls: ssl.SSLContext | None) -> None:
    """Agree on TLS; from then on the protocol has the connection."""
    more: dict[str, Any] = {}
    if tls is not None:
        more = {"ssl": tls, "ssl_handshake_timeout": limits.HANDSHAKE_SECONDS, "ssl_shutdown_timeout": limits.SHUTDOWN_SECONDS}
    try:
        _keep_alive(connection.sock)
        await asyncio.get_running_loop().connect_accepted_socket(protocol, connection.sock, **more)
    except (OSError, TimeoutError) as why:
        log.debug("%s: no connection: %s", connection.address, why)
        connection.closed()
    except BaseException:
        connection.closed()
        raise


class Streams(asyncio.StreamReaderProtocol):
    """asyncio's streams, of which the table hears when they end."""

    def __init__(self, reader: asyncio.StreamReader, connection: Connection | None, begin: Any = None) -> None:
        super().__init__(reader, begin)
        self._connection = connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._connection is not None:
            self._connection.opened(transport)  # type: ignore[arg-type]
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._connection.closed()
        super().connection_lost(exc)
