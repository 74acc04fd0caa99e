"""HTTP/1.1 over asyncio: a pool of keep-alive connections, TLS, parsed with httptools. Nothing about Kubernetes.

A connection carries one exchange at a time. Reading stops while a consumer of a stream lags (1 MiB), so memory is bounded; what is no
body (heads, trailers, chunk extensions) is bounded for everybody, whole answers for whoever gives an Allowance.
"""

import asyncio
import socket
import ssl
from asyncio import sslproto
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast
from urllib.parse import urlsplit

import httptools

from kapi import limits
from kapi.http import failures

Headers = dict[str, str]
Answer = tuple[int, Headers, bytes]
"""Status code, headers (names in lower case), the whole body."""
CONNECT_TIMEOUT = 10.0
HIGH_WATER = 1 << 20
LARGE = 1 << 16
"""Bytes of an answer that takes long to look at."""
MAX_IDLE = 24
IDLE_SECONDS = 60.0

sslproto.SSLProtocol.max_size = 16 * 1024
"""asyncio keeps a read buffer of this size for every TLS connection, 256 KiB by default: 18 MB for the watches of the controllers. One
record of TLS fits (1.3 MB less for all of them than with two)."""


class Allowance:
    """Bytes that answers read as a whole may have, each of them and all together."""

    def __init__(self, each: int, together: int) -> None:
        self.each, self._left = each, together
        self.turn = asyncio.Lock()
        """Whose large answer is looked at: one in a turn of the event loop."""

    def take(self, size: int) -> bool:
        """Whether so many bytes more are allowed; those that are must be given back."""
        self._left -= size
        return self._left >= 0

    def give(self, size: int) -> None:
        self._left += size


class _Exchange:
    """One request's answer as it arrives; also the Stream given to the caller."""

    def __init__(self, connection: "_Connection", timeout: float | None) -> None:
        self.connection = connection
        self.timeout = timeout
        self.status = 0
        self.headers: Headers = {}
        self.chunks: deque[bytes] = deque()
        self.size = 0
        self.complete = False
        self.error: OSError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def fail(self, error: OSError) -> None:
        if not self.complete and self.error is None:
            self.error = error
            self.wake()

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait for `ready`; raises OSError, also after `timeout` seconds in which nothing arrived."""
        loop = self.connection.loop
        while not ready():
            if self.error:
                raise self.error
            self._waiter = loop.create_future()
            if self.timeout is not None:
                self._alarm = loop.call_later(self.timeout, self.connection.expire)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if self._alarm:
                    self._alarm.cancel()

    async def read(self) -> bytes:
        """The whole body."""
        await self.until(lambda: self.complete)
        allowed = self.connection.pool.allowance
        if allowed and self.size > LARGE:
            async with allowed.turn:
                await asyncio.sleep(0)  # and whoever asked goes on at once
        data = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        self.chunks.clear()
        return data

    def settle(self) -> None:
        """Give back what the answer took of its allowance."""
        if allowed := self.connection.pool.allowance:
            allowed.give(self.size)
            self.size = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await self.until(lambda: bool(self.chunks) or self.complete)
            if not self.chunks:
                return
            data = b"".join(self.chunks)
            self.chunks.clear()
            self.size = 0
            self.connection.resume()
            yield data

    async def close(self) -> None:
        self.connection.release()


class _Connection(asyncio.Protocol):
    """One socket. Feeds the parser; the parser's callbacks fill the current exchange."""

    def __init__(self, pool: "HttpTransport") -> None:
        self.pool = pool
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.exchange: _Exchange | None = None
        self.parser: httptools.HttpResponseParser | None = None
        self._bare = 0
        """Bytes read since the last piece of a body, or since the request."""
        self.reused = False
        self.kept = False
        self.idle_since = 0.0
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            if exchange.status and "content-length" not in exchange.headers and "transfer-encoding" not in exchange.headers:
                exchange.complete = True
                exchange.wake()
            else:
                exchange.fail(exc if isinstance(exc, OSError) else ConnectionResetError("the server closed the connection"))
        self.pool.lost(self)

    def data_received(self, data: bytes) -> None:
        if self.parser is None:
            self.abort()
            return
        self._bare += len(data)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._give_up(ConnectionError(f"malformed HTTP answer: {error}"))
        if self._bare > limits.PEER_HEAD_BYTES:
            self._give_up(failures.head_too_large())

    def _give_up(self, why: OSError) -> None:
        if self.exchange:
            self.exchange.fail(why)
        self.abort()

    def send(self, head: bytes, body: bytes, timeout: float | None) -> _Exchange:
        self.exchange = _Exchange(self, timeout)
        self.parser = httptools.HttpResponseParser(self)
        self.kept, self._bare = False, 0
        assert self.transport is not None
        self.transport.write(head + body if len(body) < 65536 else head)
        if len(body) >= 65536:
            self.transport.write(body)
        return self.exchange

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.exchange and not self.exchange.status:
            self.exchange.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self.exchange and self.parser and not self.exchange.status:
            status = self.parser.get_status_code()
            if 100 <= status < 200:
                self.exchange.headers.clear()  # the answer is still to come
                return
            self.exchange.status = status
            self.exchange.wake()

    def on_body(self, body: bytes) -> None:
        exchange, allowed = self.exchange, self.pool.allowance
        self._bare = 0
        if exchange is None or exchange.error or exchange.complete:
            return
        exchange.size += len(body)
        if allowed and (not allowed.take(len(body)) or exchange.size > allowed.each):
            self._give_up(failures.body_too_large())
            return
        exchange.chunks.append(body)
        exchange.wake()
        if exchange.size > HIGH_WATER and not self._paused and self.transport and exchange.timeout is None:
            self._paused = True
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        if self.exchange and self.exchange.status and not self.exchange.error and self.parser:
            self.kept = self.parser.should_keep_alive()
            self.exchange.complete = True
            self.exchange.wake()

    def resume(self) -> None:
        if self._paused and self.transport:
            self._paused = False
            self.transport.resume_reading()

    def expire(self) -> None:
        if self.exchange:
            self.exchange.fail(TimeoutError("no answer in time"))
        self.abort()

    def release(self) -> None:
        """Back to the pool when the exchange is over and the server keeps the connection, else closed."""
        exchange, self.exchange = self.exchange, None
        if exchange and exchange.complete and self.kept and self.transport:
            self.parser = None
            self.resume()
            self.pool.put(self)
        else:
            self.abort()

    def abort(self) -> None:
        if self.transport:
            self.transport.abort()


class HttpTransport:
    """Requests to one server, e.g. HttpTransport("https://127.0.0.1:6443", context). `token` gives the bearer token of now.

    `locate` gives (host, port) to connect to, where that is not the server's name; `repeats` says that a POST lost with a kept
    connection may be sent again; `allowance` bounds answers, which are then only read whole.
    """

    def __init__(
        self, server: str, context: ssl.SSLContext | None = None, *, token: Callable[[], str] | None = None, limit: int = MAX_IDLE,
        locate: Callable[[], Awaitable[tuple[str, int]]] | None = None, repeats: bool = False, allowance: Allowance | None = None,
    ) -> None:  # fmt: skip
        url = urlsplit(server)
        self._host = url.hostname or "localhost"
        self._tls = context if url.scheme == "https" else None
        self._port = url.port or (443 if self._tls else 80)
        self._prefix = url.path.rstrip("/")
        self._fixed = f"Host: {url.netloc}\r\n"
        self._token = token
        self._locate = locate
        self._repeats = repeats
        self.allowance = allowance
        self._slots = asyncio.Semaphore(limit)
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._emptied: asyncio.Event | None = None

    async def request(self, method: str, target: str, headers: Headers, body: bytes, seconds: float) -> Answer:
        async with self._slots:
            exchange = await self._start(method, target, headers, body, seconds)
            try:
                data = await exchange.read()
                return exchange.status, exchange.headers, data
            finally:
                exchange.settle()
                exchange.connection.release()

    async def open(self, method: str, target: str, headers: Headers, body: bytes, seconds: float | None) -> _Exchange:
        return await self._start(method, target, headers, body, seconds)

    async def close(self) -> None:
        for connection in list(self._all):
            connection.abort()
        if self._all:
            self._emptied = asyncio.Event()
            await self._emptied.wait()

    def put(self, connection: _Connection) -> None:
        now = connection.loop.time()
        while self._idle and (len(self._idle) >= MAX_IDLE or self._idle[0].idle_since < now - IDLE_SECONDS):
            self._idle.pop(0).abort()
        connection.idle_since = now
        self._idle.append(connection)

    def lost(self, connection: _Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._emptied is not None and not self._all:
            self._emptied.set()

    async def _start(self, method: str, target: str, headers: Headers, body: bytes, seconds: float | None) -> _Exchange:
        """Send and wait for the head; a kept connection that the server closed meanwhile is replaced once, unless it may have created."""
        head = self._head(method, target, headers, body)
        while True:
            connection = await self._connection()
            exchange = connection.send(head, body, seconds)
            try:
                await exchange.until(lambda: bool(exchange.status))  # noqa: B023
                return exchange
            except ConnectionError:
                exchange.settle()
                if not connection.reused or (method == "POST" and not self._repeats):
                    raise
            except BaseException:
                exchange.settle()
                connection.abort()
                raise

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.transport and not connection.transport.is_closing():
                connection.reused = True
                return connection
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                host, port = await self._locate() if self._locate else (self._host, self._port)
                name = self._host if self._tls else None
                _, connection = await loop.create_connection(lambda: _Connection(self), host, port, ssl=self._tls, server_hostname=name)
        except ssl.SSLError as error:
            raise ConnectionError(f"TLS: {error}") from error
        if self.allowance and connection.transport:  # many that answer at once give the event loop little at a time
            connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LARGE)
        self._all.add(connection)
        return connection

    def _head(self, method: str, target: str, headers: Headers, body: bytes) -> bytes:
        lines = [f"{method} {self._prefix}{target} HTTP/1.1\r\n", self._fixed]
        lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
        if self._token is not None:
            lines.append(f"Authorization: Bearer {self._token()}\r\n")
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(body)}\r\n")
        lines.append("\r\n")
        return "".join(lines).encode("latin-1")
