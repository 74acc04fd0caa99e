"""Hears of changes in a directory from the kernel (inotify), so that it need not be looked at again and again."""

import asyncio
import ctypes
import os
from collections.abc import Callable
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_CLOEXEC, _NONBLOCK = os.O_CLOEXEC, os.O_NONBLOCK
_CHANGES = 0x008 | 0x040 | 0x080 | 0x100 | 0x200
"""Closed after writing, moved from, moved to, created, deleted."""


class Inotify:
    """Calls `changed` after something changed in `directory`. Raises OSError where there is no such directory."""

    def __init__(self, directory: str | Path, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._fd = _libc.inotify_init1(_CLOEXEC | _NONBLOCK)
        if self._fd < 0 or _libc.inotify_add_watch(self._fd, os.fsencode(directory), _CHANGES) < 0:
            number = ctypes.get_errno()
            if self._fd >= 0:
                os.close(self._fd)
            raise OSError(number, os.strerror(number), str(directory))
        asyncio.get_running_loop().add_reader(self._fd, self._heard)

    def _heard(self) -> None:
        try:
            os.read(self._fd, 65536)
        except BlockingIOError:
            return
        self._changed()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)
