"""Documents that this server itself gets from another one (discovery, OpenAPI), each bounded in bytes and seconds."""

import asyncio
from typing import NamedTuple

from kapi import limits
from kapi.api import relay
from kapi.api.relay import NoAnswer, Peer
from kapi.http import failures


class Fetched(NamedTuple):
    """A whole answer; of a header that comes twice the last counts."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


async def fetch(peer: Peer, path: str, accept: str, most: int, seconds: float, etag: str = "") -> Fetched:
    """GET a document of at most so many bytes; 0: only its head, whatever follows. Raises NoAnswer with net/http's text."""
    url = f'Get "{peer.url(path)}": '
    try:
        async with asyncio.timeout(seconds):
            return await _fetched(peer, path, accept, most, etag)
    except NoAnswer as why:
        raise NoAnswer(f"{url}{why}") from None
    except relay.CutOff as why:
        raise NoAnswer(str(why)) from None
    except TimeoutError:
        raise NoAnswer(f"{url}context deadline exceeded (Client.Timeout exceeded while awaiting headers)") from None


async def _fetched(peer: Peer, path: str, accept: str, most: int, etag: str) -> Fetched:
    reader, writer = await relay.connect(peer, max(most, limits.PEER_BUFFER_BYTES))  # which is bounded below
    answer = relay.Answer(reader, "GET")
    try:
        lines = [f"GET {path} HTTP/1.1".encode(), b"host: " + peer.authority.encode("latin-1")]
        lines += [b"accept: " + accept.encode()] * bool(accept) + [b"if-none-match: " + etag.encode("latin-1")] * bool(etag)
        lines += [name + b": " + value for name, value in peer.identity]
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
        await answer.begin()
        return Fetched(answer.status, dict(answer.headers), await _body(answer, most) if most else b"")
    finally:
        relay.leave(answer, writer)


async def _body(answer: relay.Answer, most: int) -> bytes:
    """Raises relay.CutOff, NoAnswer."""
    parts: list[bytes] = []
    left = most
    async for piece in answer.chunks():
        left -= len(piece)
        if left < 0:
            raise NoAnswer(str(failures.body_too_large()))
        parts.append(piece)
    return b"".join(parts)
