"""A watch over WebSocket whose client does not keep to the rules of frames: long ones, endless messages, crumbs."""

import base64
import contextlib
import os
import ssl
import struct
from itertools import repeat

import pytest

from kapi import limits
from tests.attacks.victim import Victim

pytestmark = pytest.mark.slow
TEXT, PING, FIN = 0x1, 0x9, 0x80
MB = 1 << 20


def frame(first: int, data: bytes, size: int | None = None) -> bytes:
    """A client's frame, masked with zeros; `size` is what it says of itself."""
    size = len(data) if size is None else size
    length = struct.pack("!B", 0x80 | size) if size < 126 else struct.pack("!BQ", 0x80 | 127, size)
    return bytes([first]) + length + bytes(4) + data


def opened(victim: Victim) -> ssl.SSLSocket:
    line = victim.connect()
    key = base64.b64encode(os.urandom(16)).decode()
    line.sendall(
        f"GET /api/v1/namespaces/default/secrets?watch=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {victim.token}\r\n"
        f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    assert line.recv(1 << 16).startswith(b"HTTP/1.1 101 ")
    return line


ATTACKS = {
    "a frame of 200 MB": [frame(FIN | TEXT, b"", 200 * MB), *repeat(b"x" * MB, 200)],
    "a message of 200 MB in frames of 1 MB": [frame(TEXT, b"x" * MB), *repeat(frame(0, b"x" * MB), 200)],
    "a message of 20 million frames of one byte": [frame(TEXT, b"x"), *repeat(frame(0, b"x") * 100_000, 200)],
    "no end of empty frames of a message": [frame(TEXT, b"x"), *repeat(frame(0, b"") * 100_000, 20)],
    "two million pings, the answers not read": repeat(frame(FIN | PING, b"x") * 100_000, 20),
    "a frame of reserved bits": [frame(0x70 | TEXT, b"x" * 100)],
}


@pytest.mark.parametrize("what", ATTACKS)
def test_frames(victim: Victim, what: str) -> None:
    sent = 0
    with victim.watched(what) as cost, opened(victim) as line:
        line.settimeout(3)
        with contextlib.suppress(OSError):  # cut, or read no further
            for block in ATTACKS[what]:
                line.sendall(block)
                sent += len(block)
    cost.note = f"{sent / MB:.1f} MB taken"
    assert sent < 20 * MB
    cost.check()


def test_a_message_too_long_ends_the_watch(victim: Victim) -> None:
    with opened(victim) as line:
        line.sendall(frame(FIN | TEXT, b"", limits.WEBSOCKET_MESSAGE_BYTES + 1))
        body = line.recv(1 << 16)
        assert body[0] == FIN | 0x8
        assert struct.unpack("!H", body[2:4]) == (1009,)
