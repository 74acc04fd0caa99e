"""The socket: uvicorn with TLS, client certificates made known to the application, and connections handed over for upgrades.

uvicorn speaks HTTP and nothing else here. A request that asks to upgrade (exec, attach, port-forward, watch over WebSocket; SPDY or
WebSocket) reaches the application as an ordinary request whose scope offers `kapi.upgrade`: called, it gives the raw connection.
"""

import asyncio
import socket
import ssl
import types
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from kapi import limits

UPGRADE = "kapi.upgrade"
"""Scope extension: a callable that takes over the connection and returns (reader, writer)."""
ANSWER = "kapi.answer"
"""Scope extension: a callable (status, headers, payload) that writes a whole answer at once: one TLS record, one system call."""
PIECE = "kapi.piece"
"""Scope extension: a callable that writes one piece of a chunked body at once; False when the client is slow and has to be waited for."""
CERTIFICATE = "kapi.certificate"
"""Scope extension: the client certificate in DER, absent without one."""
SUBJECT = "kapi.subject"
"""Scope extension: gives the verified certificate as ssl's getpeercert does; absent without one."""


_ASGI: Any = {"version": "3.0", "spec_version": "2.3"}


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with the extensions above, and less done for each request."""

    def __init__(self, *arguments: Any, immediate: Callable[[Any], bool], **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._immediate = immediate
        self._idle_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls else None
        self._extensions = {CERTIFICATE: certificate, SUBJECT: tls.getpeercert} if certificate else {}
        self._scope = {
            "type": "http", "asgi": _ASGI, "http_version": "1.1", "server": self.server, "client": self.client,
            "scheme": self.scheme or "http", "root_path": "", "state": self.app_state,
        }  # fmt: skip
        self._upgrading = False
        self._early = b""

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self.scope = self._scope | {"headers": self.headers, "extensions": {**self._extensions}}  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """As uvicorn's, but an upgrade is not refused: what follows it is kept for whoever takes the connection over."""
        if self._upgrading:
            self._early += data
            if len(self._early) > limits.UPGRADE_EARLY_BYTES:
                self.transport.pause_reading()
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("Invalid HTTP request received.")
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrading = True
            self._early = data[upgrade.args[0] :] if upgrade.args else b""

    def _should_upgrade(self) -> bool:
        return False

    def on_headers_complete(self) -> None:
        scope, parser, url = self.scope, self.parser, self.url
        version = scope["http_version"] = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        if not url.startswith(b"/"):
            parsed = httptools.parse_url(url)
            url = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
        raw, _, scope["query_string"] = url.partition(b"#")[0].partition(b"?")
        scope["raw_path"] = raw
        scope["path"] = unquote(raw.decode("ascii")) if b"%" in raw else raw.decode("ascii")
        before, upgrade = self.cycle, parser.should_upgrade()
        keep_alive = version != "1.0" and parser.should_keep_alive() and not upgrade
        cycle = self.cycle = Exchange(
            scope, self.transport, self.flow, self.logger, self.access_logger, False, [], asyncio.Event(),
            self.expect_100_continue, keep_alive, self.on_response_complete,
        )  # fmt: skip
        extensions: dict[str, Any] = scope["extensions"]
        extensions[ANSWER], extensions[PIECE] = cycle.answer, cycle.piece
        if upgrade:
            extensions[UPGRADE] = self.take_over
        if before is None or before.response_complete:
            self._begin(cycle)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def _begin(self, cycle: "Exchange") -> None:
        """Run the application; a request that is answered without waiting for anything needs no task."""
        if not self._immediate(cycle.scope):
            self._start_asgi_task(cycle, self.app)
            return
        running: Coroutine[Any, Any, None] = cycle.run_asgi(self.app)
        try:
            awaited = running.send(None)
        except StopIteration:
            return
        task = self.loop.create_task(_resumed(running, awaited))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _unset_keepalive_if_required(self) -> None:
        """The one timer of a connection stays; it looks when the last answer was."""

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection when nothing was asked for a while, else look again later."""
        self.timeout_keep_alive_task = None
        if self.transport.is_closing() or not self.cycle.response_complete:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timeout_keep_alive_task:
            self.timeout_keep_alive_task.cancel()
        super().connection_lost(exc)

    def take_over(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Give the connection away: from now on nobody here reads or writes it."""
        cycle = self.cycle
        cycle.response_started = cycle.response_complete = True
        if self.timeout_keep_alive_task:
            self.timeout_keep_alive_task.cancel()
        self.connections.discard(self)
        reader = asyncio.StreamReader(limit=limits.PEER_BUFFER_BYTES // 2, loop=self.loop)
        streams = asyncio.StreamReaderProtocol(reader, loop=self.loop)
        streams.connection_made(self.transport)
        if self._early:
            reader.feed_data(self._early)
        self.transport.set_protocol(streams)
        self.transport.resume_reading()
        return reader, asyncio.StreamWriter(self.transport, streams, reader, self.loop)


@types.coroutine
def _resumed(running: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    """The rest of a coroutine that was begun outside a task and now waits for `awaited`."""
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


class Exchange(RequestResponseCycle):
    """A request and its answer: uvicorn's, with the shorter ways that the scope's extensions offer."""

    async def run_asgi(self, app: Any) -> None:
        try:
            await super().run_asgi(app)
        finally:
            self.scope["extensions"].clear()  # they refer to this exchange: without them it needs no collector

    def answer(self, status: int, headers: list[tuple[bytes, bytes]], payload: bytes) -> None:
        """What `send` does for a response's two messages, in one write. Nothing on a connection that was handed over."""
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
        """What `send` does for a message of a chunked body that goes on, unless that would have to wait."""
        if self.flow.write_paused or self.disconnected or not self.chunked_encoding:
            return False
        self.transport.write(b"%x\r\n%s\r\n" % (len(payload), payload))
        return True


@dataclass(frozen=True)
class Listen:
    """Where to listen, and with which certificates."""

    host: str = "0.0.0.0"
    port: int = 6443
    certificate: Path | None = None
    key: Path | None = None
    client_ca: tuple[Path, ...] = ()
    """CA files whose client certificates are accepted (cluster CA, front-proxy CA)."""


def tls(listen: Listen) -> ssl.SSLContext:
    """A server context that takes client certificates of the given CAs and also callers without one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(str(listen.certificate), str(listen.key))
    for path in listen.client_ca:
        context.load_verify_locations(str(path))
    if listen.client_ca:
        context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


class Server:
    """Connections of one listening socket, each spoken to by a Protocol.

    Stands in for uvicorn.Server, whose main loop wakes ten times a second: an idle server should sleep.
    """

    def __init__(self, app: Any, listen: Listen, immediate: Callable[[Any], bool] = lambda scope: False) -> None:
        """`immediate` tells of a request's scope whether it is (nearly always) answered without waiting, and so begins without a task.

        Until it waits it may not use what belongs to a task, such as asyncio.timeout.
        """
        self._immediate = immediate
        self._config = uvicorn.Config(
            app, http=Protocol, ws="none", lifespan="off", log_config=None, server_header=False, date_header=False,
            proxy_headers=False,
            timeout_keep_alive=90,
        )  # fmt: skip
        self._config.load()
        self._tls = tls(listen) if listen.certificate else None
        self._state = ServerState()
        self._listening: asyncio.Server | None = None

    async def start(self, sock: socket.socket) -> None:
        """Accept connections from now on."""
        make = partial(Protocol, config=self._config, server_state=self._state, app_state={}, immediate=self._immediate)
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(make, sock=sock, ssl=self._tls, backlog=2048)

    async def stop(self, seconds: float = 2.0) -> None:
        """Stop accepting, let requests under way finish for `seconds`, then cut the rest (watches never finish)."""
        if self._listening:
            self._listening.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=seconds)
        for task in list(self._state.tasks):
            task.cancel()
        for connection in list(self._state.connections):
            connection.transport.abort()


def bound(listen: Listen) -> socket.socket:
    """The listening socket. Raises OSError when the port is taken."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((listen.host, listen.port))
        sock.listen(2048)
    except OSError:
        sock.close()
        raise
    sock.set_inheritable(False)
    return sock
