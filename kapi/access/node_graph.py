"""The graph of the node authorizer: which objects are related to a node, through its pods and what these refer to.

References of mirror pods are ignored: the node creates them, and could grant itself access by naming an object in one.

Pods and volumes are indexed once; later requests apply only the changes since the previous one.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from kapi.objects import references
from kapi.objects.errors import Expired
from kapi.objects.meta import Object
from kapi.objects.references import Secret
from kapi.storage.entry import DELETED
from kapi.storage.store import Entry, Store

Name = tuple[str, str, str]
"""(resource, namespace, name)."""

_VOLUMES, _NODE_NAME = "/core/persistentvolumes/", "spec.nodeName"
_COLLECTIONS_BY_NODE_NAME = {
    "volumeattachments": "/storage.k8s.io/volumeattachments/",
    "resourceslices": "/resource.k8s.io/resourceslices/",
}
"""Resource -> key prefix of its collection; the objects have their node in spec.nodeName."""
_REFERENCED_RESOURCES = (references.SECRETS, references.CONFIG_MAPS, references.CLAIMS, references.ACCOUNTS, references.RESOURCE_CLAIMS)


class StoreIndex(ABC):
    """An index over the entries of a collection, brought up to date by `refresh`."""

    def __init__(self, store: Store, collection: str) -> None:
        self._store, self._collection = store, collection
        self._current_version, self._applied_version = store.counter(collection), -1
        self._watcher = store.watch(collection, 0)

    def refresh(self) -> None:
        """Apply the changes since the last refresh; rebuild if the store no longer has them."""
        if (version := self._current_version()) == self._applied_version:
            return
        try:
            changes = self._watcher.ready() if self._applied_version >= 0 else None
        except Expired:
            changes = None
        self._applied_version = version
        if changes is None:
            page = self._store.list(self._collection)
            self._watcher = self._store.watch(self._collection, page.revision)
            self._watcher.ready()
            self.clear()
            for entry in page.entries:
                self.apply(None, entry)
        else:
            for event in changes:
                self.apply(event.previous, None if event.type == DELETED else event.entry)

    @abstractmethod
    def clear(self) -> None:
        """Empty the index."""

    @abstractmethod
    def apply(self, old: Entry | None, new: Entry | None) -> None:
        """Update the index for a change of one entry: `old` is None for a new one, `new` is None for a deleted one."""


class PodIndex(StoreIndex):
    """The pods of each node, and the objects they refer to."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, "/core/pods/")
        self._pods_by_node: dict[str, dict[str, Entry]] = {}
        self._uses: dict[str, tuple[Entry, frozenset[Name]]] = {}
        """Pod key -> (entry, its references), computed when first needed."""

    def clear(self) -> None:
        self._pods_by_node, self._uses = {}, {}

    def apply(self, old: Entry | None, new: Entry | None) -> None:
        if old is not None and (node := old.fields.get(_NODE_NAME)):
            self._pods_by_node.get(node, {}).pop(old.key, None)
            if new is None:
                self._uses.pop(old.key, None)
        if new is not None and (node := new.fields.get(_NODE_NAME)):
            self._pods_by_node.setdefault(node, {})[new.key] = new

    def uses(self, node: str, names: Iterable[Name]) -> bool:
        """Whether a pod of the node refers to one of the objects."""
        self.refresh()
        wanted = frozenset(names)
        return any(not wanted.isdisjoint(self._references(entry)) for entry in self._pods_by_node.get(node, {}).values())

    def _references(self, entry: Entry) -> frozenset[Name]:
        known = self._uses.get(entry.key)
        if known is None or known[0] is not entry:
            pod = entry.obj
            namespace = pod["metadata"]["namespace"]
            resources = () if references.is_mirror(pod) else _REFERENCED_RESOURCES
            used = ((resource, namespace, name) for resource in resources for name in references.of_pod(pod, resource))
            known = self._uses[entry.key] = (entry, frozenset(used))
        return known[1]


class VolumeIndex(StoreIndex):
    """The claims whose persistent volumes refer to a Secret."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, _VOLUMES)
        self._secrets_by_volume: dict[str, list[Secret]] = {}
        """Volume key -> the Secrets it refers to."""
        self._claims: dict[Secret, dict[str, Name]] = {}

    def clear(self) -> None:
        self._secrets_by_volume, self._claims = {}, {}

    def apply(self, old: Entry | None, new: Entry | None) -> None:
        key = old.key if old is not None else ""
        for secret in self._secrets_by_volume.pop(key, ()):
            del self._claims[secret][key]
            if not self._claims[secret]:
                del self._claims[secret]
        if new is not None and b"ecret" in new.body and (claim := claim_of(volume := new.obj)):
            self._secrets_by_volume[new.key] = list(dict.fromkeys(references.volume_secrets(volume)))
            for secret in self._secrets_by_volume[new.key]:
                self._claims.setdefault(secret, {})[new.key] = claim

    def claims_with(self, secret: Secret) -> Iterable[Name]:
        self.refresh()
        return self._claims.get(secret, {}).values()


def claim_of(volume: Object) -> Name | None:
    """The claim a persistent volume is bound to."""
    claim = (volume.get("spec") or {}).get("claimRef")
    return (references.CLAIMS, claim.get("namespace") or "", claim.get("name") or "") if claim else None


class Graph:
    """The current relations between nodes and objects."""

    def __init__(self, store: Store) -> None:
        self._store, self._pods, self._volumes = store, PodIndex(store), VolumeIndex(store)

    def related(self, node: str, resource: str, namespace: str, name: str) -> bool:
        """Whether the object is related to the node (there is a path in the graph)."""
        if resource == "pods":
            pod = self._store.get(f"/core/pods/{namespace}/{name}")
            return pod is not None and pod.fields.get(_NODE_NAME) == node
        if prefix := _COLLECTIONS_BY_NODE_NAME.get(resource):
            entry = self._store.get(prefix + name)
            return entry is not None and (entry.obj.get("spec") or {}).get("nodeName") == node
        if resource == "persistentvolumes":
            volume = self._store.get(_VOLUMES + name)
            claim = claim_of(volume.obj) if volume else None
            return claim is not None and self._pods.uses(node, [claim])
        claims_with = self._volumes.claims_with(Secret(namespace, name)) if resource == references.SECRETS else ()
        return self._pods.uses(node, [(resource, namespace, name), *claims_with])
