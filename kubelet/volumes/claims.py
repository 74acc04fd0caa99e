"""Where a claimed volume is on this machine: PersistentVolumes of kind hostPath and local. Others need a CSI driver."""

from pathlib import Path
from typing import Any

from kapi.objects.resource import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from kubelet.environment import Missing
from kubelet.volumes.payload import Context

Object = dict[str, Any]


async def directory(context: Context, name: str) -> Path:
    """The directory of a claim's volume. Raises Missing."""
    namespace = context.pod["metadata"]["namespace"]
    claim = await context.lookup(PERSISTENT_VOLUME_CLAIMS, namespace, name)
    if claim is None:
        raise Missing(f'persistentvolumeclaim "{name}" not found')
    bound = claim["spec"].get("volumeName")
    if not bound or (claim.get("status") or {}).get("phase") != "Bound":
        raise Missing(f"PVC {namespace}/{name} is not bound")
    volume = await context.lookup(PERSISTENT_VOLUMES, "", bound)
    if volume is None:
        raise Missing(f'persistentvolume "{bound}" not found')
    source = volume["spec"].get("local") or volume["spec"].get("hostPath")
    if source is None:
        raise Missing(f"no volume plugin matched: persistentvolume {bound}")
    path = Path(source["path"])
    _make(path, volume["spec"])
    return path


def _make(path: Path, spec: Object) -> None:
    """A hostPath that says so (or says nothing) is made."""
    if spec.get("hostPath") and spec["hostPath"].get("type") in (None, "", "DirectoryOrCreate"):
        path.mkdir(parents=True, exist_ok=True)
