"""The open connections of a server, and which are closed when there are too many: unauthenticated ones first, then idle ones.

A connection is unauthenticated until the application knows its caller. Unauthenticated ones are few, and the oldest is closed first, of
all or of an address that has half of them; then the one that has been idle longest; then those of a user who has more than a quarter of
all. So a flood of connections takes neither the memory nor the file descriptors that the server needs to respond, to log and to open
connections of its own.
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
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from kapi import limits
from kapi.http.allowance import Allowance, Pinned
from kapi.http.streams import keep_unread

log = logging.getLogger(__name__)
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_CLOSED_AT_ONCE = 32
"""How many connections are closed when no file descriptor is left."""
_RTT = slice(148, 152)
"""Where the shortest round trip stands in the system's tcp_info, in microseconds; others have the peer's delayed signs in them."""
_FAR = 5_000
"""Microseconds of a round trip from which a small receive buffer makes uploads slower than 13 MB/s."""
_WARNING_SECONDS = 60.0
"""Seconds between two warnings that connections were closed or could not be accepted."""


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard or hard == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def capacity() -> int:
    """The most connections that leave the process its reserve of file descriptors."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = limits.CONNECTIONS
    return most if files == resource.RLIM_INFINITY else max(1, min(most, files - limits.RESERVED_FILES))


class Served(Protocol):
    """The protocol of a connection, as this table uses it."""

    def idle_since(self) -> float | None:
        """When its last response ended, in seconds of time.monotonic; None while a request is in progress."""

    def waiting(self) -> int:
        """Bytes that are buffered for the connection (`allowance`)."""

    def sending(self) -> bytes:
        """A long body that is not sent completely; b"" for none."""

    def refuse(self) -> bool:
        """Drop what is buffered. False where that is impossible."""


class Connection:
    """One accepted socket, until it is closed."""

    __slots__ = ("address", "pinned", "served", "since", "sock", "table", "transport", "user")

    def __init__(self, sock: socket.socket, address: str, table: "Connections") -> None:
        self.sock, self.address, self.table = sock, address, table
        self.since = time.monotonic()
        self.user = ""
        """The authenticated user; "" until the application has authenticated the caller."""
        self.transport: asyncio.Transport | None = None
        self.served: Served | None = None
        self.pinned: Pinned | None = None

    def opened(self, transport: asyncio.Transport, served: Served | None = None) -> None:
        """The TLS handshake is complete: `abort` uses the transport from now on, not the socket below it."""
        self.transport, self.served = transport, served

    def set_user(self, user: str) -> None:
        """The application has authenticated the caller."""
        self.user = user
        self.table.promote(self)

    def keeps(self, size: int) -> None:
        """`size` more bytes are buffered: of an incomplete request, or of a response that the peer has not read."""
        self.table.allowance.keeps(self, size)

    def waiting(self) -> int:
        return self.served.waiting() if self.served is not None else 0

    def sending(self) -> bytes:
        return self.served.sending() if self.served is not None else b""

    def refuse(self) -> bool:
        return self.served is None or self.served.refuse()

    def widen(self) -> None:
        """Let the system keep more received bytes, where the peer is so far away that few of them under way make it slow."""
        with contextlib.suppress(OSError):
            rtt = int.from_bytes(self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RTT.stop)[_RTT], sys.byteorder)
            if rtt >= _FAR:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, limits.BODY_RECEIVE_BYTES)
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, limits.BODY_RECEIVE_BYTES)

    def ignore(self) -> None:
        """What still comes will be thrown away: let the system take little of it, since TLS reads on until it is closed."""
        with contextlib.suppress(OSError):  # it ended by itself
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)

    def closed(self) -> None:
        self.served = self.transport = self.pinned = None
        self.table.dropped(self)

    def abort(self) -> None:
        """Close it at once, also in the middle of a request."""
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
        self._warned = -_WARNING_SECONDS

    def __len__(self) -> int:
        return len(self._unauthenticated) + len(self._authenticated)

    def admit(self, sock: socket.socket, address: str) -> Connection | None:
        """Add a connection; None when the table is full and all in it are authenticated and busy."""
        if len(self) >= self._most and not self.make_room():
            return None
        connection = Connection(sock, address, self)
        self._unauthenticated[connection] = None
        of_address = self._by_address.setdefault(address, {})
        of_address[connection] = None
        for members, most in ((of_address, self._most_of_address), (self._unauthenticated, self._most_unauthenticated)):
            if len(members) > most:
                self._abort(next(iter(members)))
        return connection

    def accept_delay(self, address: str) -> float:
        """Seconds to wait before another one of this address is admitted, so that those before it have time to authenticate."""
        members = self._by_address.get(address, {})
        if len(members) < self._most_of_address:
            return 0.0
        return next(iter(members)).since + limits.UNAUTHENTICATED_SECONDS - time.monotonic()

    def make_room(self, number: int = 1) -> bool:
        """Close the oldest unauthenticated connections, else those that have been idle longest, else the oldest of a user who has more
        than its share. False when there are none of these."""
        oldest = list(itertools.islice(self._unauthenticated, number))
        if not oldest:
            idle = ((since, id(c), c) for c in self._authenticated if c.served is not None and (since := c.served.idle_since()) is not None)
            oldest = [connection for _, _, connection in heapq.nsmallest(max(number, self._most // 100), idle)] or self._of_largest(number)
        for connection in oldest:
            self._abort(connection)
        return bool(oldest)

    def _of_largest(self, number: int) -> list[Connection]:
        """The oldest connections of the user with the most, if they are more than its share of the table."""
        user, has = max(Counter(c.user for c in self._authenticated).items(), key=lambda counted: counted[1], default=("", 0))
        spare = min(max(number, self._most // 100), has - self._most // limits.USERS_SHARING)
        if spare <= 0:
            return []
        return heapq.nsmallest(spare, (c for c in self._authenticated if c.user == user), key=lambda connection: connection.since)

    def _abort(self, connection: Connection) -> None:
        self.warn("%d connections, %d unauthenticated: the oldest is closed", len(self), len(self._unauthenticated))
        connection.abort()

    def warn(self, text: str, *values: object) -> None:
        """Log a warning, at most once a minute."""
        if time.monotonic() - self._warned >= _WARNING_SECONDS:
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
    """Accept connections of a listening socket until cancelled; `protocol` makes the protocol of one."""
    loop = asyncio.get_running_loop()
    opening: set[asyncio.Task[None]] = set()
    try:
        while True:
            try:
                accepted, peer = await loop.sock_accept(sock)
            except OSError as why:  # no file descriptor is left, or the peer has gone already
                connections.warn("a connection could not be accepted: %s", why.strerror)
                if why.errno in _OUT_OF_RESOURCES:
                    connections.make_room(_CLOSED_AT_ONCE)
                await asyncio.sleep(limits.ACCEPT_PAUSE_SECONDS)
                continue
            address = peer[0] if peer else ""
            if (pause := connections.accept_delay(address)) > 0:
                await asyncio.sleep(min(pause, limits.ACCEPT_PAUSE_SECONDS))
            connection = connections.admit(accepted, address)
            if connection is None:
                accepted.close()
                continue
            task = loop.create_task(_open(connection, functools.partial(protocol, connection), tls))
            opening.add(task)
            task.add_done_callback(opening.discard)
    finally:
        for task in opening:
            task.cancel()


def _prepare(sock: socket.socket) -> None:
    """Set TCP keep-alive, as Go's listeners do, so that the system notices a peer that is gone; and a small receive buffer."""
    for level, name, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, limits.TCP_KEEPALIVE_SECONDS),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, limits.TCP_KEEPALIVE_SECONDS),
        (socket.SOL_SOCKET, socket.SO_RCVBUF, limits.SOCKET_RECEIVE_BYTES),
    ):
        sock.setsockopt(level, name, value)


async def _open(connection: Connection, protocol: Callable[[], asyncio.BaseProtocol], tls: ssl.SSLContext | None) -> None:
    """Do the TLS handshake, then pass the connection to the protocol."""
    more: dict[str, Any] = {}
    if tls is not None:
        more = {"ssl": tls, "ssl_handshake_timeout": limits.HANDSHAKE_SECONDS, "ssl_shutdown_timeout": limits.SHUTDOWN_SECONDS}
    try:
        _prepare(connection.sock)
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(protocol, connection.sock, **more)
        keep_unread(transport)
    except (OSError, TimeoutError) as why:
        log.debug("%s: no connection: %s", connection.address, why)
        connection.closed()
    except BaseException:
        connection.closed()
        raise


STALLED = 160 << 10
"""Bytes that TLS and the stream below it keep, beside what they report, once a peer has not read all of a long response."""


def unsent(transport: Any) -> int:
    """Bytes that wait to be sent; 0 for a closed transport, where TLS raises."""
    return 0 if transport is None or transport.is_closing() else int(transport.get_write_buffer_size())


class Streams(asyncio.StreamReaderProtocol):
    """asyncio's streams, which report to the table how much is buffered and when they end."""

    def __init__(self, reader: asyncio.StreamReader, connection: Connection, begin: Any = None, ended: Any = None) -> None:
        """`ended` is called when the connection has ended."""
        super().__init__(reader, begin)
        self._connection, self._reader, self._ended = connection, reader, ended
        self._transport: Any = None
        self._refused = self._stalled = False
        self._buffered = 0
        self.message = 0
        """Bytes of an incomplete message, buffered by the reader of the stream."""
        self.on_refused: Callable[[], None] | None = None
        """Called when the connection is refused, to send the reason and close; without it the connection is aborted."""
        self.spliced_to: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        """The streams of the connection it is spliced to (`splicing`)."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._connection.opened(transport, self)  # type: ignore[arg-type]
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.closed()
        super().connection_lost(exc)
        if self._ended is not None:
            self._ended()
        self._ended = self.on_refused = self.spliced_to = self._transport = None

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        self._buffered = max(self._buffered, buffered(data))
        self._connection.keeps(len(data))

    def ignore(self) -> None:
        """What still comes will be thrown away."""
        self._connection.ignore()

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
        if self.spliced_to is not None:
            size += kept(self.spliced_to[0]) + unsent(self.spliced_to[1].transport)
        return size

    def sending(self) -> bytes:
        return b""

    def refuse(self) -> bool:
        self._refused, self.message = True, 0
        if self.on_refused is not None:
            self.on_refused()
        else:
            self._connection.abort()
        return True


def kept(reader: Any) -> int:
    """Bytes that were received but not read yet."""
    return len(reader._buffer)


def buffered(data: bytes) -> int:
    """Bytes that TLS's buffers grow by, for good, when `data` comes at once: one buffer for ciphertext (256 KiB), one for plaintext."""
    return 2 * len(data) if len(data) > limits.PARSED_BYTES else 0
