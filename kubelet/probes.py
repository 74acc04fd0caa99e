"""Liveness, readiness and startup probes: a task per probe while its container runs. Results go to the planner, failures into events."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from kapi.objects import time
from kapi.objects.meta import Object
from kapi.objects.metrics import Family
from kubelet import pods, runtime, status
from kubelet.handlers import Handlers, ProbeResult, Target
from kubelet.observed_state import ObservedState, ProbeState
from kubelet.runtime import Container

log = logging.getLogger(__name__)
RecordEvent = Callable[[Object, str, str, str, str], None]
"""(pod, container name, type, reason, message)."""

COUNTED = Family("prober_probe_total", "Probes of containers by their result.", (
    "container", "namespace", "pod", "pod_uid", "probe_type", "result",
))  # fmt: skip
"""Probe counts of all pods of this process, by the labels above."""
UID = COUNTED.labels.index("pod_uid")
_RESULTS = {True: "successful", False: "failed", None: "unknown"}
_KINDS = {"startupProbe": ("Startup", "started"), "livenessProbe": ("Liveness", "live"), "readinessProbe": ("Readiness", "ready")}


def ports(container: Object) -> dict[str, int]:
    """The container's ports by name."""
    return {p["name"]: p["containerPort"] for p in container.get("ports") or () if p.get("name")}


class Probes:
    """The probes of one pod's containers; `changed` is called when a ProbeState changes."""

    def __init__(self, uid: str, handlers: Handlers, record_event: RecordEvent, changed: Callable[[], None]) -> None:
        self._uid, self._handlers, self._record_event, self._changed = uid, handlers, record_event, changed
        self.probe_states: dict[str, ProbeState] = {}
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._started: dict[str, asyncio.Event] = {}

    def sync(self, pod: Object, observed: ObservedState, address: str) -> None:
        """Start the probes of new containers and stop those of containers that no longer run."""
        running = {c.id: c for c in observed.state.containers if c.state == runtime.RUNNING and c.id not in observed.post_start_running}
        for id in [i for i in self._tasks if i not in running or i in observed.busy]:
            self._drop(id)
        for run in running.values():
            found = pods.find(pod, run.name)
            if run.id not in self._tasks and run.id not in observed.busy and found is not None and address:
                self._start_probes(pod, found[1], run, address)

    def stop(self) -> None:
        for id in list(self._tasks):
            self._drop(id)
        for labels in [labels for labels in COUNTED.values if labels[UID] == self._uid]:
            del COUNTED.values[labels]

    def _drop(self, id: str) -> None:
        for task in self._tasks.pop(id):
            task.cancel()
        self.probe_states.pop(id, None)
        self._started.pop(id, None)

    def _start_probes(self, pod: Object, container: Object, run: Container, address: str) -> None:
        self._tasks[run.id] = []
        up = self._started[run.id] = asyncio.Event()
        self.probe_states[run.id] = probe_state = _reported_state(pod, run)
        if not container.get("startupProbe") or probe_state.started:
            up.set()
        target = Target(run.id, address, ports(container))
        for kind in _KINDS:
            if container.get(kind) and not (kind == "startupProbe" and probe_state.started):
                task = asyncio.create_task(self._probe(pod, container, kind, run, target))
                task.add_done_callback(_report)
                self._tasks[run.id].append(task)

    async def _probe(self, pod: Object, container: Object, kind: str, run: Container, target: Target) -> None:
        probe, (title, field) = container[kind], _KINDS[kind]
        if field != "started":
            await self._started[run.id].wait()
        await asyncio.sleep(max(0.0, run.started + (probe.get("initialDelaySeconds") or 0) - time.now()))
        period, count, last = float(probe.get("periodSeconds") or 10), 0, None
        while True:
            result = await self._run_probe(pod, container, probe, title, target)
            if result.success is not None:
                count, last = (count + 1 if result.success == last else 1), result.success
                needed = probe.get("successThreshold") or 1 if result.success else probe.get("failureThreshold") or 3
                if count >= needed:
                    self._set_result(run.id, field, result.success)
                    if (field == "started") or (field == "live" and not result.success):
                        return
            await asyncio.sleep(period)

    async def _run_probe(self, pod: Object, container: Object, probe: Mapping[str, Any], title: str, target: Target) -> ProbeResult:
        result = await self._handlers.run(dict(probe), target, float(probe.get("timeoutSeconds") or 1))
        meta = pod["metadata"]
        COUNTED.values[container["name"], meta["namespace"], meta["name"], self._uid, title, _RESULTS[result.success]] += 1
        if result.success is None:
            message = f"{title} probe errored and resulted in unknown state: {result.message}"
            self._record_event(pod, container["name"], "Warning", "Unhealthy", message)
        elif not result.success:
            self._record_event(pod, container["name"], "Warning", "Unhealthy", f"{title} probe failed: {result.message}")
        elif result.got_response and result.message:
            self._record_event(pod, container["name"], "Warning", "ProbeWarning", f"{title} probe warning: {result.message}")
        return result

    def _set_result(self, id: str, field: str, success: bool) -> None:
        old = self.probe_states.get(id)
        if old is None or getattr(old, field) is success:
            return
        self.probe_states[id] = old._replace(**{field: success})
        if field == "started" and success:
            self._started[id].set()
        self._changed()


def _report(task: "asyncio.Task[None]") -> None:
    """Log an exception that ended a probe's task."""
    if not task.cancelled() and (error := task.exception()):
        log.error("A probe broke", exc_info=error)


def _reported_state(pod: Object, run: Container) -> ProbeState:
    """The results of a container that was running before this kubelet started, read from the pod's status."""
    known = next((s for s in status.listed(pod) if s.get("containerID", "").endswith("://" + run.id)), {})
    return ProbeState(ready=known.get("ready") or None, started=known.get("started") or None)
