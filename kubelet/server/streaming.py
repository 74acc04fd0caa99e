"""exec, attach and port-forward: connects a WebSocket or SPDY client to the runtime's streaming server, which speaks SPDY.

SPDY clients are spliced to it. Of WebSocket clients the channels (kubelet.server.channels) are translated to SPDY streams; those of
SPDY/3.1+portforward.k8s.io tunnel SPDY in binary messages, which are unwrapped.
"""

import asyncio
import contextlib
import logging
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kapi import limits, logs
from kapi.http import server, spdy, splicing, streams
from kapi.objects import errors
from kubelet import waiting
from kubelet.server import channels
from kubelet.server.channels import Channels

if TYPE_CHECKING:
    from kapi.http import websocket

log = logging.getLogger(__name__)
Scope = dict[str, Any]
REMOTE_COMMAND, PORT_FORWARD = "v4.channel.k8s.io", "portforward.k8s.io"
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
_NAMES = {STDIN: "stdin", STDOUT: "stdout", STDERR: "stderr", RESIZE: "resize"}
CHANNEL_OF = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR, "tty": RESIZE}
"""The channel that carries a stream requested in the query."""


def upgrade_of(scope: Scope) -> str:
    """The upgrade a request asks for: 'websocket', 'spdy/3.1' or ''."""
    return next((v.decode("latin-1").lower() for k, v in scope["headers"] if k == b"upgrade"), "")


def _take_over(scope: Scope) -> Callable[[], splicing.Ends]:
    found = scope.get("extensions", {}).get(server.UPGRADE)
    if found is None:
        raise errors.BadRequest("Upgrade request required")
    out: Callable[[], splicing.Ends] = found
    return out


async def _runtime(url: str, versions: Sequence[str]) -> tuple[splicing.Ends, bytes]:
    """An upgraded connection to the runtime's streaming server, and the head of its response. Raises StatusError."""
    where = urlsplit(url)
    reader, writer = await streams.connect(where.hostname or "", where.port or 80, limit=1 << 20)
    offered = "".join(f"X-Stream-Protocol-Version: {v}\r\n" for v in versions)
    path = where.path + (f"?{where.query}" if where.query else "")
    head = f"POST {path} HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n{offered}"
    writer.write(f"{head}Content-Length: 0\r\n\r\n".encode())
    await writer.drain()
    try:
        response = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), limits.STREAM_SECONDS)
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as why:
        writer.close()
        reason = why.partial.decode(errors="replace") if isinstance(why, asyncio.IncompleteReadError) else str(why) or "no answer"
        raise errors.InternalError(f"the runtime hung up: {reason}") from None
    first = response.partition(b"\r\n")[0].decode(errors="replace")
    if " 101 " not in first:
        writer.close()
        raise errors.InternalError(f"the runtime refused the stream: {first}")
    return (reader, writer), response


async def _splice(scope: Scope, url: str) -> None:
    """Relay bytes between a SPDY client and the runtime."""
    versions = [v.decode("latin-1") for k, v in scope["headers"] if k == b"x-stream-protocol-version"]
    take_over = _take_over(scope)
    (reader, writer), head = await _runtime(url, versions)
    near_reader, near_writer = take_over()
    near_writer.write(head)
    await splicing.join(near_reader, near_writer, reader, writer)


async def remote_command(scope: Scope, url: str, streams: Sequence[int]) -> None:
    """exec or attach; `streams` are the channels the client requested besides the error channel."""

    async def carry(socket: "websocket.WebSocket", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = spdy.Connection(reader, writer)
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(connection.run())
            await _carry(Channels(socket), connection, streams, group)
            reading.cancel()

    await _serve(scope, url, channels.REMOTE_COMMAND, REMOTE_COMMAND, carry)


async def _serve(scope: Scope, url: str, protocols: Sequence[str], version: str, carry: Callable[..., Awaitable[None]]) -> None:
    """Splice a SPDY client; for a WebSocket one call `carry(socket, reader, writer)` with a connection that speaks `version`."""
    if upgrade_of(scope) != "websocket":
        await _splice(scope, url)
        return
    socket = await _accepted(scope, protocols)
    try:
        (reader, writer), _ = await _runtime(url, (version,))
        await carry(socket, reader, writer)
    except* (ConnectionError, spdy.Broken) as why:
        log.info("A stream ended", extra=logs.fields(errors=why.exceptions))
    finally:
        await socket.close()


async def _accepted(scope: Scope, protocols: Sequence[str]) -> "websocket.WebSocket":
    from kapi.http import websocket  # 2 MB that a kubelet needs only once a client speaks WebSocket to it

    try:
        return await websocket.accept(scope, _take_over(scope), protocols)
    except websocket.Unsupported as why:
        raise errors.Forbidden(str(why)) from None
    except websocket.NoWebSocket as why:
        raise errors.BadRequest(str(why)) from None


async def _carry(client: Channels, connection: spdy.Connection, streams: Sequence[int], group: asyncio.TaskGroup) -> None:
    """Open the SPDY streams and relay everything until the error stream has returned the result; begin with an empty message."""
    failure = await connection.open({"streamType": "error"})
    opened = {channel: await connection.open({"streamType": _NAMES[channel]}) for channel in streams}
    await client.send(next((channel for channel in (STDOUT, STDERR) if channel in opened), ERROR))
    inwards = group.create_task(_inwards(client, opened))
    outwards = [group.create_task(_outwards(client, channel, opened[channel])) for channel in (STDOUT, STDERR) if channel in opened]
    exit_status = group.create_task(failure.read_all())
    waited: set[asyncio.Task[Any]] = {exit_status, inwards}
    try:
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if exit_status.done():
            if outwards:
                await asyncio.wait(outwards)
            if said := client.ending(exit_status.result()):
                await client.send(ERROR, said)
    finally:
        for task in (*waited, *outwards):
            task.cancel()


async def _inwards(client: Channels, opened: dict[int, spdy.Stream]) -> None:
    """Relay from the client: stdin, terminal sizes, and the close of a channel."""
    async for channel, data in client.messages():
        with contextlib.suppress(ConnectionError):  # what a command that has ended did not read is dropped
            if channel == CLOSE and client.closing and data and data[0] in opened:
                await opened[data[0]].close()
            elif channel in (STDIN, RESIZE) and channel in opened and data:
                await opened[channel].write(data)


async def _outwards(client: Channels, channel: int, stream: spdy.Stream) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await stream.read():
            await client.send(channel, data)


# port-forward -------------------------------------------------------------------------------------------------------------------------


async def port_forward(scope: Scope, url: str, ports: Sequence[int]) -> None:
    """Forward ports of a pod. SPDY clients name the port of each stream, WebSocket clients in the query (`ports`)."""

    async def carry(socket: "websocket.WebSocket", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if socket.subprotocol == channels.TUNNEL:
            await _tunnel(socket, reader, writer)
        else:
            await _port_channels(Channels(socket), spdy.Connection(reader, writer), ports)

    await _serve(scope, url, channels.PORT_FORWARD, PORT_FORWARD, carry)


async def _tunnel(socket: "websocket.WebSocket", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Tunnel SPDY: WebSocket messages on the client's side, a byte stream on the runtime's."""

    async def inwards() -> None:
        async for message in socket.messages():
            writer.write(message)
            await writer.drain()

    async def outwards() -> None:
        while data := await reader.read(1 << 15):
            await socket.send(data)

    try:
        await waiting.first(inwards(), outwards())
    finally:
        writer.close()


async def _port_channels(client: Channels, connection: spdy.Connection, ports: Sequence[int]) -> None:
    """Two channels per port, data and errors; the first message of each is the port number."""
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(connection.run())
        data: dict[int, spdy.Stream] = {}
        outwards = []
        for i, port in enumerate(ports):
            headers = {"port": str(port), "requestID": str(i)}
            failure = await connection.open({"streamType": "error", **headers})
            await failure.close()
            data[2 * i] = await connection.open({"streamType": "data", **headers})
            for channel, stream in ((2 * i, data[2 * i]), (2 * i + 1, failure)):
                await client.send(channel, struct.pack("<H", port))
                outwards.append(group.create_task(_outwards(client, channel, stream)))
        inwards = group.create_task(_port_inwards(client, data))
        finished = asyncio.ensure_future(asyncio.gather(*outwards))
        await asyncio.wait((inwards, finished), return_when=asyncio.FIRST_COMPLETED)
        for task in (reading, inwards, *outwards):
            task.cancel()


async def _port_inwards(client: Channels, data: dict[int, spdy.Stream]) -> None:
    async for channel, piece in client.messages():
        if channel in data and piece:
            await data[channel].write(piece)
