"""A store with what access looks at."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from kapi import storage
from kapi.objects.meta import Object
from kapi.storage.store import Store


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = storage.open("memory:")
    await store.start()
    yield store
    await store.close()


async def put(
    store: Store, collection: str, name: str, *, namespace: str = "", labels: dict[str, str] | None = None, **more: Any
) -> Object:
    """Write an object, e.g. into 'core/pods'; its uid is 'uid-NAME'."""
    metadata = {"name": name, "uid": f"uid-{name}", **({"namespace": namespace} if namespace else {}), **more.pop("metadata", {})}
    body = orjson.dumps({"metadata": metadata, **more})
    key = f"/{collection}/{namespace}/{name}" if namespace else f"/{collection}/{name}"
    fields = {"spec.nodeName": (more.get("spec") or {}).get("nodeName", "")}
    return (await store.commit(key, body, expect=None, labels=labels or {}, fields=fields)).obj
