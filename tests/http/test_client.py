"""HttpTransport against a server that says exactly what the test wants."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import pytest

from kapi.client import Client
from kapi.http.client import HttpTransport
from kapi.objects import errors
from kapi.objects.resource import PODS

Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[bool]]


class Server:
    """Answers each request with `handle(head, writer)`; that returns False to close the connection."""

    def __init__(self, handle: Handler) -> None:
        self.handle = handle
        self.connections = 0
        self.heads: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head.decode())
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        await reader.readexactly(int(line.split(b":")[1]))
                if not await self.handle(head, writer):
                    break
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(handle: Handler) -> AsyncIterator[tuple[Server, Client]]:
    server = Server(handle)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    client = Client(HttpTransport(f"http://127.0.0.1:{port}", token=lambda: "secret"), agent="test")
    try:
        yield server, client
    finally:
        await client.close()
        listening.close()
        await listening.wait_closed()


def answer(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


async def test_one_connection_serves_requests_in_turn() -> None:
    async def handle(head: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(answer(b'{"kind":"Pod"}'))
        return True

    async with serving(handle) as (server, client):
        for _ in range(3):
            assert await client.get(PODS, "web", "default") == {"kind": "Pod"}
    assert server.connections == 1
    assert server.heads[0].startswith("GET /api/v1/namespaces/default/pods/web HTTP/1.1\r\n")
    assert "Authorization: Bearer secret\r\n" in server.heads[0]
    assert "User-Agent: test\r\n" in server.heads[0]


async def test_requests_side_by_side_use_several() -> None:
    together = asyncio.Barrier(8)

    async def handle(head: bytes, writer: asyncio.StreamWriter) -> bool:
        await together.wait()
        writer.write(answer(b"{}"))
        return True

    async with serving(handle) as (server, client):
        await asyncio.gather(*(client.get(PODS, f"p{i}", "default") for i in range(8)))
    assert server.connections == 8


async def test_a_status_is_raised() -> None:
    async def handle(head: bytes, writer: asyncio.StreamWriter) -> bool:
        status = b'{"kind":"Status","status":"Failure","reason":"NotFound","message":"no such pod","code":404}'
        writer.write(answer(status, "404 Not Found"))
        return True

    async with serving(handle) as (_, client):
        with pytest.raises(errors.NotFound, match="no such pod"):
            await client.get(PODS, "web", "default")


async def test_waits_when_told_to() -> None:
    answers = [answer(b"", "429 Too Many Requests", "Retry-After: 0\r\n"), answer(b"{}")]

    async def handle(head: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(answers.pop(0))
        return True

    async with serving(handle) as (server, client):
        assert await client.get(PODS, "web", "default") == {}
    assert len(server.heads) == 2


async def test_a_connection_the_server_gave_up_is_replaced_but_a_post_is_not_repeated() -> None:
    served = 0

    async def handle(head: bytes, writer: asyncio.StreamWriter) -> bool:
        nonlocal served
        served += 1
        if served in (2, 4):
            return False
        writer.write(answer(b"{}"))
        return True

    async with serving(handle) as (_, client):
        await client.get(PODS, "web", "default")
        await client.get(PODS, "web", "default")
        with pytest.raises(ConnectionError):
            await client.create(PODS, {"metadata": {"namespace": "default"}})
    assert served == 4


async def test_silence_is_an_error() -> None:
    asked_enough = asyncio.Event()

    async def handle(head: bytes, writer: asyncio.StreamWriter) -> bool:
        await asked_enough.wait()
        return False

    async with serving(handle) as (_, client):
        with pytest.raises(TimeoutError):
            await client.raw("GET", "/version", seconds=0.02)
        asked_enough.set()


async def test_watch_events_across_chunk_borders() -> None:
    lines = b'{"type":"ADDED","object":{"metadata":{"name":"a"}}}\n{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7"}}}\n'

    async def handle(head: bytes, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(0, len(lines), 13):
            part = lines[i : i + 13]
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        return True

    async with serving(handle) as (server, client), aclosing(client.watch(PODS, version="5", timeout=60)) as events:  # type: ignore[type-var]
        seen = [(kind, obj["metadata"]) async for kind, obj in events]
    assert seen == [("ADDED", {"name": "a"}), ("BOOKMARK", {"resourceVersion": "7"})]
    assert "GET /api/v1/pods?resourceVersion=5&timeoutSeconds=60&watch=true&allowWatchBookmarks=true " in server.heads[0]


async def test_a_watch_too_old_is_gone() -> None:
    async def handle(head: bytes, writer: asyncio.StreamWriter) -> bool:
        body = b'{"type":"ERROR","object":{"kind":"Status","reason":"Expired","code":410,"message":"too old"}}\n'
        writer.write(answer(body))
        return True

    async with serving(handle) as (_, client), aclosing(client.watch(PODS, version="1")) as events:  # type: ignore[type-var]
        with pytest.raises(errors.Gone):
            await anext(events)


async def test_nobody_there() -> None:
    client = Client(HttpTransport("http://127.0.0.1:9"))
    with pytest.raises(OSError):
        await client.get(PODS, "web", "default")
    await client.close()
