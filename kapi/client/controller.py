"""A controller: a queue of keys, a few worked on at a time, and `reconcile(key)`, which compares what should be with what is and acts.

Level-based: a key says where to look, never what happened. Raising means back off and come again; seconds mean come again then.
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
"""A server that can't be reached says nothing about a key: its back-off is left alone."""


@dataclass(frozen=True)
class Context:
    """What every controller of a process shares. `settings` is what the room of controllers makes of it."""

    client: Client
    informers: Informers
    recorder: Recorder
    settings: Any = None
    shared: dict[Any, Any] = field(default_factory=dict)
    """What controllers of one kind keep together, by a key of their own."""


def namespace_terminating(error: errors.StatusError) -> bool:
    """The namespace is being deleted: nothing can be created in it, and nothing needs to be said or tried again."""
    return any(c.get("reason") == "NamespaceTerminating" for c in (error.details or {}).get("causes") or ())


class Controller:
    """Override `setup` (which informers feed which keys), and `reconcile` or `sync`."""

    name: ClassVar[str] = "controller"
    """How its events are signed, e.g. "replicaset-controller"."""
    workers: ClassVar[int] = 5
    """How many keys are worked on at a time."""

    objects: Informer
    """What keys name, for `sync`."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.client = context.client
        self.recorder = context.recorder.named(self.name)
        self.queue: Queue[str] = Queue()
        self._needed_informers: list[Informer] = []
        self.setup()

    def setup(self) -> None:
        """Ask for informers with `watch` and `informer`."""

    async def reconcile(self, key: str) -> float | None:
        """Bring the object named `key` one step nearer to what it should be."""
        obj = self.objects.get(key)
        return None if obj is None else await self.sync(obj)

    async def sync(self, obj: Object) -> float | None:
        """The same for those whose keys name something in `objects`: what is gone needs nothing."""
        return None

    def informer(self, resource: Resource, *, metadata: bool = False) -> Informer:
        """The shared informer; `run` waits until it is synced."""
        informer = self.context.informers.of(resource, metadata=metadata)
        self._needed_informers.append(informer)
        return informer

    def watch(self, resource: Resource, keys: Callable[[Object], Iterable[str]] | None = None, *, metadata: bool = False) -> Informer:
        """The shared informer; every change queues the keys that `keys` makes of the old and the new state (its own by default)."""
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
        """An event of type Normal."""
        self.recorder.event(obj, "Normal", reason, message)

    def record_warning(self, obj: Object, reason: str, message: str) -> None:
        """An event of type Warning."""
        self.recorder.event(obj, "Warning", reason, message)

    async def delete_object(self, resource: Resource, obj: Object, **how: Any) -> bool:
        """Delete this very object; whether it was still there. `how` goes to Client.delete."""
        try:
            await self.client.delete(resource, meta.name(obj), namespace=meta.namespace(obj) or None, uid=meta.uid(obj), **how)
        except errors.NotFound:
            return False
        return True

    async def patch_object(self, resource: Resource, obj: Object, changes: Object, **how: Any) -> bool:
        """Patch this very object; whether it was still there. `how` goes to Client.patch."""
        patch = {**changes, "metadata": {"uid": meta.uid(obj), **(changes.get("metadata") or {})}}
        try:
            await self.client.patch(resource, meta.name(obj), patch, namespace=meta.namespace(obj) or None, **how)
        except errors.NotFound:
            return False
        return True

    async def set_finalizers(self, resource: Resource, obj: Object, finalizers: list[str]) -> bool:
        """Leave an object just these finalizers, if it has not changed meanwhile."""
        about = {"resourceVersion": meta.resource_version(obj), "finalizers": finalizers or None}
        return await self.patch_object(resource, obj, {"metadata": about})

    async def put_status(self, resource: Resource, obj: Object, status: Object) -> Object:
        """PUT /status; the object as it is then."""
        return await self.client.update(resource, {**obj, "status": status}, subresource="status")

    async def ready(self) -> None:
        for informer in self._needed_informers:
            await informer.synced.wait()

    async def run(self) -> None:
        """Work on what the queue gives, on so many keys at a time; a task is there only while its key is worked on."""
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
