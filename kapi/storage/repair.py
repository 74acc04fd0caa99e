"""Looking through a database that nobody uses, and mending it: what is whole goes into a new file, the damaged one is kept.

Originals are linked into a directory beside the database before anything else happens, with the bytes of every damaged row; they
are never changed again. A repair that was interrupted begins anew from there. Revisions never go back: the repaired database
goes on behind the newest one that was acknowledged, and watches of before are told to list again.
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

import orjson

from kapi import limits
from kapi.storage import opening, pages, rows
from kapi.storage.backend import Unusable
from kapi.storage.lock import Lock, Mark, lock_path
from kapi.storage.rows import FORMAT, Row

_SCHEMA = ("table", "index", "trigger", "view")
"""What rows of SQLite's own table begin with, which describe the others (ours begin with NULL)."""
AHEAD, FAR_AHEAD = 1_000, 1_000_000
"""How many revisions a repaired database leaves out: when the newest acknowledged one is known, and when it is not."""

Describe = Callable[[str, dict[str, Any]], object]
"""Raises for an object the server could not load."""


@dataclass(frozen=True)
class Damage:
    """A row that is set aside."""

    key: str
    revision: int
    why: str
    file: str = ""
    """Where its bytes are, below the directory of originals."""
    older: int = 0
    """The revision of the older state that is the object's state now; 0: the object is gone."""


@dataclass
class Report:
    """What a repair did."""

    directory: Path
    """The originals and the damaged rows."""
    objects: int = 0
    revision: int = 0
    """The one the repaired database goes on from."""
    newest: int = 0
    """The newest one that was found."""
    acknowledged: int = 0
    """The newest one that was acknowledged, as far as that is known: what is between them is lost."""
    damaged: list[Damage] = field(default_factory=list)
    unreadable: int = 0
    """Pages of which something could not be read; rows without a key may have been there."""


def problems(path: Path, describe: Describe | None = None) -> list[str]:
    """What is wrong with a database, a sentence each; nothing is changed. Raises Unusable when a server has it, OSError."""
    locked, present = (any(map(os.path.lexists, names)) for names in ((lock_path(path),), (path, opening.journal(path))))
    with contextlib.ExitStack() as held:
        mark = Mark("")
        if locked:
            lock = Lock(path, create=False)
            held.callback(lock.close)
            mark = lock.mark
        if present:
            held.enter_context(opening.no_traces(path))
        try:
            return list(_problems(path, mark, describe)) if opening.exists(path, mark) else []
        except Unusable as why:
            return [why.reason]
        except (sqlite3.Error, OSError) as error:
            return [opening.refusal(path, error).reason]


def _problems(path: Path, mark: Mark, describe: Describe | None) -> Iterator[str]:
    with contextlib.closing(opening.reading(path)) as db:
        old = opening.version(path, db) < FORMAT
        seed = None if old else opening.Known(path, db, mark).seed
        opening.check_structure(path, db)
        for row, why in opening.faults(db, seed, rows.SELECT_1 if old else rows.SELECT):
            yield f"{rows.shown(row)} (revision {row.revision}) is damaged: {why}"
        if describe:
            for key, body in db.execute("SELECT key, body FROM log WHERE body IS NOT NULL"):
                if why := _misunderstood(key, body, describe):
                    yield f"object {key} is damaged: {why}"


def _misunderstood(key: str, body: bytes, describe: Describe) -> str:
    try:
        describe(key, orjson.loads(body))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        return f"it is not understood ({type(error).__name__}: {error})"
    return ""


def repair(path: Path, describe: Describe | None = None) -> Report:
    """Mend a database. Raises Unusable for what cannot be mended, OSError, sqlite3.Error."""
    lock = Lock(path)
    try:
        return _Repair(path, lock, describe).run()
    finally:
        lock.close()


class _Repair:
    def __init__(self, path: Path, lock: Lock, describe: Describe | None) -> None:
        self._path, self._lock, self._describe = path, lock, describe
        aside = path.with_name(f"{path.name}.set-aside")
        self._directory = aside / lock.mark.repair if lock.mark.repair else _unused(aside)

    def run(self) -> Report:
        mark = self._lock.mark
        if not mark.repair or not self._directory.is_dir():
            self._set_aside()
            self._lock.write(mark._replace(repair=self._directory.name))
        report, database, kept = self._salvaged(self._directory / self._path.name, mark)
        self._keep_damaged(report)
        opening.journal(self._path).unlink(missing_ok=True)
        opening.rollback(self._path).unlink(missing_ok=True)
        self._path.with_name(f"{self._path.name}-shm").unlink(missing_ok=True)
        seed = rows.seed(database)
        with opening.replaced(self._path, database) as db:
            made = ((*row[:5], rows.checksum(seed, *row[:5])) for row in sorted(kept, key=lambda row: row.revision))
            db.executemany(rows.INSERT, made)
            db.execute("UPDATE floor SET revision = ?", (report.revision,))
        self._lock.write(Mark(database, report.revision))
        return report

    def _set_aside(self) -> None:
        """Give the originals a second name, or copy them where that cannot be. Raises Unusable when there is no space for the new file."""
        files = [file for file in (self._path, opening.journal(self._path), opening.rollback(self._path)) if os.path.lexists(file)]
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
        """A format that is not known here is none that can be mended."""
        header = pages.contents(self._path)[:100]
        if header[:16] == b"SQLite format 3\0" and header[68:72] == rows.APPLICATION_ID.to_bytes(4, "big"):
            written = int.from_bytes(header[60:64], "big")
            if FORMAT < written < FORMAT + 1000:
                raise opening.newer(self._path, written)

    def _salvaged(self, source: Path, mark: Mark) -> tuple[Report, str, list[Row]]:
        """What is whole and what is not; the id the new database gets; the newest states."""
        found, database, seed = _read(source, mark)
        whole, bad = _sorted_out(found.cells, seed)
        newest: dict[str, Row] = {}
        for row in sorted(whole.values(), key=lambda row: row.revision):
            why = self._describe and row.body is not None and _misunderstood(row.key, row.body, self._describe)
            if why:
                bad.append((row, why))
            else:
                newest[row.key] = row
        kept = [row for row in newest.values() if row.body is not None]
        last = max([_floor(found.cells), *whole])
        following = max(last, mark.revision) + (AHEAD if mark.database else FAR_AHEAD)
        report = Report(self._directory, len(kept), following, last, max(last, mark.revision), unreadable=found.unreadable)
        report.damaged += self._set_rows_aside(bad, newest)
        return report, database, kept

    def _set_rows_aside(self, bad: list[tuple[Row, str]], newest: dict[str, Row]) -> Iterator[Damage]:
        """Keep damaged rows, but those that are only of an object's history."""
        for number, (row, why) in enumerate(bad):
            state = newest.get(row.key) if isinstance(row.key, str) else None
            if state is None or state.revision < row.revision:
                self._keep_row(number, row)
                older = state.revision if state and state.body is not None else 0
                yield Damage(rows.shown(row), row.revision, why, f"rows/{number}", older)

    def _keep_row(self, number: int, row: Row) -> None:
        """The bytes of a damaged row, as they are."""
        directory = self._directory / "rows"
        directory.mkdir(exist_ok=True, mode=0o700)
        body = row.body if isinstance(row.body, bytes) else str(row.body).encode()
        with open(directory / str(number), "wb", opener=_private) as file:
            file.write(body)

    def _keep_damaged(self, report: Report) -> None:
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


def _database(cells: list[pages.Cell], mark: Mark) -> tuple[str, bool]:
    """The id of the database most rows belong to, and whether any does; a new one when none is known."""
    found = [_row(cell) for cell in cells if len(cell.values) == 6]
    names = dict.fromkeys(name for name in (mark.database, *_identities(cells)) if name)
    counted = {name: sum(rows.intact(rows.seed(name), row) for row in found) for name in names}
    best = max(counted, key=lambda name: counted[name], default=secrets.token_hex(8))
    return best, counted.get(best, 0) > 0


def _foreign(data: pages.Bytes, journal: pages.Bytes, mark: Mark) -> bool:
    """Whether the journal is that of another database: none of its rows belongs to this one."""
    database, checked = _database(pages.found(data, b"").cells, mark)
    if not journal or not checked:
        return False
    found = [_row(cell) for cell in pages.found(b"", journal).cells if len(cell.values) == 6]
    return bool(found) and not any(rows.intact(rows.seed(database), row) for row in found)


def _read(source: Path, mark: Mark) -> tuple[pages.Found, str, int | None]:
    """All cells of a database with its journal; its id; what its checksums begin with, when any is right."""
    data, journal = pages.contents(source), pages.contents(opening.journal(source))
    if _foreign(data, journal, mark):
        journal = b""
    found = pages.found(data, journal)
    database, checked = _database(found.cells, mark)
    seed = rows.seed(database) if checked else None
    if max(_sorted_out(found.cells, seed)[0], default=0) < mark.revision:
        rest = pages.found(data, journal, unfinished=True)  # what was acknowledged was finished: its end is lost
        found = rest._replace(cells=[cell for cell in rest.cells if cell.rowid <= mark.revision])
    return found, database, seed


def _sorted_out(cells: list[pages.Cell], seed: int | None) -> tuple[dict[int, Row], list[tuple[Row, str]]]:
    """Whole rows by revision, and damaged ones with what is wrong."""
    whole: dict[int, Row] = {}
    bad: dict[Any, tuple[Row, str]] = {}
    for row in (_row(cell) for cell in cells if len(cell.values) in (5, 6) and cell.values[0] not in _SCHEMA):
        why = rows.fault(row, seed)
        if not why:
            whole[row.revision] = row
        elif isinstance(row.key, str | bytes):
            bad[row.revision] = (row, why)
    return whole, [damage for revision, damage in bad.items() if revision not in whole]


def _row(cell: pages.Cell) -> Row:
    """The row of a cell; SQLite keeps a deadline without a fraction as an integer, and rows of format 1 have no checksum."""
    _, key, created, deadline, body, *summed = cell.values
    return Row(cell.rowid, key, created, float(deadline) if isinstance(deadline, int) else deadline, body, summed[0] if summed else None)


def _identities(cells: list[pages.Cell]) -> list[str]:
    """The ids of databases that are written in one."""
    pairs = [cell.values[1] for cell in cells if len(cell.values) == 2 and cell.rowid == 0]
    return [value for value in pairs if isinstance(value, str)]


def _floor(cells: list[pages.Cell]) -> int:
    """The newest revision whose step was forgotten."""
    pairs = [cell.values[1] for cell in cells if len(cell.values) == 2 and cell.rowid == 0]
    return max((value for value in pairs if isinstance(value, int)), default=0)
