"""The volumes of a pod on this machine: set up before its containers start, refreshed, and torn down after they ended.

A volume is a directory below the pod's, named as stock names it (see `paths`). Failures raise VolumeError with the message of the event.
"""

import contextlib
import os
import shutil
import stat
from pathlib import Path

from kapi.objects import quantity
from kapi.objects.errors import StatusError
from kapi.objects.meta import Object
from kubelet import mounts, pods, resources
from kubelet.environment import MissingReference
from kubelet.settings import Settings
from kubelet.volumes import atomic, claims, payload

_PLUGINS = {
    "emptyDir": "kubernetes.io~empty-dir",
    "configMap": "kubernetes.io~configmap",
    "secret": "kubernetes.io~secret",
    "downwardAPI": "kubernetes.io~downward-api",
    "projected": "kubernetes.io~projected",
}
_CLAIMED = ("persistentVolumeClaim", "ephemeral")
_SECRET = ("secret", "projected")
# hostPath type: (test on the mode, what the message calls it)
_HOST_TYPES = {
    "Directory": (stat.S_ISDIR, "directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "directory"),
    "File": (stat.S_ISREG, "file"),
    "FileOrCreate": (stat.S_ISREG, "file"),
    "Socket": (stat.S_ISSOCK, "socket file"),
    "CharDevice": (stat.S_ISCHR, "character device"),
    "BlockDevice": (stat.S_ISBLK, "block device"),
}


class VolumeError(Exception):
    """A volume cannot be set up; the text is the message of the FailedMount event."""


def kind(volume: Object) -> str:
    """The type of a volume: 'emptyDir', 'hostPath' and so on."""
    return next((k for k in volume if k != "name"), "emptyDir")


class Volumes:
    """Sets up and tears down the volumes of this machine's pods."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._claims: dict[str, dict[str, Path]] = {}
        """Directories of claims: {pod uid: {volume name: directory}}."""

    def path(self, uid: str, volume: Object) -> Path:
        """The directory of a volume; for a hostPath the path itself."""
        what = kind(volume)
        if what == "hostPath":
            return Path(volume["hostPath"]["path"])
        if what in _CLAIMED:
            return self._claims[uid][volume["name"]]
        return Path(self._settings.pod_dir(uid), "volumes", _PLUGINS.get(what, what), volume["name"])

    def paths(self, uid: str, pod: Object) -> dict[str, Path]:
        return {v["name"]: self.path(uid, v) for v in pod["spec"].get("volumes") or ()}

    async def set_up(self, uid: str, context: payload.Context) -> None:
        """Create or refresh all volumes of the pod. Raises VolumeError."""
        self._claims[uid] = {}
        group = (context.pod["spec"].get("securityContext") or {}).get("fsGroup")
        for volume in context.pod["spec"].get("volumes") or ():
            try:
                await self._one(self.path(uid, volume), volume, context, group)
            except (MissingReference, StatusError, OSError) as error:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from error

    async def _one(self, path: Path, volume: Object, context: payload.Context, group: int | None) -> None:
        what = kind(volume)
        if what == "emptyDir":
            _empty(path, volume.get("emptyDir") or {}, group, context.pod)
        elif what == "hostPath":
            _host(path, volume["hostPath"].get("type") or "")
        elif what in _CLAIMED:
            found = await claims.directory(context, volume)
            _host(found, "")
            self._claims[pods.uid(context.pod)][volume["name"]] = found
        elif what in _PLUGINS:
            files = await payload.files(context, volume)
            if what in _SECRET:
                _memory(path)
            atomic.write(path, files, group)
        else:
            raise MissingReference(f"no volume plugin matched: {what}")

    def tear_down(self, uid: str) -> None:
        """Unmount and delete the pod's volumes. What cannot be removed now is removed at the next start."""
        self._claims.pop(uid, None)
        directory = self._settings.pod_dir(uid)
        if not directory.exists():
            return
        for point in mounts.below(directory):
            with contextlib.suppress(OSError):
                mounts.unmount(point)
        shutil.rmtree(directory, ignore_errors=True)


def _empty(path: Path, source: Object, group: int | None, pod: Object) -> None:
    if path.exists():
        return
    path.mkdir(parents=True)
    if source.get("medium") == "Memory":
        mounts.tmpfs(path, min(filter(None, (quantity.value(source.get("sizeLimit")), resources.pod_limits(pod)["memory"])), default=0))
    path.chmod(0o777)
    if group is not None:
        os.chown(path, -1, group)
        path.chmod(0o2777)


def _memory(path: Path) -> None:
    """Mount a tmpfs: secrets are never written to disk."""
    path.mkdir(parents=True, exist_ok=True)
    if not path.is_mount():
        mounts.tmpfs(path)


def _host(path: Path, what: str) -> None:
    if not what:
        return
    if not path.exists():
        if what == "DirectoryOrCreate":
            path.mkdir(parents=True, mode=0o755)
        elif what == "FileOrCreate":
            path.touch(mode=0o644)
    test, name = _HOST_TYPES[what]
    if not path.exists() or not test(path.stat().st_mode):
        raise MissingReference(f"hostPath type check failed: {path} is not a {name}")
