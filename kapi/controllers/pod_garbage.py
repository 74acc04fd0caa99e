"""Pod garbage collection: pods on deleted or out-of-service nodes, terminating unscheduled ones, and the oldest finished ones."""

from collections.abc import Iterator

from kapi.client import Controller
from kapi.controllers import pods
from kapi.controllers.node import node_keys, ready
from kapi.controllers.settings import Settings
from kapi.controllers.taint_eviction import disrupt
from kapi.objects import errors, meta
from kapi.objects.meta import Object
from kapi.objects.resource import NODES, PODS

QUARANTINE = 40.0
"""Seconds a node must be absent before its pods are deleted: it may be registered again."""
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
SURPLUS = "*surplus"


def _ended_keys(pod: Object) -> Iterator[str]:
    """The index "ended": finished pods that are not being deleted."""
    if pods.finished(pod):
        yield "ended"


class PodGarbageCollector(Controller):
    name = "pod-garbage-collector"

    def setup(self) -> None:
        self.nodes = self.informer(NODES)
        self.pods = self.informer(PODS)
        self.pods.add_index("node", node_keys)
        self.pods.add_index("ended", _ended_keys)
        self.pods.add_handler(self._pod_changed)
        self.nodes.add_handler(self._node_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            return
        if meta.deleting(new) and not new["spec"].get("nodeName"):
            self.queue.add(meta.key(new))
        elif any(self.nodes.get(name) is None for name in node_keys(new)):
            self.queue.add_after(meta.key(new), QUARANTINE)
        elif meta.deleting(new):
            self.queue.add(meta.key(new))
        if pods.finished(new) and (old is None or not pods.finished(old)):
            settings: Settings = self.context.settings
            if settings.terminated_pods and len(self.pods) > settings.terminated_pods:
                self.queue.add(SURPLUS)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        for pod in self.pods.by_index("node", meta.name(new or old or {})):
            if new is None:
                self.queue.add_after(meta.key(pod), QUARANTINE)
            elif meta.deleting(pod):
                self.queue.add(meta.key(pod))

    async def reconcile(self, key: str) -> float | None:
        if key == SURPLUS:
            await self._delete_oldest_terminated()
            return None
        pod = self.pods.get(key)
        if pod is None:
            return None
        name = pod["spec"].get("nodeName")
        node = self.nodes.get(name) if name else None
        if name and node is None:
            if await self._collect_orphaned(name):
                await self._delete(pod, "PodGC: node no longer exists")
        elif meta.deleting(pod) and (node is None or self._collect_out_of_service(node)):
            await self._delete(pod, "" if node is None else "PodGC: node out-of-service taint")
        return None

    def _collect_out_of_service(self, node: Object) -> bool:
        return ready(node) != "True" and any(t["key"] == OUT_OF_SERVICE for t in node["spec"].get("taints") or ())

    async def _collect_orphaned(self, node: str) -> bool:
        """Check with the API server that the node is absent, not only in the cache."""
        try:
            await self.client.get(NODES, node)
        except errors.NotFound:
            return True
        return False

    async def _delete(self, pod: Object, why: str) -> None:
        if why and not pods.finished(pod):
            await disrupt(self, pod, "DeletionByPodGC", why, phase="Failed")
        await self.delete_object(PODS, pod, grace=0)

    async def _delete_oldest_terminated(self) -> None:
        """Delete the oldest finished pods beyond the limit."""
        settings: Settings = self.context.settings
        ended = [p for p in self.pods.by_index("ended", "ended") if not meta.deleting(p)]
        surplus = len(ended) - settings.terminated_pods
        ended.sort(key=lambda p: (meta.metadata(p).get("creationTimestamp") or "", meta.name(p)))
        for pod in ended[: max(surplus, 0)]:
            await self._delete(pod, "")
