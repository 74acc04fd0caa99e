"""Wait until a directory changes, without polling: Linux inotify through the C library."""

import asyncio
import ctypes
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

MODIFY, MOVED, CREATE, DELETED = 0x002, 0x0C0, 0x100, 0x600
_CLOEXEC, _NONBLOCK = 0o2000000, 0o0004000
_libc = ctypes.CDLL(None, use_errno=True)


@asynccontextmanager
async def watching(directory: Path) -> AsyncIterator[asyncio.Event]:
    """An event that is set when a file in the directory is written, created, moved or deleted. Raises OSError."""
    descriptor = _libc.inotify_init1(_CLOEXEC | _NONBLOCK)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "inotify is not to be had")
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def woken() -> None:
        os.read(descriptor, 1 << 16)
        changed.set()

    try:
        if _libc.inotify_add_watch(descriptor, os.fsencode(directory), MODIFY | MOVED | CREATE | DELETED) < 0:
            raise OSError(ctypes.get_errno(), f"{directory} can't be watched")
        loop.add_reader(descriptor, woken)
        yield changed
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
