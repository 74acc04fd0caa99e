"""The health port of a component: /healthz, /livez and /readyz without authentication, /metrics for authorized users.

Users are authenticated by a client certificate of the cluster's CA or a token. Responses of the API server are not cached.
"""

import contextlib
import functools
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import orjson

from kapi import logs
from kapi.client import delegated_auth
from kapi.client.client import Client
from kapi.http import simple_server
from kapi.http.simple_server import Request
from kapi.objects import errors, metrics
from kapi.objects.user import User

log = logging.getLogger(__name__)
Figures = list[Callable[[], Iterable[str]]]
"""Metric sources of a component: functions that return lines in Prometheus' text format."""
CHECKS = ("/healthz", "/livez", "/readyz")
_ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


class Health:
    """The handler of the port."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.figures: Figures = [metrics.process]

    async def reply(self, request: Request) -> bytes:
        path = request.path.partition("?")[0]
        if path in CHECKS or path.startswith(tuple(f"{check}/" for check in CHECKS)):
            return simple_server.response(200, b"ok")
        try:
            await self._authorize(request, path)
        except (errors.Unauthorized, errors.Forbidden) as no:
            return simple_server.response(no.code, orjson.dumps(no.status()), "application/json")
        except (errors.StatusError, OSError) as why:
            return simple_server.response(500, str(why).encode())
        if path != "/metrics":
            return simple_server.response(404, b"404 page not found\n")
        text = "\n".join(line for lines in self.figures for line in lines()) + "\n"
        return simple_server.response(200, text.encode(), "text/plain; version=0.0.4; charset=utf-8")

    async def _authorize(self, request: Request, path: str) -> None:
        """Return if the caller may get the path. Raises Unauthorized, Forbidden."""
        user = await delegated_auth.authenticate(self._client, request.certificate, request.headers.get("authorization", "")) or _ANONYMOUS
        if not await delegated_auth.authorize(self._client, user, {"nonResourceAttributes": {"verb": "get", "path": path}}):
            raise errors.Forbidden(f'forbidden: User "{user.name}" cannot get path "{path}"', {})


def _tls(directory: Path) -> ssl.SSLContext:
    """The server uses the API server's certificate, whose names cover this machine, and verifies client certificates of the cluster's
    CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "apiserver.crt", directory / "apiserver.key")
    context.load_verify_locations(directory / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


@contextlib.asynccontextmanager
async def serving(client: Client, address: str, port: int, directory: Path | None) -> AsyncIterator[Figures]:
    """Serve at the address, with the certificate in `directory`. Without a certificate, or if the port is taken, nothing is served."""
    health, server = Health(client), None
    if port and directory is not None and (directory / "apiserver.key").exists():
        try:
            server = simple_server.listen(address, port, health.reply, functools.partial(_tls, directory))
            log.info("Serving health", extra=logs.fields(address=f"{address}:{port}"))
        except OSError as why:
            log.warning("Health is not served", extra=logs.fields(port=port, error=why.strerror or why))
    try:
        yield health.figures
    finally:
        if server is not None:
            server.close()
