"""Node TTL: an annotation of each node with the seconds a kubelet may cache Secrets and ConfigMaps, by cluster size."""


from kapi.client import Controller
from kapi.objects import meta
from kapi.objects.meta import Object
from kapi.objects.resource import NODES

ANNOTATION = "node.alpha.kubernetes.io/ttl"
STEPS = ((0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, 10_000, 300), (9000, 2**31, 600))
"""(fewest nodes, most nodes, seconds). Steps overlap, so that adding or removing a node does not change all annotations each time."""


class NodeTTL(Controller):
    name = "ttl-controller"

    def setup(self) -> None:
        self._step = 0
        self.objects = self.informer(NODES)
        self.objects.add_handler(self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        count, step = len(self.objects), self._step
        while count > STEPS[self._step][1]:
            self._step += 1
        while count < STEPS[self._step][0]:
            self._step -= 1
        for node in [new] if step == self._step and new is not None else list(self.objects) if step != self._step else ():
            if node is not None and meta.annotations(node).get(ANNOTATION) != self._seconds:
                self.queue.add(meta.name(node))

    @property
    def _seconds(self) -> str:
        return str(STEPS[self._step][2])

    async def sync(self, node: Object) -> float | None:
        if meta.annotations(node).get(ANNOTATION) != self._seconds:
            await self.patch_object(NODES, node, {"metadata": {"annotations": {ANNOTATION: self._seconds}}}, kind="strategic")
        return None
