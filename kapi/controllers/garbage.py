"""The garbage collector: deletes dependents of deleted owners, in the foreground or background, or orphans them.

Keys are uids. The graph is built from the metadata of every resource that can be listed, watched and deleted. Writes have the object's
resourceVersion, so a decision on a stale view fails and is retried.
"""

import asyncio
import functools
import logging
from collections.abc import Iterable

from kapi import logs
from kapi.client import Controller
from kapi.client.informer import Handler
from kapi.controllers.discovery import discover
from kapi.controllers.graph import FOREGROUND, ORPHAN, Graph, Node
from kapi.objects import errors, meta
from kapi.objects.meta import Object
from kapi.objects.resource import API_SERVICES, CUSTOM_RESOURCE_DEFINITIONS, Resource

log = logging.getLogger(__name__)
IGNORED = {("", "events"), ("events.k8s.io", "events")}
DISCOVERY_RETRY_SECONDS, SYNC_TIMEOUT = 1.0, 30.0


class GarbageCollector(Controller):
    name = "garbage-collector-controller"
    workers = 20

    def setup(self) -> None:
        self.graph = Graph()
        self._watched: set[Resource] = set()
        self._discovery_stale = asyncio.Event()
        self._ignored_owner_events: set[str] = set()

    async def run(self) -> None:
        await self._update_monitors()
        for resource in (CUSTOM_RESOURCE_DEFINITIONS, API_SERVICES):
            if resource in self._watched:
                self.context.informers.of(resource, metadata=True).add_handler(lambda old, new: self._discovery_stale.set())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_discovery(), name="garbage collector discovery")
            await super().run()

    async def ready(self) -> None:
        """Wait for the caches, at most SYNC_TIMEOUT: one unavailable API must not block the collection of all others."""
        try:
            async with asyncio.timeout(SYNC_TIMEOUT):
                await super().ready()
        except TimeoutError:
            log.warning("Not everything could be listed, garbage is collected without it")

    async def _watch_discovery(self) -> None:
        """Update the monitored resources when a CRD or APIService changes."""
        while True:
            await self._discovery_stale.wait()
            self._discovery_stale.clear()
            await asyncio.sleep(DISCOVERY_RETRY_SECONDS)
            await self._update_monitors()

    async def _update_monitors(self) -> None:
        while True:
            try:
                discovery = await discover(self.client)
                break
            except (errors.StatusError, OSError) as error:
                log.warning("Discovery failed, trying again", extra=logs.once("", error=error))
                await asyncio.sleep(DISCOVERY_RETRY_SECONDS)
        resources = {r for r in discovery.able("list", "watch", "delete") if (r.group, r.plural) not in IGNORED}
        self.graph.kinds = {(r.group, r.kind): r for r in resources}
        for resource in sorted(resources - self._watched, key=lambda r: r.qualified):
            informer = self.informer(resource, metadata=True)
            informer.add_handler(self._handler(resource))
        if not discovery.failed:
            for resource in self._watched - resources:
                self.context.informers.drop(resource)
            self._watched &= resources
        self._watched |= resources
        for node in list(self.graph.nodes.values()):
            if node.virtual:
                self.queue.add(node.uid)

    def _handler(self, resource: Resource) -> Handler:
        return functools.partial(self._changed, resource)

    def _changed(self, resource: Resource, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or meta.uid(new) != meta.uid(old)):
            self._enqueue(self.graph.remove(meta.uid(old)))
        if new is not None:
            self._enqueue(self.graph.put(resource, new))

    def _enqueue(self, uids: Iterable[str]) -> None:
        for uid in uids:
            self.queue.add(uid)

    async def reconcile(self, key: str) -> float | None:
        node = self.graph.nodes.get(key)
        if node is None:
            return None
        if node.virtual:
            return await self._verify_virtual(node)
        if node.foreground:
            await self._process_foreground(node)
        elif node.orphaning:
            await self._orphan_dependents(node)
        elif not node.deleting and node.owners:
            await self._attempt_to_delete(node)
        return None

    async def _verify_virtual(self, node: Node) -> float | None:
        """Check whether a virtual owner exists. If not, its dependents have a dangling reference."""
        node.resource = node.resource or self.graph.resource_of(node)
        if node.resource is None:
            log.debug("The kind of an owner is not served", extra=logs.fields(name=node.name, uid=node.uid))
            return None
        try:
            live = await self.client.get(node.resource, node.name, node.namespace or None)
            if meta.uid(live) == node.uid:
                return 1.0
        except errors.NotFound:
            pass
        if node.virtual:
            self._enqueue(self.graph.remove(node.uid))
        return None

    async def _process_foreground(self, node: Node) -> None:
        """Wait for blocking dependents; enqueue those that are not being deleted yet."""
        blocking = [d for d in node.dependents.values() if d.blocks(node.uid)]
        if not blocking:
            await self._remove_finalizer(node, FOREGROUND)
        elif self.graph.in_cycle(node):
            await self._unblock_owners(node)
        for dependent in node.dependents.values():
            if not dependent.deleting:
                self.queue.add(dependent.uid)

    async def _unblock_owners(self, node: Node) -> None:
        """Owners in a cycle would wait for each other forever: set blockOwnerDeletion of this node's references to false."""
        await self._patch(node, {"ownerReferences": [{**ref, "blockOwnerDeletion": False} for ref in node.owners]})

    async def _orphan_dependents(self, node: Node) -> None:
        for dependent in list(node.dependents.values()):
            await self._remove_owner_references(dependent, {node.uid})
        await self._remove_finalizer(node, ORPHAN)

    async def _attempt_to_delete(self, node: Node) -> None:
        """Delete a node without a solid owner; else remove its references to absent or waiting owners."""
        solid, dangling, waiting = [], set(), set()
        for ref in node.owners:
            owner = self.graph.nodes.get(ref["uid"])
            if self.graph.in_wrong_namespace(node, ref):
                self._report_wrong_namespace(node, ref)
            if owner is None or (node.namespace and self.graph.in_wrong_namespace(node, ref)):
                dangling.add(ref["uid"])
            elif owner.foreground:
                waiting.add(ref["uid"])
            else:
                solid.append(ref)
        if solid:
            if dangling or waiting:
                await self._remove_owner_references(node, dangling | waiting)
        elif waiting and node.dependents:
            await self._delete(node, "Foreground")
        else:
            await self._delete(node, "")

    async def _delete(self, node: Node, policy: str) -> None:
        assert node.resource is not None
        if not policy:
            policy = "Orphan" if ORPHAN in node.finalizers else "Foreground" if FOREGROUND in node.finalizers else "Background"
        space = node.namespace or None
        try:
            await self.client.delete(node.resource, node.name, namespace=space, uid=node.uid, version=node.version, propagation=policy)
        except errors.NotFound:
            return

    async def _remove_owner_references(self, node: Node, gone: set[str]) -> None:
        assert node.resource is not None
        kept = [ref for ref in node.owners if ref["uid"] not in gone]
        await self._patch(node, {"ownerReferences": kept or None})

    async def _remove_finalizer(self, node: Node, finalizer: str) -> None:
        kept = [f for f in node.finalizers if f != finalizer]
        await self._patch(node, {"finalizers": kept or None})

    async def _patch(self, node: Node, about: Object) -> None:
        assert node.resource is not None
        patch = {"metadata": {"uid": node.uid, "resourceVersion": node.version, **about}}
        try:
            await self.client.patch(node.resource, node.name, patch, namespace=node.namespace or None)
        except errors.NotFound:
            return

    def _report_wrong_namespace(self, node: Node, ref: Object) -> None:
        """Record an event once. An owner in another namespace counts as absent; for a cluster-scoped node it cannot be resolved."""
        if node.uid in self._ignored_owner_events or node.resource is None:
            return
        self._ignored_owner_events.add(node.uid)
        about = {"name": node.name, "uid": node.uid} | ({"namespace": node.namespace} if node.namespace else {})
        obj = {"apiVersion": node.resource.api_version, "kind": node.resource.kind, "metadata": about}
        shown = f"[{ref.get('apiVersion')}/{ref.get('kind')}, namespace: {node.namespace}, name: {ref.get('name')}, uid: {ref['uid']}]"
        self.record_warning(obj, "OwnerRefInvalidNamespace", f'ownerRef {shown} does not exist in namespace "{node.namespace}"')
