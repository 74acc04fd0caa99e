"""What in the store belongs to a node: its pods, and what these use. The node authorizer asks; nothing is decided here.

A mirror pod leads to nothing: its node made it, and would grant itself what it names.

Pods and volumes are gone through once; after that only their steps since the last question.
"""

from collections.abc import Iterable

from kapi.objects import references
from kapi.objects.errors import Expired
from kapi.objects.meta import Object
from kapi.objects.references import Secret
from kapi.storage.entry import DELETED
from kapi.storage.store import Entry, Store

Name = tuple[str, str, str]
"""Resource, namespace, name."""

_VOLUMES, _NODE_NAME = "/core/persistentvolumes/", "spec.nodeName"
_BOUND = {
    "volumeattachments": "/storage.k8s.io/volumeattachments/",
    "resourceslices": "/resource.k8s.io/resourceslices/",
}
"""Objects that name their node in spec.nodeName."""
_USED = (references.SECRETS, references.CONFIG_MAPS, references.CLAIMS, references.ACCOUNTS, references.RESOURCE_CLAIMS)


class Derived:
    """Something made of the entries of a collection, brought up to date when it is asked for."""

    def __init__(self, store: Store, collection: str) -> None:
        self._store, self._collection = store, collection
        self._version, self._seen = store.counter(collection), -1
        self._steps = store.watch(collection, 0)

    def catch_up(self) -> None:
        if (version := self._version()) == self._seen:
            return
        try:
            steps = self._steps.ready() if self._seen >= 0 else None
        except Expired:
            steps = None
        self._seen = version
        if steps is None:
            page = self._store.list(self._collection)
            self._steps = self._store.watch(self._collection, page.revision)
            self._steps.ready()
            self.clear()
            for entry in page.entries:
                self.change(None, entry)
        else:
            for step in steps:
                self.change(step.previous, None if step.type == DELETED else step.entry)

    def clear(self) -> None:
        """Begin anew."""
        raise NotImplementedError

    def change(self, old: Entry | None, new: Entry | None) -> None:
        """Take a step."""
        raise NotImplementedError


class Pods(Derived):
    """The pods of each node, and what they use."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, "/core/pods/")
        self._of: dict[str, dict[str, Entry]] = {}
        self._uses: dict[str, tuple[Entry, frozenset[Name]]] = {}
        """What has been read of a pod, by its key."""

    def clear(self) -> None:
        self._of, self._uses = {}, {}

    def change(self, old: Entry | None, new: Entry | None) -> None:
        if old is not None and (node := old.fields.get(_NODE_NAME)):
            self._of.get(node, {}).pop(old.key, None)
            if new is None:
                self._uses.pop(old.key, None)
        if new is not None and (node := new.fields.get(_NODE_NAME)):
            self._of.setdefault(node, {})[new.key] = new

    def use(self, node: str, names: Iterable[Name]) -> bool:
        """Whether a pod of the node uses one of the objects."""
        self.catch_up()
        wanted = frozenset(names)
        return any(not wanted.isdisjoint(self._read(entry)) for entry in self._of.get(node, {}).values())

    def _read(self, entry: Entry) -> frozenset[Name]:
        known = self._uses.get(entry.key)
        if known is None or known[0] is not entry:
            pod = entry.obj
            namespace = pod["metadata"]["namespace"]
            used = () if references.is_mirror(pod) else ((r, namespace, name) for r in _USED for name in references.of_pod(pod, r))
            known = self._uses[entry.key] = (entry, frozenset(used))
        return known[1]


class Volumes(Derived):
    """The claims whose persistent volumes need a Secret."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, _VOLUMES)
        self._of: dict[str, list[Secret]] = {}
        """The Secrets of each volume."""
        self._claims: dict[Secret, dict[str, Name]] = {}

    def clear(self) -> None:
        self._of, self._claims = {}, {}

    def change(self, old: Entry | None, new: Entry | None) -> None:
        key = old.key if old is not None else ""
        for secret in self._of.pop(key, ()):
            del self._claims[secret][key]
            if not self._claims[secret]:
                del self._claims[secret]
        if new is not None and b"ecret" in new.body and (claim := claim_of(volume := new.obj)):
            self._of[new.key] = list(dict.fromkeys(references.volume_secrets(volume)))
            for secret in self._of[new.key]:
                self._claims.setdefault(secret, {})[new.key] = claim

    def claims(self, secret: Secret) -> Iterable[Name]:
        self.catch_up()
        return self._claims.get(secret, {}).values()


def claim_of(volume: Object) -> Name | None:
    """The claim a persistent volume is bound to."""
    claim = (volume.get("spec") or {}).get("claimRef")
    return (references.CLAIMS, claim.get("namespace") or "", claim.get("name") or "") if claim else None


class Graph:
    """Relationships as they are now."""

    def __init__(self, store: Store) -> None:
        self._store, self._pods, self._volumes = store, Pods(store), Volumes(store)

    def related(self, node: str, resource: str, namespace: str, name: str) -> bool:
        """Whether a path leads from the object to the node."""
        if resource == "pods":
            pod = self._store.get(f"/core/pods/{namespace}/{name}")
            return pod is not None and pod.fields.get(_NODE_NAME) == node
        if prefix := _BOUND.get(resource):
            entry = self._store.get(prefix + name)
            return entry is not None and (entry.obj.get("spec") or {}).get("nodeName") == node
        if resource == "persistentvolumes":
            volume = self._store.get(_VOLUMES + name)
            claim = claim_of(volume.obj) if volume else None
            return claim is not None and self._pods.use(node, [claim])
        claims = self._volumes.claims(Secret(namespace, name)) if resource == references.SECRETS else ()
        return self._pods.use(node, [(resource, namespace, name), *claims])
