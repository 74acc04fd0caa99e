"""Storage protection finalizers: claims used by pods, bound volumes, and VolumeAttributesClasses in use are not deleted."""

from collections.abc import Iterable
from typing import ClassVar

from kapi.client import Controller, Informer
from kapi.controllers import pods
from kapi.objects import meta
from kapi.objects.meta import Object
from kapi.objects.resource import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, VOLUME_ATTRIBUTES_CLASSES, Resource


def claims_of(pod: Object) -> Iterable[str]:
    """The index "claim": claims a pod refers to, and those of its ephemeral volumes."""
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            yield f"{meta.namespace(pod)}/{volume['persistentVolumeClaim']['claimName']}"
        elif volume.get("ephemeral"):
            yield f"{meta.namespace(pod)}/{meta.name(pod)}-{volume['name']}"


class _Protection(Controller):
    """Adds a finalizer, and removes it from objects that are being deleted and not in use."""

    resource: ClassVar[Resource]
    finalizer: ClassVar[str]
    objects: Informer

    def in_use(self, obj: Object) -> bool:
        raise AssertionError("says the subclass")

    async def sync(self, obj: Object) -> float | None:
        have = meta.finalizers(obj)
        if not meta.deleting(obj) and self.finalizer not in have:
            await self.set_finalizers(self.resource, obj, [*have, self.finalizer])
        elif meta.deleting(obj) and self.finalizer in have and not self.in_use(obj):
            await self.set_finalizers(self.resource, obj, [f for f in have if f != self.finalizer])
        return None


class ClaimProtection(_Protection):
    name = "persistentvolumeclaim-protection-controller"
    resource = PERSISTENT_VOLUME_CLAIMS
    finalizer = "kubernetes.io/pvc-protection"

    def setup(self) -> None:
        self.objects = self.watch(PERSISTENT_VOLUME_CLAIMS)
        self.pods = self.watch(PODS, self._freed)
        self.pods.add_index("claim", claims_of)

    def _freed(self, pod: Object) -> Iterable[str]:
        for key in claims_of(pod):
            claim = self.objects.get(key)
            if claim is not None and meta.deleting(claim):
                yield key

    def in_use(self, obj: Object) -> bool:
        return any(p["spec"].get("nodeName") and not pods.finished(p) for p in self.pods.by_index("claim", meta.key(obj)))


class VolumeProtection(_Protection):
    name = "persistentvolume-protection-controller"
    resource = PERSISTENT_VOLUMES
    finalizer = "kubernetes.io/pv-protection"

    def setup(self) -> None:
        self.objects = self.watch(PERSISTENT_VOLUMES)

    def in_use(self, obj: Object) -> bool:
        return bool(meta.path(obj, "status", "phase") == "Bound")


def _attributes_of(obj: Object) -> Iterable[str]:
    """The VolumeAttributesClasses that a claim or volume has, had or requests."""
    status = obj.get("status") or {}
    to_be = (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName")
    names = (obj["spec"].get("volumeAttributesClassName"), status.get("currentVolumeAttributesClassName"), to_be)
    return {name for name in names if name}


class AttributesProtection(_Protection):
    name = "volumeattributesclass-protection-controller"
    resource = VOLUME_ATTRIBUTES_CLASSES
    finalizer = "kubernetes.io/vac-protection"

    def setup(self) -> None:
        self.objects = self.watch(VOLUME_ATTRIBUTES_CLASSES)
        self.users = [self.watch(resource, _attributes_of) for resource in (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES)]
        for informer in self.users:
            informer.add_index("attributes", _attributes_of)

    def in_use(self, obj: Object) -> bool:
        return any(informer.by_index("attributes", meta.name(obj)) for informer in self.users)
