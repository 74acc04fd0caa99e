"""One request and its response on a connection (`protocol`), and the extensions of a request's ASGI scope."""

import asyncio
import contextlib
import logging
import time
import types
from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from kapi import limits
from kapi.objects.offload import TooMuch

UPGRADE = "kapi.upgrade"
"""Scope extension: a callable that takes over the connection and returns (reader, writer)."""
ANSWER = "kapi.answer"
"""Scope extension: a callable (status, headers, payload) that writes a complete response at once: one TLS record, one system call."""
PIECE = "kapi.piece"
"""Scope extension: a callable that writes one chunk of a body at once; False when the client is slow and the caller has to wait."""
CERTIFICATE = "kapi.certificate"
"""Scope extension: the client certificate in DER, absent without one."""
SUBJECT = "kapi.subject"
"""Scope extension: a callable that returns the verified certificate as ssl's getpeercert does; absent without one."""
CONNECTION = "kapi.connection"
"""Scope extension: the connection's Protocol: call `set_user` when the caller is authenticated, `set_long_running` for a stream."""
_PIECE = 72 * 1024
"""Bytes a write: TLS out of Python is fastest near this size."""
TURN = 0.003
"""Seconds for which a long response is written before the event loop runs others."""
_write_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


_read_semaphores: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
LARGE = 64 * 1024
"""Bytes of a body that are buffered for the application before reading is paused; larger bodies are read a few at a time."""
_NEXT_PART_SECONDS = 0.02
"""Seconds to wait for the next part of a large body before another one is read as well."""


def turn() -> asyncio.Lock:
    """The lock under which long responses are written, one at a time."""
    return _write_locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())


@types.coroutine
def resumed(running: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    """The rest of a coroutine that was started outside a task and now waits for `awaited`."""
    while True:
        try:
            value = yield awaited
        except BaseException as error:
            step = partial(running.throw, error)
        else:
            step = partial(running.send, value)
        try:
            awaited = step()
        except StopIteration:
            return


class _Unawaited:
    """An event without waiters: most requests never wait for one."""

    def set(self) -> None:
        return


def _is_failure(record: logging.LogRecord) -> bool:
    """Whether a record is worth logging: not requests that are cancelled because the server stops."""
    return not (record.exc_info and record.exc_info[0] and issubclass(record.exc_info[0], asyncio.CancelledError))


_log = logging.getLogger("uvicorn.error")
_log.addFilter(_is_failure)


class Exchange(RequestResponseCycle):
    """A request and its response: uvicorn's, with the short cuts of the scope's extensions."""

    access_log = False
    logger = _log
    message_event: Any = _Unawaited()
    default_headers: list[tuple[bytes, bytes]] = []
    disconnected = response_started = response_complete = False
    more_body = True
    chunked_encoding = None
    expected_content_length = 0
    long_running = False
    """Whether it is a stream, whose body may come slowly."""
    timed_out = False
    """Whether its body did not come in time."""
    whole_server = False
    """Whether it is OPTIONS *."""
    refused = False
    """Whether its body is dropped, because too many bytes are buffered for all connections."""
    turn: asyncio.Future[None] | None = None
    """The turn the application waits for before it processes the body."""
    head = size = 0
    """Bytes that are buffered: of a header block that came in parts, and of the body."""
    sending = b""
    """A long body that is being sent."""
    _delivered = False
    """Whether the application has received the end of the body."""

    def __init__(self, protocol: Any, scope: Any, keep_alive: bool) -> None:
        """Sets the attributes of uvicorn's class; most are class attributes here until they change. `protocol` is the connection's."""
        self._protocol, self.scope, self.keep_alive = protocol, scope, keep_alive
        self.transport, self.flow = protocol.transport, protocol.flow
        self.waiting_for_100_continue = protocol.expect_100_continue
        self.on_response = protocol.on_response_complete
        self.body = bytearray()

    async def run_asgi(self, app: Any) -> None:
        try:
            await super().run_asgi(app)
        finally:
            self.scope["extensions"].clear()  # they refer to this exchange: without them it is freed without the garbage collector
            self._protocol = None

    async def receive(self) -> Any:
        """The next part of the body, or http.disconnect. Raises TimeoutError for a body that does not come, TooMuch when it is refused."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        while not (self.disconnected or self.response_complete):
            if self.timed_out and self.more_body:
                raise TimeoutError
            if self.refused:
                raise TooMuch
            if self.body or not (self.more_body or self._delivered):
                body, self.body = bytes(self.body), bytearray()
                self._delivered = not self.more_body
                return {"type": "http.request", "body": body, "more_body": self.more_body}
            self.message_event = asyncio.Event()
            if self.size > LARGE and not self.long_running:
                self._protocol.widen()
                await self._read_in_turn()
            else:
                self._protocol.read_on()
            await self.message_event.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """Writes long bodies in pieces, so that no more than one is in TLS's buffer, which never shrinks."""
        body = message.get("body", b"")
        if len(body) <= _PIECE:
            await super().send(message)
            return
        self.sending, view, start = body, memoryview(body), 0
        self._protocol.keeps(len(body))
        try:
            while start < len(body) and not self.disconnected:
                await self.flow.drain()
                async with turn():
                    end = time.perf_counter() + TURN
                    while start < len(body) and time.perf_counter() < end and not self.flow.write_paused:
                        more = message.get("more_body", False) or start + _PIECE < len(body)
                        await super().send({"type": message["type"], "body": bytes(view[start : start + _PIECE]), "more_body": more})
                        start += _PIECE
                    await asyncio.sleep(0)
        finally:
            self.sending = b""

    def waiting(self) -> int:
        """Bytes that are buffered of the request."""
        if self.response_complete:
            return 0
        return self.head + (len(self.body) if self.long_running or self.refused else self.size)

    def refuse(self) -> bool:
        """Raise TooMuch where the application waits for its body or its turn. False where it has both."""
        if self.turn is not None and not self.turn.done():
            self.turn.set_exception(TooMuch())
        elif not self.more_body and not self.refused:
            return False
        self.refused, self.body = True, bytearray()
        self.message_event.set()
        return True

    async def _read_in_turn(self) -> None:
        """Resume reading while few others do; a client that sends nothing blocks none of them."""
        async with _read_semaphores.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(limits.BODIES_READ)):
            self._protocol.read_on()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_NEXT_PART_SECONDS):
                    await self.message_event.wait()

    def time_out(self) -> None:
        """Wake the application, which waits for the body; the connection is closed after the response."""
        self.timed_out, self.keep_alive = True, False
        self.message_event.set()

    def lost(self) -> None:
        """The client has disconnected."""
        if not self.response_complete:
            self.disconnected = True
        self.message_event.set()

    def answer(self, status: int, headers: list[tuple[bytes, bytes]], payload: bytes) -> None:
        """Write a response as `send` does with its two messages, in one write. Does nothing on a connection that was upgraded."""
        if self.response_complete:
            return
        lines = [STATUS_LINE[status]]
        for name, value in headers:
            lines += (name, b": ", value, b"\r\n")
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        lines += (b"\r\n", payload)
        self.response_started = self.response_complete = True
        if not self.disconnected:
            self.transport.write(b"".join(lines))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def piece(self, payload: bytes) -> bool:
        """Write a chunk as `send` does. False, and nothing is written, when `send` would have to wait."""
        if self.flow.write_paused or self.disconnected or not self.chunked_encoding or len(payload) > 2 * _PIECE:
            return False
        self.transport.write(b"%x\r\n%s\r\n" % (len(payload), payload))
        return True
