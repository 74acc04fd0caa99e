"""The lock file beside a database: held by whoever uses it, and what is known of the database without opening it.

It holds two lines: the id of the database (and the directory of a repair that has not ended), and the newest revision that was
acknowledged. So a database that was emptied, removed, truncated, replaced by another one or by an older copy is noticed. The
revision is written after each group, into mapped memory and without waiting for the disk: it is never ahead of the database's own.
"""

import fcntl
import json
import mmap
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

from kapi.storage.backend import Unusable

_WIDTH = 256
"""Bytes of the first line, padded, so that it is written over in place; the second begins behind it."""
_END = _WIDTH + 20


class Mark(NamedTuple):
    """What the lock file says."""

    database: str
    """Id of the database; "" when there was none yet, or the file is of an older kapi."""
    revision: int = 0
    """The newest acknowledged revision."""
    repair: str = ""
    """Name of the directory where a repair that was interrupted keeps what it mends."""


def lock_path(path: Path) -> Path:
    """The lock file of a database."""
    return path.with_name(f"{path.name}.lock")


class Lock:
    """The lock, held until `close`; without `create` only to read. Raises Unusable when somebody else holds it or it cannot be made."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = lock_path(path)
        self._mapped: mmap.mmap | None = None
        try:
            if create:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            self._file = os.open(self.path, flags | (os.O_RDWR | os.O_CREAT if create else os.O_RDONLY), 0o600)
        except OSError as error:
            raise Unusable(f"the data in {path} cannot be opened: {denied(self.path, error)}.") from error
        try:
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise Unusable(f"the data in {path} cannot be opened: {self.path} is no regular file.")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.mark = _parsed(os.pread(self._file, 4096, 0))
        except BlockingIOError as error:
            os.close(self._file)
            raise Unusable(f"the data in {path} is in use by another server.") from error
        except OSError as error:
            os.close(self._file)
            raise Unusable(f"the data in {path} cannot be locked: {error.strerror}.") from error
        except Unusable:
            os.close(self._file)
            raise

    def write(self, mark: Mark) -> None:
        """Replace what it says, durably. Raises OSError."""
        if mark != self.mark:
            first = json.dumps({"database": mark.database, "repair": mark.repair}).encode()
            os.pwrite(self._file, first.ljust(_WIDTH - 1) + b"\n%020d\n" % mark.revision, 0)
            os.fsync(self._file)
        self.mark = mark
        self._mapped = self._mapped or mmap.mmap(self._file, _END + 1)

    def acknowledged(self, revision: int) -> None:
        """Note the newest revision; called for every group, after `write`."""
        if self._mapped:
            self._mapped[_WIDTH:_END] = b"%020d" % revision

    def close(self) -> None:
        if self._mapped:
            self._mapped.close()  # it holds the file, and with it the lock, too
        os.close(self._file)


def denied(file: Path, error: OSError) -> str:
    """What an error at a file says, and whose it is when it is somebody else's."""
    try:
        owner = file.stat().st_uid
    except OSError:
        owner = os.geteuid()
    whose = f" belongs to user {owner}, this is user {os.geteuid()}" if owner != os.geteuid() else ""
    return f"{error.strerror} ({file}{whose})"


def _parsed(text: bytes) -> Mark:
    """What is there of it; an unreadable file says nothing."""
    try:
        first: dict[str, Any] = json.loads(text[:_WIDTH])
        return Mark(str(first["database"]), int(text[_WIDTH:]), Path(first["repair"]).name)
    except (ValueError, TypeError, KeyError):
        return Mark("")
