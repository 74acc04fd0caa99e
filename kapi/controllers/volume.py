"""Binds PersistentVolumeClaims to PersistentVolumes and sets the phases of both. Provisioning and deletion is left to provisioners.

Keys are "claim:NAMESPACE/NAME" and "volume:NAME". There is a single worker, so that a volume is not bound to two claims.
"""

from collections.abc import Iterable
from typing import Any

from kapi.client import Controller
from kapi.controllers import volume_rules as rules
from kapi.objects import meta
from kapi.objects.meta import Object
from kapi.objects.resource import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES

EXTERNAL = (
    "Waiting for a volume to be created either by the external provisioner '{}' or manually by the system administrator. "
    "If volume creation is delayed, please verify that the provisioner is running and correctly registered."
)


def _class_keys(obj: Object) -> tuple[str]:
    return (rules.storage_class(obj),)


class VolumeBinder(Controller):
    name = "persistentvolume-controller"
    workers = 1

    def setup(self) -> None:
        self.claims = self.watch(PERSISTENT_VOLUME_CLAIMS, self._claim_keys)
        self.claims.add_index("class", _class_keys)
        self.volumes = self.watch(PERSISTENT_VOLUMES, self._volume_keys)
        self.volumes.add_index("class", _class_keys)
        self.classes = self.watch(STORAGE_CLASSES, lambda c: self._pending(meta.name(c)))
        self.nodes = self.informer(NODES)

    def _claim_keys(self, claim: Object) -> Iterable[str]:
        yield f"claim:{meta.key(claim)}"
        if name := claim["spec"].get("volumeName"):
            yield f"volume:{name}"

    def _volume_keys(self, volume: Object) -> Iterable[str]:
        yield f"volume:{meta.name(volume)}"
        ref = volume["spec"].get("claimRef")
        if ref:
            yield f"claim:{ref['namespace']}/{ref['name']}"
        else:
            yield from self._pending(rules.storage_class(volume))

    def _pending(self, storage_class: str) -> Iterable[str]:
        for claim in self.claims.by_index("class", storage_class):
            if not claim["spec"].get("volumeName"):
                yield f"claim:{meta.key(claim)}"

    async def reconcile(self, key: str) -> float | None:
        kind, _, name = key.partition(":")
        if kind == "volume":
            volume = self.volumes.get(name)
            if volume is not None:
                await self._volume(volume)
            return None
        claim = self.claims.get(name)
        if claim is not None and not meta.deleting(claim):
            await (self._named(claim) if claim["spec"].get("volumeName") else self._seeking(claim))
        return None

    async def _seeking(self, claim: Object) -> None:
        """An unbound claim: bind a matching volume, or record what it waits for."""
        kind = self.classes.get(rules.storage_class(claim))
        chosen = meta.annotations(claim).get(rules.SELECTED_NODE)
        waits = kind is not None and kind.get("volumeBindingMode") == "WaitForFirstConsumer" and not chosen
        aside = [v for v in self.volumes if v["spec"].get("claimRef") and rules.is_claimed_by(v, claim)]
        if waits and not aside:
            await self._phase(claim, "Pending")
            self.record_event(claim, "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
            return
        same_class = self.volumes.by_index("class", rules.storage_class(claim))
        volume = rules.best([*aside, *same_class], claim, self.nodes.get(chosen) if chosen else None)
        if volume is not None:
            await self._bind(volume, claim)
            return
        await self._phase(claim, "Pending")
        await self._ask_provisioner(claim, kind)

    async def _ask_provisioner(self, claim: Object, kind: Object | None) -> None:
        name = rules.storage_class(claim)
        if not name:
            self.record_event(claim, "FailedBinding", "no persistent volumes available for this claim and no storage class is set")
        elif kind is None:
            self.record_warning(claim, "ProvisioningFailed", f'storageclass.storage.k8s.io "{name}" not found')
        elif kind["provisioner"] != "kubernetes.io/no-provisioner":
            provisioner = kind["provisioner"]
            annotations = {rules.PROVISIONER: provisioner, rules.OLD_PROVISIONER: provisioner}
            await self._annotate(claim, annotations)
            self.record_event(claim, "ExternalProvisioning", EXTERNAL.format(provisioner))

    async def _annotate(self, claim: Object, annotations: dict[str, str], **spec: Any) -> Object:
        have = meta.annotations(claim)
        if all(have.get(k) == v for k, v in annotations.items()) and all(claim["spec"].get(k) == v for k, v in spec.items()):
            return claim
        about = {**claim["metadata"], "annotations": {**have, **annotations}}
        changed = {**claim, "metadata": about, "spec": {**claim["spec"], **spec}}
        return await self.client.update(PERSISTENT_VOLUME_CLAIMS, changed)

    async def _named(self, claim: Object) -> None:
        """A claim that names its volume: complete the binding, or set it to Lost."""
        volume = self.volumes.get(claim["spec"]["volumeName"])
        complete = rules.BIND_COMPLETED in meta.annotations(claim)
        if volume is None:
            if complete:
                await self._lost(claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
            else:
                await self._phase(claim, "Pending")
        elif not volume["spec"].get("claimRef") or rules.is_claimed_by(volume, claim):
            await self._bind(volume, claim)
        elif complete:
            text = "Two claims are bound to the same volume, this one is bound incorrectly"
            await self._lost(claim, "ClaimMisbound", text)
        else:
            self.record_warning(claim, "FailedBinding", f'volume "{meta.name(volume)}" already bound to a different claim.')
            await self._phase(claim, "Pending")

    async def _bind(self, volume: Object, claim: Object) -> None:
        """The four writes of a binding. Each is skipped if it is done already, so that an interrupted binding can be resumed."""
        if not rules.bound_to(volume, claim):
            ours = not volume["spec"].get("claimRef")
            annotations = {**meta.annotations(volume), **({rules.BOUND_BY_US: "yes"} if ours else {})}
            spec = {**volume["spec"], "claimRef": rules.claim_reference(claim)}
            about = {**volume["metadata"], "annotations": annotations}
            volume = await self.client.update(PERSISTENT_VOLUMES, {**volume, "metadata": about, "spec": spec})
        await self._volume_phase(volume, "Bound")
        ours = not claim["spec"].get("volumeName") or rules.BOUND_BY_US in meta.annotations(claim)
        noted = {rules.BIND_COMPLETED: "yes"} | ({rules.BOUND_BY_US: "yes"} if ours else {})
        claim = await self._annotate(claim, noted, volumeName=meta.name(volume))
        details = {"accessModes": volume["spec"].get("accessModes"), "capacity": volume["spec"].get("capacity")}
        known = claim.get("status") or {}
        await self._phase(claim, "Bound", **({} if known.get("phase") == "Bound" else details))

    async def _phase(self, claim: Object, phase: str, **more: Any) -> None:
        old = claim.get("status") or {}
        status = {**old, "phase": phase, **more}
        if status != old:
            await self.put_status(PERSISTENT_VOLUME_CLAIMS, claim, status)

    async def _lost(self, claim: Object, reason: str, message: str) -> None:
        if meta.path(claim, "status", "phase") != "Lost":
            self.record_warning(claim, reason, message)
            status = {k: v for k, v in (claim.get("status") or {}).items() if k not in ("capacity", "accessModes")}
            await self.put_status(PERSISTENT_VOLUME_CLAIMS, claim, {**status, "phase": "Lost"})

    async def _volume(self, volume: Object) -> None:
        ref = volume["spec"].get("claimRef")
        if not ref or not ref.get("uid"):
            await self._volume_phase(volume, "Available")
            return
        claim = self.claims.get(f"{ref['namespace']}/{ref['name']}")
        if claim is not None and meta.uid(claim) == ref["uid"]:
            return
        if meta.path(volume, "status", "phase") not in ("Released", "Failed"):
            volume = await self._volume_phase(volume, "Released")
        provisioned = meta.annotations(volume).get(rules.PROVISIONED_BY)
        if volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete" and not provisioned and not meta.deleting(volume):
            text = f'error getting deleter volume plugin for volume "{meta.name(volume)}": no volume plugin matched'
            await self._volume_phase(volume, "Failed", text)

    async def _volume_phase(self, volume: Object, phase: str, message: str = "") -> Object:
        old = volume.get("status") or {}
        if old.get("phase") == phase and (old.get("message") or "") == message:
            return volume
        status = {"phase": phase} | ({"message": message, "reason": "VolumeFailedDelete"} if message else {})
        if message:
            self.record_warning(volume, "VolumeFailedDelete", message)
        return await self.put_status(PERSISTENT_VOLUMES, volume, status)
