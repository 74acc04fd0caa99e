"""Reads rows from the bytes of a damaged SQLite file and its write-ahead log, where SQLite itself fails.

Implements what repair needs of the format (https://www.sqlite.org/fileformat.html): pages with those of the log on top, the free list,
the cells of table leaves with their overflow pages, and records. A damaged page is searched for anything that looks like a row.
Whether a row is intact is decided by its checksum, not here.
"""

import mmap
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PAGE_SIZES = frozenset(1 << n for n in range(9, 17))
DEFAULT_PAGE_SIZE = 4096
INTERIOR, LEAF = 0x05, 0x0D
"""First byte of a page of a table."""
_WAL_HEADER, _FRAME_HEADER = 32, 24
_RECORD = re.compile(rb"(?=[\x03-\x20]\x00)")
"""The first bytes of a record with a rowid: the length of its header, and NULL for the rowid."""
_MALFORMED = (IndexError, struct.error, ValueError, OverflowError)
"""The exceptions of parsing malformed bytes."""

Bytes = bytes | mmap.mmap


class Cell(NamedTuple):
    """A row: its rowid and the values of its record. The first value is NULL, in place of the rowid."""

    rowid: int
    values: list[Any]


class Found(NamedTuple):
    """What was read from the pages."""

    cells: list[Cell]
    unreadable: int
    """How many pages have an unknown type, or cells that cannot be read."""
    user_version: int
    """0 when the first page is not the header of a database."""


def read_bytes(path: Path) -> Bytes:
    """The bytes of a file, mapped; b"" when it is missing or empty."""
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (FileNotFoundError, ValueError):
        return b""


def read_cells(data: Bytes, wal: Bytes, *, uncommitted: bool = False) -> Found:
    """All cells of a database file and its log; `uncommitted`: also those of a last transaction without its commit frame."""
    return _Pages(data, wal, uncommitted).read_cells()


class _Pages:
    def __init__(self, data: Bytes, wal: Bytes, uncommitted: bool) -> None:
        self._data = data
        self._header = bytes(data[:100]) if data[:16] == b"SQLite format 3\0" else b""
        self._size = self._page_size(wal)
        log = _WriteAheadLog(wal, self._size)
        self._wal_pages, self._damaged = log.committed, log.damaged
        if uncommitted:
            self._wal_pages.update(log.uncommitted)
        self._count = max(-(-len(data) // self._size), max(self._wal_pages, default=0))
        if 1 in self._wal_pages:
            self._header = bytes(self._wal_pages[1][:100])
        self._overflow: set[int] = set()

    def _page_size(self, wal: Bytes) -> int:
        written = struct.unpack_from(">H", self._header, 16)[0] if self._header else 0
        for size in (65536 if written == 1 else written, struct.unpack_from(">I", wal, 8)[0] if len(wal) > _WAL_HEADER else 0):
            if size in PAGE_SIZES:
                return int(size)
        return DEFAULT_PAGE_SIZE

    def _page(self, number: int) -> bytes:
        """A page, b"" for a missing one; a truncated page is filled with zeros."""
        if number in self._wal_pages:
            return self._wal_pages[number]
        start = (number - 1) * self._size
        there = self._data[start : start + self._size] if number > 0 else b""
        return there.ljust(self._size, b"\0") if there else b""

    def read_cells(self) -> Found:
        free = self._free()
        cells: list[Cell] = []
        damaged: list[bytes] = []
        unknown: list[int] = []
        for number in range(1, self._count + 1):
            if number in free or not (page := self._page(number)):
                continue
            kind = page[100 if number == 1 else 0]
            if kind == LEAF:
                read, complete = self._leaf(page, 100 if number == 1 else 0)
                cells += read
                if not complete:
                    damaged.append(page)
            elif kind != INTERIOR and any(page):
                unknown.append(number)
        damaged += [self._page(number) for number in unknown if number not in self._overflow]
        for page in (*damaged, *self._damaged):
            cells += self._scan(page)
        return Found(cells, len(damaged) + len(self._damaged), struct.unpack_from(">I", self._header, 60)[0] if self._header else 0)

    def _free(self) -> set[int]:
        """The pages of the free list, as far as that can be followed."""
        free: set[int] = set()
        trunk = struct.unpack_from(">I", self._header, 32)[0] if self._header else 0
        while trunk and trunk not in free:
            try:
                page = self._page(trunk)
                following, count = struct.unpack_from(">II", page)
                free |= {trunk, *struct.unpack_from(f">{min(count, self._size // 4 - 2)}I", page, 8)}
            except _MALFORMED:
                break
            trunk = following
        return free

    def _leaf(self, page: bytes, start: int) -> tuple[list[Cell], bool]:
        """The cells of a leaf page, and whether all could be read."""
        count = struct.unpack_from(">H", page, start + 3)[0]
        cells = []
        complete = True
        for at in range(start + 8, start + 8 + 2 * count, 2):
            try:
                cells.append(self._cell(page, struct.unpack_from(">H", page, at)[0]))
            except _MALFORMED:
                complete = False
        return cells, complete

    def _scan(self, page: bytes) -> list[Cell]:
        """Every row in a page, at any offset: the beginning of a record, and before it the rowid and the length, each 1 to 9 bytes."""
        cells = []
        for match in _RECORD.finditer(page):
            for start in range(max(0, match.start() - 12), match.start() - 1):
                try:
                    length, rowid_at = _varint(page, start)
                    if length <= len(self._data) + len(self._wal_pages) * self._size and _varint(page, rowid_at)[1] == match.start():
                        cells.append(self._cell(page, start))
                except _MALFORMED:
                    continue
        return cells

    def _cell(self, page: bytes, at: int) -> Cell:
        length, at = _varint(page, at)
        rowid, at = _varint(page, at)
        return Cell(rowid, _record(self._payload(page, at, length)))

    def _payload(self, page: bytes, at: int, length: int) -> bytes:
        """The payload of a cell: the part in the page, and the rest from its overflow pages."""
        usable = self._size
        most, least = usable - 35, (usable - 12) * 32 // 255 - 23
        if length <= most:
            if at + length > usable:
                raise IndexError(at)
            return page[at : at + length]
        local = least + (length - least) % (usable - 4)
        local = local if local <= most else least
        parts, rest = [page[at : at + local]], length - local
        following = struct.unpack_from(">I", page, at + local)[0]
        chain = []
        while rest > 0:
            chain.append(following)
            over = self._page(following)
            following = struct.unpack_from(">I", over)[0]
            parts.append(over[4 : 4 + rest])
            rest -= len(parts[-1])
        self._overflow.update(chain)
        return b"".join(parts)


class _WriteAheadLog:
    """The write-ahead log: the pages of committed transactions, and those of damaged frames.

    SQLite stops at a damaged frame. Here the frames behind it are read as well: each contains the checksum of all frames before it.
    """

    def __init__(self, wal: Bytes, size: int) -> None:
        self.committed: dict[int, bytes] = {}
        self.damaged: list[bytes] = []
        self.uncommitted: dict[int, bytes] = {}
        """Pages of a last transaction without its commit frame."""
        if len(wal) < _WAL_HEADER:
            return
        order = ">" if wal[3] & 1 else "<"
        sums = _checksum(bytes(wal[:24]), order, (0, 0))
        salts = bytes(wal[16:24]) if sums == struct.unpack_from(">II", wal, 24) else bytes(wal[40:48])
        for header, page in _frames(wal, size):
            if header[8:16] != salts:
                continue
            number, commits, _, _, *stored = struct.unpack(">6I", header)
            sums = _checksum(header[:8] + page, order, sums)
            if sums == (stored[0], stored[1]):
                self.uncommitted[number] = page
            else:
                sums = stored[0], stored[1]
                self.damaged.append(page)
            if commits:
                self.committed.update(self.uncommitted)
                self.uncommitted.clear()


def _frames(wal: Bytes, size: int) -> Iterator[tuple[bytes, bytes]]:
    for start in range(_WAL_HEADER, len(wal) - _FRAME_HEADER - size + 1, _FRAME_HEADER + size):
        body = start + _FRAME_HEADER
        yield bytes(wal[start:body]), bytes(wal[body : body + size])


def _checksum(data: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    """The checksum of the write-ahead log, gone on with."""
    one, two = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 1 to 9 bytes, and where the next thing begins."""
    value = 0
    for place in range(at, at + 8):
        value = value << 7 | data[place] & 0x7F
        if data[place] < 0x80:
            return value, place + 1
    return value << 8 | data[at + 8], at + 9


_WIDTHS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def _record(payload: bytes) -> list[Any]:
    """The values of a record."""
    end, at = _varint(payload, 0)
    place = end
    values: list[Any] = []
    while at < end:
        kind, at = _varint(payload, at)
        if kind in (0, 8, 9):
            values.append({0: None, 8: 0, 9: 1}[kind])
            continue
        width = 8 if kind == 7 else _WIDTHS.get(kind, (kind - 12) // 2)
        raw = payload[place : place + width]
        if len(raw) != width or kind in (10, 11):
            raise ValueError("a record is too short")
        place += width
        values.append(_value(kind, raw))
    return values


def _value(kind: int, raw: bytes) -> Any:
    if kind == 7:
        return struct.unpack(">d", raw)[0]
    if kind < 7:
        return int.from_bytes(raw, "big", signed=True)
    if kind % 2:
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw
    return raw
