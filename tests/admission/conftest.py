"""A small world for plugins: objects to read, and reviews of requests about others."""

from typing import Any

import orjson
import pytest

from kapi.admission.plugin import Reader
from kapi.objects.meta import clone
from kapi.objects.resource import Resource
from kapi.objects.user import User
from kapi.registry import catalogue
from kapi.registry.admission import AdmissionAttributes
from kapi.registry.catalogue import Catalogue
from kapi.storage.entry import Entry, Page

KINDS = catalogue.standard()


class Shelf:
    """As much of a Store as a Reader asks for."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.revision = 0

    def put(self, key: str, body: bytes, labels: Any = None) -> Entry:
        self.revision += 1
        fields = {"spec.nodeName": (orjson.loads(body).get("spec") or {}).get("nodeName", "")}
        self.entries[key] = entry = Entry(key, self.revision, self.revision, body, labels or {}, fields)
        return entry

    def get(self, key: str) -> Entry | None:
        return self.entries.get(key)

    def list(self, prefix: str) -> Page:
        return Page([self.entries[k] for k in sorted(self.entries) if k.startswith(prefix)], False, 0, self.revision)

    def version(self, prefix: str) -> int:
        return self.revision

    async def commit(self, key: str, body: bytes, **how: Any) -> Entry:
        return self.put(key, body)


class World:
    """What is there, and who asks for what."""

    def __init__(self, kinds: Catalogue) -> None:
        self.kinds = kinds
        self.shelf = Shelf()
        self.reader = Reader(self.shelf, kinds)  # type: ignore[arg-type]

    def add(self, resource: Resource, name: str, namespace: str = "", **rest: Any) -> None:
        """Put an object; `labels` and `annotations` go into its metadata."""
        key = self.reader.prefix(resource, namespace) + name
        meta: dict[str, Any] = {k: rest.pop(k) for k in ("labels", "annotations", "uid") if k in rest}
        meta |= {"name": name, "resourceVersion": str(self.shelf.revision + 1)}
        self.shelf.put(key, orjson.dumps({"metadata": meta, **rest}))

    def attrs(
        self, resource: Resource, new: Any, operation: str = "CREATE", *, old: Any = None, namespace: str = "ns", user: str = "admin",
        groups: tuple[str, ...] = (), subresource: str = "",
    ) -> AdmissionAttributes:  # fmt: skip
        kind = self.kinds.get(resource.group, resource.version, resource.plural)
        assert kind is not None
        name = ((new or old or {}).get("metadata") or {}).get("name", "")
        return AdmissionAttributes(
            kind=kind, operation=operation, user=User(user, groups), namespace=namespace if resource.namespaced else "", name=name,
            subresource=subresource, new=clone(new), old=clone(old),
        )  # fmt: skip


@pytest.fixture
def world() -> World:
    return World(KINDS)
