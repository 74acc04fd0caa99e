"""Deletes a data directory: the entries of the layout, nothing else, and nothing behind a link or a mount point.

The identity, or the files of an older kapi's directory, are deleted last, so that an interrupted deletion can be continued.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from kapi.cli import layout
from kapi.cli.layout import IDENTITY, LEGACY_FILES, TREE, Entry

_LAST = (*LEGACY_FILES, "pki", IDENTITY)


def delete(directory: Path) -> None:
    """Delete everything of the layout, then the directory, which must be empty. Raises OSError with a filename."""
    clear(directory)
    directory.rmdir()


def clear(directory: Path) -> None:
    """Delete everything of the layout in the directory. Raises OSError with a filename."""
    with layout.open_directory(directory) as top:
        mount = _mount(top)
        # nothing can be deleted from a directory that is not writable; a file may have another name elsewhere, for which its mode stays
        layout.fix_permissions(top, files=False)
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
    """A directory on the path from the top: its stat, its name, and its subdirectories that are still to be deleted."""

    facts: os.stat_result
    name: str
    left: list[str]


def _tree(name: str, parent: int, mount: str) -> None:
    """Delete a directory with everything in it, of any depth, with one open descriptor at a time. Raises OSError."""
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
    """Delete everything but subdirectories, whose names are returned."""
    directories = []
    for name in os.listdir(directory):
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            directories.append(name)
        else:
            os.unlink(name, dir_fd=directory)
    return directories


def _mount(descriptor: int) -> str:
    """The mount id of a descriptor; unlike the device number it differs for bind mounts."""
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    return next(line for line in lines if line.startswith("mnt_id:"))
