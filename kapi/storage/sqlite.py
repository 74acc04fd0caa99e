"""The log in an SQLite file: a row per revision, the newest of a key being its state.

Whatever waits is written in one transaction on the event loop (a write to the page cache, tens of µs); then a thread waits for
the disk, and only then the changes are applied. So the thread needs the interpreter once per group, not once per row.
SQLite itself runs with synchronous=NORMAL, which leaves out exactly the fdatasync of the WAL that is done here.

Whether the file can be trusted is `opening`'s affair. A disk that is full refuses groups until it takes one again; a failed sync
ends all writing, since what is on the disk is not known then: reads go on, and a start reads what is really there.
"""

import asyncio
import contextlib
import errno
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from time import monotonic

from kapi import limits, logs
from kapi.objects.errors import InternalError
from kapi.storage import opening, rows
from kapi.storage.backend import Apply, Loaded, Refuse, Unusable
from kapi.storage.entry import Change
from kapi.storage.lock import Lock, Mark

BACKLOG = 500
"""Forgotten rows that are taken out in one transaction at most."""

CHECK_SECONDS = 1.0
"""How often it is looked whether the files are still there."""

log = logging.getLogger(__name__)


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
        self._held = contextlib.ExitStack()
        """What is open, to be closed in the other order."""

    # --- opening and closing

    async def start(self, apply: Apply, refuse: Refuse) -> Loaded:
        """Raises Unusable."""
        self._apply, self._refuse = apply, refuse
        self._loop = asyncio.get_running_loop()
        self._lock = Lock(self._path)
        self._held.callback(self._lock.close)
        self._held.enter_context(opening.no_traces(self._path))
        with self._refusing_errors():
            self._reader = self._held.enter_context(contextlib.closing(self._examined()))
        return Loaded(self._revision, self._floor, self._rows())

    def _examined(self) -> sqlite3.Connection:
        """A connection that reads, to a database that is ours and whole so far."""
        path, lock = self._path, self._lock
        unclean = opening.has_journal(path)
        if not opening.exists(path, lock.mark):
            opening.create(path, lock)
        for file in (path, opening.journal(path)):
            opening.check_writable(path, file)
        with contextlib.ExitStack() as undo:
            db = undo.enter_context(contextlib.closing(opening.reading(path)))
            if opening.version(path, db) < rows.FORMAT:
                opening.migrate(path)
            known = opening.Known(path, db, lock.mark)
            if unclean:
                opening.check_structure(path, db)
            self._revision, self._floor, self._seed = known.revision, known.floor, known.seed
            self._mark = Mark(known.database, known.revision)
            undo.pop_all()
        return db

    @contextlib.contextmanager
    def _refusing_errors(self) -> Iterator[None]:
        """Errors become Unusable; then nothing stays open."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._held.close()
            raise opening.refusal(self._path, error) from error
        except Unusable:
            self._held.close()
            raise

    def _rows(self) -> Iterator[Change]:
        """All rows; after the last one the file is opened for writing."""
        seed, checksum = self._seed, rows.checksum
        with self._refusing_errors():
            try:
                for revision, key, created, deadline, body, summed in self._reader.execute(rows.SELECT):
                    if checksum(seed, revision, key, created, deadline, body) != summed:
                        raise ValueError("a checksum is wrong")
                    yield Change(key, body, created=created, deadline=deadline, revision=revision)
            except (*rows.MALFORMED, sqlite3.Error) as error:
                raise self.damaged(error) from error
            self._open()

    def damaged(self, error: Exception) -> Unusable:
        """What is said of rows that cannot be read: which one it is."""
        with self._refusing_errors():
            why = opening.first_fault(self._reader, self._seed) or str(error)
        return opening.unusable(self._path, why, opening.MEND)

    def _open(self) -> None:
        """Open the file for writing, and let the thread begin."""
        self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, cached_statements=16)
        self._held.callback(self._db.close)
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=0", "temp_store=MEMORY", "cache_size=-1000"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute("PRAGMA secure_delete=ON")  # so that deleted Secrets are not left in the file
        self._db.execute("UPDATE floor SET revision = revision")
        self._lock.write(self._mark)
        self._reader.close()
        self._wal = os.open(opening.journal(self._path), os.O_RDONLY | os.O_CLOEXEC)
        self._held.callback(os.close, self._wal)
        os.fdatasync(self._wal)
        opening.sync_directory(self._path.parent)
        self._names = (str(self._path), str(opening.journal(self._path)))
        self._files = self._identities()
        self._next_check = 0.0
        self._thread = threading.Thread(target=self._work, name="storage", daemon=True)
        self._thread.start()

    def _identities(self) -> list[tuple[int, int]]:
        """What tells the file and its WAL from others of the same names."""
        try:
            return [(found.st_dev, found.st_ino) for found in map(os.stat, self._names)]
        except FileNotFoundError:
            return []

    def size(self) -> int:
        return self._path.stat().st_size + os.fstat(self._wal).st_size

    async def close(self) -> None:
        while self._busy and not self._broken:
            await self._idle()
        if self._thread:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None
        with contextlib.ExitStack() as last:
            if self._broken:  # closed as the last one, a connection that only reads leaves the WAL as it is
                with contextlib.suppress(sqlite3.Error):
                    reader = last.enter_context(contextlib.closing(opening.reading(self._path)))
                    reader.execute("SELECT revision FROM floor").fetchone()
            self._held.close()

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
        made = []
        for change in group:
            change.revision = self._revision = revision = self._revision + 1
            row = (revision, change.key, change.created or revision, change.deadline, change.body)
            made.append((*row, rows.checksum(self._seed, *row)))
            self._written += 8192 + len(change.body or b"")
        dead = self._dead[:BACKLOG]
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(rows.INSERT, made)
        if dead:
            self._db.executemany("DELETE FROM log WHERE revision = ?", [(revision,) for revision in dead])
            self._db.execute("UPDATE floor SET revision = ?", (self._floor,))
        self._db.execute("COMMIT")
        del self._dead[: len(dead)]

    def _synced(self, group: list[Change]) -> None:
        self._lock.acknowledged(group[-1].revision)
        try:
            self._apply(group)
        finally:
            if self._written > limits.WAL_BYTES:
                self._written = 0
                self._jobs.put(self._write_back)
            else:
                self._write()

    def _failed(self, group: list[Change], error: OSError) -> None:
        """The disk did not take it: what is on it is not known any more, so nothing is written from here on."""
        why = f"storage: {error.strerror}"
        log.critical("The disk failed: nothing is written until a new start", extra=logs.fields(file=self._path, error=error))
        self._broken = InternalError(f"{why}; nothing is written until the server is started again")
        self._refuse(group, InternalError(f"{why}; whether this was kept shows when the server is started again"))
        self._refuse(self._queue, self._broken)
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
            self._check_files()
            os.fdatasync(self._wal)
        except OSError as error:
            self._tell(self._failed, group, error)
        else:
            self._tell(self._synced, group)

    def _check_files(self) -> None:
        """See now and then that the files are still those that have the names: what only nameless ones hold is gone at the end."""
        if (now := monotonic()) < self._next_check:
            return
        self._next_check = now + CHECK_SECONDS
        if self._identities() != self._files:
            raise FileNotFoundError(errno.ENOENT, f"{self._path.name} or its journal was removed or replaced")

    def _write_back(self) -> None:
        """Move the WAL into the file; the writer waits, so that the WAL begins anew afterwards."""
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            log.warning("The journal cannot be written back, and grows", extra=logs.once("", file=self._path, error=error))
        self._tell(self._write)
