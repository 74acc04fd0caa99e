"""The rows of the log in an SQLite file: their tables, their checksums, and what is wrong with one that is damaged.

A checksum covers the whole row and is seeded with the database's id. So a row that was changed, or that belongs to another
database, is detected; SQLite itself detects neither.
"""

import struct
import zlib
from typing import Any, NamedTuple

from kapi.objects import nested
from kapi.storage.entry import HEAD

FORMAT = 2
"""user_version of the file: 2 since rows have checksums and a database an id."""
APPLICATION_ID = 0x6B617069
"""application_id of the file: "kapi"."""
LOG = """
CREATE TABLE log (
    revision INTEGER PRIMARY KEY, key TEXT NOT NULL, created INTEGER NOT NULL, deadline REAL NOT NULL, body BLOB, checksum INTEGER
);
CREATE TABLE floor (id INTEGER PRIMARY KEY CHECK (id = 0), revision INTEGER NOT NULL);
INSERT INTO floor VALUES (0, 0);
"""
IDENTITY = """
CREATE TABLE identity (id INTEGER PRIMARY KEY CHECK (id = 0), database TEXT NOT NULL);
INSERT INTO identity VALUES (0, '{database}');
"""
INSERT = "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)"
SELECT = "SELECT revision, key, created, deadline, body, checksum FROM log ORDER BY revision"
SELECT_1 = "SELECT revision, key, created, deadline, body, NULL FROM log ORDER BY revision"
"""The same of format 1."""

MALFORMED = (ValueError, TypeError, AttributeError, struct.error)
"""The exceptions of a checksum over values of wrong types."""

_NUMBERS = struct.Struct("<qqd?").pack


class Row(NamedTuple):
    """A row as it was read; the values of a damaged one may have any type."""

    revision: Any
    key: Any
    created: Any
    deadline: Any
    body: Any
    checksum: Any


def seed(database: str) -> int:
    """The initial CRC of the checksums of a database's rows; `database` is its id."""
    return zlib.crc32(database.encode())


def checksum(seed: int, revision: int, key: str, created: int, deadline: float, body: bytes | None) -> int:
    """The CRC-32 of a row."""
    return zlib.crc32(body or b"", zlib.crc32(key.encode(), zlib.crc32(_NUMBERS(revision, created, deadline, body is None), seed)))


def intact(seed: int, row: Row) -> bool:
    """Whether the checksum of a row is right; its values may have any type."""
    try:
        return bool(row.checksum == checksum(seed, *row[:5]))
    except MALFORMED:
        return False


def fault(row: Row, seed: int | None) -> str:
    """What is wrong with a row, "" for an intact one; without a seed the checksum is not checked."""
    if wrong := _key_fault(row.key) or _number_fault(row) or _body_fault(row.body):
        return wrong
    return "" if seed is None or intact(seed, row) else "its checksum is wrong"


def _key_fault(key: Any) -> str:
    if not isinstance(key, str):
        return "its key is no text"
    parts = key.split("/")
    return "" if len(parts) in (4, 5) and not parts[0] and all(parts[1:]) else "its key is none of an object"


def _number_fault(row: Row) -> str:
    if not isinstance(row.revision, int) or row.revision < 1:
        return "its revision is no positive number"
    if not isinstance(row.created, int) or not 1 <= row.created <= row.revision:
        return "its revision of creation is none"
    return "" if isinstance(row.deadline, float) else "its deadline is no time"


def _body_fault(body: Any) -> str:
    if body is None:
        return ""
    if not isinstance(body, bytes):
        return "its body is no bytes"
    try:
        metadata = nested.loads(body)["metadata"]
    except (ValueError, TypeError, KeyError):
        return "its body is not JSON of an object"
    if not body.startswith(HEAD) or not isinstance(metadata, dict):
        return "its body does not begin with its metadata"
    labels = metadata.get("labels") or {}
    sound = isinstance(labels, dict) and all(isinstance(value, str) for value in labels.values())
    return "" if sound else "its labels are no texts"


def shown(row: Row) -> str:
    """The name of a row in messages."""
    key = row.key.decode(errors="backslashreplace") if isinstance(row.key, bytes) else str(row.key)
    return f"object {key!r}" if not key.isprintable() else f"object {key}"
