"""Generic ephemeral volumes: creates their claims, owned by the pod and deleted with it."""

from collections.abc import Iterable, Iterator

from kapi.client import Controller
from kapi.controllers import pods
from kapi.objects import errors, meta
from kapi.objects.meta import Object
from kapi.objects.resource import PERSISTENT_VOLUME_CLAIMS, PODS


def _volumes(pod: Object) -> Iterator[Object]:
    for volume in pod["spec"].get("volumes") or ():
        if (volume.get("ephemeral") or {}).get("volumeClaimTemplate"):
            yield volume


class EphemeralVolumes(Controller):
    name = "ephemeral-volume-controller"

    def setup(self) -> None:
        self.objects = self.watch(PODS, lambda pod: [meta.key(pod)] if any(_volumes(pod)) else [])
        self.claims = self.watch(PERSISTENT_VOLUME_CLAIMS, self._pod_of)

    def _pod_of(self, claim: Object) -> Iterable[str]:
        ref = meta.controller_of(claim)
        if ref is not None and ref["kind"] == "Pod":
            yield f"{meta.namespace(claim)}/{ref['name']}"

    async def sync(self, pod: Object) -> float | None:
        if meta.deleting(pod) or pods.finished(pod):
            return None
        key = meta.key(pod)
        for volume in _volumes(pod):
            name = f"{meta.name(pod)}-{volume['name']}"
            have = self.claims.get(f"{meta.namespace(pod)}/{name}")
            if have is None:
                await self._create(pod, name, volume["ephemeral"]["volumeClaimTemplate"])
            elif not meta.controlled_by(have, pod):
                raise errors.conflict("persistentvolumeclaims", "", name, f'PVC "{meta.key(have)}" was not created for pod "{key}"')
        return None

    async def _create(self, pod: Object, name: str, template: Object) -> None:
        given = template.get("metadata") or {}
        about = {k: given[k] for k in ("labels", "annotations") if given.get(k)}
        about |= {"name": name, "namespace": meta.namespace(pod)}
        about["ownerReferences"] = [meta.owner_reference(pod, api_version="v1", kind="Pod")]
        made = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": about, "spec": template["spec"]}
        try:
            await self.client.create(PERSISTENT_VOLUME_CLAIMS, made)
        except errors.AlreadyExists:
            return
        except errors.StatusError as error:
            self.record_warning(pod, "FailedToCreateEphemeralVolume", f"ephemeral volume controller: {error}")
            raise
