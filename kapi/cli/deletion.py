"""Deleting a data directory: what kapi made there, nothing else, and nothing beyond a link or a mount. Errors are raised.

The identity, and what stands for it in a cluster that has none, go last: what an interrupted deletion left is still known as kapi's.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from kapi.cli import layout
from kapi.cli.layout import IDENTITY, SIGNS, TREE, Entry

_LAST = (*SIGNS, "pki", IDENTITY)


def delete(directory: Path) -> None:
    """What `clear` deletes, and the directory once it is empty. Raises OSError, whose filename says where."""
    clear(directory)
    directory.rmdir()


def clear(directory: Path) -> None:
    """Everything of the table in the directory. Raises OSError, whose filename says where."""
    with layout.opened(directory) as top:
        mount = _mount(top)
        layout.mend(top)  # a directory that may not be written, say
        for entry in layout.walk(top):
            if entry.rule is not None and entry.path not in _LAST:
                _delete(entry, directory, mount)
        for path in _LAST:
            for entry in layout.walk(top):
                if entry.rule is not None and entry.path == path:
                    _delete(entry, directory, mount)


def _delete(entry: Entry, directory: Path, mount: str) -> None:
    try:
        if entry.rule == TREE:
            _tree(entry.name, entry.parent, mount)
        elif entry.is_directory:
            os.rmdir(entry.name, dir_fd=entry.parent)
        else:
            os.unlink(entry.name, dir_fd=entry.parent)
    except OSError as why:
        raise OSError(why.errno, why.strerror, f"{directory}/{entry.path}") from why


@dataclass
class _Level:
    """A directory on the way down: which it is, its name, and those in it that are still to be entered."""

    facts: os.stat_result
    name: str
    left: list[str]


def _tree(name: str, parent: int, mount: str) -> None:
    """A directory with all that is in it, however deep: one descriptor is open at a time. Raises OSError."""
    here = _enter(name, parent, mount)
    levels = [_Level(os.fstat(here), name, _unlink_files(here))]
    try:
        while True:
            if levels[-1].left:
                inner = levels[-1].left.pop()
                here = _replace(here, _enter(inner, here, mount))
                levels.append(_Level(os.fstat(here), inner, _unlink_files(here)))
                continue
            done = levels.pop()
            if not levels:
                break
            here = _replace(here, _enter("..", here, mount))
            if not os.path.samestat(os.fstat(here), levels[-1].facts):
                raise OSError(0, "it was moved while it was being deleted", done.name)
            os.rmdir(done.name, dir_fd=here)
    finally:
        os.close(here)
    os.rmdir(name, dir_fd=parent)


def _enter(name: str, parent: int, mount: str) -> int:
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    if _mount(descriptor) != mount:
        os.close(descriptor)
        raise OSError(0, "something is mounted there", name)
    return descriptor


def _replace(old: int, new: int) -> int:
    os.close(old)
    return new


def _unlink_files(directory: int) -> list[str]:
    """Delete all but the directories, whose names are returned."""
    directories = []
    for name in os.listdir(directory):
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            directories.append(name)
        else:
            os.unlink(name, dir_fd=directory)
    return directories


def _mount(descriptor: int) -> str:
    """Which mount a descriptor is on: tells bind mounts apart, which have the device number of their source."""
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    return next(line for line in lines if line.startswith("mnt_id:"))
