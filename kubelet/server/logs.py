"""Container logs: reads CRI log files, from the requested position and in the requested form, and follows them while the container runs.

A line of such a file is "TIME stdout|stderr F|P TEXT"; P marks a partial line. Rotated files (NAME.TIMESTAMP[.gz]) are not read, as in
stock.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kapi.objects import time
from kubelet import inotify, waiting

_BLOCK = 1 << 16


@dataclass(frozen=True)
class Options:
    """PodLogOptions, validated."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: float = 0.0
    """Only lines from this time on (seconds since the epoch)."""
    limit: int | None = None
    """Most bytes."""
    stream: str = ""
    """'stdout', 'stderr', or '' for both."""


def rendered(line: bytes, how: Options) -> bytes:
    """A line of the file as the client receives it; b"" if it is filtered out."""
    stamp, _, rest = line.partition(b" ")
    stream, _, rest = rest.partition(b" ")
    tag, _, text = rest.partition(b" ")
    if how.stream and stream.decode() != how.stream:
        return b""
    if how.since and _seconds(stamp) < how.since:
        return b""
    if tag.startswith(b"P"):
        text = text.removesuffix(b"\n")
    return stamp + b" " + text if how.timestamps else text


def _seconds(stamp: bytes) -> float:
    text = stamp.decode(errors="replace")
    try:
        return time.parse(text[:26] + "Z" if len(text) > 27 and text.endswith("Z") else text)
    except ValueError:
        return 0.0


def tail_offset(file: BinaryIO, lines: int) -> int:
    """The offset at which the last `lines` lines of a file start."""
    at = file.seek(0, os.SEEK_END)
    if lines <= 0:
        return at
    found, first = 0, True
    while at > 0:
        size = min(_BLOCK, at)
        at -= size
        file.seek(at)
        block = file.read(size)
        end = len(block) - 1 if first and block.endswith(b"\n") else len(block)
        first = False
        while (end := block.rfind(b"\n", 0, end)) >= 0:
            found += 1
            if found == lines:
                return at + end + 1
    return 0


async def read(path: Path, how: Options, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The log in chunks. With `follow` it continues until `running` returns False and everything is read. Raises OSError."""
    left = how.limit
    async for lines in _lines(path, how, running):
        chunk = b"".join([rendered(line, how) for line in lines])
        if left is not None:
            chunk = chunk[:left]
            left -= len(chunk)
        if chunk:
            yield chunk
        if left == 0:
            return


async def _lines(path: Path, how: Options, running: Callable[[], bool]) -> AsyncIterator[list[bytes]]:
    with path.open("rb") as file:
        file.seek(tail_offset(file, how.tail) if how.tail is not None else 0)
        if not how.follow:
            while lines := file.readlines(_BLOCK):
                yield lines
                await asyncio.sleep(0)
            return
        async with inotify.watching(path.parent) as changed:
            async for lines in _followed(path, file, changed, running):
                yield lines


async def _followed(path: Path, file: BinaryIO, changed: asyncio.Event, running: Callable[[], bool]) -> AsyncIterator[list[bytes]]:
    """Complete lines as they are written; continues with the new file when the log is rotated."""
    rest = b""
    with contextlib.ExitStack() as opened:
        while True:
            changed.clear()
            alive = running()
            while data := file.read(_BLOCK):
                *lines, rest = (rest + data).split(b"\n")
                yield [line + b"\n" for line in lines]
            if _replaced(path, file):
                opened.close()
                file = opened.enter_context(path.open("rb"))
            elif alive:
                await waiting.within(changed, 1.0)
            else:
                return


def _replaced(path: Path, file: BinaryIO) -> bool:
    try:
        return path.stat().st_ino != os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False
