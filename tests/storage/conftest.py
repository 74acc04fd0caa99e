"""A store of each backend."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kapi import storage
from kapi.storage.store import Entry, Store


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
