"""The client's side of SPDY against a server that does not keep to the rules."""

import asyncio
import struct
from collections.abc import AsyncIterator

import pytest

from kapi import limits
from kapi.http import spdy


class Writer:
    """What the connection writes, and whether it hung up."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.closed = False

    def write(self, data: bytes) -> None:
        self.sent += data

    async def drain(self) -> None:
        await asyncio.sleep(0)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
async def reader() -> asyncio.StreamReader:
    return asyncio.StreamReader()


@pytest.fixture
async def writer() -> Writer:
    return Writer()


@pytest.fixture
async def connection(reader: asyncio.StreamReader, writer: Writer) -> AsyncIterator[spdy.Connection]:
    connection = spdy.Connection(reader, writer)  # type: ignore[arg-type]
    running = asyncio.create_task(connection.run())
    yield connection
    running.cancel()


def reply(number: int) -> bytes:
    return struct.pack("!HHII", 0x8000 | spdy.VERSION, spdy.SYN_REPLY, 4, number)


async def test_a_stream_that_is_not_accepted(connection: spdy.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAM_SECONDS", 0.01)
    with pytest.raises(spdy.Broken, match="not accepted in time"):
        await connection.open({"streamType": "error"})


async def test_a_frame_too_long(connection: spdy.Connection, reader: asyncio.StreamReader, writer: Writer) -> None:
    reader.feed_data(reply(1))
    stream = await connection.open({"streamType": "stdout"})
    reader.feed_data(struct.pack("!II", 1, limits.SPDY_FRAME_BYTES + 1))
    async with asyncio.timeout(5):
        assert await stream.read() == b""
    assert stream.broken
    assert writer.closed


async def test_frames_nobody_reads_are_not_taken(connection: spdy.Connection, reader: asyncio.StreamReader) -> None:
    reader.feed_data(reply(1))
    stream = await connection.open({"streamType": "stdout"})
    reader.feed_data(struct.pack("!II", 1, 1) + b"x")
    reader.feed_data((struct.pack("!II", 1, 1) + b"x") * 1000)
    reader.feed_eof()
    for _ in range(1001):
        async with asyncio.timeout(5):
            assert await stream.read() == b"x"
    assert await stream.read() == b""
