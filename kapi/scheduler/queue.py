"""The scheduling queue: active pods, pods in back-off, and unschedulable pods that wait for an event.

An unschedulable pod is requeued when a plugin that rejected it returns True from its queueing hint for an event. The queue has no clock:
callers pass `now`, and `next_due` is the time of the next `flush`. No input or output.

Example: pod `a` is rejected by NodeResourcesFit at 0 s, when another pod is deleted at 0.3 s, and is attempted again at 1 s:

    time   call                                      a.queue          heaps
    0.0    pop() -> a                                flying           active: []
    0.0    add_unschedulable(a, {NodeResourcesFit})  unschedulable    (back-off 1 s from now)
    0.3    move_on_event(Event("pod", "delete"))     backoff          backoff: [(1.0, a)]
    1.0    flush(now=1.0)                            active           active: [(-priority, since, entry, a, entry)]

If no pod had been active, pop() would have returned `a` before 1.0: a back-off may be cut short when there is nothing else to do.

Heaps are not searched on removal: an entry is stale if the pod's `queue` or `entry` no longer match it, and is skipped when popped.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from kapi.scheduler.framework import Event, SchedulingPlugin
from kapi.scheduler.pods import Pod

INITIAL_BACKOFF, MAX_BACKOFF = 1.0, 10.0
MAX_UNSCHEDULABLE_SECONDS = 300.0
"""Seconds after which an unschedulable pod is retried without an event (stock's podMaxInUnschedulablePodsDuration)."""


@dataclass(slots=True, eq=False)
class QueuedPod:
    """A pod in the queue, with the history of its attempts (stock's QueuedPodInfo)."""

    pod: Pod
    since: float
    """When it entered the queue or was last rejected; pods of equal priority are attempted in this order."""
    attempts: int = 0
    failures: int = 0
    """Consecutive failed attempts that count for the back-off."""
    plugins: set[str] = field(default_factory=set)
    """Names of the plugins that rejected it last."""
    rejected_at: float = 0.0
    gated: str = ""
    """The pre_enqueue plugin that keeps it out of the active queue; "": none."""
    errored: bool = False
    queue: str = ""
    """"active", "backoff", "unschedulable", "flying" (in flight: being scheduled or bound), "" once removed. Label values of a metric."""
    entry: int = -1
    """Serial number of its valid entry in the active heap; entries with other numbers are stale and skipped."""

    def backoff(self) -> float:
        return min(INITIAL_BACKOFF * 2 ** max(self.failures - 1, 0), MAX_BACKOFF) if self.failures else 0.0


class Queue:
    """`sort_key` orders the active queue, `gate` returns the name of the gating plugin or "", `plugins` are asked for queueing hints."""

    def __init__(
        self,
        sort_key: Callable[[Pod, float], tuple[Any, ...]],
        gate: Callable[[Pod], str],
        plugins: Callable[[Pod], Mapping[str, SchedulingPlugin]],
    ) -> None:
        self._sort_key, self._gate, self._plugins = sort_key, gate, plugins
        self._pods: dict[str, QueuedPod] = {}
        self._active: list[tuple[Any, ...]] = []
        self._backoff: list[tuple[float, int, QueuedPod]] = []
        self._unschedulable: dict[str, QueuedPod] = {}
        """Unschedulable pods that are not gated, by key, earliest rejected first."""
        self._serial = count()

    def __len__(self) -> int:
        return len(self._pods)

    def __iter__(self) -> Iterator[QueuedPod]:
        return iter(self._pods.values())

    def get(self, key: str) -> QueuedPod | None:
        return self._pods.get(key)

    def lengths(self) -> dict[str, int]:
        """Number of pods per queue, e.g. {"active": 3}."""
        found: dict[str, int] = {}
        for queued in self._pods.values():
            queue = "gated" if queued.gated else queued.queue
            found[queue] = found.get(queue, 0) + 1
        return found

    # in and out

    def add(self, pod: Pod, now: float) -> None:
        queued = self._pods[pod.key] = QueuedPod(pod, now)
        self._move_to_active(queued)

    def update(self, pod: Pod, events: Iterable[Event], now: float) -> None:
        """Replace the pod's object; `events` are the changes that may make it schedulable."""
        queued = self._pods.get(pod.key)
        if queued is None or queued.pod.uid != pod.uid:
            self.add(pod, now)
            return
        queued.pod = pod
        if queued.queue == "active":
            self._push(queued)
        elif queued.queue == "unschedulable":
            if queued.gated:
                self._move_to_active(queued)
            elif any(self._worth_requeuing(queued, event, pod) for event in events):
                self._requeue(queued, now)

    def remove(self, key: str) -> None:
        queued = self._pods.pop(key, None)
        if queued is not None:
            queued.queue = ""
            self._unschedulable.pop(key, None)

    def pop(self) -> QueuedPod | None:
        """The next pod to attempt. If none is active: the first in back-off that was rejected by plugins, as its back-off may end early."""
        while self._active:
            *_, queued, entry = heapq.heappop(self._active)
            if queued.queue == "active" and queued.entry == entry:
                return self._start_attempt(queued)
        for at, (_, _, queued) in enumerate(self._backoff):
            if queued.queue == "backoff" and not queued.errored:
                del self._backoff[at]
                heapq.heapify(self._backoff)
                return self._start_attempt(queued)
        return None

    def _start_attempt(self, queued: QueuedPod) -> QueuedPod:
        queued.queue = "flying"
        queued.attempts += 1
        queued.plugins.clear()
        return queued

    # after an attempt

    def add_unschedulable(self, queued: QueuedPod, plugins: Iterable[str], now: float, *, error: bool = False) -> None:
        """After a failed attempt: unschedulable until an event, or into back-off if no plugin rejected it or an error occurred."""
        if queued.queue != "flying":
            return
        queued.failures += 1
        queued.since = now
        queued.plugins, queued.rejected_at, queued.errored = set(plugins), now, error
        if queued.plugins and not error:
            queued.queue = "unschedulable"
            self._unschedulable[queued.pod.key] = queued
        else:
            self._back_off(queued, now)

    def _requeue(self, queued: QueuedPod, now: float) -> None:
        """Retry the pod: at once, or at the end of its back-off."""
        if queued.rejected_at + queued.backoff() > now:
            self._back_off(queued, queued.rejected_at)
        else:
            self._move_to_active(queued)

    def _back_off(self, queued: QueuedPod, start: float) -> None:
        self._unschedulable.pop(queued.pod.key, None)
        queued.queue = "backoff"
        heapq.heappush(self._backoff, (start + queued.backoff(), next(self._serial), queued))

    def _move_to_active(self, queued: QueuedPod) -> None:
        """Move to the active queue, unless a pre_enqueue plugin gates it."""
        queued.gated = self._gate(queued.pod)
        if queued.gated:
            queued.queue = "unschedulable"
            self._unschedulable.pop(queued.pod.key, None)
            return
        self._unschedulable.pop(queued.pod.key, None)
        self._push(queued)

    def _push(self, queued: QueuedPod) -> None:
        queued.queue = "active"
        entry = queued.entry = next(self._serial)
        heapq.heappush(self._active, (*self._sort_key(queued.pod, queued.since), entry, queued, entry))

    # events and time

    def move_on_event(self, event: Event, obj: Any, now: float) -> None:
        """Requeue the pods that this event may make schedulable (stock's MoveAllToActiveOrBackoffQueue)."""
        for queued in list(self._unschedulable.values()) if self._unschedulable else ():
            if self._worth_requeuing(queued, event, obj):
                self._requeue(queued, now)

    def _worth_requeuing(self, queued: QueuedPod, event: Event, obj: Any) -> bool:
        plugins = self._plugins(queued.pod)
        for name in queued.plugins:
            plugin = plugins.get(name)
            if plugin is None:
                return True
            for registered in plugin.events_to_register:
                same = registered.resource == event.resource and registered.action in (event.action, "*")
                if same and plugin.queueing_hint(event, queued.pod, obj):
                    return True
        return False

    def activate(self, key: str, if_gated: bool = False) -> None:
        """Move the pod to the active queue now; with `if_gated` only if it is gated."""
        queued = self._pods.get(key)
        if queued is not None and queued.queue in ("unschedulable", "backoff") and (queued.gated or not if_gated):
            self._move_to_active(queued)

    def next_due(self) -> float | None:
        """When `flush` must run next (seconds since the epoch); None: not needed."""
        while self._backoff and self._backoff[0][2].queue != "backoff":
            heapq.heappop(self._backoff)
        oldest = next(iter(self._unschedulable.values()), None)
        times = [oldest.rejected_at + MAX_UNSCHEDULABLE_SECONDS] if oldest else []
        if self._backoff:
            times.append(self._backoff[0][0])
        return min(times, default=None)

    def flush(self, now: float) -> None:
        """Move pods whose back-off has ended, and those unschedulable for too long, to the active queue."""
        while self._backoff and (self._backoff[0][0] <= now or self._backoff[0][2].queue != "backoff"):
            queued = heapq.heappop(self._backoff)[2]
            if queued.queue == "backoff":
                self._move_to_active(queued)
        for queued in [q for q in self._unschedulable.values() if q.rejected_at + MAX_UNSCHEDULABLE_SECONDS <= now]:
            self._move_to_active(queued)

    @property
    def ready(self) -> bool:
        return any(entry[-2].queue == "active" for entry in self._active)
