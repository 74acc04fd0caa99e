"""Opening the file of the log: what is there is looked at before anything is written, and what cannot be trusted is refused.

A new database is made under another name and renamed once its tables are on the disk, so an empty file is never one that is
being made. All looking happens over a connection that only reads: SQLite would empty a journal, or write it back, on the way.
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
from kapi.storage.lock import Lock, Mark, denied
from kapi.storage.rows import FORMAT, Row

READ_ONLY, CORRUPT, FOREIGN = 8, 11, 26
"""SQLite's codes SQLITE_READONLY, SQLITE_CORRUPT and SQLITE_NOTADB."""


MEND = "Restore a backup, or run `{}`, which sets aside what is damaged."
ACCEPT = "Put back the newest copy, or run `{}`, which goes on with this one."
LOST = "Restore a backup, or run `{}`, which goes on with what is left."
AGAIN = "Go on with it: `{}`."
NO_WAY = ""
"""Ways on from a refusal, with the place of a command."""


def unusable(path: Path, why: str, way: str = NO_WAY) -> Unusable:
    """The refusal, with the way on."""
    return Unusable(f"the data in {path} cannot be opened: {why}. {way.format(repair_command(path))}".rstrip(), why)


def repair_command(path: Path) -> str:
    """What somebody types to have a database repaired."""
    place = f"--data-dir {shlex.quote(str(path.parent))}" if path.name == "kapi.db" else f"--storage {shlex.quote(str(path))}"
    return f"kapi doctor --repair {place}"


def refusal(path: Path, error: sqlite3.Error | OSError) -> Unusable:
    """What an error on the way means."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    why = str(getattr(error, "strerror", None) or error)
    why = f"its pages are damaged ({why})" if code == CORRUPT else why
    if code == READ_ONLY and os.path.lexists(rollback(path)):
        return unusable(path, f"another program left {rollback(path).name}, which would undo what is in it", MEND)
    return unusable(path, why, MEND if code in (CORRUPT, FOREIGN) else NO_WAY)


def rollback(path: Path) -> Path:
    """The journal of a program that opened the database in another mode than ours."""
    return path.with_name(f"{path.name}-journal")


def journal(path: Path) -> Path:
    """The write-ahead log of a database."""
    return path.with_name(f"{path.name}-wal")


def has_journal(path: Path) -> bool:
    """Whether there is something in the journal: the last stop was none in order."""
    try:
        return journal(path).stat().st_size > 0
    except OSError:
        return False


# --- the files


def exists(path: Path, mark: Mark) -> bool:
    """Whether there is a database, False for a directory that never held one. Raises Unusable for what cannot be one."""
    if mark.repair:
        raise unusable(path, "a repair of it was interrupted", AGAIN)
    if not check_regular(path, path):
        if mark.database or journal(path).exists():
            raise unusable(path, "the file is missing, though there was a cluster", LOST)
        return False
    if path.stat().st_size == 0:
        raise unusable(path, "the file is empty: what was in it is lost", LOST)
    check_regular(path, journal(path))
    return True


def check_regular(path: Path, file: Path) -> bool:
    """Whether `file` is a file, False when there is nothing. Raises Unusable for anything else."""
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
    """Raises Unusable for a file that cannot be written: SQLite would open it only to read."""
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CLOEXEC))  # before SQLite has it: closing it would give up SQLite's locks
    except FileNotFoundError:
        return
    except OSError as error:
        raise unusable(path, denied(file, error)) from error


def sync_directory(path: Path) -> None:
    """Make names in a directory durable."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


# --- making


@contextlib.contextmanager
def replaced(path: Path, database: str) -> Iterator[sqlite3.Connection]:
    """A new database to be filled; it takes the place of `path` in one step when the block ends well. Raises sqlite3.Error, OSError."""
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
    """Make the database of a new cluster. Raises sqlite3.Error, OSError."""
    name = secrets.token_hex(8)
    with replaced(path, name):
        pass  # no rows
    lock.write(Mark(name))


# --- looking


def reading(path: Path) -> sqlite3.Connection:
    """A connection that only reads: it neither writes the journal back nor removes it."""
    fixed = "" if os.access(path.parent, os.W_OK) or has_journal(path) else "&immutable=1"  # SQLite needs to write to share a file
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro{fixed}", uri=True, isolation_level=None, check_same_thread=False)


@contextlib.contextmanager
def no_traces(path: Path) -> Iterator[None]:
    """Take away at the end what SQLite makes to read a database: an index of the journal, an empty journal."""
    made = [name for name in (path.with_name(f"{path.name}-shm"), journal(path)) if not os.path.lexists(name)]
    try:
        yield
    finally:
        for name in made:
            if os.path.lexists(name) and (name != journal(path) or not has_journal(path)):
                name.unlink(missing_ok=True)


def version(path: Path, db: sqlite3.Connection) -> int:
    """The format of the database. Raises Unusable for one that is not kapi's, or not this kapi's."""
    (found,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    wanted = {"log", "floor"} if found == 1 else {"log", "floor", "identity"}
    if found < 1 or not wanted <= tables or (application != rows.APPLICATION_ID and found != 1):
        raise unusable(path, "it is a database of another program", MEND)
    if found > FORMAT:
        raise newer(path, found)
    return int(found)


def newer(path: Path, found: int) -> Unusable:
    """The refusal of a format that is not known yet."""
    return unusable(path, f"it was written by a newer kapi (format {found}, this one knows {FORMAT})")


def migrate(path: Path) -> None:
    """From format 1: rows get checksums, the database an id. Raises Unusable, sqlite3.Error."""
    with contextlib.closing(reading(path)) as db:
        if damage := first_fault(db, None, rows.SELECT_1):
            raise unusable(path, damage, MEND)
    name = secrets.token_hex(8)
    seed = rows.seed(name)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.create_function("row_checksum", 5, lambda *row: rows.checksum(seed, *row), deterministic=True)
        db.executescript(
            f"BEGIN IMMEDIATE; ALTER TABLE log ADD COLUMN checksum INTEGER;"
            f"UPDATE log SET checksum = row_checksum(revision, key, created, deadline, body); {rows.IDENTITY.format(database=name)}"
            f"PRAGMA application_id={rows.APPLICATION_ID}; PRAGMA user_version={FORMAT}; COMMIT; PRAGMA wal_checkpoint(TRUNCATE);"
        )


class Known:
    """What was read of a database before its rows: Raises Unusable when it is not the one the lock file knows."""

    def __init__(self, path: Path, db: sqlite3.Connection, mark: Mark) -> None:
        found = db.execute("SELECT database, floor.revision, (SELECT max(revision) FROM log) FROM identity, floor").fetchall()
        if len(found) != 1 or not isinstance(found[0][1], int):
            raise unusable(path, "its tables identity and floor are damaged", MEND)
        self.database, self.floor = str(found[0][0]), found[0][1]
        self.revision = max(found[0][2] or 0, self.floor)
        self.seed = rows.seed(self.database)
        if mark.database not in ("", self.database):
            raise unusable(path, "it is the database of another cluster", ACCEPT)
        if self.revision < mark.revision:
            lost = f"it ends at revision {self.revision}, and {mark.revision} was acknowledged"
            why = f"{lost} (an older copy, or {journal(path).name} is missing or damaged)"
            raise unusable(path, why, ACCEPT)


def check_structure(path: Path, db: sqlite3.Connection) -> None:
    """Let SQLite check its pages. Raises Unusable."""
    if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise unusable(path, f"its pages are damaged ({' '.join(found.split())})", MEND)


def first_fault(db: sqlite3.Connection, seed: int | None, query: str = rows.SELECT) -> str:
    """A sentence on the first damaged row that can be read, "" when there is none."""
    return next((f"{rows.shown(row)} (revision {row.revision}) is damaged: {why}" for row, why in faults(db, seed, query)), "")


def faults(db: sqlite3.Connection, seed: int | None, query: str = rows.SELECT) -> Iterator[tuple[Row, str]]:
    """The damaged rows with what is wrong. Raises sqlite3.Error for pages that cannot be read."""
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
