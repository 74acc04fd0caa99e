"""Finalizes a CustomResourceDefinition: deletes its objects, and removes its finalizer when the last one is gone.

The condition Terminating shows its progress. Source: apiextensions-apiserver's finalizer controller (v1.36).
"""

import asyncio
import contextlib

from kapi.apiserver.bootstrap import LOOPBACK
from kapi.apiserver.changes import changed
from kapi.objects import errors
from kapi.objects.meta import Object
from kapi.registry import conversion, deletion, naming
from kapi.registry.call import Call
from kapi.registry.kind import Kind
from kapi.registry.rest import Rest

DELETION_TIMEOUT = 60.0
"""Seconds after which the condition Terminating reports objects that still exist."""
PROGRESS = ("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress")
WAITING = ("True", "InstanceDeletionCheck", "could not confirm zero CustomResources remaining: context deadline exceeded")
DONE = ("False", "InstanceDeletionCompleted", "removed all instances")
OVERLAPPING = ("False", "OverlappingBuiltInResource", "instances overlap with built-in resources in storage")
NEVER = ("False", "NeverEstablished", "resource was never established")


class CRDFinalizer:
    """Finalizes the definition with this uid; a later one of the same name is left alone."""

    def __init__(self, rest: Rest, definitions: Kind, name: str, uid: str) -> None:
        self.rest, self.definitions, self.name, self.uid = rest, definitions, name, uid

    async def run(self, kind: Kind | None, overlaps: bool = False) -> None:
        """`kind` is one of its kinds, None when it never had any; `overlaps`: its objects are those of a built-in kind, and stay."""
        if kind is None or overlaps:
            await self._set_condition(OVERLAPPING if overlaps else NEVER, last=True)
            return
        await self._set_condition(PROGRESS)
        while self.rest.store.count(kind.collection):
            try:
                async with asyncio.timeout(DELETION_TIMEOUT):
                    await self._empty(kind)
            except TimeoutError:
                await self._set_condition(WAITING)
        await self._set_condition(DONE, last=True)

    async def _empty(self, kind: Kind) -> None:
        """Delete every object, and wait until none is left."""
        store = self.rest.store
        while store.count(kind.collection):
            for entry in store.list(kind.collection).entries:
                namespace, _, name = entry.key.removeprefix(kind.collection).rpartition("/")
                await delete(self.rest, conversion.own(kind, entry), namespace, name)
            if store.count(kind.collection):
                await changed(store, store.revision, (kind.collection,))

    async def _set_condition(self, condition: tuple[str, str, str], last: bool = False) -> None:
        """Set the Terminating condition; with `last`, remove the finalizer as well."""
        status, reason, message = condition

        def change(obj: Object) -> Object:
            if obj["metadata"]["uid"] != self.uid:
                raise errors.not_found("customresourcedefinitions", "apiextensions.k8s.io", self.name)
            obj["status"] = dict(obj.get("status") or {})
            naming.set_condition(obj["status"], {"type": "Terminating", "status": status, "reason": reason, "message": message})
            if last:
                obj["metadata"]["finalizers"] = [f for f in obj["metadata"].get("finalizers") or () if f != naming.FINALIZER]
            return obj

        what = Call(kind=self.definitions, user=LOOPBACK, name=self.name, subresource="status", manager="kube-apiserver")
        with contextlib.suppress(errors.NotFound, errors.Conflict):
            await self.rest.update(what, change)


async def delete(rest: Rest, kind: Kind, namespace: str, name: str) -> None:
    """Delete an object as the server itself."""
    what = Call(kind=kind, user=LOOPBACK, namespace=namespace, name=name)
    with contextlib.suppress(errors.NotFound, errors.Conflict):
        await deletion.delete(rest, what, deletion.Options(), admitted=True)
