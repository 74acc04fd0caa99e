"""Liveness, readiness and startup probes: one task a probe while its container runs. Verdicts go to the planner, failures into events."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from kapi.objects import time
from kapi.objects.meta import Object
from kapi.objects.metrics import Family
from kubelet import pods, runtime, status
from kubelet.handlers import Handlers, Said, Target
from kubelet.observed_state import Seen, Verdict
from kubelet.runtime import Container

log = logging.getLogger(__name__)
Say = Callable[[Object, str, str, str, str], None]
"""(pod, container name, type, reason, message)."""

COUNTED = Family("prober_probe_total", "Probes of containers by their result.", (
    "container", "namespace", "pod", "pod_uid", "probe_type", "result",
))  # fmt: skip
"""The probes of all pods of this process."""
UID = COUNTED.labels.index("pod_uid")
_RESULTS = {True: "successful", False: "failed", None: "unknown"}
_KINDS = {"startupProbe": ("Startup", "started"), "livenessProbe": ("Liveness", "live"), "readinessProbe": ("Readiness", "ready")}


def ports(container: Object) -> dict[str, int]:
    """The container's ports by name."""
    return {p["name"]: p["containerPort"] for p in container.get("ports") or () if p.get("name")}


class Probes:
    """The probes of one pod's containers; `changed` is called when a verdict does."""

    def __init__(self, uid: str, handlers: Handlers, say: Say, changed: Callable[[], None]) -> None:
        self._uid, self._handlers, self._say, self._changed = uid, handlers, say, changed
        self.verdicts: dict[str, Verdict] = {}
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._up: dict[str, asyncio.Event] = {}

    def sync(self, pod: Object, seen: Seen, address: str) -> None:
        """Probe what runs, stop probing what does not."""
        running = {c.id: c for c in seen.state.containers if c.state == runtime.RUNNING and c.id not in seen.hooking}
        for id in [i for i in self._tasks if i not in running or i in seen.busy]:
            self._drop(id)
        for run in running.values():
            found = pods.find(pod, run.name)
            if run.id not in self._tasks and run.id not in seen.busy and found is not None and address:
                self._begin(pod, found[1], run, address)

    def stop(self) -> None:
        for id in list(self._tasks):
            self._drop(id)
        for labels in [labels for labels in COUNTED.values if labels[UID] == self._uid]:
            del COUNTED.values[labels]

    def _drop(self, id: str) -> None:
        for task in self._tasks.pop(id):
            task.cancel()
        self.verdicts.pop(id, None)
        self._up.pop(id, None)

    def _begin(self, pod: Object, container: Object, run: Container, address: str) -> None:
        self._tasks[run.id] = []
        up = self._up[run.id] = asyncio.Event()
        self.verdicts[run.id] = verdict = _remembered(pod, run)
        if not container.get("startupProbe") or verdict.started:
            up.set()
        target = Target(run.id, address, ports(container))
        for kind in _KINDS:
            if container.get(kind) and not (kind == "startupProbe" and verdict.started):
                task = asyncio.create_task(self._probe(pod, container, kind, run, target))
                task.add_done_callback(_report)
                self._tasks[run.id].append(task)

    async def _probe(self, pod: Object, container: Object, kind: str, run: Container, target: Target) -> None:
        probe, (title, field) = container[kind], _KINDS[kind]
        if field != "started":
            await self._up[run.id].wait()
        await asyncio.sleep(max(0.0, run.started + (probe.get("initialDelaySeconds") or 0) - time.now()))
        period, count, last = float(probe.get("periodSeconds") or 10), 0, None
        while True:
            said = await self._ask(pod, container, probe, title, target)
            if said.well is not None:
                count, last = (count + 1 if said.well == last else 1), said.well
                needed = probe.get("successThreshold") or 1 if said.well else probe.get("failureThreshold") or 3
                if count >= needed:
                    self._decide(run.id, field, said.well)
                    if (field == "started") or (field == "live" and not said.well):
                        return
            await asyncio.sleep(period)

    async def _ask(self, pod: Object, container: Object, probe: Mapping[str, Any], title: str, target: Target) -> Said:
        said = await self._handlers.run(dict(probe), target, float(probe.get("timeoutSeconds") or 1))
        meta = pod["metadata"]
        COUNTED.values[container["name"], meta["namespace"], meta["name"], self._uid, title, _RESULTS[said.well]] += 1
        if said.well is None:
            message = f"{title} probe errored and resulted in unknown state: {said.message}"
            self._say(pod, container["name"], "Warning", "Unhealthy", message)
        elif not said.well:
            self._say(pod, container["name"], "Warning", "Unhealthy", f"{title} probe failed: {said.message}")
        elif said.answered and said.message:
            self._say(pod, container["name"], "Warning", "ProbeWarning", f"{title} probe warning: {said.message}")
        return said

    def _decide(self, id: str, field: str, well: bool) -> None:
        old = self.verdicts.get(id)
        if old is None or getattr(old, field) is well:
            return
        self.verdicts[id] = old._replace(**{field: well})
        if field == "started" and well:
            self._up[id].set()
        self._changed()


def _report(task: "asyncio.Task[None]") -> None:
    """A probe that breaks is a fault worth a line."""
    if not task.cancelled() and (error := task.exception()):
        log.error("A probe broke", exc_info=error)


def _remembered(pod: Object, run: Container) -> Verdict:
    """What the API knows of a container that ran before this kubelet began."""
    known = next((s for s in status.listed(pod) if s.get("containerID", "").endswith("://" + run.id)), {})
    return Verdict(ready=known.get("ready") or None, started=known.get("started") or None)
