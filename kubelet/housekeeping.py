"""What a node does every ten seconds and needs no haste: log rotation, image garbage, eviction under pressure; and every
minute: volumes brought up to date with their sources."""

import asyncio
import logging

from kapi.objects import time
from kubelet import pods, runtime
from kubelet.eviction import Eviction
from kubelet.garbage import Images, Logs
from kubelet.kubelet import Kubelet
from kubelet.runtime import RuntimeFailure
from kubelet.settings import Settings
from kubelet.volumes.manager import VolumeError

log = logging.getLogger(__name__)
TICK, IMAGES = 10.0, 300.0
_REFRESHED = ("configMap", "secret", "downwardAPI", "projected")


class Housekeeping:
    """Chores of one real node."""

    def __init__(self, settings: Settings, kubelet: Kubelet) -> None:
        self._settings, self._kubelet = settings, kubelet
        self._logs = Logs(settings, kubelet.means.runtime)
        self._images = Images(settings, kubelet.means.runtime)
        self._eviction = Eviction(settings, kubelet)

    async def run(self) -> None:
        refreshed = cleaned = time.now()
        while True:
            try:
                await self._logs.rotate(c for w in self._kubelet.workers.values() for c in w.state.containers)
                await self._eviction.look()
                if time.now() - cleaned >= IMAGES:
                    cleaned = time.now()
                    await self._images.collect()
            except (RuntimeFailure, OSError) as error:
                log.warning("housekeeping: %s", error)
            if time.now() - refreshed >= self._settings.sync_seconds:
                refreshed = time.now()
                await self._refresh()
            await asyncio.sleep(TICK)

    async def _refresh(self) -> None:
        """Volumes that follow an object."""
        for worker in list(self._kubelet.workers.values()):
            volumes = worker.pod["spec"].get("volumes") or ()
            runs = any(c.state == runtime.RUNNING for c in worker.state.containers)
            if not runs or worker.gone or pods.deleting(worker.pod) or not any(k in v for v in volumes for k in _REFRESHED):
                continue
            ips = worker.state.sandboxes[0].ips if worker.state.sandboxes else ()
            try:
                await self._kubelet.means.furnisher.prepare(worker.pod, ips)
            except VolumeError as error:
                worker.complain("FailedMount", str(error))
