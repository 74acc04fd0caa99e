"""The worker of one pod: a level-triggered task that observes, plans, starts operations and writes the status, then sleeps until woken.

Operations run as tasks of their own, so a container that takes its whole grace period to stop delays nothing else.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from kapi import logs
from kapi.client.client import Client
from kapi.client.informer import revision_of
from kapi.objects import errors, time
from kapi.objects.meta import Object, deleting
from kapi.objects.resource import PODS
from kubelet import observed_state, plan, pods, resizing, runtime, status, waiting
from kubelet.observed_state import Failure, ObservedState, Resize
from kubelet.operations import Dependencies, PodOperations, SyncState
from kubelet.plan import RESIZE, SANDBOX, START, Finish, Kill, Plan, Remove, RunSandbox, Start, StopSandbox, UpdateResources
from kubelet.probes import Probes
from kubelet.runtime import PodState, RuntimeFailure
from kubelet.status import Facts

log = logging.getLogger(__name__)
STATUS_DELAY = {SANDBOX: 0.1, START: 0.4}
"""Seconds a status update is delayed while a sandbox or containers start, so that one update often covers several changes."""
EXIT_POLL, EXIT_POLLS = 0.02, 50
"""After an exit event: seconds between polls until the runtime's state shows the exit, and the most polls."""
INITIAL_RETRY, MAX_RETRY = 0.5, 10.0
_STATUS = "status"


class Worker:
    """Runs one pod. Adds the ids of its containers and sandboxes to `known` (id -> pod uid)."""

    def __init__(self, pod: Object, dependencies: Dependencies, client: Client, facts: Callable[[], Facts], known: dict[str, str]) -> None:
        self.pod = pod
        self.uid = pods.uid(pod)
        self.mirror: Object | None = None
        """The mirror pod of a static pod."""
        self.gone = False
        self.outcome: Failure | None = None
        self.allocated = dependencies.pod_setup.load_allocation(self.uid) or resizing.requested(pod)
        self._resize = Resize(generation=_resizing(pod))
        self._grace: float | None = None
        self._ending = 0.0
        self.state = PodState()
        self.dependencies, self._client, self._facts, self._known = dependencies, client, facts, known
        self.sync_state = SyncState()
        self._operations = PodOperations(dependencies, self.sync_state, known)
        self.probes = Probes(self.uid, dependencies.handlers, self._operations.record_event, self.wake)
        self._busy: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._awake = asyncio.Event()
        self._dirty = True
        self._exits: dict[str, int] = {}
        self._ids: set[str] = set()
        """Ids of the pod's sandboxes and containers in the runtime."""
        self._released = False
        self.finished = False
        self._pending_status: Object | None = None
        self._written_status: tuple[Object, int] | None = None
        self._sending = False
        self._shown: dict[str, float] = {}
        self._status_due = 0.0

    def update(self, pod: Object) -> None:
        """Replace the pod by a newer version from the API; an older one is ignored."""
        if revision_of(pod) >= revision_of(self.pod):
            self.pod = pod
        self.wake()

    def on_deleted(self) -> None:
        """The pod was deleted from the API: terminate it without writing a status."""
        self.gone = True
        self.wake()

    def end(self, outcome: Failure, grace: float | None = None) -> None:
        """Terminate the pod with phase Failed. `grace` in seconds overrides the pod's own grace period."""
        if self.outcome is None:
            self.outcome, self._grace = outcome, grace
        self.wake()

    @property
    def allocated_pod(self) -> Object:
        """The pod with its allocated resources in place of the requested ones."""
        return resizing.with_allocated(self.pod, self.allocated)

    @property
    def wants_resize(self) -> bool:
        """Whether the spec requests other resources than are allocated."""
        over = self.gone or self.outcome is not None or deleting(self.pod) or pods.terminal(self.pod)
        pending = not over and resizing.requested(self.pod) != self.allocated
        if not pending and self._resize.refused is not None:
            self._resize = self._resize._replace(refused=None)
        return pending

    def answer_resize(self, refusal: Failure | None) -> None:
        """Grant the pending resize (`refusal` is None), or record why it is deferred or infeasible."""
        if refusal is None:
            self.allocated = resizing.requested(self.pod)
            self.dependencies.pod_setup.save_allocation(self.uid, self.allocated)
            self._resize = Resize(generation=self.pod["metadata"].get("generation", 1))
            self.sync_state.resize_retry_at, self.sync_state.resize_error, self.sync_state.resize_complete = 0.0, "", False
            self._operations.record_event(self.pod, "", "Normal", "ResizeStarted", resizing.event_message("started", self.pod))
        elif refusal != self._resize.refused:
            self._resize = self._resize._replace(refused=refusal)
            text = resizing.event_message(refusal.reason, self.pod, refusal.message)
            self._operations.record_event(self.pod, "", "Warning", f"Resize{refusal.reason}", text)
        self.wake()

    def warn(self, reason: str, message: str) -> None:
        """Record a Warning event about the pod."""
        self._operations.record_event(self.pod, "", "Warning", reason, message)

    def runtime_changed(self, id: str = "") -> None:
        """The pod's state in the runtime changed; `id`, unless empty, has exited. Ids that are being stopped are ignored: the state
        is read when that operation ends."""
        if id in self._tasks:
            return
        if id:
            self._exits[id] = EXIT_POLLS
        self._dirty = True
        self.wake()

    def wake(self) -> None:
        self._awake.set()

    async def run(self) -> None:
        """Sync until nothing of the pod is left on this node."""
        delay = INITIAL_RETRY
        try:
            while not self.finished:
                self._awake.clear()
                try:
                    wake = await self._step()
                    delay = INITIAL_RETRY
                except (RuntimeFailure, OSError) as error:
                    log.log(_log_level(error), "The state of a pod could not be read", extra=self._about(error))
                    wake, delay = time.now() + delay, min(delay * 2, MAX_RETRY)
                if not self.finished:
                    await waiting.within(self._awake, None if wake is None else max(0.0, wake - time.now()))
        finally:
            self.probes.stop()
            for task in self._tasks.values():
                task.cancel()

    async def _step(self) -> float | None:
        """One sync of the pod. Returns the time of the next one (seconds since the epoch; None: when woken)."""
        if self._dirty:
            await self._refresh_state()
        self._update_resize()
        pod, now = self._current(), time.now()
        observed = self._observe()
        steps = plan.plan(pod, observed, now)
        if observed_state.ending(pod, observed):
            self._ending = self._ending or now
            if START in self._tasks:
                self._tasks[START].cancel()
        sandbox = observed_state.ready_sandbox(observed)
        ips = self._ips(pod, observed)
        self.probes.sync(pod, observed, ips[0] if ips else "")
        observed = self._observe()
        if not self.gone and not self._status_changes_soon(pod, observed, steps, now):
            self._update_status(pod, observed, steps, now)
        self._record_back_off(pod, steps, now)
        for action in steps.actions:
            if not isinstance(action, Start):
                self._do(pod, action, ips)
        starts = [a for a in steps.actions if isinstance(a, Start)]
        if starts and sandbox is not None:
            targets = {c.name: c.id for c in observed.state.containers if c.state == runtime.RUNNING}
            self._status_due = now + STATUS_DELAY[START]
            self._start_operation(START, 0.0, self._operations.start(pod, starts, sandbox.id, ips, targets))
        retries = (self.sync_state.sandbox_retry_at, self.sync_state.resize_retry_at)
        wakes = [t for t in (steps.wake, *retries, self._status_due, self._exit_poll(now)) if t and t > now]
        return min(wakes) if wakes else None

    def _status_changes_soon(self, pod: Object, observed: ObservedState, steps: Plan, now: float) -> bool:
        """Whether the status is about to change again (containers starting, a sandbox stopping), so that this update can be skipped."""
        if any(isinstance(a, Start | RunSandbox) for a in steps.actions):
            return True
        if START in self._tasks or SANDBOX in self._tasks:
            return now < self._status_due
        return any(isinstance(a, StopSandbox) for a in steps.actions) or any(s.id in self._tasks for s in observed.state.sandboxes)

    def _update_resize(self) -> None:
        """Take over the progress of the running resize: completed, or its newest error."""
        state, resize = self.sync_state, self._resize
        if not resize.generation:
            return
        if state.resize_complete:
            self._resize, state.resize_complete = resize._replace(generation=0, error=""), False
            text = resizing.event_message("completed", self.allocated_pod)
            self._operations.record_event(self.pod, "", "Normal", "ResizeCompleted", text)
        elif state.resize_error != resize.error:
            self._resize = resize._replace(error=state.resize_error)
            if state.resize_error:
                self.warn("ResizeError", resizing.event_message("error", self.allocated_pod, state.resize_error))

    def _current(self) -> Object:
        """The pod as it is to run: with its allocated resources, and for a static pod the status of its mirror pod."""
        if self.mirror is None:
            return self.allocated_pod
        return {**self.allocated_pod, "status": self.mirror.get("status") or {}}

    async def _refresh_state(self) -> None:
        self._dirty = False
        try:
            state = await self.dependencies.runtime.pod(self.uid)
        except RuntimeFailure:
            self._dirty = True
            raise
        self.state = state._replace(containers=[self.dependencies.pod_setup.with_termination_message(c) for c in state.containers])
        ids = {s.id for s in state.sandboxes} | {c.id for c in state.containers}
        self._known |= dict.fromkeys(ids, self.uid)
        for id in self._ids - ids:
            self._known.pop(id, None)
            self.sync_state.actual_resources.pop(id, None)
            self.sync_state.restarting.discard(id)
        self._ids = ids
        live = {c.id for c in state.containers if c.state == runtime.RUNNING} | {s.id for s in state.sandboxes if s.ready}
        self._exits = {id: tries - 1 for id, tries in self._exits.items() if id in live and tries > 0}

    def _exit_poll(self, now: float) -> float | None:
        """The next poll for an exit that was announced but is not in the runtime's state yet; None: there is none."""
        if not self._exits:
            return None
        self._dirty = True
        return now + EXIT_POLL

    def _observe(self) -> ObservedState:
        state, now = self.sync_state, time.now()
        # An operation that waits for its retry counts as busy, so that the planner does not plan it earlier.
        waits = {key: 0.0 for key, until in ((SANDBOX, state.sandbox_retry_at), (RESIZE, state.resize_retry_at)) if until > now}
        return ObservedState(
            self.state, dict(self.probes.probe_states), state.failures, state.retry_at, state.backoffs, {**self._busy, **waits},
            self.outcome, self.gone, frozenset(state.post_start_running), frozenset(state.restarting), self._grace, self._ending,
            self._actual_resources(), self._resize,
        )

    def _actual_resources(self) -> dict[str, Object]:
        """Resources applied to containers, by id. Those of containers started before this kubelet are read from the pod's status."""
        known = {s.get("containerID", "").partition("://")[2]: s["resources"] for s in status.listed(self.pod) if s.get("resources")}
        return known | self.sync_state.actual_resources

    def _ips(self, pod: Object, observed: ObservedState) -> tuple[str, ...]:
        sandbox = observed_state.ready_sandbox(observed)
        if sandbox is None:
            return ()
        return tuple(self._facts().host_ips) if pods.host_network(pod) else tuple(sandbox.ips)

    def _record_back_off(self, pod: Object, steps: Plan, now: float) -> None:
        """Record a BackOff event once per wait."""
        for name, until in steps.waiting.items():
            if self._shown.get(name) != until and name not in self.sync_state.failures:
                self._shown[name] = until
                message = f"Back-off restarting failed container {name} in pod {pods.full_name(pod)}"
                self._operations.record_event(pod, name, "Warning", "BackOff", message)

    def _do(self, pod: Object, action: plan.Action, ips: tuple[str, ...]) -> None:
        match action:
            case RunSandbox(attempt):
                self._status_due = time.now() + STATUS_DELAY[SANDBOX]
                self._start_operation(SANDBOX, 0.0, self._operations.run_sandbox(pod, attempt))
            case StopSandbox(id):
                self._start_operation(id, 0.0, self._operations.stop_sandbox(id))
            case Remove(id, sandbox):
                self._start_operation(id, 0.0, self._operations.remove(id, sandbox=sandbox))
            case Kill():
                self._start_operation(action.id, action.grace, self._operations.kill(pod, action, ips))
            case UpdateResources():
                self._start_operation(RESIZE, 0.0, self._operations.update_resources(pod, action))
            case plan.Fail(reason, message):
                self._operations.record_event(pod, "", "Normal", reason, message)
                self.end(Failure(reason, message))
            case Finish():
                self._finish(pod)

    def _start_operation(self, key: str, grace: float, operation: Coroutine[Any, Any, None]) -> None:
        """Start an operation as a task; a running one with the same key is cancelled."""
        if key in self._tasks:
            self._tasks[key].cancel()
        self._busy[key] = grace
        task = self._tasks[key] = asyncio.create_task(self._run(key, operation))
        task.set_name(f"{self.uid} {key}")
        task.add_done_callback(lambda _: operation.close())  # a task cancelled before its first step never awaits the coroutine

    async def _run(self, key: str, operation: Coroutine[Any, Any, None]) -> None:
        """Run an operation, log its failure, and sync again afterwards in any case."""
        try:
            await operation
        except (errors.StatusError, OSError) as error:
            log.warning("An operation on a pod failed", extra=self._about(error, work=key))
        except Exception as error:
            log.exception("An operation on a pod raised an unexpected error", extra=self._about(error, work=key))
            await asyncio.sleep(1)
        finally:
            if self._tasks.get(key) is asyncio.current_task():
                del self._tasks[key]
                del self._busy[key]
            self.runtime_changed()

    def _about(self, error: Exception, **more: Any) -> dict[str, Any]:
        return logs.once(self.uid, pod=pods.full_name(self.pod), error=error, **more)

    def _finish(self, pod: Object) -> None:
        """Nothing is running: release the pod's resources. If it is being deleted, delete it from the API."""
        if self._sending or self._pending_status is not None:
            return
        going = self.gone or deleting(pod)
        if not self._released or self.gone:
            self._released = True
            self.dependencies.pod_setup.tear_down(self.uid, self.pod, logs=False)
        if going:
            self._start_operation("end", 0.0, self._end())

    async def _end(self) -> None:
        if self.mirror is not None:
            await self._delete(self.mirror)
        elif not self.gone:
            await self._delete(self.pod)
        self.dependencies.pod_setup.tear_down(self.uid, self.pod, logs=True)
        for sandbox in self.state.sandboxes:
            await self._operations.remove(sandbox.id, sandbox=True)
        boxes = {s.id for s in self.state.sandboxes}
        for container in self.state.containers:
            if container.sandbox not in boxes:
                await self._operations.remove(container.id, sandbox=False)
        self.dependencies.puller.forget(self.pod["metadata"]["uid"])
        self.finished = True

    async def _delete(self, pod: Object) -> None:
        meta = pod["metadata"]
        try:
            await self._client.delete(PODS, meta["name"], namespace=meta["namespace"], uid=meta["uid"], grace=0)
        except (errors.NotFound, errors.Conflict):
            return

    @property
    def _target(self) -> Object:
        """The API object whose status is written."""
        return self.pod if self.mirror is None else self.mirror

    def _update_status(self, pod: Object, observed: ObservedState, steps: Plan, now: float) -> None:
        """Compute the status and write it to the API if it differs."""
        target = self.mirror if self.mirror is not None else pod
        if pods.is_static(self.pod) and self.mirror is None:
            return
        fresh = status.compute(pod, observed, replace(self._facts(), waiting=steps.waiting), now)
        if status.patch(target, fresh) is None or self._written_status == (fresh, revision_of(target)):
            self._pending_status = None
            return
        self._pending_status = fresh
        if not self._sending:
            self._sending = True
            self._tasks[_STATUS] = asyncio.create_task(self._write_status())

    async def _write_status(self) -> None:
        delay = INITIAL_RETRY
        try:
            while self._pending_status is not None:
                fresh, self._pending_status = self._pending_status, None
                target = self._target
                change = status.patch(target, fresh)
                if change is None:
                    continue
                try:
                    await self._patch(target, change)
                    delay = INITIAL_RETRY
                except (errors.NotFound, errors.Conflict, errors.Invalid) as error:
                    log.info("The status of a pod was refused", extra=self._about(error))
                except (errors.StatusError, OSError) as error:
                    log.warning("The status of a pod could not be written, trying again", extra=self._about(error))
                    self._pending_status = self._pending_status or fresh
                    await asyncio.sleep(delay)
                    delay = min(delay * 2, MAX_RETRY)
                    continue
                self._written_status = (fresh, revision_of(self._target))
        finally:
            self._sending = False
            self.wake()

    async def _patch(self, target: Object, change: Mapping[str, Any]) -> None:
        meta = target["metadata"]
        response = await self._client.patch(
            PODS, meta["name"], change, namespace=meta["namespace"], kind="strategic", subresource="status"
        )
        if target is self.mirror:
            self.mirror = response
        elif revision_of(response) > revision_of(self.pod):
            self.pod = response


def _log_level(error: Exception) -> int:
    """DEBUG for an unreachable runtime, which the node reports once for all pods."""
    return logging.DEBUG if isinstance(error, RuntimeFailure) and error.code == "Unavailable" else logging.WARNING


def _resizing(pod: Object) -> int:
    """The generation of a resize that was in progress when the kubelet restarted; 0: none."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return next((c.get("observedGeneration", 1) for c in conditions if c["type"] == "PodResizeInProgress"), 0)
