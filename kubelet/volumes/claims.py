"""Directories of PersistentVolumeClaims: PersistentVolumes of kind hostPath and local. Others would need a CSI driver."""

from pathlib import Path

from kapi.objects.meta import Object
from kapi.objects.resource import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from kubelet.environment import MissingReference
from kubelet.volumes.payload import Context


async def directory(context: Context, volume: Object) -> Path:
    """The directory of a claimed volume. A generic ephemeral volume's claim is named POD-VOLUME. Raises MissingReference."""
    meta = context.pod["metadata"]
    namespace, ephemeral = meta["namespace"], "ephemeral" in volume
    name = f"{meta['name']}-{volume['name']}" if ephemeral else volume["persistentVolumeClaim"]["claimName"]
    claim = await context.lookup(PERSISTENT_VOLUME_CLAIMS, namespace, name)
    if claim is None:
        raise MissingReference(f'persistentvolumeclaim "{name}" not found')
    owners = claim["metadata"].get("ownerReferences") or ()
    if ephemeral and not any(o["uid"] == meta["uid"] and o.get("controller") for o in owners):
        raise MissingReference(f"PVC {namespace}/{name} was not created for pod {namespace}/{meta['name']} (pod is not owner)")
    bound = claim["spec"].get("volumeName")
    if not bound or (claim.get("status") or {}).get("phase") != "Bound":
        raise MissingReference(f"PVC {namespace}/{name} is not bound")
    found = await context.lookup(PERSISTENT_VOLUMES, "", bound)
    if found is None:
        raise MissingReference(f'persistentvolume "{bound}" not found')
    source = found["spec"].get("local") or found["spec"].get("hostPath")
    if source is None:
        raise MissingReference(f"no volume plugin matched: persistentvolume {bound}")
    path = Path(source["path"])
    _make(path, found["spec"])
    return path


def _make(path: Path, spec: Object) -> None:
    """Create the directory of a hostPath whose type is DirectoryOrCreate or unset."""
    if spec.get("hostPath") and spec["hostPath"].get("type") in (None, "", "DirectoryOrCreate"):
        path.mkdir(parents=True, exist_ok=True)
