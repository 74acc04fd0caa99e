"""A runtime's streaming server, as much of it as one command or one forwarded port needs: it speaks SPDY, and says what the test wants."""

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kapi.http import spdy


class Runtime:
    """`says` has the bytes of each type of stream (stdout, error, data …), once all are open; what came in is in `heard`."""

    def __init__(self, says: dict[str, bytes]) -> None:
        self.says = says
        self.heard: dict[str, bytes] = {}
        self.expects = 0
        """Bytes of input before anything is said."""
        self.url = ""
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\n\r\n")
        inflate, opened = zlib.decompressobj(zdict=spdy.DICTIONARY), dict[int, str]()
        try:
            while True:
                first, second = struct.unpack("!II", await reader.readexactly(8))
                payload = await reader.readexactly(second & 0xFFFFFF)
                if first >> 31:
                    number = struct.unpack_from("!I", payload)[0]
                    opened[number] = _type(inflate.decompress(payload[10:]))
                    writer.write(struct.pack("!HHII", 0x8000 | spdy.VERSION, spdy.SYN_REPLY, 4, number))
                else:
                    kind = opened[first]
                    self.heard[kind] = self.heard.get(kind, b"") + payload
                if self.says.keys() <= set(opened.values()) and sum(map(len, self.heard.values())) >= self.expects:
                    self._say(writer, opened)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _say(self, writer: asyncio.StreamWriter, opened: dict[int, str]) -> None:
        for number, kind in opened.items():
            if kind in self.says:
                said = self.says[kind]
                writer.write(struct.pack("!II", number, spdy.FIN << 24 | len(said)) + said)
        self.says = {"": b""}


def _type(block: bytes) -> str:
    """The stream type of a header block."""
    return block.partition(b"streamtype")[2][4:].partition(b"\0")[0].decode().strip("\0")


@asynccontextmanager
async def running(says: dict[str, bytes]) -> AsyncIterator[Runtime]:
    made = Runtime(says)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/exec/token"
    yield made
    server.close()
    for writer in made.writers:
        writer.close()
    await server.wait_closed()
