"""The log in an SQLite file: a row per revision, the newest of a key being its state.

Whatever waits is written in one transaction on the event loop (a write to the page cache, tens of µs); then a thread waits for
the disk, and only then the changes are applied. So the thread needs the interpreter once per group, not once per row.
SQLite itself runs with synchronous=NORMAL, which leaves out exactly the fdatasync of the WAL that is done here.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from queue import SimpleQueue

from kapi import logs
from kapi.objects.errors import InternalError
from kapi.storage.backend import Apply, Loaded, Refuse, Unusable
from kapi.storage.entry import Change

log = logging.getLogger(__name__)
TABLES = """
CREATE TABLE IF NOT EXISTS log (
    revision INTEGER PRIMARY KEY, key TEXT NOT NULL, created INTEGER NOT NULL, deadline REAL NOT NULL, body BLOB
);
CREATE TABLE IF NOT EXISTS floor (id INTEGER PRIMARY KEY CHECK (id = 0), revision INTEGER NOT NULL);
INSERT OR IGNORE INTO floor VALUES (0, 0);
"""
FORMAT = 1
"""user_version of the file."""
WAL_BYTES = 16 << 20
"""Size of the WAL from which it is written back into the file."""
BACKLOG = 500
"""Forgotten rows that are taken out in one transaction at most."""


class SQLite:
    """Keeps the log in `path`, its WAL beside it, and a lock file against a second server."""

    expires = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._revision = 0
        self._queue: list[Change] = []
        self._busy = False
        """A group is being synced, or the next one is about to be written."""
        self._dead: list[int] = []
        self._floor = 0
        self._written = 0
        """Bytes handed to the WAL since it was last written back, roughly."""
        self._broken: Exception | None = None
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    # --- opening and closing

    async def start(self, apply: Apply, refuse: Refuse) -> Loaded:
        """Raises Unusable."""
        self._apply, self._refuse = apply, refuse
        self._loop = asyncio.get_running_loop()
        self._lock = _locked(self._path)
        try:
            self._db = self._open()
            self._wal = os.open(f"{self._path}-wal", os.O_RDONLY)
            _sync_directory(self._path.parent)
            (self._floor,) = self._db.execute("SELECT revision FROM floor").fetchone()
            (newest,) = self._db.execute("SELECT max(revision) FROM log").fetchone()
        except (sqlite3.Error, OSError) as error:
            os.close(self._lock)
            raise Unusable(f"the data in {self._path} cannot be opened: {error}.") from error
        self._revision = max(newest or 0, self._floor)
        self._thread = threading.Thread(target=self._work, name="storage", daemon=True)
        self._thread.start()
        return Loaded(self._revision, self._floor, self._rows())

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, cached_statements=16)
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=0", "temp_store=MEMORY", "cache_size=-1000"):
            db.execute(f"PRAGMA {pragma}")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > FORMAT:
            raise sqlite3.DatabaseError(f"it was written by a newer kapi (format {version}, this one knows {FORMAT})")
        db.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version={FORMAT}; COMMIT;")
        return db

    def _rows(self) -> Iterable[Change]:
        try:
            for revision, key, created, deadline, body in self._db.execute("SELECT * FROM log ORDER BY revision"):
                yield Change(key, body, created=created, deadline=deadline, revision=revision)
        except sqlite3.Error as error:
            raise Unusable(f"the data in {self._path} cannot be read: {error}.") from error

    def size(self) -> int:
        return self._path.stat().st_size + os.fstat(self._wal).st_size

    async def close(self) -> None:
        while self._busy and not self._broken:
            await self._idle()
        if self._thread:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None
            self._db.close()
            os.close(self._wal)
            os.close(self._lock)

    async def _idle(self) -> None:
        """Wait until the thread has done what it was given."""
        done = asyncio.Event()
        self._jobs.put(lambda: self._tell(done.set))
        await done.wait()

    # --- writing

    def submit(self, change: Change) -> None:
        if self._broken:
            self._loop.call_soon(self._refuse, [change], self._broken)
            return
        self._queue.append(change)
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._write)

    def forget(self, dead: list[int], floor: int) -> None:
        self._dead += dead
        self._floor = floor

    def _write(self) -> None:
        """Everything that waits, in one transaction; then to the disk."""
        group, self._queue = self._queue, []
        if not group:
            self._busy = False
            return
        try:
            self._insert(group)
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            self._refuse(group, InternalError(f"storage: {error}"))
            self._loop.call_soon(self._write)
            return
        self._jobs.put(lambda: self._sync(group))

    def _insert(self, group: list[Change]) -> None:
        rows = []
        for change in group:
            self._revision += 1
            change.revision = self._revision
            rows.append((self._revision, change.key, change.created or self._revision, change.deadline, change.body))
            self._written += 8192 + len(change.body or b"")
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?)", rows)
        if self._dead:
            dead, self._dead = self._dead[:BACKLOG], self._dead[BACKLOG:]
            self._db.executemany("DELETE FROM log WHERE revision = ?", [(revision,) for revision in dead])
            self._db.execute("UPDATE floor SET revision = ?", (self._floor,))
        self._db.execute("COMMIT")

    def _synced(self, group: list[Change]) -> None:
        try:
            self._apply(group)
        finally:
            if self._written > WAL_BYTES:
                self._written = 0
                self._jobs.put(self._write_back)
            else:
                self._write()

    def _failed(self, group: list[Change], error: Exception) -> None:
        """The disk did not take it: what is on it is not known any more, so nothing is written from here on."""
        self._broken = error
        log.critical("The disk failed, nothing is written from here on", extra=logs.fields(file=self._path, error=error))
        self._refuse(group, error)
        self._refuse(self._queue, error)
        self._queue = []

    # --- in the thread

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _tell(self, call: Callable[..., None], *args: object) -> None:
        """Call on the event loop, if there still is one."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *args)

    def _sync(self, group: list[Change]) -> None:
        try:
            os.fdatasync(self._wal)
        except OSError as error:
            self._tell(self._failed, group, InternalError(f"storage: {error}"))
        else:
            self._tell(self._synced, group)

    def _write_back(self) -> None:
        """Move the WAL into the file; the writer waits, so that the WAL begins anew afterwards."""
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            log.warning("The WAL could not be written back", extra=logs.once("", file=self._path, error=error))
        self._tell(self._write)


def _locked(path: Path) -> int:
    """A descriptor that holds the lock of the file. Raises Unusable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unusable(f"the data in {path} cannot be opened: {error.strerror}.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise Unusable(f"the data in {path} is in use by another server.") from error
    return lock


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
