"""exec and port-forward for WebSocket clients of every subprotocol, in front of a runtime that speaks SPDY."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from kapi.http import server
from kapi.objects import errors
from kubelet.server import streaming
from kubelet.server.streaming import ERROR, RESIZE, STDERR, STDIN, STDOUT
from tests.kubelet import spdy_runtime

DONE = b'{"metadata":{},"status":"Success"}'
FAILED = b'{"metadata":{},"status":"Failure","message":"command terminated with exit code 7","reason":"NonZeroExitCode"}'
Handle = Callable[[Any], Awaitable[None]]


@asynccontextmanager
async def serving(handle: Handle) -> AsyncIterator[str]:
    """A server that gives each request to `handle`; refusals are answered as the kubelet does."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            await handle(scope)
        except errors.StatusError as why:
            await send({"type": "http.response.start", "status": why.code, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})

    listen = server.Listen(("127.0.0.1",), 0)
    http, sockets = server.Server(application, listen), server.bound(listen)
    await http.start(sockets)
    yield f"ws://127.0.0.1:{sockets[0].getsockname()[1]}/"
    await http.stop(0.1)


def client(url: str, *protocols: str) -> connect:
    return connect(url, subprotocols=[Subprotocol(p) for p in protocols] or None, open_timeout=5)


async def messages(talk: ClientConnection) -> list[str | bytes]:
    """All that comes until the end."""
    out: list[str | bytes] = []
    try:
        async with asyncio.timeout(5):
            while True:
                out.append(await talk.recv())
    except ConnectionClosed:
        return out


def plain(channel: int, data: bytes) -> bytes:
    return bytes([channel]) + data


def encoded(channel: int, data: bytes) -> str:
    return str(channel) + base64.b64encode(data).decode()


FORMS = [
    ("", plain, False), ("channel.k8s.io", plain, False), ("base64.channel.k8s.io", encoded, False), ("v4.channel.k8s.io", plain, True),
    ("v4.base64.channel.k8s.io", encoded, True), ("v5.channel.k8s.io", plain, True),
]  # fmt: skip


@pytest.mark.parametrize("status", [DONE, FAILED])
@pytest.mark.parametrize(("protocol", "form", "whole"), FORMS)
async def test_exec(protocol: str, form: Callable[[int, bytes], str | bytes], whole: bool, status: bytes) -> None:
    """Before v4 the end is told as a text, and only when it is a bad one."""
    async with spdy_runtime.running({"stdout": b"out\xff", "error": status}) as runtime:
        runtime.expects = 3
        async with (
            serving(lambda scope: streaming.remote_command(scope, runtime.url, [STDIN, STDOUT])) as url,
            client(url, *([protocol] if protocol else [])) as talk,
        ):
            assert talk.subprotocol == (protocol or None)
            await talk.send(form(RESIZE, b"nobody asked for a terminal"))
            await talk.send(form(STDIN, b"in\xfe"))
            said = await messages(talk)
    assert runtime.heard["stdin"] == b"in\xfe"
    assert said[:2] == [form(STDOUT, b""), form(STDOUT, b"out\xff")]
    end = status if whole else b"" if status == DONE else b"command terminated with exit code 7"
    assert said[2:] == ([form(ERROR, end)] if end else [])


@pytest.mark.parametrize(("streams", "first"), [([STDERR], STDERR), ([STDIN], ERROR), ([STDOUT, STDERR], STDOUT)])
async def test_the_lowest_channel_that_is_written_begins(streams: list[int], first: int) -> None:
    says = {"error": DONE, **{name: b"" for channel, name in ((STDOUT, "stdout"), (STDERR, "stderr")) if channel in streams}}
    async with (
        spdy_runtime.running(says) as runtime,
        serving(lambda scope: streaming.remote_command(scope, runtime.url, streams)) as url,
        client(url, "v4.channel.k8s.io") as talk,
    ):
        assert await asyncio.wait_for(talk.recv(), 5) == bytes([first])


async def test_the_first_that_is_known_is_spoken() -> None:
    async with (
        spdy_runtime.running({"error": DONE}) as runtime,
        serving(lambda scope: streaming.remote_command(scope, runtime.url, [])) as url,
        client(url, "v9.channel.k8s.io", "base64.channel.k8s.io", "v5.channel.k8s.io") as talk,
    ):
        assert talk.subprotocol == "base64.channel.k8s.io"


async def test_what_is_no_base64_is_dropped() -> None:
    async with spdy_runtime.running({"error": DONE}) as runtime:
        runtime.expects = 2
        async with (
            serving(lambda scope: streaming.remote_command(scope, runtime.url, [STDIN])) as url,
            client(url, "base64.channel.k8s.io") as talk,
        ):
            for message in ("", "0", "0***", "0Zm", "0b2s="):
                await talk.send(message)
            await messages(talk)
    assert runtime.heard["stdin"] == b"ok"


@pytest.mark.parametrize("protocol", ["v9.channel.k8s.io", "binary.k8s.io"])
async def test_an_unknown_subprotocol_is_forbidden(protocol: str) -> None:
    for handle in (
        lambda scope: streaming.remote_command(scope, "http://127.0.0.1:1/", []),
        lambda scope: streaming.port_forward(scope, "http://127.0.0.1:1/", [80]),
    ):
        async with serving(handle) as url:
            with pytest.raises(InvalidStatus) as refused:
                async with client(url, protocol):
                    pass
            assert refused.value.response.status_code == 403


@pytest.mark.parametrize(("protocol", "form"), [("", plain), ("v4.channel.k8s.io", plain), ("v4.base64.channel.k8s.io", encoded)])
async def test_port_forward(protocol: str, form: Callable[[int, bytes], str | bytes]) -> None:
    async with spdy_runtime.running({"data": b"pong"}) as runtime:
        runtime.expects = 4
        async with (
            serving(lambda scope: streaming.port_forward(scope, runtime.url, [8080])) as url,
            client(url, *([protocol] if protocol else [])) as talk,
        ):
            await talk.send(form(0, b"ping"))
            said = [await asyncio.wait_for(talk.recv(), 5) for _ in range(3)]
    assert runtime.heard["data"] == b"ping"
    assert said == [form(0, b"\x90\x1f"), form(1, b"\x90\x1f"), form(0, b"pong")]
