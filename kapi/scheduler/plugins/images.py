"""ImageLocality: nodes that already have the pod's images, weighed by how widely the image is spread."""

from kapi.scheduler.framework import MAX_SCORE, Cycle, SchedulingPlugin
from kapi.scheduler.snapshot import NodeInfo

_MEGABYTE = 1024 * 1024
_LEAST, _MOST_PER_CONTAINER = 23 * _MEGABYTE, 1000 * _MEGABYTE
"""Image sizes between which the score rises from 0 to 100."""


class ImageLocality(SchedulingPlugin):
    name, local = "ImageLocality", True

    def score(self, cycle: Cycle, node: NodeInfo) -> int:
        here = node.images
        if not here:
            return 0
        images, cluster = cycle.pod.spec.images, cycle.cluster
        total = sum(int(here[i] * (cluster.images.get(i, 0) / len(cluster.nodes))) for i in images if i in here)
        most = _MOST_PER_CONTAINER * len(images)
        return MAX_SCORE * (min(max(total, _LEAST), most) - _LEAST) // (most - _LEAST)
