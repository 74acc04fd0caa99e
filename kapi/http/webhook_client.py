"""Client of webhooks: POSTs JSON over HTTPS on keep-alive connections; failures have the messages of Go's net/http.

The caller encodes requests, decodes responses, and looks up the endpoints of Services.
"""

import asyncio
import base64
import posixpath
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from kapi import limits
from kapi.http import failures
from kapi.http.client import HttpTransport, Response, ResponseBudget
from kapi.objects import urls
from kapi.objects.meta import Object

Locate = Callable[[], Awaitable[tuple[str, int]]]
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json, */*", "User-Agent": "kube-apiserver-admission"}
_MAX_TARGETS = 200
"""The most targets whose connections are kept open."""


class CallFailed(Exception):
    """There was no response: 'Post "https://h/p?timeout=10s": dial tcp 10.0.0.1:443: connect: connection refused'."""


class NoClient(Exception):
    """No request can be sent to the target, e.g. because its CA is not a certificate."""


class Unreachable(Exception):
    """Raised by a `locate` that finds no address to connect to; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Target:
    """The URL of a webhook, and the CA (PEM) that signed its certificate; "" means the CAs of the system."""

    url: str
    ca: str = ""

    @classmethod
    def of(cls, config: Object) -> "Target":
        """The target of a clientConfig: its URL, or its Service as https://NAME.NAMESPACE.svc:PORT/PATH."""
        ca = base64.b64decode(config.get("caBundle") or "").decode(errors="replace")
        service = config.get("service")
        if service is None:
            return cls(config.get("url") or "", ca)
        host = f"{service['name']}.{service['namespace']}.svc:{service.get('port') or 443}"
        return cls(f"https://{host}/{(service.get('path') or '').lstrip('/')}", ca)

    @property
    def server(self) -> str:
        """Raises NoClient."""
        parts = urlsplit(self.url)
        host, colon, port = parts.netloc.partition(":")
        try:
            return f"{parts.scheme}://{host if host.isascii() else host.encode('idna').decode()}{colon}{port}"
        except UnicodeError:
            raise NoClient(f"lookup {host}: no such host") from None

    @property
    def address(self) -> tuple[str, int]:
        """(host, port). Raises NoClient."""
        parts = urlsplit(self.url)
        try:
            return parts.hostname or "", parts.port or 443
        except ValueError:
            raise NoClient(f"dial tcp: address {parts.netloc.rpartition(':')[2]}: invalid port") from None

    @property
    def context(self) -> ssl.SSLContext:
        """A TLS context that trusts the CA. Raises NoClient."""
        try:
            if self.ca.isascii():
                return ssl.create_default_context(cadata=self.ca or None)
        except ssl.SSLError:
            pass
        raise NoClient("unable to load root certificates: unable to parse bytes as PEM block")

    @property
    def ca_fault(self) -> str:
        """Why the CA is none, '' when it is one."""
        try:
            _ = self.context
        except NoClient as why:
            return str(why)
        return ""

    def path(self, seconds: int) -> str:
        """The path as Go's client cleans it, with the timeout as its query."""
        path = posixpath.normpath("/" + unquote(urlsplit(self.url).path).strip("/"))
        return f"{urls.escaped(path)}?timeout={seconds}s"


class _Dial:
    """Resolves a target, and remembers the address of the last connection for error messages."""

    def __init__(self, target: Target, locate: Locate | None) -> None:
        self.host, self.port = target.address
        self.find = locate
        self.address = ""

    async def locate(self) -> tuple[str, int]:
        if self.find is not None:
            host, port = await self.find()
        else:
            try:
                addresses = await asyncio.get_running_loop().getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            except UnicodeError:
                raise socket.gaierror("a host name that is none") from None
            host, port = str(addresses[0][4][0]), self.port
        self.address = failures.address(host, port)
        return host, port


class WebhookClient:
    """POSTs to webhooks; `close` closes the connections."""

    def __init__(self) -> None:
        self._transports: dict[Target, tuple[HttpTransport, _Dial]] = {}
        self._budget = ResponseBudget(limits.WEBHOOK_ANSWER_BYTES, limits.WEBHOOK_ANSWERS_BYTES)

    async def post(self, target: Target, body: bytes, seconds: int, locate: Locate | None = None) -> Response:
        """(status, headers, body) of one POST, within `seconds`. Raises CallFailed, NoClient."""
        transport, dial = await self._transport(target, locate)
        try:
            async with asyncio.timeout(seconds):
                return await transport.request("POST", target.path(seconds), _HEADERS, body, seconds)
        except TimeoutError:
            why = "context deadline exceeded"
        except Unreachable as nowhere:
            why = str(nowhere)
        except OSError as error:
            why = failures.message(error, dial.host, dial.address)
        raise CallFailed(f'Post "{target.server}{target.path(seconds)}": {why}')

    async def _transport(self, target: Target, locate: Locate | None) -> tuple[HttpTransport, _Dial]:
        known = self._transports.get(target)
        if known is None:
            if len(self._transports) >= _MAX_TARGETS:
                await self._transports.pop(next(iter(self._transports)))[0].close()
            dial = _Dial(target, locate)
            transport = HttpTransport(target.server, target.context, locate=dial.locate, retry_posts=True, budget=self._budget)
            known = self._transports[target] = transport, dial
        known[1].find = locate
        return known

    async def close(self) -> None:
        for transport, _ in self._transports.values():
            await transport.close()
        self._transports.clear()
