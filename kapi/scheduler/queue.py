"""The scheduling queue: pods to try now, pods backing off, and pods that wait for something to change.

A pod moves on when an event happens that one of the plugins that rejected it waits for (queueing hints). It holds no clock of
its own: `now` is handed in, and `next_due` says when `tick` has something to do. No input or output here.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from kapi.scheduler.framework import Event, SchedulingPlugin
from kapi.scheduler.pods import Pod

FIRST_BACKOFF, LAST_BACKOFF = 1.0, 10.0
UNSCHEDULABLE_FOR = 300.0
"""After so many seconds a pod is tried again whatever happened (stock's podMaxInUnschedulablePodsDuration)."""


@dataclass(slots=True, eq=False)
class Queued:
    """A pod that is not placed yet, and how it has fared."""

    pod: Pod
    since: float
    """When it came into the queue, or was rejected last: who waits longest goes first."""
    attempts: int = 0
    failures: int = 0
    """Consecutive failures that count for back-off."""
    plugins: set[str] = field(default_factory=set)
    """Who rejected it last."""
    rejected_at: float = 0.0
    gated: str = ""
    """The plugin that keeps it from being tried at all."""
    errored: bool = False
    place: str = ""
    """active, backoff, unschedulable, flying (being tried or bound), or '' when gone."""
    entry: int = -1
    """Its valid entry in the active heap; older ones are leftovers."""

    def backoff(self) -> float:
        return min(FIRST_BACKOFF * 2 ** max(self.failures - 1, 0), LAST_BACKOFF) if self.failures else 0.0


class Queue:
    """`sort_key` orders, `gate` keeps pods out (returns the plugin's name), `plugins` are those whose hints are asked."""

    def __init__(
        self,
        sort_key: Callable[[Pod, float], tuple[Any, ...]],
        gate: Callable[[Pod], str],
        plugins: Callable[[Pod], Mapping[str, SchedulingPlugin]],
    ) -> None:
        self._sort_key, self._gate, self._plugins = sort_key, gate, plugins
        self._pods: dict[str, Queued] = {}
        self._active: list[tuple[Any, ...]] = []
        self._backoff: list[tuple[float, int, Queued]] = []
        self._waiting: dict[str, Queued] = {}
        """Unschedulable and not gated, longest waiting first."""
        self._serial = count()

    def __len__(self) -> int:
        return len(self._pods)

    def __iter__(self) -> Iterator[Queued]:
        return iter(self._pods.values())

    def get(self, key: str) -> Queued | None:
        return self._pods.get(key)

    def lengths(self) -> dict[str, int]:
        """How many pods are where, e.g. {"active": 3}."""
        found: dict[str, int] = {}
        for queued in self._pods.values():
            place = "gated" if queued.gated else queued.place
            found[place] = found.get(place, 0) + 1
        return found

    # in and out

    def add(self, pod: Pod, now: float) -> None:
        queued = self._pods[pod.key] = Queued(pod, now)
        self._admit(queued)

    def update(self, pod: Pod, events: Iterable[Event], now: float) -> None:
        """The pod's object changed; `events` says in which ways that matter."""
        queued = self._pods.get(pod.key)
        if queued is None or queued.pod.uid != pod.uid:
            self.add(pod, now)
            return
        queued.pod = pod
        if queued.place == "active":
            self._push(queued)
        elif queued.place == "unschedulable":
            if queued.gated:
                self._admit(queued)
            elif any(self._wanted(queued, event, pod) for event in events):
                self._requeue(queued, now)

    def remove(self, key: str) -> None:
        queued = self._pods.pop(key, None)
        if queued is not None:
            queued.place = ""
            self._waiting.pop(key, None)

    def pop(self) -> Queued | None:
        """The next pod to try. When none is active, one that only backs off from being unschedulable is tried early."""
        while self._active:
            *_, queued, entry = heapq.heappop(self._active)
            if queued.place == "active" and queued.entry == entry:
                return self._fly(queued)
        for at, (_, _, queued) in enumerate(self._backoff):
            if queued.place == "backoff" and not queued.errored:
                del self._backoff[at]
                heapq.heapify(self._backoff)
                return self._fly(queued)
        return None

    def _fly(self, queued: Queued) -> Queued:
        queued.place = "flying"
        queued.attempts += 1
        queued.plugins.clear()
        return queued

    # after an attempt

    def failed(self, queued: Queued, plugins: Iterable[str], now: float, *, error: bool = False) -> None:
        """The attempt failed: wait for an event, or back off when nobody can say what would help."""
        if queued.place != "flying":
            return
        queued.failures += 1
        queued.since = now
        queued.plugins, queued.rejected_at, queued.errored = set(plugins), now, error
        if queued.plugins and not error:
            queued.place = "unschedulable"
            self._waiting[queued.pod.key] = queued
        else:
            self._back_off(queued, now)

    def _requeue(self, queued: Queued, now: float) -> None:
        """Something may have changed for it: try again, after what is left of its back-off."""
        if queued.rejected_at + queued.backoff() > now:
            self._back_off(queued, queued.rejected_at)
        else:
            self._admit(queued)

    def _back_off(self, queued: Queued, start: float) -> None:
        self._waiting.pop(queued.pod.key, None)
        queued.place = "backoff"
        heapq.heappush(self._backoff, (start + queued.backoff(), next(self._serial), queued))

    def _admit(self, queued: Queued) -> None:
        """Into the active queue, unless a gate is closed."""
        queued.gated = self._gate(queued.pod)
        if queued.gated:
            queued.place = "unschedulable"
            self._waiting.pop(queued.pod.key, None)
            return
        self._waiting.pop(queued.pod.key, None)
        self._push(queued)

    def _push(self, queued: Queued) -> None:
        queued.place = "active"
        entry = queued.entry = next(self._serial)
        heapq.heappush(self._active, (*self._sort_key(queued.pod, queued.since), entry, queued, entry))

    # events and time

    def happened(self, event: Event, obj: Any, now: float) -> None:
        """Wake the pods that wait for this."""
        for queued in list(self._waiting.values()) if self._waiting else ():
            if self._wanted(queued, event, obj):
                self._requeue(queued, now)

    def _wanted(self, queued: Queued, event: Event, obj: Any) -> bool:
        plugins = self._plugins(queued.pod)
        for name in queued.plugins:
            plugin = plugins.get(name)
            if plugin is None:
                return True
            for awaited in plugin.wakes:
                if awaited.resource == event.resource and awaited.action in (event.action, "*") and plugin.hint(event, queued.pod, obj):
                    return True
        return False

    def activate(self, key: str, if_gated: bool = False) -> None:
        """Try the pod now, whatever it waits for; or only if it is a gate that may have opened."""
        queued = self._pods.get(key)
        if queued is not None and queued.place in ("unschedulable", "backoff") and (queued.gated or not if_gated):
            self._admit(queued)

    def next_due(self) -> float | None:
        """When `tick` must run next."""
        while self._backoff and self._backoff[0][2].place != "backoff":
            heapq.heappop(self._backoff)
        oldest = next(iter(self._waiting.values()), None)
        times = [oldest.rejected_at + UNSCHEDULABLE_FOR] if oldest else []
        if self._backoff:
            times.append(self._backoff[0][0])
        return min(times, default=None)

    def tick(self, now: float) -> None:
        """Move on what has backed off long enough or waited too long."""
        while self._backoff and (self._backoff[0][0] <= now or self._backoff[0][2].place != "backoff"):
            queued = heapq.heappop(self._backoff)[2]
            if queued.place == "backoff":
                self._admit(queued)
        for queued in [q for q in self._waiting.values() if q.rejected_at + UNSCHEDULABLE_FOR <= now]:
            self._admit(queued)

    @property
    def ready(self) -> bool:
        return any(entry[-2].place == "active" for entry in self._active)
