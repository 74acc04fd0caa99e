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
from kapi.http.allowance import Allowance

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

    def waiting(self) -> int:
        """Bytes that are kept for the connection (`allowance`)."""

    def sending(self) -> bytes:
        """A long body of which a part is still to be sent; b"" for none."""

    def refuse(self) -> bool:
        """Let go of what waits. False where it cannot."""


class Connection:
    """One accepted socket, until it is closed."""

    __slots__ = ("address", "served", "since", "sock", "table", "transport", "user")

    def __init__(self, sock: socket.socket, address: str, table: "Connections") -> None:
        self.sock, self.address, self.table = sock, address, table
        self.since = time.monotonic()
        self.user = ""
        """Who the application knows the caller to be."""
        self.transport: asyncio.Transport | None = None
        self.served: Served | None = None

    def opened(self, transport: asyncio.Transport, served: Served | None = None) -> None:
        """TLS is agreed on: from now on the transport is what is aborted, not the socket below it."""
        self.transport, self.served = transport, served

    def set_user(self, user: str) -> None:
        """The application knows the caller."""
        self.user = user
        self.table.promote(self)

    def keeps(self, size: int) -> None:
        """So many more bytes wait for this connection: of an unfinished request, or to be read by its peer."""
        self.table.allowance.keeps(self, size)

    def waiting(self) -> int:
        return self.served.waiting() if self.served is not None else 0

    def sending(self) -> bytes:
        return self.served.sending() if self.served is not None else b""

    def refuse(self) -> bool:
        return self.served is None or self.served.refuse()

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
        self.allowance = Allowance()
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
        self.allowance.dropped(connection)
        self._authenticated.discard(connection)
        if connection in self._unauthenticated:
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        del self._unauthenticated[connection]
        of_address = self._by_address[connection.address]
        del of_address[connection]
        if not of_address:
            del self._by_address[connection.address]

    def abort_all(self) -> None:
        self.allowance.close()
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


def _prepare(sock: socket.socket) -> None:
    """A peer that vanished is noticed by the system, as Go's listeners have it; not much waits in the system."""
    for level, name, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, limits.TCP_KEEPALIVE_SECONDS),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, limits.TCP_KEEPALIVE_SECONDS),
        (socket.SOL_SOCKET, socket.SO_RCVBUF, limits.SOCKET_RECEIVE_BYTES),
    ):
        sock.setsockopt(level, name, value)


async def _open(connection: Connection, protocol: Callable[[], asyncio.BaseProtocol], tls: ssl.SSLContext | None) -> None:
    """Agree on TLS; from then on the protocol has the connection."""
    more: dict[str, Any] = {}
    if tls is not None:
        more = {"ssl": tls, "ssl_handshake_timeout": limits.HANDSHAKE_SECONDS, "ssl_shutdown_timeout": limits.SHUTDOWN_SECONDS}
    try:
        _prepare(connection.sock)
        await asyncio.get_running_loop().connect_accepted_socket(protocol, connection.sock, **more)
    except (OSError, TimeoutError) as why:
        log.debug("%s: no connection: %s", connection.address, why)
        connection.closed()
    except BaseException:
        connection.closed()
        raise


STALLED = 160 << 10
"""Bytes that TLS and the stream below it keep, beside what they tell of, once a peer has not read all of a long answer."""


def unsent(transport: Any) -> int:
    """Bytes that wait to be sent. A closed transport of TLS cannot be asked."""
    return 0 if transport is None or transport.is_closing() else int(transport.get_write_buffer_size())


class Streams(asyncio.StreamReaderProtocol):
    """asyncio's streams, of which the table hears when they end."""

    def __init__(self, reader: asyncio.StreamReader, connection: Connection, begin: Any = None, ended: Any = None) -> None:
        """`ended` is called when the connection has ended."""
        super().__init__(reader, begin)
        self._connection, self._reader, self._ended = connection, reader, ended
        self._transport: Any = None
        self._refused = self._stalled = False
        self._buffered = 0
        self.message = 0
        """Bytes of a message that is not complete, and that whoever reads the stream keeps."""
        self.say: Callable[[], None] | None = None
        """Says why, and hangs up, when the connection is refused; else it is cut."""
        self.beyond: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        """The connection it is joined to (`splicing`)."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._connection.opened(transport, self)  # type: ignore[arg-type]
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.closed()
        super().connection_lost(exc)
        if self._ended is not None:
            self._ended()
        self._ended = self.say = self.beyond = self._transport = None

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        self._buffered = max(self._buffered, buffered(data))
        self._connection.keeps(len(data))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = True
        self._connection.keeps(unsent(self._transport) + STALLED)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stalled = False

    def idle_since(self) -> float | None:
        return None

    def waiting(self) -> int:
        if self._refused:
            return 0
        size = self._buffered + self.message + kept(self._reader) + unsent(self._transport) + (STALLED if self._stalled else 0)
        if self.beyond is not None:
            size += kept(self.beyond[0]) + unsent(self.beyond[1].transport)
        return size

    def sending(self) -> bytes:
        return b""

    def refuse(self) -> bool:
        self._refused, self.message = True, 0
        if self.say is not None:
            self.say()
        else:
            self._connection.abort()
        return True


def kept(reader: Any) -> int:
    """Bytes that were received and not read yet."""
    return len(reader._buffer)


def buffered(data: bytes) -> int:
    """Bytes that TLS's buffers keep for good once so much has come at once: 256 KiB in which it comes, and one for what is decrypted."""
    return 2 * len(data) if len(data) > limits.PARSED_BYTES else 0
