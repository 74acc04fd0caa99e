"""The log in an SQLite file, with group commit: a row per revision, the newest row of a key being its state.

All changes that wait are written in one transaction on the event loop (a write to the page cache, tens of µs). Then a thread syncs the
write-ahead log, and only then the changes are applied. So the thread needs the interpreter once per group, not once per row.
SQLite itself runs with synchronous=NORMAL, which leaves out exactly the fdatasync of the WAL that is done here.

Worked example, with changes a to d submitted while others are in progress; one group at a time is between its write and its apply:

    event loop  submit a | write {a} | submit b, c |          apply {a}, write {b, c} | submit d |           apply {b, c}, write {d}
    thread               |           | fdatasync ---------->                          | fdatasync ---------->

Whether the file can be trusted is checked by `opening`. While the disk is full, groups are refused, until one can be written again. A
failed sync ends all writing, because it is unknown then what is on the disk: reads go on, and the next start reads what is there.
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
from kapi.storage.lock import Lock, LockRecord

DELETED_ROWS = 500
"""The most obsolete rows that are deleted in one transaction."""

CHECK_SECONDS = 1.0
"""Seconds between two checks whether the files are still there."""

log = logging.getLogger(__name__)


class SQLite:
    """Keeps the log in `path`, its WAL beside it, and a lock file against a second server."""

    expires = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._revision = 0
        self._queue: list[Change] = []
        self._busy = False
        """Whether a group is being synced, or the next one is about to be written."""
        self._obsolete: list[int] = []
        self._compacted = 0
        self._wal_bytes = 0
        """Bytes written to the WAL since the last checkpoint, estimated."""
        self._failure: Exception | None = None
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._resources = contextlib.ExitStack()
        """What is open, to be closed in reverse order."""

    # --- opening and closing

    async def start(self, apply: Apply, refuse: Refuse) -> Loaded:
        """Raises Unusable."""
        self._apply, self._refuse = apply, refuse
        self._loop = asyncio.get_running_loop()
        self._lock = Lock(self._path)
        self._resources.callback(self._lock.close)
        self._resources.enter_context(opening.remove_sidecars(self._path))
        with self._errors_as_unusable():
            self._reader = self._resources.enter_context(contextlib.closing(self._open_reader()))
        return Loaded(self._revision, self._compacted, self._rows())

    def _open_reader(self) -> sqlite3.Connection:
        """A read-only connection to a database that was created or checked, all but its rows."""
        path, lock = self._path, self._lock
        unclean = opening.has_wal(path)
        if not opening.exists(path, lock.record):
            opening.create(path, lock)
        for file in (path, opening.wal_path(path)):
            opening.check_writable(path, file)
        with contextlib.ExitStack() as undo:
            db = undo.enter_context(contextlib.closing(opening.open_reader(path)))
            if opening.format_of(path, db) < rows.FORMAT:
                opening.migrate(path)
            header = opening.Header(path, db, lock.record)
            if unclean:
                opening.check_structure(path, db)
            self._revision, self._compacted, self._seed = header.revision, header.compacted, header.seed
            self._record = LockRecord(header.database, header.revision)
            undo.pop_all()
        return db

    @contextlib.contextmanager
    def _errors_as_unusable(self) -> Iterator[None]:
        """Turn errors into Unusable, and close everything."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._resources.close()
            raise opening.refusal(self._path, error) from error
        except Unusable:
            self._resources.close()
            raise

    def _rows(self) -> Iterator[Change]:
        """All rows; after the last one the file is opened for writing."""
        seed, checksum = self._seed, rows.checksum
        with self._errors_as_unusable():
            try:
                for revision, key, created, deadline, body, stored in self._reader.execute(rows.SELECT):
                    if checksum(seed, revision, key, created, deadline, body) != stored:
                        raise ValueError("a checksum is wrong")
                    yield Change(key, body, created=created, deadline=deadline, revision=revision)
            except (*rows.MALFORMED, sqlite3.Error) as error:
                raise self.damaged(error) from error
            self._open()

    def damaged(self, error: Exception) -> Unusable:
        """The error for rows that cannot be read, naming the first one."""
        with self._errors_as_unusable():
            why = opening.first_fault(self._reader, self._seed) or str(error)
        return opening.unusable(self._path, why, opening.ADVICE_DAMAGED)

    def _open(self) -> None:
        """Open the file for writing, and start the thread."""
        self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, cached_statements=16)
        self._resources.callback(self._db.close)
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=0", "temp_store=MEMORY", "cache_size=-1000"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute("PRAGMA secure_delete=ON")  # so that deleted Secrets are not left in the file
        self._db.execute("UPDATE floor SET revision = revision")
        self._lock.write(self._record)
        self._reader.close()
        self._wal = os.open(opening.wal_path(self._path), os.O_RDONLY | os.O_CLOEXEC)
        self._resources.callback(os.close, self._wal)
        os.fdatasync(self._wal)
        opening.sync_directory(self._path.parent)
        self._paths = (str(self._path), str(opening.wal_path(self._path)))
        self._files = self._identities()
        self._next_check = 0.0
        self._thread = threading.Thread(target=self._run_jobs, name="storage", daemon=True)
        self._thread.start()

    def _identities(self) -> list[tuple[int, int]]:
        """(device, inode) of the file and its WAL, which differ from those of other files of the same names."""
        try:
            return [(facts.st_dev, facts.st_ino) for facts in map(os.stat, self._paths)]
        except FileNotFoundError:
            return []

    def size(self) -> int:
        return self._path.stat().st_size + os.fstat(self._wal).st_size

    async def close(self) -> None:
        while self._busy and not self._failure:
            await self._wait_for_thread()
        if self._thread:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None
        with contextlib.ExitStack() as closing:
            if self._failure:  # closed as the last one, a connection that only reads leaves the WAL as it is
                with contextlib.suppress(sqlite3.Error):
                    reader = closing.enter_context(contextlib.closing(opening.open_reader(self._path)))
                    reader.execute("SELECT revision FROM floor").fetchone()
            self._resources.close()

    async def _wait_for_thread(self) -> None:
        """Wait until the thread has finished its jobs."""
        done = asyncio.Event()
        self._jobs.put(lambda: self._call_on_loop(done.set))
        await done.wait()

    # --- writing

    def submit(self, change: Change) -> None:
        if self._failure:
            self._loop.call_soon(self._refuse, [change], self._failure)
            return
        self._queue.append(change)
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._commit_group)

    def compact(self, obsolete: list[int], compacted: int) -> None:
        self._obsolete += obsolete
        self._compacted = compacted

    def _commit_group(self) -> None:
        """Write all changes that wait in one transaction, then have the thread sync it."""
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
            self._loop.call_soon(self._commit_group)
            return
        self._jobs.put(lambda: self._sync(group))

    def _insert(self, group: list[Change]) -> None:
        inserted = []
        for change in group:
            change.revision = self._revision = revision = self._revision + 1
            row = (revision, change.key, change.created or revision, change.deadline, change.body)
            inserted.append((*row, rows.checksum(self._seed, *row)))
            self._wal_bytes += 8192 + len(change.body or b"")
        obsolete = self._obsolete[:DELETED_ROWS]
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(rows.INSERT, inserted)
        if obsolete:
            self._db.executemany("DELETE FROM log WHERE revision = ?", [(revision,) for revision in obsolete])
            self._db.execute("UPDATE floor SET revision = ?", (self._compacted,))
        self._db.execute("COMMIT")
        del self._obsolete[: len(obsolete)]

    def _synced(self, group: list[Change]) -> None:
        self._lock.acknowledged(group[-1].revision)
        try:
            self._apply(group)
        finally:
            if self._wal_bytes > limits.WAL_BYTES:
                self._wal_bytes = 0
                self._jobs.put(self._checkpoint)
            else:
                self._commit_group()

    def _disk_failed(self, group: list[Change], error: OSError) -> None:
        """A sync failed: what is on the disk is unknown now, so nothing is written from here on."""
        why = f"storage: {error.strerror}"
        log.critical("The disk failed: nothing is written until a new start", extra=logs.fields(file=self._path, error=error))
        self._failure = InternalError(f"{why}; nothing is written until the server is started again")
        self._refuse(group, InternalError(f"{why}; whether this was kept shows when the server is started again"))
        self._refuse(self._queue, self._failure)
        self._queue = []

    # --- in the thread

    def _run_jobs(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _call_on_loop(self, call: Callable[..., None], *args: object) -> None:
        """Call on the event loop, unless that is closed."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *args)

    def _sync(self, group: list[Change]) -> None:
        try:
            self._check_files()
            os.fdatasync(self._wal)
        except OSError as error:
            self._call_on_loop(self._disk_failed, group, error)
        else:
            self._call_on_loop(self._synced, group)

    def _check_files(self) -> None:
        """Check from time to time that the open files still have their names: what is written to a deleted file is lost at the end."""
        if (now := monotonic()) < self._next_check:
            return
        self._next_check = now + CHECK_SECONDS
        if self._identities() != self._files:
            raise FileNotFoundError(errno.ENOENT, f"{self._path.name} or its journal was removed or replaced")

    def _checkpoint(self) -> None:
        """Checkpoint the WAL. No group is written meanwhile, so that SQLite can start the WAL over from its beginning afterwards."""
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            log.warning("The journal cannot be written back, and grows", extra=logs.once("", file=self._path, error=error))
        self._call_on_loop(self._commit_group)
