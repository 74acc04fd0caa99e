"""The socket: uvicorn with TLS, client certificates made known to the application, and connections handed over for upgrades.

uvicorn speaks HTTP and nothing else here. A request that asks to upgrade (exec, attach, port-forward, watch over WebSocket; SPDY or
WebSocket) reaches the application as an ordinary request whose scope offers `kapi.upgrade`: called, it gives the raw connection.
"""

import asyncio
import socket
import ssl
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

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


class _Taken(asyncio.Protocol):
    """What stands on the transport after the hand-over: bytes into a StreamReader, flow control for its writer."""

    def __init__(self, transport: asyncio.Transport, early: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.reader = asyncio.StreamReader(limit=1 << 20, loop=loop)
        self._inner = asyncio.StreamReaderProtocol(self.reader, loop=loop)
        self._inner.connection_made(transport)
        self.writer = asyncio.StreamWriter(transport, self._inner, self.reader, loop)
        if early:
            self.reader.feed_data(early)
        transport.set_protocol(self._inner)


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with the extensions above."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self._certificate: bytes | None = tls.getpeercert(binary_form=True) if tls else None
        self._subject = tls.getpeercert if tls else None
        self._upgrading: bytes | None = None
        self._early = b""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, Any] = {}
        if self._certificate:
            extensions[CERTIFICATE] = self._certificate
            extensions[SUBJECT] = self._subject
        self.scope["extensions"] = extensions

    def data_received(self, data: bytes) -> None:
        """As uvicorn's, but an upgrade is not refused: what follows it is kept for whoever takes the connection over."""
        if self._upgrading is not None:
            self._early += data
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("Invalid HTTP request received.")
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrading = b""
            self._early = data[upgrade.args[0] :] if upgrade.args else b""

    def _should_upgrade(self) -> bool:
        return False

    def on_headers_complete(self) -> None:
        upgrade = self.parser.should_upgrade()
        extensions: dict[str, Any] = self.scope["extensions"]
        if upgrade:
            extensions[UPGRADE] = self.take_over
        super().on_headers_complete()
        extensions[ANSWER] = partial(_answer, self.cycle)
        extensions[PIECE] = partial(_piece, self.cycle)
        if upgrade:
            self.cycle.keep_alive = False

    def take_over(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Give the connection away: from now on nobody here reads or writes it."""
        cycle: RequestResponseCycle = self.cycle
        cycle.response_started = cycle.response_complete = True
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        taken = _Taken(self.transport, self._early)
        return taken.reader, taken.writer


def _answer(cycle: RequestResponseCycle, status: int, headers: list[tuple[bytes, bytes]], payload: bytes) -> None:
    """What uvicorn's cycle does for a response's two messages, in one write."""
    lines = [STATUS_LINE[status]]
    for name, value in headers:
        lines += (name, b": ", value, b"\r\n")
    if not cycle.keep_alive:
        lines.append(b"connection: close\r\n")
    lines += (b"\r\n", payload)
    cycle.response_started = cycle.response_complete = True
    if not cycle.disconnected:
        cycle.transport.write(b"".join(lines))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()


def _piece(cycle: RequestResponseCycle, payload: bytes) -> bool:
    """What uvicorn's cycle does for a message of a chunked body that goes on, unless that would have to wait."""
    if cycle.flow.write_paused or cycle.disconnected or not cycle.chunked_encoding:
        return False
    cycle.transport.write(b"%x\r\n%s\r\n" % (len(payload), payload))
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

    def __init__(self, app: Any, listen: Listen) -> None:
        self._config = uvicorn.Config(
            app, http=Protocol, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
            date_header=False, proxy_headers=False,
            timeout_keep_alive=90,
        )  # fmt: skip
        self._config.load()
        self._tls = tls(listen) if listen.certificate else None
        self._state = ServerState()
        self._listening: asyncio.Server | None = None

    async def start(self, sock: socket.socket) -> None:
        """Accept connections from now on."""
        make = lambda: Protocol(config=self._config, server_state=self._state, app_state={})  # noqa: E731
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
