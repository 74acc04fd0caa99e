"""Probes' questions over real sockets on loopback."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import grpc.aio
import pytest

from kapi import limits
from kubelet.handlers import ProbeResult, RealHandlers, Target
from kubelet.runtime import ExecResult
from kubelet.simulated import SimulatedRuntime


class Commands(SimulatedRuntime):
    async def exec(self, id: str, command: Sequence[str], seconds: float) -> ExecResult:
        return ExecResult(int(command[0]), b"out ", b"err")


LONG = {
    b"/status": b"HTTP/1.1 200 " + b"x" * (1 << 20),
    b"/header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20),
    b"/headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (1 << 18),
}
"""Heads that are longer than anybody reads."""


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    asked = (await reader.read(4096)).split()
    path = asked[1] if asked else b""
    if path == b"/there":
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /ok\r\n\r\n")
    elif path == b"/elsewhere":
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\n\r\nmoved")
    elif path in LONG:
        writer.write(LONG[path])
    elif path == b"/silent":
        await reader.read()
    else:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" if path == b"/ok" else b"HTTP/1.1 503 Busy\r\n\r\n")
    writer.close()


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """A server's port; at the end every conversation is over."""
    talks: set[asyncio.Task[None]] = set()
    begun = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer(reader, writer)
        await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.ensure_future(talk(reader, writer)))
        begun.set()

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await begun.wait()
        await asyncio.gather(*talks, return_exceptions=True)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/ok", ProbeResult(True, got_response=True)), ("ok", ProbeResult(True, got_response=True)),
        ("/there", ProbeResult(True, got_response=True)),
        ("/bad", ProbeResult(False, "HTTP probe failed with statuscode: 503", True)),
        ("/elsewhere", ProbeResult(True, "Probe terminated redirects, Response body: moved", True)),
    ],
)
async def test_http(path: str, wanted: ProbeResult) -> None:
    async with serving() as port:
        target = Target("c", "127.0.0.1", {"http": port})
        assert await RealHandlers(Commands()).run({"httpGet": {"port": "http", "path": path}}, target, 1) == wanted


async def test_http_without_an_answer() -> None:
    async with serving() as port:
        result = await RealHandlers(Commands()).run({"httpGet": {"port": port, "path": "/silent"}}, Target("c", "127.0.0.1", {}), 0.05)
    url = f"http://127.0.0.1:{port}/silent"
    assert result == ProbeResult(False, f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)')


async def test_tcp() -> None:
    target = Target("c", "127.0.0.1", {})
    async with serving() as port:
        assert await RealHandlers(Commands()).run({"tcpSocket": {"port": port}}, target, 1) == ProbeResult(True)
    refused = await RealHandlers(Commands()).run({"tcpSocket": {"port": port}}, target, 1)
    assert refused == ProbeResult(False, f"dial tcp 127.0.0.1:{port}: connect: connection refused")
    http = await RealHandlers(Commands()).run({"httpGet": {"port": port}}, target, 1)
    assert http == ProbeResult(False, f'Get "http://127.0.0.1:{port}/": dial tcp 127.0.0.1:{port}: connect: connection refused')


async def test_a_connection_that_breaks() -> None:
    """Errors have the messages of Go's net/http, wherever on the way they happen."""

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async with await asyncio.start_server(reset, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        plain, tls = [
            await RealHandlers(Commands()).run({"httpGet": {"port": port, "scheme": scheme}}, Target("c", "127.0.0.1", {}), 5)
            for scheme in ("HTTP", "HTTPS")
        ]
    read = f"read tcp 127.0.0.1:{port}: read: connection reset by peer"
    assert plain == ProbeResult(False, f'Get "http://127.0.0.1:{port}/": {read}')
    assert tls == ProbeResult(False, f'Get "https://127.0.0.1:{port}/": {read}')
    async with serving() as port:
        result = await RealHandlers(Commands()).run({"httpGet": {"port": port, "scheme": "HTTPS"}}, Target("c", "127.0.0.1", {}), 5)
    assert result == ProbeResult(False, f'Get "https://127.0.0.1:{port}/": http: server gave HTTP response to HTTPS client')


@pytest.mark.parametrize(("code", "well"), [("0", True), ("1", False)])
async def test_exec(code: str, well: bool) -> None:
    result = await RealHandlers(Commands()).run({"exec": {"command": [code]}}, Target("c", "", {}), 1)
    assert result == ProbeResult(well, "out err")


async def health(request: bytes, context: Any) -> bytes:
    """grpc.health.v1.Health/Check on the wire: service in field 1, status in field 1."""
    service = request[2:].decode()
    if service == "slow":
        await asyncio.Event().wait()
    if service == "unknown":
        await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    if service == "other":
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown method")
    return b"\x08\x02" if service == "busy" else b"\x08\x01"


@pytest.fixture
async def grpc_port() -> AsyncIterator[int]:
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(health)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(None)


NO_HEALTH = "this server does not implement the grpc health protocol"


@pytest.mark.parametrize(
    ("service", "wanted"),
    [
        ("", ProbeResult(True)),
        ("busy", ProbeResult(False, 'service unhealthy (responded with "NOT_SERVING")')),
        ("unknown", ProbeResult(False, "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service")),
        ("other", ProbeResult(False, f"error: {NO_HEALTH} (grpc.health.v1.Health): unknown method")),
        ("slow", ProbeResult(False, "timeout: health rpc did not complete within 0s")),
    ],
)
async def test_grpc(grpc_port: int, service: str, wanted: ProbeResult) -> None:
    target = Target("c", "127.0.0.1", {})
    result = await RealHandlers(Commands()).run({"grpc": {"port": grpc_port, "service": service}}, target, 0.2)
    assert result == wanted


async def test_grpc_without_a_server() -> None:
    result = await RealHandlers(Commands()).run({"grpc": {"port": 1}}, Target("c", "127.0.0.1", {}), 1)
    assert result == ProbeResult(False, 'timeout: failed to connect service "127.0.0.1:1" within 1s: context deadline exceeded')


@pytest.mark.parametrize("path", sorted(LONG))
async def test_a_long_head_is_no_answer(path: bytes) -> None:
    async with serving() as port:
        get = {"port": port, "path": path.decode()}
        result = await RealHandlers(SimulatedRuntime()).run({"httpGet": get}, Target("c", "127.0.0.1", {}), 10)
    assert (result.success, result.got_response) == (False, False)
    assert result.message.endswith(f"server response headers exceeded {limits.PEER_HEAD_BYTES} bytes; aborted")


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/x HTTP/1.1\r\nHost: evil\r\n\r\nPOST /y", "/x%20HTTP/1.1%0D%0AHost:%20evil%0D%0A%0D%0APOST%20/y"),
        ("/a?b=c d&e=%2F", "/a?b=c%20d&e=%2F"), ("a b", "/a%20b"), ("/%zz", "/%25zz"), ("/%41?", "/%41"), ("/ü", "/%C3%BC"),
    ],
)  # fmt: skip
async def test_a_path_is_one(path: str, sent: str) -> None:
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        get = {"port": server.sockets[0].getsockname()[1], "path": path}
        assert (await RealHandlers(SimulatedRuntime()).run({"httpGet": get}, Target("c", "127.0.0.1", {}), 5)).success
    assert asked[0].startswith(f"GET {sent} HTTP/1.1\r\nHost: 127.0.0.1:".encode())


async def test_a_header_is_one(unused_tcp_port: int) -> None:
    get = {"port": unused_tcp_port, "httpHeaders": [{"name": "X-Y", "value": "a\r\nHost: evil"}]}
    result = await RealHandlers(SimulatedRuntime()).run({"httpGet": get}, Target("c", "127.0.0.1", {}), 5)
    assert result == ProbeResult(False, f'Get "http://127.0.0.1:{unused_tcp_port}/": net/http: invalid header field value for "X-Y"')
