"""HTTP/1.1 on one connection: uvicorn's protocol with less work for each request, a response to every malformed one, and bounds.

Header blocks, bodies and pipelined requests are bounded here, in bytes and in seconds; a connection has one timer.
One request is started in a turn of the event loop. Pipelined requests behind it wait, and reading is paused when they are large. A request
for an upgrade (exec, attach, port-forward, watch over WebSocket; SPDY or WebSocket) reaches the application as an ordinary request whose
scope has `kapi.upgrade`, which returns the raw connection when it is called. `server` listens.
"""

import asyncio
import math
import socket
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kapi import limits
from kapi.http import heads
from kapi.http.allowance import Pinned
from kapi.http.connections import STALLED, Connection, Streams, buffered, unsent
from kapi.http.exchange import ANSWER, CERTIFICATE, CONNECTION, LARGE, PIECE, SUBJECT, UPGRADE, Exchange, resumed
from kapi.http.heads import Refused
from kapi.http.streams import Reader

_CHECKED = frozenset({b"host", b"expect", b"transfer-encoding"})
_FEW, _SHORT = 100, 1000
"""Requests with at most so many headers, and URLs so long without escapes, skip the further checks: nearly all do."""
_SLASH, _PERCENT, _HASH = b"/%#"
"""As integers, which are found in bytes without a detour (CPython first raises a TypeError inside for bytes in bytes)."""
_ASGI: Any = {"version": "3.0", "spec_version": "2.3"}
_DROPPED: Any = deque(maxlen=0)
"""In place of the headers, to drop trailers."""
_BLANK = 4
"""Bytes of blank lines that may stand before a request."""
_REFUSAL = "HTTP/1.1 {0}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n{0}"


class Protocol(HttpToolsProtocol):
    """One connection."""

    cycle: Exchange
    def __init__(self, *arguments: Any, immediate: Callable[[Any], bool], connection: Connection, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._immediate, self._connection = immediate, connection
        self.user = ""
        """The authenticated user; "" until the application has authenticated the caller."""
        self._wide = False
        """Whether the system keeps more received bytes than at first."""
        self._buffered = 0
        """Bytes that TLS's buffers have grown by, for good."""
        self._running: Exchange | None = None
        """The request in progress, or the last one; `cycle` is the one that was parsed last."""
        self._queue: deque[Exchange] = deque()
        """Pipelined requests that were parsed and wait for the response to the one before."""
        self._unparsed: deque[memoryview] = deque()
        """Received bytes that are not parsed yet."""
        self._may_begin = True
        """Whether a request may be started at once: none of the bytes received last was."""
        self._head = self._body = False
        """Whether a request's header block, and its body, are incomplete."""
        self._received = self._data = 0
        """Received bytes of an incomplete request; and how many of them are data of its body."""
        self._begun = self._idle_since = self._stalled = 0.0
        """When the first part of an incomplete request came; when the last response ended; when the client stopped reading."""
        self._parsing_ended = False
        """Whether parsing has ended, because the connection was upgraded or refused."""
        self._refusal = ""
        self._host, self._hosts = b"", 0
        """The last Host header, and how many there are in this request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._connection.opened(transport, self)
        tls = transport.get_extra_info("ssl_object")
        if tls:  # what is below it keeps 64 KiB, then it is slow; the low mark is above a record of TLS, which may have come in part
            transport.set_write_buffer_limits(high=1)
            transport.set_read_buffer_limits(64 << 10, 32 << 10)  # type: ignore[attr-defined]
        certificate = tls.getpeercert(binary_form=True) if tls else None
        self._extensions: dict[str, Any] = {CONNECTION: self}
        if certificate:
            self._extensions |= {CERTIFICATE: certificate, SUBJECT: tls.getpeercert}
        self._scope = {
            "type": "http", "asgi": _ASGI, "http_version": "1.1", "server": self.server, "client": self.client,
            "scheme": self.scheme or "http", "root_path": "", "state": self.app_state,
        }  # fmt: skip
        self._idle_since = self.loop.time()
        self._set_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.closed()
        if self.timeout_keep_alive_task:
            self.timeout_keep_alive_task.cancel()
        if self._running is not None:
            self._running.lost()
        self._unparsed.clear()
        super().connection_lost(exc)
        self._forget()

    def _forget(self) -> None:
        """Drop references to this protocol, so that its memory is freed without the garbage collector."""
        self._queue.clear()
        self._running = self.cycle = self.timeout_keep_alive_task = self.parser = None  # type: ignore[assignment]
        if self.scope is not None:
            self.scope["extensions"].clear()
        self._extensions, self.scope, self.headers = {}, None, []  # type: ignore[assignment]

    def set_long_running(self) -> None:
        """The request in progress is a stream: its body has no timeout."""
        if self._running is not None:
            self._running.long_running = True

    def set_turn(self, turn: asyncio.Future[None]) -> None:
        """The body of the request under way is complete, and waits for this."""
        if self._running is not None:
            self._running.turn = turn

    def set_pinned(self, pinned: Pinned | None) -> None:
        """What the response under way keeps in memory until it is written, beside its own bytes."""
        self._connection.pinned = pinned

    def widen(self) -> None:
        """A large body is coming in: of a caller who is known and far away the system may keep more of it."""
        if self.user and not self._wide:
            self._wide = True
            self._connection.widen()

    def set_user(self, user: str) -> None:
        """The application has authenticated the caller."""
        self.user = user
        self._connection.set_user(user)

    # what comes in ------------------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._unparsed or self._parsing_ended or len(data) > limits.PARSED_BYTES:
            self._buffered = max(self._buffered, buffered(data))
            self._connection.keeps(len(data))
            self._unparsed.append(memoryview(data))
            self._parse_rest()
        else:
            self._parse(data)

    def _parse(self, data: bytes | memoryview) -> None:
        """Parse some bytes; the first request in them is started at once, others wait for its response."""
        self._may_begin = True
        try:
            self.parser.feed_data(data)
            if self._body:
                self._unfinished(len(data))
            elif self._may_begin and not self._queue and len(data) > _BLANK:
                raise Refused(heads.BAD)
        except httptools.HttpParserUpgrade as upgrade:
            self._parsing_ended = True
            if upgrade.args:
                self._unparsed.appendleft(memoryview(data)[upgrade.args[0] :])
        except (httptools.HttpParserError, Refused) as why:
            known = why if isinstance(why, Refused) else why.__context__  # one that was raised in a callback
            self._refuse(str(known) if isinstance(known, Refused) else heads.BAD)
        if self._queue:
            self.loop.call_soon(self._begin_next)

    def _parse_rest(self) -> None:
        """Parse received bytes up to a request that has to wait for the one before it, or to an upgrade."""
        while self._unparsed and not (self._queue or self._parsing_ended) and self.parser is not None:
            piece = self._unparsed.popleft()
            if len(piece) > limits.PARSED_BYTES:
                self._unparsed.appendleft(piece[limits.PARSED_BYTES :])
                piece = piece[: limits.PARSED_BYTES]
            self._parse(piece)
        if self._unparsed and (not self._parsing_ended or sum(map(len, self._unparsed)) > limits.UPGRADE_EARLY_BYTES):
            self.flow.pause_reading()

    def _unfinished(self, size: int) -> None:
        """The request is incomplete: count its bytes and set the timer. Raises Refused."""
        self._received += size
        self._connection.keeps(size)
        if len(self.headers) > limits.HEADER_LINES or (self._head and self._received > limits.HEADER_BYTES):
            raise Refused(heads.TOO_LARGE)
        if self._received - self._data > limits.HEADER_BYTES + limits.CHUNK_OVERHEAD_BYTES + 8 * self._data:
            raise Refused(heads.BAD)
        if not self._begun:
            self._begun = self.loop.time()
            self._set_timer()

    def _refuse(self, status: str) -> None:
        """Close the connection with this status line once the requests before are answered."""
        self._refusal, self._parsing_ended = status, True
        self._unparsed.clear()
        self.flow.pause_reading()
        broken = self._body and not self._head  # a request that has begun, or waits for its turn, but will never be complete
        if broken and self._queue and self._queue[-1] is self.cycle:
            self._queue.pop()
            broken = False
        if not self._queue and (broken or not self._busy()):
            self._hang_up()

    def _hang_up(self) -> None:
        if not self.transport.is_closing():
            if not (self._busy() and self.cycle.response_started):
                self.transport.write(_REFUSAL.format(self._refusal).encode())
            self._end()

    def _end(self) -> None:
        """Close the connection: what was written is sent, nothing more is read."""
        self.flow.pause_reading()
        self._connection.ignore()
        self.transport.close()
        self.loop.call_later(limits.REFUSED_SECONDS, self.transport.abort)

    def _busy(self) -> bool:
        return self._running is not None and not self._running.response_complete

    # the parser's callbacks ---------------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._head = self._body = True
        self._hosts = 0
        self.scope = self._scope | {"headers": self.headers, "extensions": {**self._extensions}}  # type: ignore[assignment]

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in _CHECKED:
            if name == b"host" and value == self._host and not self._hosts:
                self._hosts = 1
            else:
                self._check_header(name, value)
        self.headers.append((name, value))

    def _check_header(self, name: bytes, value: bytes) -> None:
        """Raises Refused for a header that net/http does not let pass."""
        if not self._head:
            return
        if name == b"host":
            self._hosts += 1
            if self._hosts > 1:
                raise Refused(heads.BAD)
            if value != self._host:
                heads.check_host(value)
                self._host = value
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise Refused("417 Expectation Failed")
            self.expect_100_continue = True
        elif value.lower() != b"chunked":
            raise Refused("501 Not Implemented: Unsupported transfer encoding")

    def _should_upgrade(self) -> bool:
        return False

    def on_headers_complete(self) -> None:
        scope, parser, url = self.scope, self.parser, self.url
        version = scope["http_version"] = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        if version != "1.1" or self._hosts != 1 or len(self.headers) > _FEW:
            heads.check(version, self._hosts, len(self.headers))
        if len(url) > _SHORT or url[0] != _SLASH or _PERCENT in url or _HASH in url:
            url = heads.target(scope["method"], url)
        raw, _, scope["query_string"] = url.partition(b"?")
        scope["raw_path"] = raw
        scope["path"] = unquote(raw.decode("ascii")) if _PERCENT in raw else raw.decode("ascii")
        self.headers = _DROPPED  # trailers are dropped
        self._head = False
        before, upgrade = self.cycle, parser.should_upgrade()
        cycle = self.cycle = Exchange(self, scope, version != "1.0" and parser.should_keep_alive() and not upgrade)
        if self._received:
            cycle.head = self._received
        if raw == b"*":
            cycle.whole_server = True
        extensions: dict[str, Any] = scope["extensions"]
        extensions[ANSWER], extensions[PIECE] = cycle.answer, cycle.piece
        if upgrade:
            extensions[UPGRADE] = self.take_over
        if self._may_begin and (before is None or before.response_complete) and not self.flow.write_paused:
            self._may_begin = False
            self._begin(cycle)
        else:
            self.flow.pause_reading()
            self._queue.append(cycle)

    def on_body(self, body: bytes) -> None:
        self._data += len(body)
        cycle = self.cycle
        if cycle.response_complete or cycle.refused:  # the body is not read any more
            if self._data > limits.UNREAD_BODY_BYTES:
                self.transport.abort()
            return
        cycle.body += body
        cycle.size += len(body)
        if (len(cycle.body) if cycle.long_running else cycle.size) > LARGE:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._head = self._body = False
        if self._data or self._begun:
            self._received = self._data = 0
            self._begun = 0.0
            self._may_begin = False  # what comes behind it in this piece waits a turn
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    # answering ----------------------------------------------------------------------------------------------------------------------

    def _begin(self, cycle: "Exchange") -> None:
        """Run the application; a request that is answered without waiting for anything needs no task."""
        self._running = cycle
        if cycle.whole_server:
            cycle.answer(200, [(b"content-length", b"0")], b"")
            return
        if not self._immediate(cycle.scope):
            self._start_asgi_task(cycle, self.app)
            return
        running: Coroutine[Any, Any, None] = cycle.run_asgi(self.app)
        try:
            awaited = running.send(None)
        except StopIteration:
            return
        task = self.loop.create_task(resumed(running, awaited))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _begin_next(self) -> None:
        """Start the next pipelined request when the one before is answered, and continue to parse."""
        if self._busy() or self.flow.write_paused or self.transport.is_closing():
            return
        if self._queue:
            self._begin(self._queue.popleft())
        elif self._refusal:
            self._hang_up()
            return
        if not self._queue:
            self._parse_rest()
            self.read_on()

    def read_on(self) -> None:
        """Resume reading, unless received bytes or requests wait."""
        if not (self._queue or self._unparsed or self._refusal):
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        if self.transport.is_closing():
            return
        self._idle_since = self.loop.time()
        if self._begun:  # a request that has come in part had to wait for this one
            self._begun = self._idle_since
        if self._queue or self._unparsed or self._refusal:
            self.loop.call_soon(self._begin_next)
            return
        self.flow.resume_reading()
        if self.timeout_keep_alive_task is None:
            self._set_timer()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.time()
        self._set_timer()
        self._connection.keeps(unsent(self.transport) + STALLED)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._queue or self._unparsed or self._refusal:
            self.loop.call_soon(self._begin_next)

    def take_over(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Hand over the upgraded connection, which this protocol neither reads nor writes from now on. Raises ConnectionResetError."""
        cycle = self.cycle
        if cycle is None:
            raise ConnectionResetError("the client is gone")
        cycle.response_started = cycle.response_complete = True
        if self.timeout_keep_alive_task:
            self.timeout_keep_alive_task.cancel()
        self.connections.discard(self)
        reader = Reader(limit=limits.PEER_BUFFER_BYTES // 2, loop=self.loop)
        streams = Streams(reader, self._connection, ended=self._forget)
        streams.connection_made(self.transport)
        self._connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, limits.STREAM_RECEIVE_BYTES)
        reader.feed_data(b"".join(self._unparsed))
        self._unparsed.clear()
        self.transport.set_protocol(streams)
        self.flow.resume_reading()
        return reader, asyncio.StreamWriter(self.transport, streams, reader, self.loop)

    # the allowance of all connections ------------------------------------------------------------------------------------------------

    def waiting(self) -> int:
        """Bytes that are buffered for this connection."""
        size = self._buffered + sum(map(len, self._unparsed)) + (self._received if self._head else 0)
        size += sum(exchange.waiting() for exchange in (self._running, *self._queue) if exchange is not None)
        return size + (unsent(self.transport) + STALLED if self.flow.write_paused else 0)

    def keeps(self, size: int) -> None:
        """`size` more bytes of a response wait to be sent."""
        self._connection.keeps(size)

    def sending(self) -> bytes:
        running = self._running
        return running.sending if running is not None else b""

    def refuse(self) -> bool:
        """Too many bytes are buffered: respond with 429, or abort. False while the request is being processed."""
        running = self._running
        if running is None or running.response_started or running.long_running:
            self._connection.abort()
            return True
        return running.refuse()

    # the clock ----------------------------------------------------------------------------------------------------------------------

    def idle_since(self) -> float | None:
        """When the last response ended; None while a request is in progress."""
        return None if self._busy() or self._queue else self._idle_since

    def _due(self) -> float:
        """When the present state of the connection times out."""
        running = self._running
        if self.flow.write_paused:
            return self._stalled + limits.WRITE_SECONDS
        if self._busy() and running is not None:
            waits = self._body and self._begun and self.cycle is running and not (running.long_running or running.timed_out)
            return self._begun + limits.BODY_SECONDS if waits else math.inf
        if self._queue:
            return math.inf
        if self._body and self._begun:
            return self._begun + (limits.HEADER_SECONDS if self._head else limits.BODY_SECONDS)
        return self._idle_since + (limits.HEADER_SECONDS if running is None else limits.IDLE_SECONDS)

    def _set_timer(self) -> None:
        """Set the one timer of the connection to the next timeout."""
        due, timer = self._due(), self.timeout_keep_alive_task
        if timer is not None:
            if timer.when() <= due:
                return
            timer.cancel()
        self.timeout_keep_alive_task = None if due == math.inf else self.loop.call_at(due, self._check_timeout)

    def _check_timeout(self) -> None:
        self.timeout_keep_alive_task = None
        if self.transport.is_closing():
            return
        running = self._running
        if self._due() > self.loop.time():
            pass
        elif self.flow.write_paused:
            self.transport.abort()
        elif self._busy() and running is not None:
            running.time_out()
        else:
            self._end()
            return
        self._set_timer()
