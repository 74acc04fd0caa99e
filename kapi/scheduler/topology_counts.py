"""Numbers of matching pods by node and by topology domain, updated incrementally.

A `TopologyCounts` serves one selector in one namespace and counts only nodes that a constraint includes for one Spec. `refresh` reads
`Cluster.changes`, so a refresh after one pod was placed recounts one node.

Example: topology key `zone`, nodes n0 (zone a, 2 matching pods), n1 (zone b, 1), n2 (no zone label, 4):

    values = ["a", "b", None]    on_node = [2, 1, 4]    domains = {"a": 2, "b": 1}    _sizes = {"a": 1, "b": 1}

A pod placed on n1 appends 1 to `changes`; refresh removes n1 (domain b has no node left and is dropped) and adds it again with 2 pods.
`_sizes` counts nodes per domain, because a domain without pods still exists and counts as 0 for the skew.
"""

from collections.abc import Callable

from kapi.scheduler.matching import Matcher
from kapi.scheduler.snapshot import Cluster, NodeInfo


class TopologyCounts:
    """`counts(node)`: whether pods on this node are counted in its domain."""

    def __init__(
        self, cluster: Cluster, namespace: str, selector: Matcher | None, topology: str, counts: Callable[[NodeInfo], bool]
    ) -> None:
        self._cluster, self._namespace, self._selector, self._topology = cluster, namespace, selector, topology
        self._counts = counts
        self._epoch, self._position = -1, 0
        self.values: list[str | None] = []
        """The domain of each node, by index; None: the node lacks the label."""
        self.on_node: list[int] = []
        """Number of matching pods on each node, by index, whether or not the node is counted in its domain."""
        self._counted: list[bool] = []
        self.domains: dict[str, int] = {}
        """Domain -> number of matching pods on its counted nodes."""
        self._sizes: dict[str, int] = {}

    def refresh(self) -> "TopologyCounts":
        cluster = self._cluster
        nodes = cluster.listed()
        now = cluster.dropped + len(cluster.changes)
        if self._epoch != cluster.epoch or self._position < cluster.dropped or now - self._position > len(nodes):
            self._rebuild(nodes)
        else:
            for index in cluster.changes[self._position - cluster.dropped :]:
                self._remove_node(index)
                self._add_node(nodes[index])
        self._epoch, self._position = cluster.epoch, now
        return self

    def _rebuild(self, nodes: list[NodeInfo]) -> None:
        self.values, self.on_node, self._counted = [None] * len(nodes), [0] * len(nodes), [False] * len(nodes)
        self.domains, self._sizes = {}, {}
        for node in nodes:
            self._add_node(node)

    def _add_node(self, node: NodeInfo) -> None:
        index, value = node.index, node.labels.get(self._topology)
        count = self._cluster.count(node, self._namespace, self._selector) if self._selector else 0
        counted = value is not None and self._counts(node)
        self.values[index], self.on_node[index], self._counted[index] = value, count, counted
        if counted and value is not None:
            self.domains[value] = self.domains.get(value, 0) + count
            self._sizes[value] = self._sizes.get(value, 0) + 1

    def _remove_node(self, index: int) -> None:
        value = self.values[index]
        if value is None or not self._counted[index]:
            return
        self._sizes[value] -= 1
        if self._sizes[value]:
            self.domains[value] -= self.on_node[index]
        else:
            del self._sizes[value], self.domains[value]
