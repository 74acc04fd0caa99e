"""HTTP/1.1 over asyncio: a pool of keep-alive connections, TLS, parsed with httptools. Nothing about Kubernetes.

A connection carries one exchange at a time. Reading is paused while a consumer of a stream is more than 1 MiB behind (the high-water
mark), so memory is bounded. Header blocks, trailers and chunk extensions are always bounded, complete responses by a ResponseBudget.
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
from kapi.http.streams import keep_unread

Headers = dict[str, str]
Response = tuple[int, Headers, bytes]
"""Status code, headers (names in lower case), the whole body."""
CONNECT_TIMEOUT = 10.0
HIGH_WATER = 1 << 20
LARGE = 1 << 16
"""Bytes from which a response takes long to process."""
MAX_IDLE = 24
IDLE_SECONDS = 60.0

sslproto.SSLProtocol.max_size = 16 * 1024
"""asyncio keeps a read buffer of this size for every TLS connection, 256 KiB by default: 18 MB for the watches of the controllers. One
record of TLS fits (1.3 MB less for all of them than with two)."""


class ResponseBudget:
    """The most bytes of responses that are read completely: of each, and of all together."""

    def __init__(self, each: int, together: int) -> None:
        self.each, self._left = each, together
        self.turn = asyncio.Lock()
        """Held while a large response is processed: one in a turn of the event loop."""

    def take(self, size: int) -> bool:
        """Take `size` bytes. Returns whether they are allowed; in either case `give` them back."""
        self._left -= size
        return self._left >= 0

    def give(self, size: int) -> None:
        self._left += size


class _Exchange:
    """The response to one request as it arrives; also the Stream that `open` returns."""

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
        self._timer: asyncio.TimerHandle | None = None

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
                self._timer = loop.call_later(self.timeout, self.connection.expire)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if self._timer:
                    self._timer.cancel()

    async def read(self) -> bytes:
        """The whole body."""
        await self.until(lambda: self.complete)
        budget = self.connection.pool.budget
        if budget and self.size > LARGE:
            async with budget.turn:
                await asyncio.sleep(0)  # the caller continues in this turn, when the lock is released
        data = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        self.chunks.clear()
        return data

    def release_budget(self) -> None:
        """Give back the bytes of the response."""
        if budget := self.connection.pool.budget:
            budget.give(self.size)
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
        self._header_bytes = 0
        """Bytes read since the request or since the last bytes of a body: of header blocks, trailers and chunk extensions."""
        self.reused = False
        self.keep_alive = False
        self.idle_since = 0.0
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            if exchange.status and "content-length" not in exchange.headers and "transfer-encoding" not in exchange.headers:
                exchange.complete = True
                exchange.wake()
            else:
                exchange.fail(exc if isinstance(exc, OSError) else ConnectionResetError("the server closed the connection"))
        self.pool.connection_closed(self)

    def data_received(self, data: bytes) -> None:
        if self.parser is None:
            self.abort()
            return
        self._header_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(ConnectionError(f"malformed HTTP answer: {error}"))
        if self._header_bytes > limits.PEER_HEAD_BYTES:
            self._fail(failures.head_too_large())

    def _fail(self, error: OSError) -> None:
        if self.exchange:
            self.exchange.fail(error)
        self.abort()

    def send(self, head: bytes, body: bytes, timeout: float | None) -> _Exchange:
        self.exchange = _Exchange(self, timeout)
        self.parser = httptools.HttpResponseParser(self)
        self.keep_alive, self._header_bytes = False, 0
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
                self.exchange.headers.clear()  # an interim response
                return
            self.exchange.status = status
            self.exchange.wake()

    def on_body(self, body: bytes) -> None:
        exchange, budget = self.exchange, self.pool.budget
        self._header_bytes = 0
        if exchange is None or exchange.error or exchange.complete:
            return
        exchange.size += len(body)
        if budget and (not budget.take(len(body)) or exchange.size > budget.each):
            self._fail(failures.body_too_large())
            return
        exchange.chunks.append(body)
        exchange.wake()
        if exchange.size > HIGH_WATER and not self._paused and self.transport and exchange.timeout is None:
            self._paused = True
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        if self.exchange and self.exchange.status and not self.exchange.error and self.parser:
            self.keep_alive = self.parser.should_keep_alive()
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
        """Return it to the pool when the response is complete and the server keeps the connection open; else close it."""
        exchange, self.exchange = self.exchange, None
        if exchange and exchange.complete and self.keep_alive and self.transport:
            self.parser = None
            self.resume()
            self.pool.return_idle(self)
        else:
            self.abort()

    def abort(self) -> None:
        if self.transport:
            self.transport.abort()


class HttpTransport:
    """Requests to one server, e.g. HttpTransport("https://127.0.0.1:6443", context). `token` returns the current bearer token.

    `locate` returns the (host, port) to connect to, where that is not in the URL. `retry_posts`: whether a POST is sent again when the
    server closed its keep-alive connection meanwhile. `budget` bounds responses, which are then only read completely.
    """

    def __init__(
        self, server: str, context: ssl.SSLContext | None = None, *, token: Callable[[], str] | None = None, limit: int = MAX_IDLE,
        locate: Callable[[], Awaitable[tuple[str, int]]] | None = None, retry_posts: bool = False, budget: ResponseBudget | None = None,
    ) -> None:  # fmt: skip
        url = urlsplit(server)
        self._host = url.hostname or "localhost"
        self._tls = context if url.scheme == "https" else None
        self._port = url.port or (443 if self._tls else 80)
        self._prefix = url.path.rstrip("/")
        self._host_header = f"Host: {url.netloc}\r\n"
        self._token = token
        self._locate = locate
        self._retry_posts = retry_posts
        self.budget = budget
        self._slots = asyncio.Semaphore(limit)
        self._idle: list[_Connection] = []
        self._connections: set[_Connection] = set()
        self._all_closed: asyncio.Event | None = None

    async def request(self, method: str, target: str, headers: Headers, body: bytes, seconds: float) -> Response:
        async with self._slots:
            exchange = await self._start(method, target, headers, body, seconds)
            try:
                data = await exchange.read()
                return exchange.status, exchange.headers, data
            finally:
                exchange.release_budget()
                exchange.connection.release()

    async def open(self, method: str, target: str, headers: Headers, body: bytes, seconds: float | None) -> _Exchange:
        return await self._start(method, target, headers, body, seconds)

    async def close(self) -> None:
        for connection in list(self._connections):
            connection.abort()
        if self._connections:
            self._all_closed = asyncio.Event()
            await self._all_closed.wait()

    def return_idle(self, connection: _Connection) -> None:
        now = connection.loop.time()
        while self._idle and (len(self._idle) >= MAX_IDLE or self._idle[0].idle_since < now - IDLE_SECONDS):
            self._idle.pop(0).abort()
        connection.idle_since = now
        self._idle.append(connection)

    def connection_closed(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._all_closed is not None and not self._connections:
            self._all_closed.set()

    async def _start(self, method: str, target: str, headers: Headers, body: bytes, seconds: float | None) -> _Exchange:
        """Send a request and wait for the header block. Where the server has closed the keep-alive connection meanwhile, the request is
        sent again on another one, except a POST, which may have created an object."""
        head = self._head(method, target, headers, body)
        while True:
            connection = await self._connection()
            exchange = connection.send(head, body, seconds)
            try:
                await exchange.until(lambda: bool(exchange.status))  # noqa: B023
                return exchange
            except ConnectionError:
                exchange.release_budget()
                if not connection.reused or (method == "POST" and not self._retry_posts):
                    raise
            except BaseException:
                exchange.release_budget()
                connection.abort()
                raise

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.transport and not connection.transport.is_closing():
                connection.reused = True
                return connection
        loop, connection = asyncio.get_running_loop(), _Connection(self)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                host, port = await self._locate() if self._locate else (self._host, self._port)
                name = self._host if self._tls else None
                transport, _ = await loop.create_connection(lambda: connection, host, port, ssl=self._tls, server_hostname=name)
        except ssl.SSLError as error:
            raise ConnectionError(f"TLS: {error}") from error
        except BaseException:
            connection.abort()  # cancelled just as it was made: the loop would first wait for the peer to close
            raise
        keep_unread(transport)
        if self.budget and connection.transport:  # a small receive buffer: many responses at once come in small parts
            connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LARGE)
        self._connections.add(connection)
        return connection

    def _head(self, method: str, target: str, headers: Headers, body: bytes) -> bytes:
        lines = [f"{method} {self._prefix}{target} HTTP/1.1\r\n", self._host_header]
        lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
        if self._token is not None:
            lines.append(f"Authorization: Bearer {self._token()}\r\n")
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(body)}\r\n")
        lines.append("\r\n")
        return "".join(lines).encode("latin-1")
