"""Handlers of probes and lifecycle hooks: exec, httpGet, tcpSocket, grpc, sleep.

Messages are those of stock's probers, as events show them. Two implementations of Handlers: RealHandlers here and SimulatedHandlers.
"""

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from urllib.parse import SplitResult, quote, urlsplit

from kapi import limits
from kapi.http import failures, streams
from kapi.objects import urls
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kubelet.runtime import Runtime, RuntimeFailure

_SERVING = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
_UNQUOTED = "%/:=&~+!$,;'@()*[]"
"""Characters of a path or query that are sent unquoted."""
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_AGENT = "kube-probe/1.36"


class ProbeResult(NamedTuple):
    """`success` is None if the handler itself failed, which is neither success nor failure of the probe."""

    success: bool | None
    message: str = ""
    got_response: bool = False
    """httpGet: whether any response was received; that is all a lifecycle hook requires."""


@dataclass(frozen=True)
class Target:
    """The container a handler runs against."""

    container: str
    """The container's id."""
    address: str
    """The pod's address."""
    ports: Mapping[str, int]
    """The container's named ports."""


class Handlers(Protocol):
    async def run(self, handler: Object, target: Target, seconds: float) -> ProbeResult:
        """Run `handler` ({"exec": …}, {"httpGet": …}, …) for at most `seconds`."""


class RealHandlers:
    """Handlers against real containers."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._tls: ssl.SSLContext | None = None

    async def run(self, handler: Object, target: Target, seconds: float) -> ProbeResult:
        ways = {"exec": self._exec, "httpGet": self._http, "tcpSocket": self._tcp, "grpc": self._grpc, "sleep": self._sleep}
        for kind, way in ways.items():
            if kind in handler:
                return await way(handler[kind], target, seconds)
        return ProbeResult(None, "missing probe handler")

    async def _sleep(self, handler: Object, target: Target, seconds: float) -> ProbeResult:
        await asyncio.sleep(min(handler["seconds"], seconds))
        return ProbeResult(True)

    async def _exec(self, handler: Object, target: Target, seconds: float) -> ProbeResult:
        command = handler.get("command") or []
        try:
            done = await self._runtime.exec(target.container, command, seconds)
        except RuntimeFailure as error:
            if error.code == "DeadlineExceeded":
                return ProbeResult(False, f'command timed out: "{" ".join(command)}" timed out after {seconds:.0f}s')
            return ProbeResult(None, str(error))
        output = (done.stdout + done.stderr)[:limits.PROBE_OUTPUT_BYTES].decode("utf-8", "replace")
        return ProbeResult(done.exit_code == 0, output)

    async def _tcp(self, handler: Object, target: Target, seconds: float) -> ProbeResult:
        host, port = handler.get("host") or target.address, _port(handler["port"], target)
        try:
            async with asyncio.timeout(seconds):
                _, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError) as error:
            return ProbeResult(False, failures.message(error, host, failures.address(host, port)))
        writer.close()
        return ProbeResult(True)

    async def _http(self, handler: Object, target: Target, seconds: float) -> ProbeResult:
        scheme = (handler.get("scheme") or "HTTP").lower()
        host, port = handler.get("host") or target.address, _port(handler["port"], target)
        path = _path(handler.get("path") or "/")
        address = failures.address(host, port)
        url = f"{scheme}://{address}{path}"
        headers = {"Host": address, "User-Agent": _AGENT, "Accept": "*/*", "Connection": "close"}
        headers |= {h["name"]: h["value"] for h in handler.get("httpHeaders") or ()}
        try:
            async with asyncio.timeout(seconds):
                return await self._get(scheme, host, port, path, headers)
        except TimeoutError:
            return ProbeResult(False, f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)')
        except OSError as error:
            return ProbeResult(False, f'Get "{url}": {failures.message(error, host, address)}')
        except ValueError as error:
            return ProbeResult(False, f'Get "{url}": {error}')

    async def _get(self, scheme: str, host: str, port: int, path: str, headers: Mapping[str, str], hops: int = 10) -> ProbeResult:
        """The result of a GET, following up to `hops` redirects on the same host. Raises OSError; ValueError for a request that cannot be
        sent or a malformed response."""
        for name, value in headers.items():
            if _CONTROL.search(value):
                raise ValueError(f"net/http: invalid header field value for {go_quote(name)}")
        reader, writer = await streams.connect(host, port, self._context() if scheme == "https" else None)
        try:
            lines = [f"GET {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            code, location = await _read_head(reader)
            body = (await reader.read(limits.PROBE_OUTPUT_BYTES)).decode("utf-8", "replace") if 300 <= code < 400 else ""
        finally:
            writer.close()
        if 300 <= code < 400 and location:
            there = urlsplit(location)
            if there.hostname and there.hostname != host:
                return ProbeResult(True, f"Probe terminated redirects, Response body: {body}", True)
            if hops:
                return await self._get(there.scheme or scheme, host, there.port or port, _path(_path_and_query(there)), headers, hops - 1)
        return ProbeResult(200 <= code < 400, "" if 200 <= code < 400 else f"HTTP probe failed with statuscode: {code}", True)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._tls.check_hostname = False
            self._tls.verify_mode = ssl.CERT_NONE
        return self._tls

    async def _grpc(self, handler: Object, target: Target, seconds: float) -> ProbeResult:
        from kubelet.cri.channel import Channel  # loads gRPC: only where there are containers

        address = f"{target.address}:{handler['port']}"
        channel, names = Channel(address), ("HealthCheckRequest", "HealthCheckResponse")
        try:
            response = await channel.call("/grpc.health.v1.Health/Check", *names, seconds, service=handler.get("service"))
        except RuntimeFailure as error:
            return ProbeResult(False, _grpc_failure(error, address, seconds))
        finally:
            await channel.close()
        healthy = response.status == 1
        return ProbeResult(healthy, "" if healthy else f'service unhealthy (responded with "{_SERVING[min(response.status, 3)]}")')


def _grpc_failure(error: RuntimeFailure, address: str, seconds: float) -> str:
    """The message of a failed health call, in stock's words."""
    match error.code:
        case "Unavailable":
            return f'timeout: failed to connect service "{address}" within {seconds:.0f}s: context deadline exceeded'
        case "DeadlineExceeded":
            return f"timeout: health rpc did not complete within {seconds:.0f}s"
        case "Unimplemented":
            return f"error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {error.description}"
    return f"error: health rpc probe failed: {error}"


def _path(text: str) -> str:
    """A path with its query, quoted for a request line, so that a pod's spec cannot inject header lines."""
    try:
        parts = urls.parse(text)
        path, query = quote(parts.path, safe=_UNQUOTED), quote(parts.query, safe=_UNQUOTED + "?")
    except ValueError:
        path, query = urls.escaped(text), ""
    return (path if path.startswith("/") else "/" + path) + (f"?{query}" if query else "")


def _path_and_query(url: SplitResult) -> str:
    """The path and query of a URL."""
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, str]:
    """(status code, Location header) of a response. Raises ValueError."""
    first = await _read_line(reader)
    words = first.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise ValueError("EOF" if not first else f'malformed HTTP response "{first.decode("latin-1").strip()}"')
    location, size = "", 0
    while (line := await _read_line(reader)) not in (b"\r\n", b"\n", b""):
        size += len(line)
        if size > limits.PEER_HEAD_BYTES:
            raise ValueError(str(failures.head_too_large()))
        name, _, value = line.partition(b":")
        if name.lower() == b"location":
            location = value.strip().decode("latin-1")
    return int(words[1]), location


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    """One line of a response head. Raises ValueError."""
    try:
        return await reader.readline()
    except ValueError:  # longer than the reader keeps
        raise ValueError(str(failures.head_too_large())) from None


def _port(port: int | str, target: Target) -> int:
    """The port number of a port given by number or name; 0: unknown name."""
    if isinstance(port, int):
        return port
    return target.ports.get(port) or (int(port) if port.isdigit() else 0)
