"""The ownership graph of the garbage collector, updated by changes of objects. Pure; garbage.py acts on it.

An owner that is referred to but has not been observed is a virtual node until its existence is checked with the API server.

Example: a ReplicaSet `rs` owned by the Deployment `d`, observed before it:

    put(rs)   nodes = {d: Node(virtual, dependents={rs}), rs: Node(owners=(ref to d,))}     yields d: check whether it exists
    put(d)    d is no longer virtual
    remove(d) nodes = {rs: …}, absent = {d}                                                 yields rs: its owner is gone
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from kapi.objects import meta
from kapi.objects.meta import Object
from kapi.objects.resource import Resource

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


@dataclass(slots=True)
class Node:
    uid: str
    resource: Resource | None
    """None: a virtual node whose kind is not served."""
    namespace: str
    name: str
    version: str = ""
    owners: tuple[Object, ...] = ()
    dependents: dict[str, "Node"] = field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    deleting: bool = False
    virtual: bool = False

    @property
    def foreground(self) -> bool:
        """Being deleted, waiting for its dependents."""
        return self.deleting and FOREGROUND in self.finalizers

    @property
    def orphaning(self) -> bool:
        return self.deleting and ORPHAN in self.finalizers

    def blocks(self, owner: str) -> bool:
        """Whether foreground deletion of the owner waits for this node."""
        return any(ref.get("uid") == owner and ref.get("blockOwnerDeletion") for ref in self.owners)


class Graph:
    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.absent: dict[str, None] = {}
        """Uids known to be absent, latest last; bounded."""
        self.kinds: dict[tuple[str, str], Resource] = {}
        """(API group, kind) -> resource."""

    def put(self, resource: Resource, obj: Object) -> Iterator[str]:
        """Add or update an object. Yields the uids to process."""
        uid = meta.uid(obj)
        node = self.nodes.get(uid)
        fresh = node is None or node.virtual
        if node is None:
            node = self.nodes[uid] = Node(uid, resource, meta.namespace(obj), meta.name(obj))
        node.resource, node.namespace, node.name, node.virtual = resource, meta.namespace(obj), meta.name(obj), False
        node.version, node.finalizers = meta.resource_version(obj), tuple(meta.finalizers(obj))
        was, node.deleting = node.deleting, meta.deleting(obj)
        yield from self._set_owners(node, tuple(meta.owners(obj)))
        if node.deleting and (not was or fresh or node.foreground or node.orphaning):
            yield uid
            yield from (ref["uid"] for ref in node.owners if self._is_foreground(ref["uid"]))
        if any(self._needs_attention(node, ref) for ref in node.owners):
            yield uid
        if fresh:
            yield from (d.uid for d in node.dependents.values() if any(self.in_wrong_namespace(d, ref) for ref in d.owners))

    def remove(self, uid: str) -> Iterator[str]:
        """Remove a deleted object. Yields its dependents, and owners that waited for it."""
        node = self.nodes.pop(uid, None)
        self.add_absent(uid)
        if node is None:
            return
        for ref in node.owners:
            yield from self._remove_dependent(node, ref["uid"])
        for dependent in list(node.dependents.values()):
            yield dependent.uid

    def add_absent(self, uid: str) -> None:
        self.absent[uid] = None
        while len(self.absent) > 4096:
            del self.absent[next(iter(self.absent))]

    def in_wrong_namespace(self, node: Node, ref: Object) -> bool:
        """A namespaced owner can only own objects of its namespace."""
        owner = self.nodes.get(ref["uid"])
        return owner is not None and bool(owner.namespace) and owner.namespace != node.namespace

    def _is_foreground(self, uid: str) -> bool:
        owner = self.nodes.get(uid)
        return owner is not None and owner.foreground

    def _needs_attention(self, node: Node, ref: Object) -> bool:
        owner = self.nodes.get(ref["uid"])
        return owner is None or owner.foreground or self.in_wrong_namespace(node, ref)

    def _set_owners(self, node: Node, owners: tuple[Object, ...]) -> Iterator[str]:
        old, node.owners = node.owners, owners
        now = {ref["uid"] for ref in owners}
        for ref in old:
            if ref["uid"] not in now:
                yield from self._remove_dependent(node, ref["uid"])
        for ref in owners:
            owner = self.nodes.get(ref["uid"])
            if owner is None and ref["uid"] not in self.absent:
                owner = self.nodes[ref["uid"]] = self._virtual(node, ref)
                yield owner.uid
            if owner is not None:
                owner.dependents[node.uid] = node

    def _remove_dependent(self, node: Node, uid: str) -> Iterator[str]:
        owner = self.nodes.get(uid)
        if owner is None:
            return
        owner.dependents.pop(node.uid, None)
        if owner.foreground:
            yield uid
        elif owner.virtual and not owner.dependents:
            del self.nodes[uid]

    def in_cycle(self, node: Node) -> bool:
        """Whether a node that waits for its dependents waits for itself, through dependents that also wait."""
        seen: set[str] = set()
        waiting = [node]
        while waiting:
            owner = waiting.pop()
            for dependent in owner.dependents.values():
                if not (dependent.foreground and dependent.blocks(owner.uid)):
                    continue
                if dependent is node:
                    return True
                if dependent.uid not in seen:
                    seen.add(dependent.uid)
                    waiting.append(dependent)
        return False

    def resource_of(self, node: Node) -> Resource | None:
        """The resource of a virtual node, from the references of its dependents; its kind may be served by now."""
        refs = (ref for dependent in node.dependents.values() for ref in dependent.owners if ref["uid"] == node.uid)
        return next((found for ref in refs if (found := self._kind(ref))), None)

    def _kind(self, ref: Object) -> Resource | None:
        return self.kinds.get((ref.get("apiVersion", "").rpartition("/")[0], ref.get("kind", "")))

    def _virtual(self, node: Node, ref: Object) -> Node:
        resource = self._kind(ref)
        namespace = node.namespace if resource is None or resource.namespaced else ""
        return Node(ref["uid"], resource, namespace, ref.get("name", ""), virtual=True)
