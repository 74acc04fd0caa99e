"""Taint eviction: deletes pods from nodes with NoExecute taints, at once or after the pod's tolerationSeconds.

The time of eviction is computed from the taint's timeAdded in each sync; there is no state to lose.
"""


from kapi.client import Controller
from kapi.controllers import pods
from kapi.controllers.node import node_keys
from kapi.objects import meta, placement, time
from kapi.objects.meta import Object
from kapi.objects.resource import NODES, PODS


def due(pod: Object, taints: list[Object]) -> float | None:
    """When the pod is to be deleted (seconds since the epoch; 0: now); None: it tolerates the taints."""
    ends: list[float] = []
    for taint in taints:
        matching = [t for t in pod["spec"].get("tolerations") or () if placement.covers(t, taint)]
        if not matching:
            return 0.0
        limits = [t["tolerationSeconds"] for t in matching if t.get("tolerationSeconds") is not None]
        if limits:
            ends.append(time.parse(taint.get("timeAdded")) + max(min(limits), 0))
    return min(ends, default=None)


def no_execute(node: Object | None) -> list[Object]:
    return [t for t in (node or {"spec": {}})["spec"].get("taints") or () if t["effect"] == "NoExecute"]


class TaintEviction(Controller):
    name = "taint-eviction-controller"
    workers = 8

    def setup(self) -> None:
        self._marked: set[str] = set()
        self.objects = self.informer(PODS)
        self.objects.add_index("node", node_keys)
        self.nodes = self.informer(NODES)
        self.objects.add_handler(self._pod_changed)
        self.nodes.add_handler(self._node_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            self._marked.discard(meta.uid(old or {}))
        elif any(no_execute(self.nodes.get(name)) for name in node_keys(new)):
            self.queue.add(meta.key(new))

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None and no_execute(old) != no_execute(new):
            for pod in self.objects.by_index("node", meta.name(new)):
                self.queue.add(meta.key(pod))

    async def sync(self, pod: Object) -> float | None:
        if meta.deleting(pod):
            return None
        key = meta.key(pod)
        taints = [t for name in node_keys(pod) for t in no_execute(self.nodes.get(name))]
        at = due(pod, taints) if taints else None
        if at is None:
            if meta.uid(pod) in self._marked:
                self._marked.discard(meta.uid(pod))
                self.record_event(pod, "TaintManagerEviction", f"Cancelling deletion of Pod {key}")
            return None
        left = at - time.now()
        if left > 0:
            self._marked.add(meta.uid(pod))
            return left
        await self._evict(pod)
        return None

    async def _evict(self, pod: Object) -> None:
        self.record_event(pod, "TaintManagerEviction", f"Marking for deletion Pod {meta.key(pod)}")
        if not pods.finished(pod):
            await disrupt(self, pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")
        await self.delete_object(PODS, pod)


async def disrupt(controller: Controller, pod: Object, reason: str, message: str, *, phase: str = "") -> None:
    """Set the pod's DisruptionTarget condition (and phase) before it is deleted."""
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message, "lastTransitionTime": time.stamp()}
    status: Object = {"conditions": [condition]}
    if phase:
        status["phase"] = phase
    await controller.patch_object(PODS, pod, {"status": status}, kind="strategic", subresource="status")
