"""Splices two connections: copies bytes between them in both directions."""

import asyncio
import logging
import ssl
from typing import Any

from kapi import limits
from kapi.http.connections import Streams, unsent

log = logging.getLogger(__name__)
_READ_BYTES = 1 << 16

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def join(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far_reader: asyncio.StreamReader, far_writer: asyncio.StreamWriter
) -> None:
    """Copy both ways until either side ends, then close both. What the far side buffers counts as the near connection's."""
    near = writer.transport.get_protocol()
    if isinstance(near, Streams):
        near.spliced_to = far_reader, far_writer
    copies = [asyncio.ensure_future(copy(reader, far_writer)), asyncio.ensure_future(copy(far_reader, writer))]
    try:
        done, rest = await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        if rest and not any(task.exception() or task.result() for task in done):
            await asyncio.wait(rest)  # a side that takes no more may have said more than the other has taken
    finally:
        for task in copies:
            task.cancel()
        for result in await asyncio.gather(*copies, return_exceptions=True):
            if isinstance(result, Exception):
                log.warning("A spliced connection broke", exc_info=result)
        await asyncio.gather(finish(writer), finish(far_writer))


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Copy until the end of the reader, however it comes, or until the writer takes no more: False."""
    while data := await _read(reader):
        try:
            writer.write(data)
            await writer.drain()
        except (ConnectionError, ssl.SSLError):
            return False
    return True


async def _read(reader: asyncio.StreamReader) -> bytes:
    """b"" at the end, and for a connection that broke."""
    try:
        return await reader.read(_READ_BYTES)
    except (ConnectionError, ssl.SSLError):
        return b""


async def finish(writer: asyncio.StreamWriter) -> None:
    """Close a connection once its peer has read the last bytes; abort it when it reads none of them for a while."""
    transport: Any = writer.transport
    if left := unsent(transport):
        transport.set_write_buffer_limits(high=1)
    while left:
        try:
            async with asyncio.timeout(limits.CLOSE_SECONDS):
                await writer.drain()
            break
        except (ConnectionError, ssl.SSLError):
            break
        except TimeoutError:
            before, left = left, unsent(transport)
            if left >= before:
                transport.abort()
                return
        except asyncio.CancelledError:
            transport.abort()
            raise
    close(writer)


def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection; abort it when the peer does not read its last bytes in time."""
    waiting = unsent(writer.transport)
    writer.close()
    if waiting:
        asyncio.get_running_loop().call_later(limits.CLOSE_SECONDS, writer.transport.abort)
