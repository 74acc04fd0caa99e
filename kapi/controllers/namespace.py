"""Namespace deletion: deletes all content, pods first, then removes the finalizer "kubernetes"; reports the rest in conditions.

The content is found by discovery, so it includes kinds that this process does not know.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from kapi.client import Controller
from kapi.controllers.discovery import Discovery, discover
from kapi.objects import conditions, errors, meta, together
from kapi.objects.meta import Object
from kapi.objects.resource import NAMESPACES, PODS, Resource

FINALIZER = "kubernetes"
CONCURRENCY = 8
INITIAL_BACKOFF, MAX_BACKOFF = 0.5, 15.0


@dataclass
class RemainingContent:
    """The content left after a round of deletions."""

    counts: Counter[str] = field(default_factory=Counter)
    """Number of objects by 'pods.' or 'deployments.apps'."""
    finalizers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


class Namespaces(Controller):
    name = "namespace-controller"
    workers = 10

    def setup(self) -> None:
        self.namespaces = self.watch(NAMESPACES, self._terminating_keys)
        self.pods = self.informer(PODS)
        self.pods.add_handler(self._pod_gone)
        self._attempts: Counter[str] = Counter()

    def _terminating_keys(self, namespace: Object) -> Iterable[str]:
        if meta.deleting(namespace) and FINALIZER in ((namespace.get("spec") or {}).get("finalizers") or ()):
            yield meta.name(namespace)

    def _pod_gone(self, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None:
            namespace = self.namespaces.get(meta.namespace(old))
            if namespace is not None and meta.deleting(namespace):
                self.queue.add(meta.name(namespace))

    async def reconcile(self, key: str) -> float | None:
        namespace = self.namespaces.get(key)
        if namespace is None or not list(self._terminating_keys(namespace)):
            self._attempts.pop(key, None)
            return None
        discovery = await discover(self.client)
        remaining = await self._delete_content(key, discovery)
        new = _conditions(meta.path(namespace, "status", "conditions") or [], discovery, remaining)
        if remaining.counts or remaining.failures or discovery.failed:
            await self._report(namespace, new)
            self._attempts[key] += 1
            return float(min(INITIAL_BACKOFF * 2 ** self._attempts[key], MAX_BACKOFF))
        namespace = await self._report(namespace, new)
        spec = {**namespace["spec"], "finalizers": [f for f in namespace["spec"]["finalizers"] if f != FINALIZER]}
        await self.client.update(NAMESPACES, {**namespace, "spec": spec}, subresource="finalize")
        self._attempts.pop(key, None)
        return None

    async def _report(self, namespace: Object, new: list[Object]) -> Object:
        if new == meta.path(namespace, "status", "conditions"):
            return namespace
        status = {**(namespace.get("status") or {}), "phase": "Terminating", "conditions": new}
        return await self.put_status(NAMESPACES, namespace, status)

    async def _delete_content(self, name: str, discovery: Discovery) -> RemainingContent:
        """Delete the content. Other kinds are deleted only when no pods are left, because pods may use them."""
        remaining = RemainingContent()
        resources = [r for r in discovery.able("list", "delete") if r.namespaced]
        if PODS in resources:
            await self._delete_all(PODS, name, discovery, remaining)
        if not remaining.counts and not remaining.failures:
            limit = asyncio.Semaphore(CONCURRENCY)

            async def one(resource: Resource) -> None:
                async with limit:
                    await self._delete_all(resource, name, discovery, remaining)

            await together.run(one(r) for r in resources if r != PODS)
        return remaining

    async def _delete_all(self, resource: Resource, namespace: str, discovery: Discovery, remaining: RemainingContent) -> None:
        try:
            listed = await self.client.list(resource, namespace, metadata=True)
            if not listed.get("items"):
                return
            if resource in discovery.able("deletecollection"):
                await self.client.delete_collection(resource, namespace, propagation="Background")
            else:
                for item in listed["items"]:
                    if not meta.deleting(item):
                        await self.delete_object(resource, item, propagation="Background")
            left = (await self.client.list(resource, namespace, metadata=True)).get("items") or ()
        except errors.StatusError as error:
            if not isinstance(error, errors.NotFound | errors.MethodNotAllowed):
                remaining.failures.append(str(error))
            return
        if left:
            remaining.counts[f"{resource.plural}.{resource.group}"] = len(left)
        for item in left:
            remaining.finalizers.update(meta.finalizers(item))


_CONDITION_TEXTS = (
    ("NamespaceDeletionDiscoveryFailure", "DiscoveryFailed", "ResourcesDiscovered", "All resources successfully discovered"),
    (
        "NamespaceDeletionGroupVersionParsingFailure", "GroupVersionParsingFailed", "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    (
        "NamespaceDeletionContentFailure", "ContentDeletionFailed", "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    ("NamespaceContentRemaining", "SomeResourcesRemain", "ContentRemoved", "All content successfully removed"),
    ("NamespaceFinalizersRemaining", "SomeFinalizersRemain", "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
)  # fmt: skip
"""(type, reason if True, reason if False, message if False)."""


def _conditions(old: list[Object], discovery: Discovery, remaining: RemainingContent) -> list[Object]:
    """The five conditions of a terminating namespace, with stock's reasons and messages."""
    left = ", ".join(f"{what} has {count} resource instances" for what, count in sorted(remaining.counts.items()))
    finalized_content = ", ".join(f"{what} in {count} resource instances" for what, count in sorted(remaining.finalizers.items()))
    failed = ", ".join(f"{api}: stale GroupVersion discovery: {api}" for api in sorted(discovery.failed))
    listed = f"{len(discovery.failed)} failing: unable to retrieve the complete list of server APIs: {failed}"
    broken = ", ".join(sorted(set(remaining.failures)))
    problems = (
        failed and f"Discovery failed for some groups, {listed}",
        "",
        broken and f"Failed to delete all resource types, {len(remaining.failures)} remaining: {broken}",
        left and f"Some resources are remaining: {left}",
        finalized_content and f"Some content in the namespace has finalizers remaining: {finalized_content}",
    )
    for (type, bad, good, fine), problem in zip(_CONDITION_TEXTS, problems, strict=True):
        reason, message = (bad, problem) if problem else (good, fine)
        old = conditions.updated(old, {"type": type, "status": "True" if problem else "False", "reason": reason, "message": message})
    return old
