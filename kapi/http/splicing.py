"""Splices two connections: copies bytes between them in both directions."""

import asyncio
import logging
import ssl

from kapi import limits
from kapi.http.connections import Streams

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
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in copies:
            task.cancel()
        for result in await asyncio.gather(*copies, return_exceptions=True):
            if isinstance(result, Exception):
                log.warning("A spliced connection broke", exc_info=result)
        for end in (writer, far_writer):
            close(end)


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end of the reader, or until a connection breaks."""
    try:
        while data := await reader.read(_READ_BYTES):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        return


def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection; abort it when the peer does not read its last bytes in time."""
    waiting = not writer.is_closing() and writer.transport.get_write_buffer_size()  # a closed transport of TLS cannot be asked
    writer.close()
    if waiting:
        asyncio.get_running_loop().call_later(limits.CLOSE_SECONDS, writer.transport.abort)
