"""How many pods of a set are on each node and in each domain of a topology, kept up to date change by change.

A `TopologyCounts` answers for one selector in one namespace, counting only nodes that a constraint counts for one Spec. It reads the
cluster's list of changes, so asking again after one pod was placed costs one node.
"""

from collections.abc import Callable

from kapi.scheduler.matching import Matcher
from kapi.scheduler.snapshot import Cluster, NodeInfo


class TopologyCounts:
    """`counts(node)` says whether a node's pods count at all."""

    def __init__(
        self, cluster: Cluster, namespace: str, selector: Matcher | None, topology: str, counts: Callable[[NodeInfo], bool]
    ) -> None:
        self._cluster, self._namespace, self._selector, self._topology = cluster, namespace, selector, topology
        self._counts = counts
        self._epoch, self._seen = -1, 0
        self.values: list[str | None] = []
        """The domain of each node, by index; None when the node lacks the label."""
        self.on_node: list[int] = []
        """Matching pods of each node, whether or not the node counts for its domain."""
        self._counted: list[bool] = []
        self.domains: dict[str, int] = {}
        """Matching pods by domain, over the nodes that count."""
        self._sizes: dict[str, int] = {}

    def refresh(self) -> "TopologyCounts":
        cluster = self._cluster
        nodes = cluster.listed()
        now = cluster.forgotten + len(cluster.changes)
        if self._epoch != cluster.epoch or self._seen < cluster.forgotten or now - self._seen > len(nodes):
            self._rebuild(nodes)
        else:
            for index in cluster.changes[self._seen - cluster.forgotten :]:
                self._withdraw(index)
                self._enter(nodes[index])
        self._epoch, self._seen = cluster.epoch, now
        return self

    def _rebuild(self, nodes: list[NodeInfo]) -> None:
        self.values, self.on_node, self._counted = [None] * len(nodes), [0] * len(nodes), [False] * len(nodes)
        self.domains, self._sizes = {}, {}
        for node in nodes:
            self._enter(node)

    def _enter(self, node: NodeInfo) -> None:
        index, value = node.index, node.labels.get(self._topology)
        count = self._cluster.count(node, self._namespace, self._selector) if self._selector else 0
        counted = value is not None and self._counts(node)
        self.values[index], self.on_node[index], self._counted[index] = value, count, counted
        if counted and value is not None:
            self.domains[value] = self.domains.get(value, 0) + count
            self._sizes[value] = self._sizes.get(value, 0) + 1

    def _withdraw(self, index: int) -> None:
        value = self.values[index]
        if value is None or not self._counted[index]:
            return
        self._sizes[value] -= 1
        if self._sizes[value]:
            self.domains[value] -= self.on_node[index]
        else:
            del self._sizes[value], self.domains[value]
