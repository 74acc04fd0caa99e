"""Streams and splices lose nothing that has come, however the connection ends."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from kapi import limits
from kapi.http import splicing, streams
from kapi.http.connections import kept
from tests.moments import turn

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

SAID = bytes(range(250)) * 400


async def eventually(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await turn()


@asynccontextmanager
async def listening(handle: Handle) -> AsyncIterator[int]:
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_what_came_before_a_reset_is_read() -> None:
    received = asyncio.Event()

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SAID)
        await received.wait()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    async with listening(say) as port:
        reader, writer = await streams.connect("127.0.0.1", port)
        got = await reader.readexactly(1000)
        await eventually(lambda: kept(reader) == len(SAID) - 1000)
        received.set()
        with pytest.raises(ConnectionResetError):
            await writer.wait_closed()
        while len(got) < len(SAID):
            got += await reader.read(1 << 14)
        assert got == SAID
        with pytest.raises(ConnectionResetError):
            await reader.read(1)


class Splice:
    """A client and a peer, spliced; the client takes few bytes of what it does not read."""

    def __init__(self, buffered: int = 1 << 16) -> None:
        self.buffered = buffered
        self.peer: asyncio.Future[splicing.Ends] = asyncio.get_running_loop().create_future()
        self.far: asyncio.Future[splicing.Ends] = asyncio.get_running_loop().create_future()
        self.over = asyncio.Event()

    async def accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peer.set_result((reader, writer))
        await self.over.wait()

    async def joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        writer.transport.set_write_buffer_limits(high=self.buffered)
        far = await streams.connect("127.0.0.1", self.port)
        self.far.set_result(far)
        await splicing.join(reader, writer, *far)
        self.over.set()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[splicing.Ends]:
        async with listening(self.accepted) as self.port, listening(self.joined) as near:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", near))
            reader, writer = await asyncio.open_connection(sock=sock, limit=1)
            yield reader, writer
            writer.close()
            await self.over.wait()


async def test_a_side_that_takes_no_more_is_still_heard() -> None:
    splice = Splice(buffered=1)
    async with splice.client() as (reader, writer):
        _, peer = await splice.peer
        far, _ = await splice.far
        peer.write(SAID)
        await eventually(lambda: kept(far) == len(SAID) - (1 << 16))  # the rest waits for the client
        peer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.transport.abort()
        await eventually(lambda: isinstance(far, streams.Reader) and far._broken is not None)
        writer.write(b"more")  # which cannot be passed on
        await asyncio.sleep(0)
        assert await reader.read(-1) == SAID


@pytest.mark.slow
async def test_last_bytes_have_as_long_as_they_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CLOSE_SECONDS", 0.1)
    splice = Splice()
    async with splice.client() as (reader, _):
        _, peer = await splice.peer
        peer.write(SAID[: 1 << 16])  # in one piece
        peer.close()
        got = b""
        while data := await reader.read(1 << 12):
            got += data
            await asyncio.sleep(0.02)
        assert got == SAID[: 1 << 16]


async def test_last_bytes_that_nobody_takes_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CLOSE_SECONDS", 0.05)
    splice = Splice()
    async with splice.client():
        _, peer = await splice.peer
        peer.write(SAID[: 1 << 16])
        peer.close()
        await asyncio.wait_for(splice.over.wait(), 10)
