"""Calling a webhook: JSON posted over HTTPS, connections kept, failures in the words of Go's net/http.

What is posted and what the answer means is the caller's business, as is where a Service's endpoints are.
"""

import asyncio
import posixpath
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from kapi import limits
from kapi.http import failures
from kapi.http.client import Allowance, Answer, HttpTransport
from kapi.objects import urls

Locate = Callable[[], Awaitable[tuple[str, int]]]
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json, */*", "User-Agent": "kube-apiserver-admission"}
_MOST = 200
"""Targets whose connections are kept."""


class CallFailed(Exception):
    """There was no answer: 'Post "https://h/p?timeout=10s": dial tcp 10.0.0.1:443: connect: connection refused'."""


class NoClient(Exception):
    """Nothing can be asked there at all, e.g. because the CA is none."""


class Unreachable(Exception):
    """Raised by a `locate` that finds nowhere to connect to; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook is, and which CA (PEM) it is known by; without one the system's are asked."""

    url: str
    ca: str = ""

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
        """What trusts the CA. Raises NoClient."""
        try:
            if self.ca.isascii():
                return ssl.create_default_context(cadata=self.ca or None)
        except ssl.SSLError:
            pass
        raise NoClient("unable to load root certificates: unable to parse bytes as PEM block")

    def path(self, seconds: int) -> str:
        """The path as Go's client cleans it, with the seconds there are."""
        path = posixpath.normpath("/" + unquote(urlsplit(self.url).path).strip("/"))
        return f"{urls.escaped(path)}?timeout={seconds}s"


class _Dial:
    """Where the last connection went, for the words on why it failed."""

    def __init__(self, target: Target, locate: Locate | None) -> None:
        self.host, self.port = target.address
        self.find = locate
        self.address = ""

    async def locate(self) -> tuple[str, int]:
        if self.find is not None:
            host, port = await self.find()
        else:
            try:
                found = await asyncio.get_running_loop().getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            except UnicodeError:
                raise socket.gaierror("a host name that is none") from None
            host, port = str(found[0][4][0]), self.port
        self.address = failures.address(host, port)
        return host, port


class Caller:
    """Posts to webhooks; `close` ends the connections kept."""

    def __init__(self) -> None:
        self._known: dict[Target, tuple[HttpTransport, _Dial]] = {}
        self._allowance = Allowance(limits.WEBHOOK_ANSWER_BYTES, limits.WEBHOOK_ANSWERS_BYTES)

    async def post(self, target: Target, body: bytes, seconds: int, locate: Locate | None = None) -> Answer:
        """(status, headers, body) within so many seconds. Raises CallFailed, NoClient."""
        transport, dial = await self._transport(target, locate)
        try:
            async with asyncio.timeout(seconds):
                return await transport.request("POST", target.path(seconds), _HEADERS, body, seconds)
        except TimeoutError:
            why = "context deadline exceeded"
        except Unreachable as nowhere:
            why = str(nowhere)
        except OSError as error:
            why = failures.words(error, dial.host, dial.address)
        raise CallFailed(f'Post "{target.server}{target.path(seconds)}": {why}')

    async def _transport(self, target: Target, locate: Locate | None) -> tuple[HttpTransport, _Dial]:
        known = self._known.get(target)
        if known is None:
            if len(self._known) >= _MOST:
                await self._known.pop(next(iter(self._known)))[0].close()
            dial = _Dial(target, locate)
            transport = HttpTransport(target.server, target.context, locate=dial.locate, repeats=True, allowance=self._allowance)
            known = self._known[target] = transport, dial
        known[1].find = locate
        return known

    async def close(self) -> None:
        for transport, _ in self._known.values():
            await transport.close()
        self._known.clear()
