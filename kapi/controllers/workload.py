"""Base of controllers that own pods (or other objects) by a selector: find, adopt and release, create and delete.

The rules of controllerRef: an object has one controller; a controller adopts matching orphans and releases dependents that no longer match.
"""

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

from kapi.client import Controller, Informer
from kapi.client.controller import namespace_terminating
from kapi.objects import errors, labels, meta, together
from kapi.objects.meta import Object
from kapi.objects.resource import PODS, Resource

BURST = 500
NORMAL, WARNING = "Normal", "Warning"
Failure = errors.StatusError | OSError | None
"""The first failure of several requests, or None."""


def controller_keys(obj: Object) -> tuple[str]:
    """The index "controller": the uid of the controller, or "orphan/NAMESPACE"."""
    ref = meta.controller_of(obj)
    return (str(ref["uid"]),) if ref else (f"orphan/{meta.namespace(obj)}",)


def namespace_keys(obj: Object) -> tuple[str]:
    return (meta.namespace(obj),)



class OwnerNotifier:
    """Enqueues the owner when a dependent of one resource changes. Shared by all controllers that own this resource."""

    def __init__(self, informer: Informer) -> None:
        self.controllers: dict[tuple[str, str], Workload] = {}
        """By (kind, API group) of the owner."""
        informer.add_index("controller", controller_keys)
        informer.add_handler(self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self.notify(new)
        if old is not None and (new is None or _ownership_fields(old) != _ownership_fields(new)):
            self.notify(old)

    def notify(self, dependent: Object) -> None:
        ref = meta.controller_of(dependent)
        if ref is not None:
            controller = self.controllers.get((ref["kind"], ref.get("apiVersion", "").rpartition("/")[0]))
            if controller is not None:
                controller.queue.add(f"{dependent['metadata'].get('namespace')}/{ref['name']}")
        elif not meta.deleting(dependent):
            for controller in self.controllers.values():
                controller.enqueue_adopters(dependent)


def _ownership_fields(obj: Object) -> tuple[Any, Any]:
    about = obj["metadata"]
    return about.get("ownerReferences"), about.get("labels")


class Workload(Controller):
    """A controller of `resource` whose objects own objects of `owned` selected by a label selector."""

    resource: ClassVar[Resource]
    owned: ClassVar[Resource] = PODS

    def setup(self) -> None:
        self.objects: Informer = self.watch(self.resource)
        self.objects.add_index("namespace", namespace_keys)
        self.dependents: Informer = self.own(self.owned)

    def selector(self, obj: Object) -> labels.Selector:
        return labels.from_object(obj["spec"].get("selector"))

    def own(self, resource: Resource) -> Informer:
        """The informer of an owned resource. A change enqueues the owner; an orphan enqueues all objects whose selector matches it."""
        informer = self.informer(resource)
        notifier: OwnerNotifier | None = self.context.shared.get(("owners", resource))
        if notifier is None:
            notifier = self.context.shared[("owners", resource)] = OwnerNotifier(informer)
        notifier.controllers[(self.resource.kind, self.resource.group)] = self
        for obj in informer:
            notifier.notify(obj)
        return informer

    def enqueue_adopters(self, orphan: Object) -> None:
        """Enqueue the objects that may adopt an orphan."""
        if own := meta.labels(orphan):
            for obj in self.objects.by_index("namespace", meta.namespace(orphan)):
                if self.selector(obj).matches(own):
                    self.queue.add(meta.key(obj))

    def owned_by(self, owner: Object) -> list[Object]:
        return self.dependents.by_index("controller", meta.uid(owner))

    async def claim(self, owner: Object) -> list[Object]:
        """The dependents of `owner`, after adopting matching orphans and releasing those that no longer match."""
        selector = self.selector(owner)
        owned = self.owned_by(owner)
        released = [d for d in owned if not selector.matches(meta.labels(d))]
        orphans = [d for d in self.dependents.by_index("controller", f"orphan/{meta.namespace(owner)}") if selector.matches(meta.labels(d))]
        orphans = [d for d in orphans if not meta.deleting(d)]
        if meta.deleting(owner) or not (released or orphans):
            return [d for d in owned if d not in released] if released else owned
        for dependent in released:
            await self._release(owner, dependent)
        if orphans and await self._may_adopt(owner):
            for dependent in orphans:
                await self._adopt(owner, dependent)
        return [d for d in self.owned_by(owner) if selector.matches(meta.labels(d))]

    async def _may_adopt(self, owner: Object) -> bool:
        """Check with the API server, not the cache, that the owner is not being deleted: only then may it adopt."""
        fresh = await self.client.get(self.resource, meta.name(owner), meta.namespace(owner))
        return meta.uid(fresh) == meta.uid(owner) and not meta.deleting(fresh)

    async def _adopt(self, owner: Object, dependent: Object) -> None:
        await self._patch_owner(dependent, self.reference(owner))

    async def _release(self, owner: Object, dependent: Object) -> None:
        await self._patch_owner(dependent, {"$patch": "delete", "uid": meta.uid(owner)})

    async def _patch_owner(self, dependent: Object, ref: Object) -> None:
        with contextlib.suppress(errors.Invalid):
            await self.patch_object(self.owned, dependent, {"metadata": {"ownerReferences": [ref]}}, kind="strategic")

    def reference(self, owner: Object) -> Object:
        return meta.owner_reference(owner, api_version=self.resource.api_version, kind=self.resource.kind)

    def pod(self, owner: Object, template: Object, *, name: str = "") -> Object:
        """A new pod from a template. Without `name` the server generates one."""
        about = template.get("metadata") or {}
        made: Object = {"namespace": meta.namespace(owner), "ownerReferences": [self.reference(owner)]}
        made |= {"name": name} if name else {"generateName": meta.name(owner) + "-"}
        made |= {k: about[k] for k in ("labels", "annotations", "finalizers") if about.get(k)}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": template["spec"]}

    async def create_pod(self, owner: Object, pod: Object) -> Object:
        """Create the pod and record stock's events; a failure is raised after its event."""
        try:
            created = await self.client.create(PODS, pod)
        except errors.StatusError as error:
            if not namespace_terminating(error):
                self.record_warning(owner, "FailedCreate", f"Error creating: {error}")
            raise
        self.record_event(owner, "SuccessfulCreate", f"Created pod: {meta.name(created)}")
        return created

    async def delete_pod(self, owner: Object, pod: Object) -> None:
        try:
            if await self.delete_object(PODS, pod):
                self.record_event(owner, "SuccessfulDelete", f"Deleted pod: {meta.name(pod)}")
        except errors.Conflict:
            return
        except errors.StatusError as error:
            self.record_warning(owner, "FailedDelete", f"Error deleting: {error}")
            raise

    async def update_status(self, obj: Object, status: Object) -> Object:
        """PUT /status if it differs from the cached object. Returns the updated object."""
        obj = self.objects.get(meta.key(obj)) or obj
        return obj if equal_status(status, obj.get("status") or {}) else await self.put_status(self.resource, obj, status)


def equal_status(a: Object, b: Object) -> bool:
    """Whether two statuses are equal, absent, zero and empty fields being the same."""
    return {k: v for k, v in a.items() if v} == {k: v for k, v in b.items() if v}


async def run_all(jobs: Sequence[Awaitable[Any]]) -> Failure:
    """Run all to their end, concurrently. Returns the first failure."""
    try:
        await together.run(jobs)
    except (errors.StatusError, OSError) as failure:
        return failure
    return None


async def slow_start(count: int, make: Callable[[int], Awaitable[Any]]) -> Failure:
    """Run `make(0)` … `make(count-1)` in batches of 1, 2, 4 …; stop after a batch with a failure and return it (stock's slowStartBatch).

    A failure common to all (a quota, an invalid template) then occurs once, not a thousand times.
    """
    done, batch = 0, 1
    while done < count:
        size = min(batch, count - done)
        error = await run_all([make(done + i) for i in range(size)])
        if error is not None:
            return error
        done += size
        batch *= 2
    return None
