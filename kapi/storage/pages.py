"""Rows read straight from the bytes of a damaged SQLite file and its write-ahead log, where SQLite itself gives up.

Only what repair needs of the format (https://www.sqlite.org/fileformat.html): pages with the log laid over, the list of free
pages, the cells of table leaves with their overflow pages, records. In a page that is damaged rows are looked for by their form.
Whether a row is whole is for its checksum to say.
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
"""How a record with a rowid begins: the length of its header, and NULL for the rowid."""
_WRONG = (IndexError, struct.error, ValueError, OverflowError)
"""What reading bytes that are none of what they should be leads to."""

Bytes = bytes | mmap.mmap


class Cell(NamedTuple):
    """A row: its rowid and the values of its record (the first stands for the rowid)."""

    rowid: int
    values: list[Any]


class Found(NamedTuple):
    """What the pages hold."""

    cells: list[Cell]
    unreadable: int
    """Pages that are nothing known, or hold cells that cannot be read."""
    user_version: int
    """0 when the first page is not that of a database."""


def contents(path: Path) -> Bytes:
    """The bytes of a file, none when there is none."""
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (FileNotFoundError, ValueError):
        return b""


def found(data: Bytes, wal: Bytes, *, unfinished: bool = False) -> Found:
    """All cells of a database file with its log; `unfinished`: also those of a transaction whose end is missing."""
    return _Pages(data, wal, unfinished).found()


class _Pages:
    def __init__(self, data: Bytes, wal: Bytes, unfinished: bool) -> None:
        self._data = data
        self._header = bytes(data[:100]) if data[:16] == b"SQLite format 3\0" else b""
        self._size = self._page_size(wal)
        log = _Log(wal, self._size)
        self._over, self._damaged = log.committed, log.damaged
        if unfinished:
            self._over.update(log.waiting)
        self._count = max(-(-len(data) // self._size), max(self._over, default=0))
        if 1 in self._over:
            self._header = bytes(self._over[1][:100])
        self._overflow: set[int] = set()

    def _page_size(self, wal: Bytes) -> int:
        written = struct.unpack_from(">H", self._header, 16)[0] if self._header else 0
        for size in (65536 if written == 1 else written, struct.unpack_from(">I", wal, 8)[0] if len(wal) > _WAL_HEADER else 0):
            if size in PAGE_SIZES:
                return int(size)
        return DEFAULT_PAGE_SIZE

    def _page(self, number: int) -> bytes:
        """A page, b"" for one that is not there; what is missing at its end reads as zeros."""
        if number in self._over:
            return self._over[number]
        start = (number - 1) * self._size
        there = self._data[start : start + self._size] if number > 0 else b""
        return there.ljust(self._size, b"\0") if there else b""

    def found(self) -> Found:
        free = self._free()
        cells: list[Cell] = []
        odd: list[bytes] = []
        unknown: list[int] = []
        for number in range(1, self._count + 1):
            if number in free or not (page := self._page(number)):
                continue
            kind = page[100 if number == 1 else 0]
            if kind == LEAF:
                read, whole = self._leaf(page, 100 if number == 1 else 0)
                cells += read
                if not whole:
                    odd.append(page)
            elif kind != INTERIOR and any(page):
                unknown.append(number)
        odd += [self._page(number) for number in unknown if number not in self._overflow]
        for page in (*odd, *self._damaged):
            cells += self._searched(page)
        return Found(cells, len(odd) + len(self._damaged), struct.unpack_from(">I", self._header, 60)[0] if self._header else 0)

    def _free(self) -> set[int]:
        """The pages nothing is in; as far as the list of them can be followed."""
        free: set[int] = set()
        trunk = struct.unpack_from(">I", self._header, 32)[0] if self._header else 0
        while trunk and trunk not in free:
            try:
                page = self._page(trunk)
                following, count = struct.unpack_from(">II", page)
                free |= {trunk, *struct.unpack_from(f">{min(count, self._size // 4 - 2)}I", page, 8)}
            except _WRONG:
                break
            trunk = following
        return free

    def _leaf(self, page: bytes, start: int) -> tuple[list[Cell], bool]:
        """The cells of a leaf, and whether all could be read."""
        count = struct.unpack_from(">H", page, start + 3)[0]
        cells = []
        whole = True
        for at in range(start + 8, start + 8 + 2 * count, 2):
            try:
                cells.append(self._cell(page, struct.unpack_from(">H", page, at)[0]))
            except _WRONG:
                whole = False
        return cells, whole

    def _searched(self, page: bytes) -> list[Cell]:
        """Every row in a page, wherever it begins: a record's beginning, and before it the rowid and the length, each 1 to 9 bytes."""
        cells = []
        for match in _RECORD.finditer(page):
            for start in range(max(0, match.start() - 12), match.start() - 1):
                try:
                    length, rowid_at = _varint(page, start)
                    if length <= len(self._data) + len(self._over) * self._size and _varint(page, rowid_at)[1] == match.start():
                        cells.append(self._cell(page, start))
                except _WRONG:
                    continue
        return cells

    def _cell(self, page: bytes, at: int) -> Cell:
        length, at = _varint(page, at)
        rowid, at = _varint(page, at)
        return Cell(rowid, _record(self._payload(page, at, length)))

    def _payload(self, page: bytes, at: int, length: int) -> bytes:
        """What is in the page, and the rest from its overflow pages."""
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


class _Log:
    """The write-ahead log: the pages as the last whole transaction left them, and those of frames that are damaged.

    SQLite stops at a damaged frame. Here the frames behind it are gone on with: each holds the checksum of all before it.
    """

    def __init__(self, wal: Bytes, size: int) -> None:
        self.committed: dict[int, bytes] = {}
        self.damaged: list[bytes] = []
        self.waiting: dict[int, bytes] = {}
        """Pages of a transaction whose end is missing."""
        if len(wal) < _WAL_HEADER:
            return
        order = ">" if wal[3] & 1 else "<"
        sums = _summed(bytes(wal[:24]), order, (0, 0))
        salts = bytes(wal[16:24]) if sums == struct.unpack_from(">II", wal, 24) else bytes(wal[40:48])
        for header, page in _frames(wal, size):
            if header[8:16] != salts:
                continue
            number, commits, _, _, *stored = struct.unpack(">6I", header)
            sums = _summed(header[:8] + page, order, sums)
            if sums == (stored[0], stored[1]):
                self.waiting[number] = page
            else:
                sums = stored[0], stored[1]
                self.damaged.append(page)
            if commits:
                self.committed.update(self.waiting)
                self.waiting.clear()


def _frames(wal: Bytes, size: int) -> Iterator[tuple[bytes, bytes]]:
    for start in range(_WAL_HEADER, len(wal) - _FRAME_HEADER - size + 1, _FRAME_HEADER + size):
        body = start + _FRAME_HEADER
        yield bytes(wal[start:body]), bytes(wal[body : body + size])


def _summed(data: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
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
