"""The store: one log of revisions in memory, made durable by a backend."""

from pathlib import Path

from kapi.storage.backend import Memory, Unusable
from kapi.storage.sqlite import SQLite
from kapi.storage.store import Store

__all__ = ["Store", "Unusable", "open"]


def open(url: str) -> Store:
    """The store at `url`: "memory:", or the path of an SQLite file. Call its `start` next."""
    return Store(Memory() if url == "memory:" else SQLite(Path(url)))
