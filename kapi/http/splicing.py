"""Two connections joined: what comes in at one goes out at the other, byte for byte."""

import asyncio
import logging
import ssl

from kapi import limits
from kapi.http.connections import Streams

log = logging.getLogger(__name__)
_BLOCK = 1 << 16

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def join(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far_reader: asyncio.StreamReader, far_writer: asyncio.StreamWriter
) -> None:
    """Copy both ways until either side ends, then close both. What waits at the far side counts as the near connection's."""
    near = writer.transport.get_protocol()
    if isinstance(near, Streams):
        near.beyond = far_reader, far_writer
    ways = [asyncio.ensure_future(copy(reader, far_writer)), asyncio.ensure_future(copy(far_reader, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        for found in await asyncio.gather(*ways, return_exceptions=True):
            if isinstance(found, Exception):
                log.warning("A spliced connection broke", exc_info=found)
        for end in (writer, far_writer):
            close(end)


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the reader's end; a broken connection is an end."""
    try:
        while data := await reader.read(_BLOCK):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        return


def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection; it is cut when its last bytes are not taken in time."""
    waiting = not writer.is_closing() and writer.transport.get_write_buffer_size()  # a closed transport of TLS cannot be asked
    writer.close()
    if waiting:
        asyncio.get_running_loop().call_later(limits.CLOSE_SECONDS, writer.transport.abort)
