"""A store of each backend; and the database's rows of the fault matrix, printed after the tests."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from kapi import storage
from kapi.storage.store import Entry, Store


class Fault(NamedTuple):
    """A row of the fault matrix; nothing is left running in any."""

    fault: str
    sees: str
    lost: int
    """Objects of 30 that are not there afterwards."""
    next: str


MATRIX: list[Fault] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if MATRIX:
        terminalreporter.section("faults of the database (lost: objects of 30)")
        for row in MATRIX:
            terminalreporter.write_line(f"{row.fault:40} {row.lost:2} lost   {row.next:22} {row.sees}")


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store = storage.open("memory:" if request.param == "memory" else str(tmp_path / "data" / "log"))
    await store.start()
    yield store
    await store.close()


async def put(store: Store, name: str, *, expect: int | None = None, app: str = "", text: str = "", ttl: float | None = None) -> Entry:
    """Write the config map default/`name`."""
    labels = {"app": app} if app else {}
    body = b'{"metadata":{"name":"%s"},"data":{"text":"%s"}}' % (name.encode(), text.encode())
    fields = {"metadata.name": name}
    return await store.commit(f"/core/configmaps/default/{name}", body, expect=expect, labels=labels, fields=fields, ttl=ttl)
