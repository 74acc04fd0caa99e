"""A listening server: sockets, TLS, and a `protocol` for each connection that is accepted (`connections`)."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from kapi.http import connections
from kapi.http.connections import Connection, Connections
from kapi.http.exchange import ANSWER, CERTIFICATE, CONNECTION, PIECE, SUBJECT, UPGRADE
from kapi.http.protocol import Protocol

__all__ = ["ANSWER", "CERTIFICATE", "CONNECTION", "PIECE", "SUBJECT", "UPGRADE", "Listen", "Server", "bound", "tls"]
_RECORD = 16 * 1024
"""The most bytes in a record of TLS."""
_PORT_ATTEMPTS = 16
"""How many random ports are tried until one is free at every address."""


@dataclass(frozen=True)
class Listen:
    """Where to listen, and with which certificates."""

    hosts: tuple[str, ...] = ("127.0.0.1",)
    """Addresses, each with a socket of its own; on one port."""
    port: int = 6443
    """0: any that is free."""
    certificate: Path | None = None
    key: Path | None = None
    client_ca: tuple[Path, ...] = ()
    """CA files whose client certificates are accepted (cluster CA, front-proxy CA)."""


def tls(listen: Listen) -> ssl.SSLContext:
    """A server context that verifies client certificates by the CAs of `listen`, and accepts clients without one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(str(listen.certificate), str(listen.key))
    for path in listen.client_ca:
        context.load_verify_locations(str(path))
    if listen.client_ca:
        context.verify_mode = ssl.CERT_OPTIONAL
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    context.sslobject_class = _Records
    return context


class _Records(ssl.SSLObject):
    """TLS whose reads ask for one record: uvloop asks for 256 KiB, memory that the allocator maps and unmaps for each request."""

    def read(self, len: int = _RECORD, buffer: Any = None) -> Any:
        return super().read(min(len, _RECORD), buffer)


class Server:
    """Serves the connections of listening sockets, each by a Protocol.

    Stands in for uvicorn.Server, whose main loop wakes ten times a second: an idle server should sleep.
    """

    def __init__(self, app: Any, listen: Listen, immediate: Callable[[Any], bool] = lambda scope: False) -> None:
        """`immediate` returns for a request's scope whether it is (nearly always) answered without waiting, and so starts without a task.

        Until such a request waits it must not use what needs a task, such as asyncio.timeout.
        """
        self._immediate = immediate
        self._config = uvicorn.Config(
            app, http=Protocol, ws="none", lifespan="off", log_config=None, server_header=False, date_header=False, proxy_headers=False,
        )  # fmt: skip
        self._config.load()
        self._tls = tls(listen) if listen.certificate else None
        self._state = ServerState()
        self._accepting: list[asyncio.Task[None]] = []
        self._sockets: Sequence[socket.socket] = ()

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Accept connections from now on."""
        self._connections = Connections()
        self._sockets = sockets
        self._accepting = [asyncio.create_task(connections.accept(sock, self._connections, self._protocol, self._tls)) for sock in sockets]

    def _protocol(self, connection: Connection) -> Protocol:
        return Protocol(config=self._config, server_state=self._state, app_state={}, immediate=self._immediate, connection=connection)

    async def stop(self, seconds: float = 2.0) -> None:
        """Stop accepting, wait `seconds` for requests in progress, then abort the rest (watches never finish)."""
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for sock in self._sockets:
            sock.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=seconds)
        for task in list(self._state.tasks):
            task.cancel()
        self._connections.abort_all()


def bound(listen: Listen) -> list[socket.socket]:
    """The listening sockets, all on one port. Raises OSError when the port is in use at one of the addresses."""
    for _ in range(_PORT_ATTEMPTS):
        try:
            return _bound(listen.hosts, listen.port)
        except OSError as why:
            if listen.port or len(listen.hosts) == 1 or why.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, "no port is free at every address")


def _bound(hosts: Sequence[str], port: int) -> list[socket.socket]:
    out: list[socket.socket] = []
    try:
        for host in hosts:
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
            out.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port or out[0].getsockname()[1]))
            sock.listen(2048)
            sock.setblocking(False)
    except OSError:
        for sock in out:
            sock.close()
        raise
    return out
