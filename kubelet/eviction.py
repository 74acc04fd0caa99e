"""Node-pressure eviction: sets pressure conditions, and evicts the pod that most exceeds its requests.

Only hard thresholds, as stock's defaults. A pressure condition is reset after five minutes without pressure. On disk pressure, unused
images are removed before any pod is evicted.
"""

from collections.abc import Iterable
from typing import NamedTuple

from kapi.objects import time
from kapi.objects.meta import Object
from kubelet import eviction_signals, machine, pods
from kubelet.eviction_signals import SIGNALS
from kubelet.garbage import Images
from kubelet.kubelet import Kubelet
from kubelet.observed_state import Failure
from kubelet.runtime import Usage, by_pod
from kubelet.settings import Settings
from kubelet.worker import Worker

PRESSURE_TRANSITION_SECONDS = 300.0
"""Seconds a pressure condition stays True after its threshold was last crossed."""
EVICTION_GRACE = 1.0
"""Grace period in seconds of an evicted pod's containers."""
_USAGE_FIELDS = {"memory": "working_set", "ephemeral-storage": "disk", "inodes": "inodes"}
"""Resource -> the field of a container's Usage that counts for it."""


class _Shortage(NamedTuple):
    """A crossed threshold: the resource, the threshold and the available amount, as messages print them."""

    resource: str
    threshold: str
    available: str


class Eviction:
    """Monitors the eviction signals of one node."""

    def __init__(self, settings: Settings, kubelet: Kubelet, images: Images) -> None:
        self._settings, self._kubelet, self._images = settings, kubelet, images
        self._thresholds = settings.eviction_hard
        self._pressure_seen: dict[str, float] = {}

    async def synchronize(self) -> None:
        """One pass: update the conditions, reclaim images, else evict one pod. Raises RuntimeFailure."""
        shortages = await self._shortages()
        for condition in dict.fromkeys(condition for condition, _ in SIGNALS.values()):
            self._set_pressure(condition, any(SIGNALS[signal][0] == condition for signal in shortages))
        if not shortages:
            return
        worst = next(iter(shortages.values()))
        self._kubelet.node.record_event("Warning", "EvictionThresholdMet", f"Attempting to reclaim {worst.resource}")
        if worst.resource in ("ephemeral-storage", "inodes") and await self._images.remove(1 << 62) and not await self._shortages():
            return
        await self._evict(worst)

    async def _shortages(self) -> dict[str, _Shortage]:
        found = {}
        for signal, (capacity, available) in (await self._observed()).items():
            threshold = self._thresholds.get(signal)
            if threshold is not None and available < (least := eviction_signals.bound(threshold, capacity)):
                shown = eviction_signals.binary(least) if threshold.endswith("%") else threshold
                found[signal] = _Shortage(SIGNALS[signal][1], shown, eviction_signals.binary(available))
        return found

    async def _observed(self) -> dict[str, tuple[int, int]]:
        """{signal: (capacity, available)} in bytes, inodes or processes."""
        memory, root = machine.memory(), self._settings.root_dir
        images, _ = await self._kubelet.dependencies.runtime.image_disk()
        return {
            "memory.available": (memory["MemTotal"], memory["MemAvailable"]),
            "nodefs.available": machine.disk(root),
            "imagefs.available": machine.disk(images or "/"),
            "nodefs.inodesFree": machine.inodes(root),
            "imagefs.inodesFree": machine.inodes(images or "/"),
            "pid.available": machine.pids(),
        }

    def _set_pressure(self, condition: str, pressed: bool) -> None:
        now = time.now()
        if pressed:
            self._pressure_seen[condition] = now
            self._kubelet.node.status.set(condition, "")
        elif now - self._pressure_seen.get(condition, 0.0) >= PRESSURE_TRANSITION_SECONDS:
            self._kubelet.node.status.set(condition, None)

    async def _evict(self, shortage: _Shortage) -> None:
        """Evict one pod per pass: the first in rank that is not critical, unless a pod is being evicted already."""
        running = [w for w in self._kubelet.workers.values() if not w.gone and not pods.terminal(w.pod)]
        candidates = [w for w in running if not pods.critical(w.pod)]
        if not candidates or any(w.outcome is not None for w in running):
            return
        usages = by_pod(await self._kubelet.dependencies.runtime.usages())
        field = _USAGE_FIELDS.get(shortage.resource, "working_set")
        victim = max(candidates, key=lambda w: _rank(w, sum(getattr(u, field) for u in usages.get(w.uid, ())), shortage.resource))
        threshold = f"Threshold quantity: {shortage.threshold}, available: {shortage.available}. "
        over_request = _over_request(victim.pod, usages.get(victim.uid, ()), shortage.resource)
        evict(victim, f"The node was low on resource: {shortage.resource}. {threshold}{over_request}")


def evict(worker: Worker, message: str) -> None:
    """Terminate a pod as Failed with reason Evicted."""
    worker.warn("Evicted", message)
    worker.end(Failure("Evicted", message), EVICTION_GRACE)


def _rank(worker: Worker, used: int, resource: str) -> tuple[bool, int, int]:
    """Eviction rank: pods above their request first, then by lowest priority, then by the amount above the request."""
    above = used - (pods.requests(worker.pod).get(resource, 0) if resource in ("memory", "ephemeral-storage") else 0)
    return above > 0, -(worker.pod["spec"].get("priority") or 0), above


def _over_request(pod: Object, usages: Iterable[Usage], resource: str) -> str:
    """The part of the message that names the containers above their request."""
    text = ""
    for usage in usages:
        found = pods.find(pod, usage.name)
        asked = pods.resources(found[1], "requests", resource) if found else 0
        used = getattr(usage, _USAGE_FIELDS.get(resource, "working_set"))
        if resource in ("memory", "ephemeral-storage") and used > asked:
            figures = f"was using {eviction_signals.binary(used)}, request is {eviction_signals.binary(asked)}"
            text += f"Container {usage.name} {figures}, has larger consumption of {resource}. "
    return text
