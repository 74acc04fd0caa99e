"""ControllerRevisions: numbered past templates of StatefulSets and DaemonSets; the newest is the update revision."""

from collections.abc import Iterable, Sequence

from kapi.controllers.hashing import short_hash
from kapi.controllers.workload import Workload
from kapi.objects import errors, meta
from kapi.objects.meta import Object
from kapi.objects.resource import CONTROLLER_REVISIONS

REVISION_LABEL = "controller.kubernetes.io/hash"
"""Label of a StatefulSet's ControllerRevisions: the hash in their names."""
POD_LABEL = "controller-revision-hash"
"""Label of pods, and of a DaemonSet's ControllerRevisions: the revision."""


class History:
    """The revisions of the objects of one controller; each has its hash in the label `hash_label`."""

    def __init__(self, controller: Workload, hash_label: str) -> None:
        self._controller, self._hash_label = controller, hash_label
        self.revisions = controller.own(CONTROLLER_REVISIONS)

    def of(self, owner: Object) -> list[Object]:
        """Sorted, oldest first."""
        revisions = self.revisions.by_index("controller", meta.uid(owner))
        return sorted(revisions, key=lambda r: (r["revision"], meta.metadata(r).get("creationTimestamp") or "", meta.name(r)))

    async def newest(self, owner: Object, labels: dict[str, str]) -> Object:
        """The revision of the owner's current template: found, renumbered as the newest, or created. Name collisions increment
        collisionCount."""
        known = self.of(owner)
        data = {"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}}
        number = known[-1]["revision"] + 1 if known else 1
        same = [r for r in known if r["data"] == data]
        if same and same[-1] is known[-1]:
            return same[-1]
        if same:
            return await self._controller.client.update(CONTROLLER_REVISIONS, {**same[-1], "revision": number})
        return await self._create(owner, labels, data, number)

    async def _create(self, owner: Object, labels: dict[str, str], data: Object, number: int) -> Object:
        collisions = (owner.get("status") or {}).get("collisionCount") or 0
        while True:
            code = short_hash(data, collisions)
            name = f"{meta.name(owner)}-{code}"
            about = {
                "name": name,
                "namespace": meta.namespace(owner),
                "labels": {**labels, self._hash_label: code},
                "annotations": meta.annotations(owner),
                "ownerReferences": [self._controller.reference(owner)],
            }
            made = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": about, "data": data, "revision": number}
            try:
                return await self._controller.client.create(CONTROLLER_REVISIONS, made)
            except errors.AlreadyExists:
                there = await self._controller.client.get(CONTROLLER_REVISIONS, name, meta.namespace(owner))
                if there["data"] == data and meta.controlled_by(there, owner):
                    return there
                collisions += 1

    async def truncate(self, owner: Object, live: Iterable[str], keep: Sequence[Object]) -> None:
        """Delete the oldest revisions beyond revisionHistoryLimit that no pod uses (by name or hash) and `keep` does not contain."""
        limit = owner["spec"].get("revisionHistoryLimit")
        kept, used = {meta.name(r) for r in keep}, set(live)
        idle = [r for r in self.of(owner) if meta.name(r) not in kept | used and meta.labels(r).get(self._hash_label) not in used]
        surplus = len(idle) - (10 if limit is None else limit)
        for revision in idle[: max(surplus, 0)]:
            await self._controller.delete_object(CONTROLLER_REVISIONS, revision)


def template(revision: Object) -> Object:
    """The pod template of a revision."""
    return {k: v for k, v in revision["data"]["spec"]["template"].items() if k != "$patch"}
