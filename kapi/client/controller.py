"""Base class of controllers: a work queue of keys, and `reconcile(key)`, which compares desired and actual state and acts.

Level-based: a key names an object, not an event. An exception retries the key with back-off; returned seconds process it again after them.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from kapi import logs
from kapi.client.client import Client
from kapi.client.events import Recorder
from kapi.client.informer import Informer, Informers
from kapi.client.queue import Queue
from kapi.objects import errors, meta
from kapi.objects.meta import Object
from kapi.objects.resource import Resource

log = logging.getLogger(__name__)
UNREACHABLE_RETRY_SECONDS = 1.0
"""Retry delay while the API server is unreachable. This does not count as a failure of the key, so its back-off is unchanged."""


@dataclass(frozen=True)
class Context:
    """What all controllers of a process share. `settings` are those of kapi.controllers."""

    client: Client
    informers: Informers
    recorder: Recorder
    settings: Any = None
    shared: dict[Any, Any] = field(default_factory=dict)
    """State shared by controllers of one kind, by a key of their choice."""


def namespace_terminating(error: errors.StatusError) -> bool:
    """Whether the namespace is being deleted: creations in it fail and must be neither reported nor retried."""
    return any(c.get("reason") == "NamespaceTerminating" for c in (error.details or {}).get("causes") or ())


class Controller:
    """Override `setup` (which informers enqueue which keys), and `reconcile` or `sync`."""

    name: ClassVar[str] = "controller"
    """The component in its events, e.g. "replicaset-controller"."""
    workers: ClassVar[int] = 5
    """Most keys processed at a time."""

    objects: Informer
    """The informer of the objects that keys name, for `sync`."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.client = context.client
        self.recorder = context.recorder.named(self.name)
        self.queue: Queue[str] = Queue()
        self._needed_informers: list[Informer] = []
        self.setup()

    def setup(self) -> None:
        """Request informers with `watch` and `informer`."""

    async def reconcile(self, key: str) -> float | None:
        """Process a key. Returns the seconds after which to process it again, or None. Raise to retry with back-off."""
        obj = self.objects.get(key)
        return None if obj is None else await self.sync(obj)

    async def sync(self, obj: Object) -> float | None:
        """Like `reconcile`, with the object that the key names in `objects`; not called for deleted objects."""
        return None

    def informer(self, resource: Resource, *, metadata: bool = False) -> Informer:
        """The shared informer of a resource; `run` waits until it is synced."""
        informer = self.context.informers.of(resource, metadata=metadata)
        self._needed_informers.append(informer)
        return informer

    def watch(self, resource: Resource, keys: Callable[[Object], Iterable[str]] | None = None, *, metadata: bool = False) -> Informer:
        """The shared informer, with a handler that enqueues `keys(obj)` of the old and the new object (default: the object's own key)."""
        informer = self.informer(resource, metadata=metadata)
        made = keys or (lambda obj: (meta.key(obj),))

        def handle(old: Object | None, new: Object | None) -> None:
            for obj in (old, new):
                if obj is not None:
                    for key in made(obj):
                        self.queue.add(key)

        informer.add_handler(handle)
        return informer

    def record_event(self, obj: Object, reason: str, message: str) -> None:
        """Record an event of type Normal."""
        self.recorder.event(obj, "Normal", reason, message)

    def record_warning(self, obj: Object, reason: str, message: str) -> None:
        """Record an event of type Warning."""
        self.recorder.event(obj, "Warning", reason, message)

    async def delete_object(self, resource: Resource, obj: Object, **how: Any) -> bool:
        """Delete this object (by its uid). Returns whether it still existed. `how` is passed to Client.delete."""
        try:
            await self.client.delete(resource, meta.name(obj), namespace=meta.namespace(obj) or None, uid=meta.uid(obj), **how)
        except errors.NotFound:
            return False
        return True

    async def patch_object(self, resource: Resource, obj: Object, changes: Object, **how: Any) -> bool:
        """Patch this object (by its uid). Returns whether it still existed. `how` is passed to Client.patch."""
        patch = {**changes, "metadata": {"uid": meta.uid(obj), **(changes.get("metadata") or {})}}
        try:
            await self.client.patch(resource, meta.name(obj), patch, namespace=meta.namespace(obj) or None, **how)
        except errors.NotFound:
            return False
        return True

    async def set_finalizers(self, resource: Resource, obj: Object, finalizers: list[str]) -> bool:
        """Set the finalizers, unless the object has changed meanwhile."""
        about = {"resourceVersion": meta.resource_version(obj), "finalizers": finalizers or None}
        return await self.patch_object(resource, obj, {"metadata": about})

    async def put_status(self, resource: Resource, obj: Object, status: Object) -> Object:
        """PUT /status. Returns the updated object."""
        return await self.client.update(resource, {**obj, "status": status}, subresource="status")

    async def ready(self) -> None:
        for informer in self._needed_informers:
            await informer.synced.wait()

    async def run(self) -> None:
        """Process keys of the queue until cancelled, at most `workers` at a time, each in a task of its own."""
        await self.ready()
        free = asyncio.Semaphore(self.workers)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await free.acquire()
                    key = await self.queue.get()
                    group.create_task(self._work(key), name=f"{self.name} {key}").add_done_callback(lambda done: free.release())
        finally:
            self.queue.close()

    async def _work(self, key: str) -> None:
        try:
            after = await self.reconcile(key)
        except (errors.Conflict, errors.AlreadyExists, errors.NotFound) as error:
            log.debug("Reconciling failed", extra=logs.fields(controller=self.name, key=key, error=error))
            self.queue.retry(key)
        except errors.StatusError as error:
            if namespace_terminating(error):
                self.queue.forget(key)
            else:
                log.warning("Reconciling failed, trying again", extra=self._about(key, error))
                self.queue.retry(key)
        except OSError as error:
            log.debug("Reconciling failed", extra=logs.fields(controller=self.name, key=key, error=error))
            self.queue.add_after(key, UNREACHABLE_RETRY_SECONDS)
        except Exception as error:
            log.exception("Reconciling broke, trying again", extra=self._about(key, error))
            self.queue.retry(key)
        else:
            self.queue.forget(key)
            if after is not None:
                self.queue.add_after(key, after)
        finally:
            self.queue.done(key)

    def _about(self, key: str, error: Exception) -> dict[str, Any]:
        return logs.once((self.name, key), controller=self.name, key=key, error=error)
