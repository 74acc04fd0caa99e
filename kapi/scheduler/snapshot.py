"""The scheduler's view of the cluster: nodes with their free resources, and the pods on each.

Updated by informers and by assumed pods (counted on their node before the binding is acknowledged). A scheduling cycle does not await,
so the live state serves as its snapshot. Every change of a node is appended to `Cluster.changes`; caches of results per node read from
there which entries to invalidate.
"""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from kapi.objects.meta import Object
from kapi.objects.pod_resources import Resources, amounts
from kapi.scheduler.matching import NO_AFFINITIES, Affinities
from kapi.scheduler.pods import Identity, Pod

ZONE, REGION, HOSTNAME = "topology.kubernetes.io/zone", "topology.kubernetes.io/region", "kubernetes.io/hostname"


class NodeInfo:
    """A node with the sums over its pods. Amounts: milli-CPUs, bytes, counts."""

    __slots__ = ("allocatable", "hard_taints", "images", "index", "labels", "max_pods", "name", "nonzero_cpu", "nonzero_memory", "obj",
                 "pods", "ports", "requested", "soft_taints", "taints", "unschedulable")  # fmt: skip

    def __init__(self, obj: Object) -> None:
        self.index = -1
        self.pods: dict[str, Pod] = {}
        self.requested: Resources = {}
        self.nonzero_cpu = self.nonzero_memory = 0
        self.ports: dict[tuple[str, str, int], int] = {}
        self.update(obj)

    def update(self, obj: Object) -> None:
        """Take over a new version of the Node object."""
        meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
        self.obj = obj
        self.name: str = meta["name"]
        self.labels: dict[str, str] = meta.get("labels") or {}
        self.unschedulable: bool = bool(spec.get("unschedulable"))
        self.taints: list[Object] = spec.get("taints") or []
        self.hard_taints = [t for t in self.taints if t.get("effect") in ("NoSchedule", "NoExecute")]
        self.soft_taints = [t for t in self.taints if t.get("effect") == "PreferNoSchedule"]
        self.allocatable = amounts(status.get("allocatable") or status.get("capacity"))
        self.max_pods = self.allocatable.get("pods", 0)
        self.images: dict[str, int] = {n: i.get("sizeBytes") or 0 for i in status.get("images") or () for n in i.get("names") or ()}

    def add(self, pod: Pod) -> None:
        self.pods[pod.key] = pod
        self._count(pod, 1)

    def remove(self, key: str) -> Pod | None:
        pod = self.pods.pop(key, None)
        if pod is not None:
            self._count(pod, -1)
        return pod

    def _count(self, pod: Pod, sign: int) -> None:
        spec, requested = pod.spec, self.requested
        for name, amount in spec.needs:
            requested[name] = requested.get(name, 0) + sign * amount
        self.nonzero_cpu += sign * spec.nonzero_cpu
        self.nonzero_memory += sign * spec.nonzero_memory
        for port in spec.ports:
            self.ports[port] = self.ports.get(port, 0) + sign
            if not self.ports[port]:
                del self.ports[port]

    def copy(self) -> "NodeInfo":
        """A copy for simulations (preemption, nominated pods)."""
        duplicate = object.__new__(NodeInfo)
        for name in NodeInfo.__slots__:
            setattr(duplicate, name, getattr(self, name))
        duplicate.pods, duplicate.requested, duplicate.ports = dict(self.pods), dict(self.requested), dict(self.ports)
        return duplicate

    def __repr__(self) -> str:
        return f"NodeInfo({self.name})"


Counts = dict[NodeInfo, int]
_NODE_ACTIONS = ("allocatable", "label", "taint", "image")


def _count_in(index: dict[Any, Counts], key: Any, node: NodeInfo, sign: int) -> None:
    counts = index.setdefault(key, {})
    count = counts.get(node, 0) + sign
    if count:
        counts[node] = count
        return
    counts.pop(node, None)
    if not counts:
        del index[key]


class Cluster:
    """All nodes and all pods that are bound or assumed."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeInfo] = {}
        self.pods: dict[str, tuple[Pod, str]] = {}
        """Bound and assumed pods: pod key -> (pod, node name)."""
        self.identities: dict[str, dict[Identity, Counts]] = {}
        """Namespace -> identity -> number of its pods by node."""
        self.terminating: dict[Identity, Counts] = {}
        """The terminating ones of these."""
        self.with_affinity: dict[tuple[Identity, Affinities], Counts] = {}
        """Pods with affinity terms of their own: (identity, terms) -> number by node."""
        self.namespaces: dict[str, dict[str, str]] = {}
        """Labels of each namespace."""
        self.images: dict[str, int] = {}
        """Image name -> number of nodes that have it."""
        self.soft_taints = 0
        self.nominated: dict[str, dict[str, Pod]] = {}
        """Node name -> pods nominated to it, by key."""
        self.order: list[NodeInfo] = []
        self.changes: list[int] = []
        """Indexes (into `order`) of changed nodes, oldest first."""
        self.dropped = 0
        """Number of entries dropped from the start of `changes`."""
        self.epoch = 0
        """Incremented when `order` is rebuilt, which invalidates all indexes."""
        self._stale_order = False
        self._pods_of_unknown_nodes: dict[str, dict[str, Pod]] = {}

    # nodes

    def set_node(self, obj: Object) -> tuple[str, ...]:
        """Add or update a node. Returns the event actions: ("add",), or some of "allocatable", "label", "taint", "image"; () if
        unchanged."""
        name = obj["metadata"]["name"]
        node = self.nodes.get(name)
        if node is None:
            node = self.nodes[name] = NodeInfo(obj)
            self._stale_order = True
            self._count_node(node, 1)
            for pod in self._pods_of_unknown_nodes.pop(name, {}).values():
                self._put(pod, node)
            return ("add",)
        before = (node.allocatable, node.labels, (node.taints, node.unschedulable), node.images)
        self._count_node(node, -1)
        node.update(obj)
        self._count_node(node, 1)
        after = (node.allocatable, node.labels, (node.taints, node.unschedulable), node.images)
        actions = tuple(what for what, old, new in zip(_NODE_ACTIONS, before, after, strict=True) if old != new)
        if actions:
            self._stale_order |= any(before[1].get(key) != node.labels.get(key) for key in (REGION, ZONE))
            self._changed(node)
        return actions

    def remove_node(self, name: str) -> None:
        node = self.nodes.pop(name, None)
        if node is None:
            return
        self._stale_order = True
        self._count_node(node, -1)
        for pod in list(node.pods.values()):
            self._take(pod.key, node)
            self._pods_of_unknown_nodes.setdefault(name, {})[pod.key] = pod

    def _count_node(self, node: NodeInfo, sign: int) -> None:
        self.soft_taints += sign * len(node.soft_taints)
        for image in node.images:
            self.images[image] = self.images.get(image, 0) + sign

    def listed(self) -> list[NodeInfo]:
        """All nodes, zones interleaved, so that a search over some of them covers all zones."""
        if self._stale_order:
            zones: dict[tuple[str | None, str | None], list[NodeInfo]] = {}
            for node in self.nodes.values():
                zones.setdefault((node.labels.get(REGION), node.labels.get(ZONE)), []).append(node)
            self.order = [node for row in zip_longest(*zones.values()) for node in row if node is not None]
            for index, node in enumerate(self.order):
                node.index = index
            self._stale_order = False
            self.epoch += 1
            self.dropped, self.changes = 0, []
        return self.order

    def _changed(self, node: NodeInfo) -> None:
        if not self._stale_order:
            self.changes.append(node.index)
            if len(self.changes) > 20000:
                self.dropped += 10000
                del self.changes[:10000]

    # placed pods

    def place(self, pod: Pod, node_name: str) -> None:
        """Count the pod on the node: bound, or assumed until the binding is acknowledged."""
        key = pod.key
        known = self.pods.get(key)
        if known is not None:
            if self._same(known[0], pod) and known[1] == node_name:
                self._refresh(pod, node_name)
                return
            self.remove(key)
        self.pods[key] = (pod, node_name)
        node = self.nodes.get(node_name)
        if node is None:
            self._pods_of_unknown_nodes.setdefault(node_name, {})[key] = pod
        else:
            self._put(pod, node)

    def _same(self, old: Pod, new: Pod) -> bool:
        return (
            old.spec is new.spec
            and old.identity is new.identity
            and old.terminating == new.terminating
            and old.uid == new.uid
            and old.priority == new.priority
        )

    def _refresh(self, pod: Pod, node_name: str) -> None:
        self.pods[pod.key] = (pod, node_name)
        node = self.nodes.get(node_name)
        if node is not None:
            node.pods[pod.key] = pod

    def remove(self, key: str) -> Pod | None:
        """Remove a pod that was deleted, has finished, or whose binding failed."""
        known = self.pods.pop(key, None)
        if known is None:
            return None
        node = self.nodes.get(known[1])
        if node is None:
            self._pods_of_unknown_nodes.get(known[1], {}).pop(key, None)
        else:
            self._take(key, node)
        return known[0]

    def _put(self, pod: Pod, node: NodeInfo) -> None:
        node.add(pod)
        self._index(pod, node, 1)

    def _take(self, key: str, node: NodeInfo) -> None:
        pod = node.remove(key)
        if pod is not None:
            self._index(pod, node, -1)

    def _index(self, pod: Pod, node: NodeInfo, sign: int) -> None:
        identity = pod.identity
        identities = self.identities.setdefault(identity.namespace, {})
        _count_in(identities, identity, node, sign)
        if not identities:
            del self.identities[identity.namespace]
        if pod.terminating:
            _count_in(self.terminating, identity, node, sign)
        if pod.affinities is not NO_AFFINITIES:
            _count_in(self.with_affinity, (identity, pod.affinities), node, sign)
        self._changed(node)

    # nominated pods

    def nominate(self, pod: Pod, node_name: str) -> None:
        self.drop_nomination(pod)
        if node_name:
            self.nominated.setdefault(node_name, {})[pod.key] = pod

    def drop_nomination(self, pod: Pod) -> None:
        for name in [n for n, waiting in self.nominated.items() if pod.key in waiting]:
            del self.nominated[name][pod.key]
            if not self.nominated[name]:
                del self.nominated[name]

    def nominated_on(self, node: NodeInfo, pod: Pod) -> Sequence[Pod]:
        """Pods nominated to the node whose priority is at least this pod's."""
        waiting = self.nominated.get(node.name)
        return [p for p in waiting.values() if p.priority >= pod.priority and p.key != pod.key] if waiting else ()

    # counting

    def count(self, node: NodeInfo, namespace: str, selector: Any) -> int:
        """Number of pods on the node that the selector matches, without terminating ones."""
        total = 0
        for identity, counts in self.identities.get(namespace, {}).items():
            if node in counts and identity.matches(selector):
                terminating = self.terminating.get(identity)
                total += counts[node] - (terminating.get(node, 0) if terminating else 0)
        return total
