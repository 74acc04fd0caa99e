"""Atomic updates of a volume's files: a directory per version, a symlink `..data` to the current one, every name a link through it.

Layout and order of steps are those of stock's atomic writer: readers see the old version or the new one, never a mixture.
"""

import os
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class File(NamedTuple):
    data: bytes
    mode: int = 0o644
    uid: int | None = None


DATA = "..data"


def write(directory: Path, files: Mapping[str, File], gid: int | None = None) -> bool:
    """Make `directory` hold exactly `files` (names may contain slashes). Returns False if nothing had to change."""
    directory.mkdir(parents=True, exist_ok=True)
    link = directory / DATA
    old = Path(os.path.realpath(link)) if link.is_symlink() else None
    if old is not None and _same(old, files):
        return False
    stamp = time.strftime("..%Y_%m_%d_%H_%M_%S.", time.gmtime()) + str(secrets.randbelow(1 << 31))
    fresh = directory / stamp
    fresh.mkdir(mode=0o755)
    fresh.chmod(0o755)
    for name, file in files.items():
        _put(fresh / name, file, gid)
    passing = directory / "..data_tmp"
    passing.unlink(missing_ok=True)
    passing.symlink_to(stamp)
    passing.rename(link)
    _link(directory, {name.partition("/")[0] for name in files})
    if old is not None and old.parent == directory:
        shutil.rmtree(old, ignore_errors=True)
    return True


def _same(directory: Path, files: Mapping[str, File]) -> bool:
    present = {str(p.relative_to(directory)): p for p in directory.rglob("*") if p.is_file()}
    return present.keys() == files.keys() and all(p.read_bytes() == files[name].data for name, p in present.items())


def _put(path: Path, file: File, gid: int | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.data)
    mode = file.mode
    if gid is not None or file.uid is not None:
        os.chown(path, -1 if file.uid is None else file.uid, -1 if gid is None else gid)
        mode |= 0o440 if gid is not None else 0
    path.chmod(mode)


def _link(directory: Path, names: set[str]) -> None:
    for name in names:
        link = directory / name
        if not link.is_symlink():
            link.symlink_to(f"{DATA}/{name}")
    for entry in directory.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()
