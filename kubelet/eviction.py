"""Pressure: when memory or disk run short the node says so, and the pod that takes most beyond what it asked for must go.

Thresholds are stock's defaults; a pressure is taken back only after five minutes without it.
"""

from typing import Any

from kapi.objects import quantity, time
from kubelet import machine, pods
from kubelet.admit import requested
from kubelet.kubelet import Kubelet
from kubelet.plan import Failure
from kubelet.settings import Settings
from kubelet.worker import Worker

Object = dict[str, Any]

CALM = 300.0
"""Seconds a pressure is kept up after it was last seen."""


class Eviction:
    """Watches one node's memory and disk."""

    def __init__(self, settings: Settings, kubelet: Kubelet) -> None:
        self._settings, self._kubelet = settings, kubelet
        self._threshold = quantity.value(settings.eviction_memory)
        self._pressed: dict[str, float] = {}

    async def look(self) -> None:
        """Raises RuntimeFailure."""
        available = machine.memory()["MemAvailable"]
        self._press("MemoryPressure", available < self._threshold)
        total, free = machine.disk(self._settings.root_dir)
        low = free * 100 < total * self._settings.eviction_disk
        self._press("DiskPressure", low)
        if available < self._threshold:
            await self._evict("memory", self._settings.eviction_memory, f"{available // 1024}Ki")
        elif low:
            await self._evict("ephemeral-storage", f"{total * self._settings.eviction_disk // 100}", f"{free // 1024}Ki")

    def _press(self, condition: str, pressed: bool) -> None:
        now, status = time.now(), self._kubelet.node.status
        if pressed:
            self._pressed[condition] = now
            status.set(condition, "kubelet has insufficient memory available" if "Memory" in condition else "kubelet has disk pressure")
        elif now - self._pressed.get(condition, 0.0) >= CALM:
            status.set(condition, None)

    async def _evict(self, resource: str, threshold: str, available: str) -> None:
        """One pod a look: the first in rank that is not critical and not on its way already."""
        used: dict[str, int] = {}
        for usage in await self._kubelet.means.runtime.usages():
            used[usage.uid] = used.get(usage.uid, 0) + (usage.working_set if resource == "memory" else usage.disk)
        running = [w for w in self._kubelet.workers.values() if w.outcome is None and not w.gone and not pods.terminal(w.pod)]
        candidates = [w for w in running if not pods.is_static(w.pod) and (w.pod["spec"].get("priority") or 0) < 2_000_000_000]
        if not candidates or any(w.outcome is not None for w in self._kubelet.workers.values()):
            return
        victim = max(candidates, key=lambda w: _rank(w, used.get(w.uid, 0), resource))
        message = f"The node was low on resource: {resource}. Threshold quantity: {threshold}, available: {available}. "
        victim.complain("Evicted", message)
        victim.end(Failure("Evicted", message))


def _rank(worker: Worker, used: int, resource: str) -> tuple[bool, int, int]:
    """Above its request first, then the lowest priority, then by how much it is above."""
    above = used - requested(worker.pod, resource)
    return above > 0, -(worker.pod["spec"].get("priority") or 0), above
