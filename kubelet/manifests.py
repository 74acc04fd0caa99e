"""Static pods: manifests in a directory on the node run without an API server; mirror pods represent them in the API."""

import hashlib
import logging
import os
from pathlib import Path

from kapi import logs
from kapi.client.client import Client
from kapi.objects import errors, references, time
from kapi.objects.meta import Object, deleting
from kapi.objects.resource import PODS
from kubelet import inotify, pods, waiting
from kubelet.kubelet import Kubelet
from kubelet.settings import Settings

log = logging.getLogger(__name__)
SCAN_SECONDS = 20.0
"""Seconds between scans of the directory without a change."""
_SUFFIXES = (".yaml", ".yml", ".json")
_SEEN = "kubernetes.io/config.seen"


def static_pod(text: bytes, node: str) -> Object:
    """The pod of a manifest, named after its node. Raises ValueError."""
    import yaml  # only kubelets with manifests carry it

    try:
        pod = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    if not isinstance(pod, dict) or pod.get("kind") != "Pod" or not (pod.get("metadata") or {}).get("name"):
        raise ValueError("not a Pod with a name")
    meta, spec = dict(pod["metadata"]), dict(pod.get("spec") or {})
    uid = hashlib.md5(text + node.encode(), usedforsecurity=False).hexdigest()
    meta |= {"name": f"{meta['name']}-{node}", "namespace": meta.get("namespace") or "default", "uid": uid}
    for volume in spec.get("volumes") or ():
        if set(volume) == {"name"}:
            volume["emptyDir"] = {}
    if reference := references.first(spec):
        raise ValueError(f"static pods may not reference {reference}")
    own = {pods.CONFIG_SOURCE: "file", pods.CONFIG_HASH: uid, _SEEN: time.stamp()}
    meta["annotations"] = {**(meta.get("annotations") or {}), **own}
    spec["nodeName"] = node
    spec.setdefault("tolerations", []).append({"operator": "Exists", "effect": "NoExecute"})
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        latest = container.get("image", "").rpartition("/")[2].partition(":")[2] in ("", "latest")
        container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
    return {"kind": "Pod", "apiVersion": "v1", "metadata": meta, "spec": spec, "status": {}}


class Manifests:
    """The manifest directory of one node."""

    def __init__(self, settings: Settings, directory: Path, client: Client, kubelet: Kubelet) -> None:
        self._settings, self._client, self._kubelet = settings, client, kubelet
        self._directory = directory
        self._files: dict[str, tuple[float, str]] = {}
        self._pods: dict[str, Object] = {}

    async def run(self) -> None:
        """Scan when the directory changes, and every AGAIN seconds to restore mirror pods."""
        async with inotify.watching(self._directory) as changed:
            while True:
                changed.clear()
                self.read()
                if self._kubelet.node.node is not None:
                    await self._sync_mirrors()
                await waiting.within(changed, SCAN_SECONDS)

    async def _sync_mirrors(self) -> None:
        """Create missing mirror pods and delete outdated ones."""
        for uid, mirror in list(self._kubelet.mirrors.items()):
            if uid not in self._pods and uid not in self._kubelet.workers:
                await self._remove(mirror)
        for uid in list(self._pods):
            try:
                await self._mirror(uid)
            except (errors.StatusError, OSError) as error:
                log.warning("A mirror pod could not be made", extra=logs.once(uid, pod=pods.full_name(self._pods[uid]), error=error))

    def read(self) -> None:
        """Start the pods of new manifests, terminate those of removed ones."""
        directory = self._directory
        directory.mkdir(parents=True, exist_ok=True)
        found: dict[str, tuple[float, str]] = {}
        for name in sorted(os.listdir(directory)):
            path = directory / name
            if name.startswith(".") or path.suffix not in _SUFFIXES:
                continue
            changed = path.stat().st_mtime
            known = self._files.get(name)
            found[name] = known if known and known[0] == changed else (changed, self._add(path))
        self._files = found
        current = {uid for _, uid in found.values()}
        for uid in [u for u in self._pods if u not in current]:
            del self._pods[uid]
            if worker := self._kubelet.workers.get(uid):
                worker.on_deleted()

    def _add(self, path: Path) -> str:
        try:
            pod = static_pod(path.read_bytes(), self._settings.node_name)
        except ValueError as error:
            log.warning("A manifest could not be read", extra=logs.once(path, path=path, error=error))
            return ""
        uid = str(pod["metadata"]["uid"])
        if uid not in self._pods:
            self._pods[uid] = pod
            self._kubelet.put(pod)
        return uid

    async def _remove(self, mirror: Object) -> None:
        meta = mirror["metadata"]
        try:
            await self._client.delete(PODS, meta["name"], namespace=meta["namespace"], uid=meta["uid"], grace=0)
        except (errors.StatusError, OSError) as error:
            key = f"{meta['namespace']}/{meta['name']}"
            log.warning("A mirror pod could not be removed", extra=logs.once(key, pod=key, error=error))

    async def _mirror(self, uid: str) -> None:
        worker = self._kubelet.workers.get(uid)
        if worker is None or worker.gone:
            return
        if worker.mirror is not None and not deleting(worker.mirror):
            return
        meta = self._pods[uid]["metadata"]
        if worker.mirror is not None:
            await self._remove(worker.mirror)
        node = (self._kubelet.node.node or {"metadata": {}})["metadata"].get("uid")
        owner = {"apiVersion": "v1", "kind": "Node", "name": self._settings.node_name, "uid": node, "controller": True}
        mirrored = {k: v for k, v in meta.items() if k != "uid"}
        mirrored["annotations"] = {**meta["annotations"], references.MIRROR: uid}
        mirrored["ownerReferences"] = [owner]
        try:
            worker.mirror = await self._client.create(PODS, {**self._pods[uid], "metadata": mirrored})
        except errors.AlreadyExists:
            old = await self._client.get(PODS, meta["name"], meta["namespace"])
            if (old["metadata"].get("annotations") or {}).get(references.MIRROR) == uid:
                worker.mirror = old
            else:
                await self._client.delete(PODS, meta["name"], namespace=meta["namespace"], grace=0)
        worker.wake()
