"""Limits of local ephemeral storage: emptyDir volumes, the writable layer of a container, and both with logs for a pod.

A pod over its limit is evicted. Texts are stock's; directories are measured only where there is a limit.
"""

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from kapi.objects import quantity
from kapi.objects.meta import Object
from kubelet import pods
from kubelet.eviction_signals import binary
from kubelet.runtime import Usage

_STORAGE = "ephemeral-storage"


def limited(pod: Object) -> bool:
    """Whether any of the pod's local storage has a limit."""
    return bool(_sized(pod)) or any(pods.resources(c, "limits", _STORAGE) for c in pods.regulars(pod))


def _sized(pod: Object) -> dict[str, str]:
    """The size limits of emptyDir volumes, by name."""
    volumes = pod["spec"].get("volumes") or ()
    return {v["name"]: v["emptyDir"]["sizeLimit"] for v in volumes if (v.get("emptyDir") or {}).get("sizeLimit")}


def size(directory: str | Path) -> int:
    """Bytes on disk at and below a directory; files removed meanwhile are not counted."""
    total = 0
    for path, _, files in os.walk(directory):
        for name in (".", *files):
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_blocks * 512
    return total


def excess(pod: Object, usages: Iterable[Usage], volumes: Mapping[str, Path], logs: str) -> str:
    """The message of the exceeded limit, or "". `volumes`: directories by volume name; `logs`: the pod's log directory."""
    for name, most in _sized(pod).items():
        if name in volumes and size(volumes[name]) > quantity.value(most):
            return f'Usage of EmptyDir volume "{name}" exceeds the limit "{quantity.canonical(most)}". '
    layers = {usage.name: usage.disk + size(os.path.join(logs, usage.name)) for usage in usages}
    limits = {c["name"]: pods.resources(c, "limits", _STORAGE) for c in pods.regulars(pod)}
    if total := sum(limits.values()):
        empty = {v["name"]: v["emptyDir"] or {} for v in pod["spec"].get("volumes") or () if "emptyDir" in v}
        disks = [volumes[name] for name, source in empty.items() if source.get("medium") != "Memory"]
        if sum(layers.values()) + sum(map(size, disks)) > total:
            return f"Pod ephemeral local storage usage exceeds the total limit of containers {binary(total)}. "
    for name, limit in limits.items():
        if limit and layers.get(name, 0) > limit:
            return f'Container {name} exceeded its local ephemeral storage limit "{binary(limit)}". '
    return ""
