"""mount(2) and umount(2): tmpfs volumes, and the mounts below a directory."""

import ctypes
import os
import re
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_NOSUID, _NODEV, _DETACH = 2, 4, 2
_ESCAPED = re.compile(rb"\\([0-7]{3})")
"""Octal escapes in mountinfo: blank, tab, line feed, backslash."""


def _check(result: int, path: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


def tmpfs(path: str | Path, size: int = 0) -> None:
    """Mount a tmpfs of at most `size` bytes (0: the kernel's default, half of the memory). Raises OSError."""
    options = f"mode=0777,size={size}" if size else "mode=0777"
    _check(_libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", _NOSUID | _NODEV, options.encode()), str(path))


def unmount(path: str | Path) -> None:
    """Unmount lazily, even while the mount is in use. Raises OSError."""
    _check(_libc.umount2(os.fsencode(path), _DETACH), str(path))


def below(path: str | Path) -> list[str]:
    """Mount points at or below `path`, deepest first."""
    top = str(path)
    with open("/proc/self/mountinfo", "rb") as info:
        points = [_point(line.split(b" ", 5)[4]) for line in info]
    return sorted((p for p in points if p == top or p.startswith(top + "/")), key=len, reverse=True)


def _point(field: bytes) -> str:
    return os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), field))
