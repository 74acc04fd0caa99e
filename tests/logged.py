"""What is logged while a block runs, for tests that cannot have pytest's caplog."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Keeping(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.getMessage(), getattr(record, "fields", {})))


@contextmanager
def logged(name: str) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Messages and fields of a logger, from INFO on, as they come."""
    logger, handler = logging.getLogger(name), _Keeping()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
