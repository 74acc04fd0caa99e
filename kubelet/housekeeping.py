"""Periodic work of a node. Every ten seconds: log rotation, image garbage collection, eviction under node pressure and of pods over
their storage limits. Every minute: refresh of volumes from their ConfigMaps and Secrets."""

import asyncio
import logging

from kapi import logs
from kapi.objects import time
from kapi.objects.meta import deleting
from kubelet import local_storage, runtime
from kubelet.eviction import Eviction, evict
from kubelet.garbage import Images, Logs
from kubelet.kubelet import Kubelet
from kubelet.runtime import RuntimeFailure
from kubelet.settings import Settings
from kubelet.volumes.manager import VolumeError
from kubelet.worker import Worker

log = logging.getLogger(__name__)
TICK, IMAGES = 10.0, 300.0
_FOLLOWING = ("configMap", "secret", "downwardAPI", "projected")


class Housekeeping:
    """The housekeeping of one real node."""

    def __init__(self, settings: Settings, kubelet: Kubelet) -> None:
        self._settings, self._kubelet = settings, kubelet
        self._logs = Logs(settings, kubelet.dependencies.runtime)
        self._images = Images(settings, kubelet.dependencies.runtime)
        self._eviction = Eviction(settings, kubelet, self._images)

    async def run(self) -> None:
        refreshed = cleaned = time.now()
        while True:
            try:
                await self._logs.rotate(c for w in self._kubelet.workers.values() for c in w.state.containers)
                await self._eviction.synchronize()
                await self._evict_over_storage_limit()
                if time.now() - cleaned >= IMAGES:
                    cleaned = time.now()
                    if failed := await self._images.collect():
                        self._kubelet.node.record_event("Warning", "FreeDiskSpaceFailed", failed)
            except (RuntimeFailure, OSError) as error:
                log.warning("Housekeeping failed", extra=logs.once("", error=error))
            if time.now() - refreshed >= self._settings.sync_frequency:
                refreshed = time.now()
                await self._refresh_volumes()
            await asyncio.sleep(TICK)

    def _running(self) -> list[Worker]:
        workers = self._kubelet.workers.values()
        running = [w for w in workers if any(c.state == runtime.RUNNING for c in w.state.containers)]
        return [w for w in running if w.outcome is None and not w.gone and not deleting(w.pod)]

    async def _evict_over_storage_limit(self) -> None:
        """Evict pods that exceed a limit of their local storage. Raises RuntimeFailure."""
        limited = [w for w in self._running() if local_storage.limited(w.pod)]
        usages = await self._kubelet.dependencies.runtime.usages() if limited else []
        for worker in limited:
            own = [u for u in usages if u.uid == worker.uid]
            if excess := await asyncio.to_thread(self._kubelet.dependencies.pod_setup.exceeded_storage_limit, worker.pod, own):
                evict(worker, excess)

    async def _refresh_volumes(self) -> None:
        """Refresh volumes whose contents follow an API object."""
        for worker in self._running():
            volumes = worker.pod["spec"].get("volumes") or ()
            if not any(k in v for v in volumes for k in _FOLLOWING):
                continue
            ips = worker.state.sandboxes[0].ips if worker.state.sandboxes else ()
            try:
                await self._kubelet.dependencies.pod_setup.prepare(worker.pod, ips)
            except VolumeError as error:
                worker.warn("FailedMount", str(error))
