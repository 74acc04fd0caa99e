"""Calling a webhook: JSON posted over HTTPS, connections kept, failures in the words of Go's net/http.

What is posted and what the answer means is the caller's business, as is where a Service's endpoints are.
"""

import asyncio
import posixpath
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from kapi.http.client import Answer, HttpTransport

Locate = Callable[[], Awaitable[tuple[str, int]]]
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json, */*", "User-Agent": "kube-apiserver-admission"}
_MOST = 200
"""Targets whose connections are kept."""
_UNKNOWN_CA = "x509: certificate signed by unknown authority"
_CERTIFICATES = {
    10: "x509: certificate has expired or is not yet valid",
    18: _UNKNOWN_CA,
    19: _UNKNOWN_CA,
    20: _UNKNOWN_CA,
    21: _UNKNOWN_CA,
    62: "x509: certificate is not valid for any names, but wanted to match {host}",
    64: "x509: cannot validate certificate for {host} because it doesn't contain any IP SANs",
}
"""OpenSSL's verify code -> Go's words."""


class CallFailed(Exception):
    """There was no answer: 'Post "https://h/p?timeout=10s": dial tcp 10.0.0.1:443: connect: connection refused'."""


class Unreachable(Exception):
    """Raised by a `locate` that finds nowhere to connect to; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook is, and which CA (PEM) it is known by; without one the system's are asked."""

    url: str
    ca: str = ""

    @property
    def server(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def path(self, seconds: int) -> str:
        """The path as Go's client cleans it, with the seconds there are."""
        path = posixpath.normpath("/" + urlsplit(self.url).path.strip("/"))
        return f"{path}?timeout={seconds}s"


class _Dial:
    """Where the last connection went, for the words on why it failed."""

    def __init__(self, target: Target, locate: Locate | None) -> None:
        parts = urlsplit(target.url)
        self.host, self.port = parts.hostname or "", parts.port or 443
        self.find = locate
        self.address = ""

    async def locate(self) -> tuple[str, int]:
        if self.find is not None:
            host, port = await self.find()
        else:
            found = await asyncio.get_running_loop().getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            host, port = str(found[0][4][0]), self.port
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return host, port

    def words(self, why: BaseException) -> str:
        """Go's text for a failure below HTTP."""
        cause = why.__cause__
        if isinstance(cause, ssl.SSLCertVerificationError):
            known = _CERTIFICATES.get(cause.verify_code, f"x509: {cause.verify_message}")
            return "tls: failed to verify certificate: " + known.format(host=self.host)
        if isinstance(cause, ssl.SSLError):
            plain = "WRONG_VERSION_NUMBER" in str(cause) or "RECORD_LAYER_FAILURE" in str(cause)
            return "http: server gave HTTP response to HTTPS client" if plain else f"remote error: tls: {cause.reason or cause}"
        if isinstance(why, socket.gaierror):
            return f"dial tcp: lookup {self.host}: no such host"
        if isinstance(why, ConnectionRefusedError):
            return f"dial tcp {self.address}: connect: connection refused"
        if isinstance(why, ConnectionError):
            return "EOF" if not why.errno else f"read tcp {self.address}: read: {why.strerror}".lower()
        return f"dial tcp {self.address}: connect: {getattr(why, 'strerror', None) or why}".lower()


class Caller:
    """Posts to webhooks; `close` ends the connections kept."""

    def __init__(self) -> None:
        self._known: dict[Target, tuple[HttpTransport, _Dial]] = {}

    async def post(self, target: Target, body: bytes, seconds: int, locate: Locate | None = None) -> Answer:
        """(status, headers, body) within so many seconds. Raises CallFailed."""
        transport, dial = await self._transport(target, locate)
        try:
            async with asyncio.timeout(seconds):
                return await transport.request("POST", target.path(seconds), _HEADERS, body, seconds)
        except TimeoutError:
            why = "context deadline exceeded"
        except Unreachable as nowhere:
            why = str(nowhere)
        except OSError as error:
            why = dial.words(error)
        raise CallFailed(f'Post "{target.server}{target.path(seconds)}": {why}')

    async def _transport(self, target: Target, locate: Locate | None) -> tuple[HttpTransport, _Dial]:
        known = self._known.get(target)
        if known is None:
            if len(self._known) >= _MOST:
                await self._known.pop(next(iter(self._known)))[0].close()
            dial = _Dial(target, locate)
            context = ssl.create_default_context(cadata=target.ca or None)
            known = self._known[target] = (HttpTransport(target.server, context, locate=dial.locate, repeats=True), dial)
        known[1].find = locate
        return known

    async def close(self) -> None:
        for transport, _ in self._known.values():
            await transport.close()
        self._known.clear()
