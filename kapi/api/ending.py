"""The end of a CustomResourceDefinition: its objects are deleted, and when the last one is gone, so is its finalizer.

Says on the definition how far it is. Source: apiextensions-apiserver's finalizer controller (v1.36).
"""

import asyncio
import contextlib
from typing import Any

from kapi.api.bootstrap import LOOPBACK
from kapi.api.upkeep import changed
from kapi.objects import errors
from kapi.registry import deletion, naming
from kapi.registry.call import Call
from kapi.registry.kind import Kind
from kapi.registry.rest import Rest

Object = dict[str, Any]

PATIENCE = 60.0
"""Seconds after which a definition says that objects are still there."""
PROGRESS = ("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress")
WAITING = ("True", "InstanceDeletionCheck", "could not confirm zero CustomResources remaining: context deadline exceeded")
DONE = ("False", "InstanceDeletionCompleted", "removed all instances")
NEVER = ("False", "NeverEstablished", "resource was never established")


async def end(rest: Rest, definitions: Kind, name: str, kind: Kind | None) -> None:
    """End the named definition; `kind` is one of its kinds, None when it never had any."""
    if kind is None:
        await _say(rest, definitions, name, NEVER, last=True)
        return
    await _say(rest, definitions, name, PROGRESS)
    while rest.store.count(kind.collection):
        try:
            async with asyncio.timeout(PATIENCE):
                await _empty(rest, kind)
        except TimeoutError:
            await _say(rest, definitions, name, WAITING)
    await _say(rest, definitions, name, DONE, last=True)


async def _empty(rest: Rest, kind: Kind) -> None:
    """Delete every object, and wait until none is left."""
    while rest.store.count(kind.collection):
        since = rest.store.revision
        for entry in rest.store.list(kind.collection).entries:
            namespace, _, name = entry.key.removeprefix(kind.collection).rpartition("/")
            await delete(rest, kind, namespace, name)
        if rest.store.count(kind.collection):
            await changed(rest.store, max(since, rest.store.revision), (kind.collection,))


async def delete(rest: Rest, kind: Kind, namespace: str, name: str) -> None:
    what = Call(kind=kind, user=LOOPBACK, namespace=namespace, name=name)
    with contextlib.suppress(errors.NotFound, errors.Conflict):
        await deletion.delete(rest, what, deletion.Options(), admitted=True)


async def _say(rest: Rest, definitions: Kind, name: str, said: tuple[str, str, str], last: bool = False) -> None:
    """Set the Terminating condition; the `last` one lets go of the definition."""
    status, reason, message = said

    def change(obj: Object) -> Object:
        obj["status"] = dict(obj.get("status") or {})
        naming.put(obj["status"], {"type": "Terminating", "status": status, "reason": reason, "message": message})
        if last:
            obj["metadata"]["finalizers"] = [f for f in obj["metadata"].get("finalizers") or () if f != naming.FINALIZER]
        return obj

    what = Call(kind=definitions, user=LOOPBACK, name=name, subresource="status", manager="kube-apiserver")
    with contextlib.suppress(errors.NotFound, errors.Conflict):
        await rest.update(what, change)
