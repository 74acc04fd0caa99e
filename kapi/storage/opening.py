"""Checks of the database file before it is opened for writing: what cannot be trusted is refused, before anything is changed.

A new database is created under a temporary name and renamed once its tables are on the disk, so an empty file is never a new database.
All checks use a read-only connection: another one would checkpoint the write-ahead log, or roll back a journal, when it is opened.
"""

import contextlib
import os
import secrets
import shlex
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from kapi.storage import rows
from kapi.storage.backend import Unusable
from kapi.storage.lock import Lock, LockRecord, denied
from kapi.storage.rows import FORMAT, Row

READ_ONLY, CORRUPT, FOREIGN = 8, 11, 26
"""SQLite's codes SQLITE_READONLY, SQLITE_CORRUPT and SQLITE_NOTADB."""


ADVICE_DAMAGED = "Restore a backup, or run `{}`, which sets aside what is damaged."
ADVICE_OLDER = "Put back the newest copy, or run `{}`, which goes on with this one."
ADVICE_LOST = "Restore a backup, or run `{}`, which goes on with what is left."
ADVICE_RESUME = "Go on with it: `{}`."
NO_ADVICE = ""
"""What to do after a refusal; {} is the command."""


def unusable(path: Path, why: str, advice: str = NO_ADVICE) -> Unusable:
    """The error, with what to do."""
    return Unusable(f"the data in {path} cannot be opened: {why}. {advice.format(repair_command(path))}".rstrip(), why)


def repair_command(path: Path) -> str:
    """The command that repairs a database."""
    place = f"--data-dir {shlex.quote(str(path.parent))}" if path.name == "kapi.db" else f"--storage {shlex.quote(str(path))}"
    return f"kapi doctor --repair {place}"


def refusal(path: Path, error: sqlite3.Error | OSError) -> Unusable:
    """The Unusable for an error of SQLite or the system."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    why = str(getattr(error, "strerror", None) or error)
    why = f"its pages are damaged ({why})" if code == CORRUPT else why
    if code == READ_ONLY and os.path.lexists(rollback_journal(path)):
        return unusable(path, f"another program left {rollback_journal(path).name}, which would undo what is in it", ADVICE_DAMAGED)
    return unusable(path, why, ADVICE_DAMAGED if code in (CORRUPT, FOREIGN) else NO_ADVICE)


def rollback_journal(path: Path) -> Path:
    """The rollback journal, left by a program that opened the database in another journal mode."""
    return path.with_name(f"{path.name}-journal")


def wal_path(path: Path) -> Path:
    """The write-ahead log of a database."""
    return path.with_name(f"{path.name}-wal")


def has_wal(path: Path) -> bool:
    """Whether the write-ahead log has content, so that the last stop was not a clean one."""
    try:
        return wal_path(path).stat().st_size > 0
    except OSError:
        return False


# --- the files


def exists(path: Path, record: LockRecord) -> bool:
    """Whether there is a database; False for a directory that never had one. Raises Unusable for a file that cannot be one."""
    if record.repair:
        raise unusable(path, "a repair of it was interrupted", ADVICE_RESUME)
    if not check_regular(path, path):
        if record.database or wal_path(path).exists():
            raise unusable(path, "the file is missing, though there was a cluster", ADVICE_LOST)
        return False
    if path.stat().st_size == 0:
        raise unusable(path, "the file is empty: what was in it is lost", ADVICE_LOST)
    check_regular(path, wal_path(path))
    return True


def check_regular(path: Path, file: Path) -> bool:
    """Whether `file` is a regular file; False when it does not exist. Raises Unusable for anything else."""
    try:
        mode = file.lstat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise refusal(path, error) from error
    if stat.S_ISLNK(mode):
        raise unusable(path, f"{file} is a symbolic link; name the file itself with --storage")
    if not stat.S_ISREG(mode):
        raise unusable(path, f"{file} is {'a directory' if stat.S_ISDIR(mode) else 'no regular file'}; move it away")
    return True


def check_writable(path: Path, file: Path) -> None:
    """Raises Unusable for a file that cannot be written: SQLite would silently open it read-only."""
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CLOEXEC))  # before SQLite has it: closing it would give up SQLite's locks
    except FileNotFoundError:
        return
    except OSError as error:
        raise unusable(path, denied(file, error)) from error


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


# --- creating


@contextlib.contextmanager
def replacing(path: Path, database: str) -> Iterator[sqlite3.Connection]:
    """A new database to be filled, which replaces `path` atomically at the end of the block. Raises sqlite3.Error, OSError."""
    new = path.with_name(f"{path.name}.new")
    _remove(new)
    try:
        file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as db:
                db.executescript(f"PRAGMA synchronous=OFF; PRAGMA journal_mode=WAL; {rows.LOG} {rows.IDENTITY.format(database=database)}")
                db.executescript(f"PRAGMA application_id={rows.APPLICATION_ID}; PRAGMA user_version={FORMAT}; BEGIN")
                yield db
                db.execute("COMMIT")
            os.fsync(file)
        finally:
            os.close(file)
        new.replace(path)
        sync_directory(path.parent)
    finally:
        _remove(new)


def _remove(path: Path) -> None:
    for ending in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def create(path: Path, lock: Lock) -> None:
    """Create the database of a new cluster. Raises sqlite3.Error, OSError."""
    database = secrets.token_hex(8)
    with replacing(path, database):
        pass  # no rows
    lock.write(LockRecord(database))


# --- checking


def open_reader(path: Path) -> sqlite3.Connection:
    """A read-only connection: it neither checkpoints the write-ahead log nor removes it."""
    fixed = "" if os.access(path.parent, os.W_OK) or has_wal(path) else "&immutable=1"  # SQLite needs to write to share a file
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro{fixed}", uri=True, isolation_level=None, check_same_thread=False)


@contextlib.contextmanager
def remove_sidecars(path: Path) -> Iterator[None]:
    """Remove at the end what SQLite creates to read a database: the -shm index of the write-ahead log, and an empty log."""
    sidecars = [sidecar for sidecar in (path.with_name(f"{path.name}-shm"), wal_path(path)) if not os.path.lexists(sidecar)]
    try:
        yield
    finally:
        for sidecar in sidecars:
            if os.path.lexists(sidecar) and (sidecar != wal_path(path) or not has_wal(path)):
                sidecar.unlink(missing_ok=True)


def format_of(path: Path, db: sqlite3.Connection) -> int:
    """The format of the database. Raises Unusable for a database of another program, or of a newer kapi."""
    (found,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    wanted = {"log", "floor"} if found == 1 else {"log", "floor", "identity"}
    if found < 1 or not wanted <= tables or (application != rows.APPLICATION_ID and found != 1):
        raise unusable(path, "it is a database of another program", ADVICE_DAMAGED)
    if found > FORMAT:
        raise newer_format(path, found)
    return int(found)


def newer_format(path: Path, found: int) -> Unusable:
    """The error for a format that is not known yet."""
    return unusable(path, f"it was written by a newer kapi (format {found}, this one knows {FORMAT})")


def migrate(path: Path) -> None:
    """Migrate from format 1: add checksums to the rows, an id to the database. Raises Unusable, sqlite3.Error."""
    with contextlib.closing(open_reader(path)) as db:
        if damage := first_fault(db, None, rows.SELECT_1):
            raise unusable(path, damage, ADVICE_DAMAGED)
    database = secrets.token_hex(8)
    seed = rows.seed(database)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.create_function("row_checksum", 5, lambda *row: rows.checksum(seed, *row), deterministic=True)
        db.executescript(
            f"BEGIN IMMEDIATE; ALTER TABLE log ADD COLUMN checksum INTEGER;"
            f"UPDATE log SET checksum = row_checksum(revision, key, created, deadline, body); {rows.IDENTITY.format(database=database)}"
            f"PRAGMA application_id={rows.APPLICATION_ID}; PRAGMA user_version={FORMAT}; COMMIT; PRAGMA wal_checkpoint(TRUNCATE);"
        )


class Header:
    """The id and revisions of a database, read before its rows. Raises Unusable when they do not agree with the lock file."""

    def __init__(self, path: Path, db: sqlite3.Connection, record: LockRecord) -> None:
        found = db.execute("SELECT database, floor.revision, (SELECT max(revision) FROM log) FROM identity, floor").fetchall()
        if len(found) != 1 or not isinstance(found[0][1], int):
            raise unusable(path, "its tables identity and floor are damaged", ADVICE_DAMAGED)
        self.database, self.compacted = str(found[0][0]), found[0][1]
        self.revision = max(found[0][2] or 0, self.compacted)
        self.seed = rows.seed(self.database)
        if record.database not in ("", self.database):
            raise unusable(path, "it is the database of another cluster", ADVICE_OLDER)
        if self.revision < record.revision:
            lost = f"it ends at revision {self.revision}, and {record.revision} was acknowledged"
            why = f"{lost} (an older copy, or {wal_path(path).name} is missing or damaged)"
            raise unusable(path, why, ADVICE_OLDER)


def check_structure(path: Path, db: sqlite3.Connection) -> None:
    """Run SQLite's own check of the pages. Raises Unusable."""
    if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise unusable(path, f"its pages are damaged ({' '.join(found.split())})", ADVICE_DAMAGED)


def first_fault(db: sqlite3.Connection, seed: int | None, query: str = rows.SELECT) -> str:
    """A sentence about the first damaged row that can be read, "" when there is none."""
    return next((f"{rows.shown(row)} (revision {row.revision}) is damaged: {why}" for row, why in faults(db, seed, query)), "")


def faults(db: sqlite3.Connection, seed: int | None, query: str = rows.SELECT) -> Iterator[tuple[Row, str]]:
    """The damaged rows, each with what is wrong. Raises sqlite3.Error for pages that cannot be read."""
    before, db.text_factory = db.text_factory, _text
    try:
        for row in map(Row._make, db.execute(query)):
            if why := rows.fault(row, seed):
                yield row, why
    finally:
        db.text_factory = before


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw
