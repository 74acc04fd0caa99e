"""Informers: a cache of a resource, kept by list and watch, with handlers of changes and indexes.

The client's own writes are applied to the cache at once (resourceVersions are comparable integers), so a controller never acts on a state
older than its own writes. Cached objects are shared and must not be changed; managedFields are dropped.

Example: an informer of pods with `add_index("node", lambda pod: [pod["spec"].get("nodeName", "")])` after pods a and b on node n1:

    _objects = {"default/a": {…}, "default/b": {…}}    _indexes = {"node": {"n1": {"default/a": None, "default/b": None}}}

This process deletes b: the response removes b from both at once, its uid enters `_removed`, and handlers are called with (b, None). A
MODIFIED event of b that the server sent before the deletion is then ignored; the DELETED event only removes the uid from `_removed`.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import aclosing
from typing import Any

from kapi import logs
from kapi.client.client import Client
from kapi.objects import errors, meta
from kapi.objects.meta import Object
from kapi.objects.resource import Resource

Handler = Callable[[Object | None, Object | None], None]
"""Called with (old, new): (None, new) added, (old, new) updated, (old, None) deleted. Must not block; usually it enqueues a key."""

log = logging.getLogger(__name__)
PAGE = 500
DROPPED_METADATA = ("managedFields", "annotations")
"""Metadata fields dropped from metadata-only caches."""
INITIAL_BACKOFF, MAX_BACKOFF = 0.8, 5.0


def revision_of(obj: Object) -> int:
    version = obj["metadata"].get("resourceVersion") or "0"
    return int(version) if version.isdigit() else 0


class Informer:
    """A cache of the objects of one resource, optionally of one namespace or selector. `trim` may drop fields that its users do not
    read."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
        metadata: bool = False,
        trim: Callable[[Object], Object] | None = None,
    ) -> None:
        self.resource = resource
        self.metadata = metadata
        self.synced = asyncio.Event()
        self._client = client
        self._scope: dict[str, Any] = {"namespace": namespace, "labels": labels, "fields": fields, "metadata": metadata}
        self._unfiltered = not (namespace or labels or fields)
        self._trim = trim
        self._objects: dict[str, Object] = {}
        self._handlers: list[Handler] = []
        self._indexers: dict[str, Callable[[Object], Iterable[str]]] = {}
        self._indexes: dict[str, dict[str, dict[str, None]]] = {}
        self._revision = 0
        self._removed: set[str] = set()
        self._failing_since: float | None = None
        """When the watch began to fail, by the loop's clock; None: it works."""

    def get(self, key: str) -> Object | None:
        return self._objects.get(key)

    def items(self) -> Collection[Object]:
        return self._objects.values()

    def __iter__(self) -> Iterator[Object]:
        return iter(self._objects.values())

    def __len__(self) -> int:
        return len(self._objects)

    def by_index(self, index: str, value: str) -> list[Object]:
        """The objects with `value` in the index (client-go's ByIndex)."""
        return [self._objects[key] for key in self._indexes[index].get(value, ())]

    def add_index(self, name: str, keys: Callable[[Object], Iterable[str]]) -> None:
        """Add an index; a second call with the same name has no effect."""
        if name not in self._indexers:
            self._indexers[name] = keys
            self._indexes[name] = {}
            for key, obj in self._objects.items():
                self._add_to_index(name, key, obj)

    def add_handler(self, handler: Handler) -> None:
        """Call `handler` for every change from now on; existing objects are passed as added."""
        self._handlers.append(handler)
        for obj in list(self._objects.values()):
            handler(None, obj)

    async def run(self) -> None:
        """List and watch until cancelled. Failures are logged and retried with back-off."""
        delay = INITIAL_BACKOFF
        while True:
            started = asyncio.get_running_loop().time()
            try:
                if not self._revision:
                    await self._list()
                await self._watch()
            except errors.Gone:
                self._revision = 0
            except (errors.StatusError, OSError) as error:
                self._failed(error)
            lasted = asyncio.get_running_loop().time() - started
            if lasted > 1:
                delay = INITIAL_BACKOFF
                continue
            await asyncio.sleep(delay * random.uniform(1, 1.5))
            delay = min(delay * 2, MAX_BACKOFF)

    def _failed(self, error: Exception) -> None:
        if self._failing_since is None:
            self._failing_since = asyncio.get_running_loop().time()
        about = logs.once(self.resource.qualified, resource=self.resource.qualified, error=error)
        log.warning("Watching failed, trying again", extra=about)

    def _recovered(self, since: float) -> None:
        self._failing_since = None
        lasted = round(asyncio.get_running_loop().time() - since, 1)
        log.info("Watching again", extra=logs.fields(resource=self.resource.qualified, seconds=lasted))

    def apply_write(self, obj: Object) -> None:
        """Apply an object that this process has just written, unless the watch has delivered a newer one."""
        if self._unfiltered and self.synced.is_set() and revision_of(obj) > self._revision:
            self._set(meta.key(obj), self._stored_form(obj))

    def apply_delete(self, key: str, uid: str) -> None:
        """Remove an object that this process has just deleted. Later events of its uid are ignored."""
        old = self._objects.get(key)
        if old is not None and uid and old["metadata"].get("uid") == uid:
            self._removed.add(uid)
            self._delete(key)

    def _stored_form(self, obj: Object) -> Object:
        """The cached form: with kind and apiVersion, without managedFields, trimmed."""
        about = obj["metadata"]
        if "managedFields" in about or self.metadata:
            about = {k: v for k, v in about.items() if k not in (DROPPED_METADATA if self.metadata else ("managedFields",))}
        content = {} if self.metadata else obj
        kept = {**content, "kind": self.resource.kind, "apiVersion": self.resource.api_version, "metadata": about}
        return self._trim(kept) if self._trim else kept

    async def _list(self) -> None:
        found: dict[str, Object] = {}
        token, revision = "", 0
        while True:
            page = await self._client.list(self.resource, limit=PAGE, continue_=token, **self._scope)
            revision = int(page["metadata"].get("resourceVersion") or 0)
            for item in page.get("items") or ():
                found[meta.key(item)] = self._stored_form(item)
            token = page["metadata"].get("continue") or ""
            if not token:
                break
        self._removed.clear()
        for key in [k for k, o in self._objects.items() if k not in found and revision_of(o) <= revision]:
            self._delete(key)
        for key, obj in found.items():
            self._set(key, obj)
        self._revision = revision
        self.synced.set()
        if self._failing_since is not None:
            self._recovered(self._failing_since)

    async def _watch(self) -> None:
        timeout = random.randint(300, 600)
        async with aclosing(self._client.watch(self.resource, version=str(self._revision), timeout=timeout, **self._scope)) as events:  # type: ignore[type-var]
            async for kind, obj in events:
                if self._failing_since is not None:
                    self._recovered(self._failing_since)
                if kind != "BOOKMARK":
                    self._event(kind, obj)
                self._revision = revision_of(obj) or self._revision

    def _event(self, kind: str, obj: Object) -> None:
        uid = obj["metadata"].get("uid", "")
        if uid in self._removed:
            if kind == "DELETED":
                self._removed.discard(uid)
            return
        key = meta.key(obj)
        if kind != "DELETED":
            self._set(key, self._stored_form(obj))
            return
        old = self._objects.get(key)
        if old is not None and revision_of(old) <= revision_of(obj):
            self._delete(key, self._stored_form(obj))

    def _set(self, key: str, obj: Object) -> None:
        old = self._objects.get(key)
        if old is not None and 0 < revision_of(obj) <= revision_of(old):
            return
        self._objects[key] = obj
        for name, values in self._indexers.items():
            if old is None:
                self._add_to_index(name, key, obj)
            elif list(values(old)) != list(values(obj)):
                self._remove_from_index(name, key, old)
                self._add_to_index(name, key, obj)
        self._notify(old, obj)

    def _delete(self, key: str, last: Object | None = None) -> None:
        old = self._objects.pop(key)
        for name in self._indexers:
            self._remove_from_index(name, key, old)
        self._notify(last or old, None)

    def _notify(self, old: Object | None, new: Object | None) -> None:
        for handler in self._handlers:
            handler(old, new)

    def _add_to_index(self, name: str, key: str, obj: Object) -> None:
        index = self._indexes[name]
        for value in self._indexers[name](obj):
            index.setdefault(value, {})[key] = None

    def _remove_from_index(self, name: str, key: str, obj: Object) -> None:
        index = self._indexes[name]
        for value in self._indexers[name](obj):
            bucket = index.get(value)
            if bucket is not None:
                bucket.pop(key, None)
                if not bucket:
                    del index[value]


class Informers:
    """The shared informers of a client, one per resource (client-go's SharedInformerFactory)."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._shared: dict[Resource, Informer] = {}
        self._filtered: list[Informer] = []
        self._tasks: dict[Informer, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        client.on_write = self._wrote
        client.on_delete = self._removed

    def of(self, resource: Resource, *, metadata: bool = False) -> Informer:
        """The shared informer of a resource. A full one also serves requests for `metadata` only."""
        informer = self._shared.get(resource)
        if informer is None or (informer.metadata and not metadata):
            if informer is not None:
                raise ValueError(f"{resource.qualified} is already watched for its metadata only: ask for the whole earlier")
            informer = self._shared[resource] = Informer(self.client, resource, metadata=metadata)
            self._start(informer)
        return informer

    def select(self, resource: Resource, **scope: Any) -> Informer:
        """A separate informer with a selection (namespace, labels, fields, trim)."""
        informer = Informer(self.client, resource, **scope)
        self._filtered.append(informer)
        self._start(informer)
        return informer

    def drop(self, resource: Resource) -> None:
        """Stop and remove the shared informer of a resource that is no longer served."""
        informer = self._shared.pop(resource, None)
        if informer is not None and informer in self._tasks:
            self._tasks.pop(informer).cancel()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            for informer in [*self._shared.values(), *self._filtered]:
                self._start(informer)
            await asyncio.Event().wait()

    async def synced(self) -> None:
        """Wait until all informers requested so far have synced."""
        for informer in [*self._shared.values(), *self._filtered]:
            await informer.synced.wait()

    def _start(self, informer: Informer) -> None:
        if self._group is not None and informer not in self._tasks:
            self._tasks[informer] = self._group.create_task(informer.run(), name=f"informer {informer.resource.qualified}")

    def _wrote(self, resource: Resource, obj: Object) -> None:
        informer = self._shared.get(resource)
        if informer is not None:
            informer.apply_write(obj)

    def _removed(self, resource: Resource, namespace: str | None, name: str, uid: str) -> None:
        informer = self._shared.get(resource)
        if informer is not None:
            informer.apply_delete(f"{namespace}/{name}" if namespace else name, uid)
