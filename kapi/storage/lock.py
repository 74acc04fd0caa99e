"""The lock file beside a database: locked by the process that uses it, with a record of what the database must contain.

It has two lines: the id of the database (and the directory of a repair that has not ended), and the newest acknowledged revision.
So a database that was emptied, removed, truncated, replaced by another one or by an older copy is detected. The revision is written
after each group, into mapped memory and without a sync: it is never ahead of the revision in the database.
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
"""Bytes of the first line, padded so that it can be overwritten in place; the second line follows."""
_END = _WIDTH + 20


class LockRecord(NamedTuple):
    """The content of the lock file."""

    database: str
    """Id of the database; "" when there was none yet, or an older kapi wrote the file."""
    revision: int = 0
    """The newest acknowledged revision."""
    repair: str = ""
    """Name of the directory where an interrupted repair keeps the originals; "" when there was none."""


def lock_path(path: Path) -> Path:
    """The lock file of a database."""
    return path.with_name(f"{path.name}.lock")


class Lock:
    """The lock, held until `close`; without `create` only for reading. Raises Unusable when another process holds it, or on errors."""

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
            self.record = _parsed(os.pread(self._file, 4096, 0))
        except BlockingIOError as error:
            os.close(self._file)
            raise Unusable(f"the data in {path} is in use by another server.") from error
        except OSError as error:
            os.close(self._file)
            raise Unusable(f"the data in {path} cannot be locked: {error.strerror}.") from error
        except Unusable:
            os.close(self._file)
            raise

    def write(self, record: LockRecord) -> None:
        """Replace the record, durably. Raises OSError."""
        if record != self.record:
            first = json.dumps({"database": record.database, "repair": record.repair}).encode()
            os.pwrite(self._file, first.ljust(_WIDTH - 1) + b"\n%020d\n" % record.revision, 0)
            os.fsync(self._file)
        self.record = record
        self._mapped = self._mapped or mmap.mmap(self._file, _END + 1)

    def acknowledged(self, revision: int) -> None:
        """Record the newest acknowledged revision. Called for every group, after `write`."""
        if self._mapped:
            self._mapped[_WIDTH:_END] = b"%020d" % revision

    def close(self) -> None:
        if self._mapped:
            self._mapped.close()  # the mapping keeps the file open, and with it the lock
        os.close(self._file)


def denied(file: Path, error: OSError) -> str:
    """The text of an error with its file, and the file's owner where that is another user."""
    try:
        owner = file.stat().st_uid
    except OSError:
        owner = os.geteuid()
    whose = f" belongs to user {owner}, this is user {os.geteuid()}" if owner != os.geteuid() else ""
    return f"{error.strerror} ({file}{whose})"


def _parsed(text: bytes) -> LockRecord:
    """The record in the file; an empty one for a file that cannot be parsed."""
    try:
        first: dict[str, Any] = json.loads(text[:_WIDTH])
        return LockRecord(str(first["database"]), int(text[_WIDTH:]), Path(first["repair"]).name)
    except (ValueError, TypeError, KeyError):
        return LockRecord("")
