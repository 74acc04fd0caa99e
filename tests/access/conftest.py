"""A store with what access looks at, a key that signs tokens, and a clock that stands."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from certs import making
from kapi import storage
from kapi.objects import time
from kapi.objects.meta import Object
from kapi.storage.store import Store

NOON = 1_800_014_400.0


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = storage.open("memory:")
    await store.start()
    yield store
    await store.close()


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The private key of service account tokens."""
    path = tmp_path_factory.mktemp("keys") / "sa.key"
    path.write_bytes(making.new_key())
    return path


@pytest.fixture
def clock() -> Iterator[list[float]]:
    """The time, as a list of one that a test changes; noon to begin with."""
    now = [NOON]
    time.set_clock(lambda: now[0])
    yield now
    time.set_clock(None)


async def put(
    store: Store, collection: str, name: str, *, namespace: str = "", labels: dict[str, str] | None = None, **more: Any
) -> Object:
    """Write an object, e.g. into 'core/pods'; its uid is 'uid-NAME'."""
    metadata = {"name": name, "uid": f"uid-{name}", **({"namespace": namespace} if namespace else {}), **more.pop("metadata", {})}
    body = orjson.dumps({"metadata": metadata, **more})
    key = f"/{collection}/{namespace}/{name}" if namespace else f"/{collection}/{name}"
    fields = {"spec.nodeName": (more.get("spec") or {}).get("nodeName", "")}
    return (await store.commit(key, body, expect=None, labels=labels or {}, fields=fields)).obj
