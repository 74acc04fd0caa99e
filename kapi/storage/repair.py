"""Checks and repairs a database that no server uses: intact rows are copied into a new file, the damaged file is kept.

Before anything else, the original files are linked into a directory beside the database, where damaged rows are saved too; they are
never changed again. An interrupted repair starts over from there. Revisions never go back: the repaired database continues behind
the newest acknowledged revision with an empty history, so that watches of before get 410 and list again.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kapi import limits
from kapi.objects import nested
from kapi.storage import opening, pages, rows
from kapi.storage.backend import Unusable
from kapi.storage.lock import Lock, LockRecord, lock_path
from kapi.storage.rows import FORMAT, Row

_SCHEMA = ("table", "index", "trigger", "view")
"""First values of the rows of SQLite's schema table; those of the log begin with NULL."""
REVISION_GAP, UNKNOWN_REVISION_GAP = 1_000, 1_000_000
"""How many revisions a repaired database skips: when the newest acknowledged one is known, and when it is not."""

Describe = Callable[[str, dict[str, Any]], object]
"""Raises for an object the server could not load."""


@dataclass(frozen=True)
class Damage:
    """A damaged row that was saved and left out."""

    key: str
    revision: int
    why: str
    file: str = ""
    """Path of its bytes, relative to the directory of originals."""
    older: int = 0
    """The revision of the older state that is the object's state now; 0: the object is gone."""


@dataclass
class Report:
    """The result of a repair; written to report.json."""

    directory: Path
    """Where the originals and the damaged rows are."""
    objects: int = 0
    revision: int = 0
    """The revision the repaired database continues from."""
    newest: int = 0
    """The newest revision that was found."""
    acknowledged: int = 0
    """The newest acknowledged revision, as far as it is known: those behind `newest` are lost."""
    damaged: list[Damage] = field(default_factory=list)
    unreadable: int = 0
    """Pages that could not be read completely; there may have been rows whose keys are unknown."""


def problems(path: Path, describe: Describe | None = None) -> list[str]:
    """What is wrong with a database, a sentence each; nothing is changed. Raises Unusable when a server uses it, OSError."""
    locked, present = (any(map(os.path.lexists, names)) for names in ((lock_path(path),), (path, opening.wal_path(path))))
    with contextlib.ExitStack() as held:
        record = LockRecord("")
        if locked:
            lock = Lock(path, create=False)
            held.callback(lock.close)
            record = lock.record
        if present:
            held.enter_context(opening.remove_sidecars(path))
        try:
            return list(_problems(path, record, describe)) if opening.exists(path, record) else []
        except Unusable as why:
            return [why.reason]
        except (sqlite3.Error, OSError) as error:
            return [opening.refusal(path, error).reason]


def _problems(path: Path, record: LockRecord, describe: Describe | None) -> Iterator[str]:
    with contextlib.closing(opening.open_reader(path)) as db:
        old = opening.format_of(path, db) < FORMAT
        seed = None if old else opening.Header(path, db, record).seed
        opening.check_structure(path, db)
        for row, why in opening.faults(db, seed, rows.SELECT_1 if old else rows.SELECT):
            yield f"{rows.shown(row)} (revision {row.revision}) is damaged: {why}"
        if describe:
            for key, body in db.execute("SELECT key, body FROM log WHERE body IS NOT NULL"):
                if why := _not_loadable(key, body, describe):
                    yield f"object {key} is damaged: {why}"


def _not_loadable(key: str, body: bytes, describe: Describe) -> str:
    try:
        describe(key, nested.loads(body))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        return f"it is not understood ({type(error).__name__}: {error})"
    return ""


def repair(path: Path, describe: Describe | None = None) -> Report:
    """Repair a database. Raises Unusable for one that cannot be repaired, OSError, sqlite3.Error."""
    lock = Lock(path)
    try:
        return _Repair(path, lock, describe).run()
    finally:
        lock.close()


class _Repair:
    def __init__(self, path: Path, lock: Lock, describe: Describe | None) -> None:
        self._path, self._lock, self._describe = path, lock, describe
        aside = path.with_name(f"{path.name}.set-aside")
        self._directory = aside / lock.record.repair if lock.record.repair else _unused(aside)

    def run(self) -> Report:
        record = self._lock.record
        if not record.repair or not self._directory.is_dir():
            self._set_aside()
            self._lock.write(record._replace(repair=self._directory.name))
        report, database, kept = self._salvage(self._directory / self._path.name, record)
        self._write_report(report)
        opening.wal_path(self._path).unlink(missing_ok=True)
        opening.rollback_journal(self._path).unlink(missing_ok=True)
        self._path.with_name(f"{self._path.name}-shm").unlink(missing_ok=True)
        seed = rows.seed(database)
        with opening.replacing(self._path, database) as db:
            salvaged = ((*row[:5], rows.checksum(seed, *row[:5])) for row in sorted(kept, key=lambda row: row.revision))
            db.executemany(rows.INSERT, salvaged)
            db.execute("UPDATE floor SET revision = ?", (report.revision,))
        self._lock.write(LockRecord(database, report.revision))
        return report

    def _set_aside(self) -> None:
        """Hard-link the originals, or copy them where that is impossible. Raises Unusable when there is no space for the new file."""
        files = [file for file in (self._path, opening.wal_path(self._path), opening.rollback_journal(self._path)) if os.path.lexists(file)]
        for file in files:
            opening.check_regular(self._path, file)
        needed = sum(file.stat().st_size for file in files) + limits.REPAIR_SPARE_BYTES
        if (free := shutil.disk_usage(self._path.parent).free) < needed:
            room = f"repairing needs {needed >> 20} MB of free space beside it, there are {free >> 20}"
            raise opening.unusable(self._path, room)
        self._refuse_newer()
        self._directory.parent.mkdir(exist_ok=True, mode=0o700)
        self._directory.mkdir(mode=0o700)
        for file in files:
            try:
                os.link(file, self._directory / file.name)
            except OSError:
                shutil.copy2(file, self._directory / file.name)
        opening.sync_directory(self._directory)
        opening.sync_directory(self._path.parent)

    def _refuse_newer(self) -> None:
        """Raises Unusable for a database of a newer format."""
        header = pages.read_bytes(self._path)[:100]
        if header[:16] == b"SQLite format 3\0" and header[68:72] == rows.APPLICATION_ID.to_bytes(4, "big"):
            written = int.from_bytes(header[60:64], "big")
            if FORMAT < written < FORMAT + 1000:
                raise opening.newer_format(self._path, written)

    def _salvage(self, source: Path, record: LockRecord) -> tuple[Report, str, list[Row]]:
        """The report, the id of the new database, and the newest intact states."""
        found, database, seed = _read(source, record)
        intact, bad = _classify(found.cells, seed)
        newest: dict[str, Row] = {}
        for row in sorted(intact.values(), key=lambda row: row.revision):
            why = self._describe and row.body is not None and _not_loadable(row.key, row.body, self._describe)
            if why:
                bad.append((row, why))
            else:
                newest[row.key] = row
        kept = [row for row in newest.values() if row.body is not None]
        last = max([_compacted_revision(found.cells), *intact])
        following = max(last, record.revision) + (REVISION_GAP if record.database else UNKNOWN_REVISION_GAP)
        report = Report(self._directory, len(kept), following, last, max(last, record.revision), unreadable=found.unreadable)
        report.damaged += self._set_rows_aside(bad, newest)
        return report, database, kept

    def _set_rows_aside(self, bad: list[tuple[Row, str]], newest: dict[str, Row]) -> Iterator[Damage]:
        """Save the damaged rows, except those that are only history of an object."""
        for number, (row, why) in enumerate(bad):
            state = newest.get(row.key) if isinstance(row.key, str) else None
            if state is None or state.revision < row.revision:
                self._keep_row(number, row)
                older = state.revision if state and state.body is not None else 0
                yield Damage(rows.shown(row), row.revision, why, f"rows/{number}", older)

    def _keep_row(self, number: int, row: Row) -> None:
        """Save the body of a damaged row unchanged."""
        directory = self._directory / "rows"
        directory.mkdir(exist_ok=True, mode=0o700)
        body = row.body if isinstance(row.body, bytes) else str(row.body).encode()
        with open(directory / str(number), "wb", opener=_private) as file:
            file.write(body)

    def _write_report(self, report: Report) -> None:
        with open(self._directory / "report.json", "w", opener=_private) as file:
            json.dump(dataclasses.asdict(report), file, indent=1, default=str)
            file.flush()
            os.fsync(file.fileno())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _unused(aside: Path) -> Path:
    """A directory for this repair."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = (aside / (f"{stamp}-{number}" if number else stamp) for number in itertools.count())
    return next(name for name in names if not name.exists())


def _database(cells: list[pages.Cell], record: LockRecord) -> tuple[str, bool]:
    """The id of the database to which most rows belong, and whether any does; a new id when none is known."""
    found = [_row(cell) for cell in cells if len(cell.values) == 6]
    names = dict.fromkeys(name for name in (record.database, *_identities(cells)) if name)
    counted = {name: sum(rows.intact(rows.seed(name), row) for row in found) for name in names}
    best = max(counted, key=lambda name: counted[name], default=secrets.token_hex(8))
    return best, counted.get(best, 0) > 0


def _foreign(data: pages.Bytes, wal: pages.Bytes, record: LockRecord) -> bool:
    """Whether the write-ahead log is that of another database: none of its rows belongs to this one."""
    database, checked = _database(pages.read_cells(data, b"").cells, record)
    if not wal or not checked:
        return False
    found = [_row(cell) for cell in pages.read_cells(b"", wal).cells if len(cell.values) == 6]
    return bool(found) and not any(rows.intact(rows.seed(database), row) for row in found)


def _read(source: Path, record: LockRecord) -> tuple[pages.Found, str, int | None]:
    """All cells of a database with its write-ahead log; its id; the seed of its checksums, None when none is right."""
    data, wal = pages.read_bytes(source), pages.read_bytes(opening.wal_path(source))
    if _foreign(data, wal, record):
        wal = b""
    found = pages.read_cells(data, wal)
    database, checked = _database(found.cells, record)
    seed = rows.seed(database) if checked else None
    if max(_classify(found.cells, seed)[0], default=0) < record.revision:
        rest = pages.read_cells(data, wal, uncommitted=True)  # what was acknowledged was finished: its end is lost
        found = rest._replace(cells=[cell for cell in rest.cells if cell.rowid <= record.revision])
    return found, database, seed


def _classify(cells: list[pages.Cell], seed: int | None) -> tuple[dict[int, Row], list[tuple[Row, str]]]:
    """The intact rows by revision, and the damaged ones, each with what is wrong."""
    intact: dict[int, Row] = {}
    bad: dict[Any, tuple[Row, str]] = {}
    for row in (_row(cell) for cell in cells if len(cell.values) in (5, 6) and cell.values[0] not in _SCHEMA):
        why = rows.fault(row, seed)
        if not why:
            intact[row.revision] = row
        elif isinstance(row.key, str | bytes):
            bad[row.revision] = (row, why)
    return intact, [damage for revision, damage in bad.items() if revision not in intact]


def _row(cell: pages.Cell) -> Row:
    """The row of a cell. SQLite stores a deadline without a fraction as an integer, and rows of format 1 have no checksum."""
    _, key, created, deadline, body, *summed = cell.values
    return Row(cell.rowid, key, created, float(deadline) if isinstance(deadline, int) else deadline, body, summed[0] if summed else None)


def _identities(cells: list[pages.Cell]) -> list[str]:
    """The ids in the identity table."""
    pairs = [cell.values[1] for cell in cells if len(cell.values) == 2 and cell.rowid == 0]
    return [value for value in pairs if isinstance(value, str)]


def _compacted_revision(cells: list[pages.Cell]) -> int:
    """The compact revision, from the table floor."""
    pairs = [cell.values[1] for cell in cells if len(cell.values) == 2 and cell.rowid == 0]
    return max((value for value in pairs if isinstance(value, int)), default=0)
