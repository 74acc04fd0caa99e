"""One pod's life on this node: one task, level-triggered. Looks, plans, acts, tells the API; sleeps until something wakes it.

Deeds run beside the loop, so a container that takes its whole grace to stop holds up nothing else.
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
from kubelet.observed_state import Failure, Resize, Seen
from kubelet.operations import Actor, Means, Memory
from kubelet.plan import RESIZE, SANDBOX, START, Adjust, Finish, Kill, Plan, Remove, RunSandbox, Start, StopSandbox
from kubelet.probes import Probes
from kubelet.runtime import PodState, RuntimeFailure
from kubelet.status import Facts

log = logging.getLogger(__name__)
PATIENCE = {SANDBOX: 0.1, START: 0.4}
"""Seconds the status may lag behind while a sandbox is made or containers are started: often one telling will do."""
LATE, LATE_TRIES = 0.02, 50
"""After an exit is announced: seconds between looks until the runtime shows it, and how many."""
RETRY_FIRST, RETRY_LAST = 0.5, 10.0
_STATUS = "status"


class Worker:
    """Runs one pod. `known` learns which ids belong to it, `done` is called when nothing of it is left."""

    def __init__(self, pod: Object, means: Means, client: Client, facts: Callable[[], Facts], known: dict[str, str]) -> None:
        self.pod = pod
        self.uid = pods.uid(pod)
        self.mirror: Object | None = None
        """The API's picture of a static pod."""
        self.gone = False
        self.outcome: Failure | None = None
        self.allotment = means.furnisher.recall(self.uid) or resizing.allotment(pod)
        self._resize = Resize(generation=_resizing(pod))
        self._grace: float | None = None
        self._ending = 0.0
        self.state = PodState()
        self.means, self._client, self._facts, self._known = means, client, facts, known
        self.memory = Memory()
        self._actor = Actor(means, self.memory, known)
        self.probes = Probes(self.uid, means.handlers, self._actor.say, self.wake)
        self._busy: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._awake = asyncio.Event()
        self._dirty = True
        self._exits: dict[str, int] = {}
        self._ids: set[str] = set()
        """What the runtime has of the pod."""
        self._released = False
        self.finished = False
        self._due: Object | None = None
        self._told: tuple[Object, int] | None = None
        self._sending = False
        self._shown: dict[str, float] = {}
        self._quiet = 0.0

    def update(self, pod: Object) -> None:
        """A new version of the pod."""
        if revision_of(pod) >= revision_of(self.pod):
            self.pod = pod
        self.wake()

    def vanish(self) -> None:
        """The pod is no more in the API."""
        self.gone = True
        self.wake()

    def end(self, outcome: Failure, grace: float | None = None) -> None:
        """The pod must end as Failed; its containers have `grace` seconds, or their own."""
        if self.outcome is None:
            self.outcome, self._grace = outcome, grace
        self.wake()

    @property
    def allotted(self) -> Object:
        """The pod with the resources it has."""
        return resizing.allotted(self.pod, self.allotment)

    @property
    def asks(self) -> bool:
        """Whether the pod's spec asks for other resources than it has."""
        over = self.gone or self.outcome is not None or deleting(self.pod) or pods.terminal(self.pod)
        asks = not over and resizing.allotment(self.pod) != self.allotment
        if not asks and self._resize.refused is not None:
            self._resize = self._resize._replace(refused=None)
        return asks

    def answer(self, refusal: Failure | None) -> None:
        """What the node says to that."""
        if refusal is None:
            self.allotment = resizing.allotment(self.pod)
            self.means.furnisher.remember(self.uid, self.allotment)
            self._resize = Resize(generation=self.pod["metadata"].get("generation", 1))
            self.memory.stalled, self.memory.wrong, self.memory.settled = 0.0, "", False
            self._actor.say(self.pod, "", "Normal", "ResizeStarted", resizing.told("started", self.pod))
        elif refusal != self._resize.refused:
            self._resize = self._resize._replace(refused=refusal)
            text = resizing.told(refusal.reason, self.pod, refusal.message)
            self._actor.say(self.pod, "", "Warning", f"Resize{refusal.reason}", text)
        self.wake()

    def complain(self, reason: str, message: str) -> None:
        """A warning about the pod."""
        self._actor.say(self.pod, "", "Warning", reason, message)

    def touch(self, id: str = "") -> None:
        """Something changed in the runtime; `id` has exited. What is being stopped here is looked at when that is done."""
        if id in self._tasks:
            return
        if id:
            self._exits[id] = LATE_TRIES
        self._dirty = True
        self.wake()

    def wake(self) -> None:
        self._awake.set()

    async def run(self) -> None:
        """Until nothing of the pod is left on this node."""
        delay = RETRY_FIRST
        try:
            while not self.finished:
                self._awake.clear()
                try:
                    wake = await self._step()
                    delay = RETRY_FIRST
                except (RuntimeFailure, OSError) as error:
                    log.log(_loudness(error), "A pod could not be looked at", extra=self._about(error))
                    wake, delay = time.now() + delay, min(delay * 2, RETRY_LAST)
                if not self.finished:
                    await waiting.within(self._awake, None if wake is None else max(0.0, wake - time.now()))
        finally:
            self.probes.stop()
            for task in self._tasks.values():
                task.cancel()

    async def _step(self) -> float | None:
        """One look and what follows from it; when to look again."""
        if self._dirty:
            await self._look()
        self._note_resize()
        pod, now = self._current(), time.now()
        seen = self._seen()
        steps = plan.plan(pod, seen, now)
        if observed_state.ending(pod, seen):
            self._ending = self._ending or now
            if START in self._tasks:
                self._tasks[START].cancel()
        sandbox = observed_state.current(seen)
        ips = self._ips(pod, seen)
        self.probes.sync(pod, seen, ips[0] if ips else "")
        seen = self._seen()
        if not self.gone and not self._soon(pod, seen, steps, now):
            self._tell(pod, seen, steps, now)
        self._announce(pod, steps, now)
        for action in steps.actions:
            if not isinstance(action, Start):
                self._do(pod, action, ips)
        starts = [a for a in steps.actions if isinstance(a, Start)]
        if starts and sandbox is not None:
            targets = {c.name: c.id for c in seen.state.containers if c.state == runtime.RUNNING}
            self._quiet = now + PATIENCE[START]
            self._begin(START, 0.0, self._actor.start(pod, starts, sandbox.id, ips, targets))
        wakes = [t for t in (steps.wake, self.memory.held, self.memory.stalled, self._quiet, self._late(now)) if t and t > now]
        return min(wakes) if wakes else None

    def _soon(self, pod: Object, seen: Seen, steps: Plan, now: float) -> bool:
        """Whether the status is about to change anyway, so that one telling will do: containers starting, a sandbox stopping at the end."""
        if any(isinstance(a, Start | RunSandbox) for a in steps.actions):
            return True
        if START in self._tasks or SANDBOX in self._tasks:
            return now < self._quiet
        return any(isinstance(a, StopSandbox) for a in steps.actions) or any(s.id in self._tasks for s in seen.state.sandboxes)

    def _note_resize(self) -> None:
        """What has become of the resize under way."""
        memory, resize = self.memory, self._resize
        if not resize.generation:
            return
        if memory.settled:
            self._resize, memory.settled = resize._replace(generation=0, error=""), False
            self._actor.say(self.pod, "", "Normal", "ResizeCompleted", resizing.told("completed", self.allotted))
        elif memory.wrong != resize.error:
            self._resize = resize._replace(error=memory.wrong)
            if memory.wrong:
                self._actor.say(self.pod, "", "Warning", "ResizeError", resizing.told("error", self.allotted, memory.wrong))

    def _current(self) -> Object:
        """The pod as it is to run, with the status the API has of it."""
        if self.mirror is None:
            return self.allotted
        return {**self.allotted, "status": self.mirror.get("status") or {}}

    async def _look(self) -> None:
        self._dirty = False
        try:
            state = await self.means.runtime.pod(self.uid)
        except RuntimeFailure:
            self._dirty = True
            raise
        self.state = state._replace(containers=[self.means.furnisher.told(c) for c in state.containers])
        ids = {s.id for s in state.sandboxes} | {c.id for c in state.containers}
        self._known |= dict.fromkeys(ids, self.uid)
        for id in self._ids - ids:
            self._known.pop(id, None)
            self.memory.given.pop(id, None)
            self.memory.again.discard(id)
        self._ids = ids
        live = {c.id for c in state.containers if c.state == runtime.RUNNING} | {s.id for s in state.sandboxes if s.ready}
        self._exits = {id: tries - 1 for id, tries in self._exits.items() if id in live and tries > 0}

    def _late(self, now: float) -> float | None:
        """When to look again for an exit that was announced but is not shown yet."""
        if not self._exits:
            return None
        self._dirty = True
        return now + LATE

    def _seen(self) -> Seen:
        memory, now = self.memory, time.now()
        held = {key: 0.0 for key, until in ((SANDBOX, memory.held), (RESIZE, memory.stalled)) if until > now}
        return Seen(
            self.state, dict(self.probes.verdicts), memory.failures, memory.holds, memory.backoffs, {**self._busy, **held}, self.outcome,
            self.gone, frozenset(memory.hooking), frozenset(memory.again), self._grace, self._ending, self._given(), self._resize,
        )

    def _given(self) -> dict[str, Object]:
        """The resources that containers have; of those begun by a kubelet before this one the pod's status tells."""
        known = {s.get("containerID", "").partition("://")[2]: s["resources"] for s in status.listed(self.pod) if s.get("resources")}
        return known | self.memory.given

    def _ips(self, pod: Object, seen: Seen) -> tuple[str, ...]:
        sandbox = observed_state.current(seen)
        if sandbox is None:
            return ()
        return tuple(self._facts().host_ips) if pods.host_network(pod) else tuple(sandbox.ips)

    def _announce(self, pod: Object, steps: Plan, now: float) -> None:
        """The BackOff event, once for each wait."""
        for name, until in steps.waiting.items():
            if self._shown.get(name) != until and name not in self.memory.failures:
                self._shown[name] = until
                message = f"Back-off restarting failed container {name} in pod {pods.full_name(pod)}"
                self._actor.say(pod, name, "Warning", "BackOff", message)

    def _do(self, pod: Object, action: plan.Action, ips: tuple[str, ...]) -> None:
        match action:
            case RunSandbox(attempt):
                self._quiet = time.now() + PATIENCE[SANDBOX]
                self._begin(SANDBOX, 0.0, self._actor.run_sandbox(pod, attempt))
            case StopSandbox(id):
                self._begin(id, 0.0, self._actor.stop_sandbox(id))
            case Remove(id, sandbox):
                self._begin(id, 0.0, self._actor.remove(id, sandbox=sandbox))
            case Kill():
                self._begin(action.id, action.grace, self._actor.kill(pod, action, ips))
            case Adjust():
                self._begin(RESIZE, 0.0, self._actor.adjust(pod, action))
            case plan.Fail(reason, message):
                self._actor.say(pod, "", "Normal", reason, message)
                self.end(Failure(reason, message))
            case Finish():
                self._finish(pod)

    def _begin(self, key: str, grace: float, deed: Coroutine[Any, Any, None]) -> None:
        """Start a deed; one of the same key that is under way is given up for it."""
        if key in self._tasks:
            self._tasks[key].cancel()
        self._busy[key] = grace
        task = self._tasks[key] = asyncio.create_task(self._run(key, deed))
        task.set_name(f"{self.uid} {key}")
        task.add_done_callback(lambda _: deed.close())  # one that was cancelled before it began

    async def _run(self, key: str, deed: Coroutine[Any, Any, None]) -> None:
        """Supervises a deed: whatever becomes of it, the planner looks again."""
        try:
            await deed
        except (errors.StatusError, OSError) as error:
            log.warning("Work on a pod failed", extra=self._about(error, work=key))
        except Exception as error:
            log.exception("Work on a pod broke", extra=self._about(error, work=key))
            await asyncio.sleep(1)
        finally:
            if self._tasks.get(key) is asyncio.current_task():
                del self._tasks[key]
                del self._busy[key]
            self.touch()

    def _about(self, error: Exception, **more: Any) -> dict[str, Any]:
        return logs.once(self.uid, pod=pods.full_name(self.pod), error=error, **more)

    def _finish(self, pod: Object) -> None:
        """Nothing runs any more: give back what the pod had; when it is to go, let it go."""
        if self._sending or self._due is not None:
            return
        going = self.gone or deleting(pod)
        if not self._released or self.gone:
            self._released = True
            self.means.furnisher.tear_down(self.uid, self.pod, logs=False)
        if going:
            self._begin("end", 0.0, self._end())

    async def _end(self) -> None:
        if self.mirror is not None:
            await self._delete(self.mirror)
        elif not self.gone:
            await self._delete(self.pod)
        self.means.furnisher.tear_down(self.uid, self.pod, logs=True)
        for sandbox in self.state.sandboxes:
            await self._actor.remove(sandbox.id, sandbox=True)
        boxes = {s.id for s in self.state.sandboxes}
        for container in self.state.containers:
            if container.sandbox not in boxes:
                await self._actor.remove(container.id, sandbox=False)
        self.means.puller.forget(self.pod["metadata"]["uid"])
        self.finished = True

    async def _delete(self, pod: Object) -> None:
        meta = pod["metadata"]
        try:
            await self._client.delete(PODS, meta["name"], namespace=meta["namespace"], uid=meta["uid"], grace=0)
        except (errors.NotFound, errors.Conflict):
            return

    @property
    def _target(self) -> Object:
        """What of the API gets the status."""
        return self.pod if self.mirror is None else self.mirror

    def _tell(self, pod: Object, seen: Seen, steps: Plan, now: float) -> None:
        """Bring the API's status to what was seen."""
        target = self.mirror if self.mirror is not None else pod
        if pods.is_static(self.pod) and self.mirror is None:
            return
        fresh = status.compute(pod, seen, replace(self._facts(), waiting=steps.waiting), now)
        if status.patch(target, fresh) is None or self._told == (fresh, revision_of(target)):
            self._due = None
            return
        self._due = fresh
        if not self._sending:
            self._sending = True
            self._tasks[_STATUS] = asyncio.create_task(self._send())

    async def _send(self) -> None:
        delay = RETRY_FIRST
        try:
            while self._due is not None:
                fresh, self._due = self._due, None
                target = self._target
                change = status.patch(target, fresh)
                if change is None:
                    continue
                try:
                    await self._patch(target, change)
                    delay = RETRY_FIRST
                except (errors.NotFound, errors.Conflict, errors.Invalid) as error:
                    log.info("The status of a pod was refused", extra=self._about(error))
                except (errors.StatusError, OSError) as error:
                    log.warning("The status of a pod could not be written, trying again", extra=self._about(error))
                    self._due = self._due or fresh
                    await asyncio.sleep(delay)
                    delay = min(delay * 2, RETRY_LAST)
                    continue
                self._told = (fresh, revision_of(self._target))
        finally:
            self._sending = False
            self.wake()

    async def _patch(self, target: Object, change: Mapping[str, Any]) -> None:
        meta = target["metadata"]
        answer = await self._client.patch(
            PODS, meta["name"], change, namespace=meta["namespace"], kind="strategic", subresource="status"
        )
        if target is self.mirror:
            self.mirror = answer
        elif revision_of(answer) > revision_of(self.pod):
            self.pod = answer


def _loudness(error: Exception) -> int:
    """A runtime that is away is told of once, by the node."""
    return logging.DEBUG if isinstance(error, RuntimeFailure) and error.code == "Unavailable" else logging.WARNING


def _resizing(pod: Object) -> int:
    """The generation whose resources a kubelet before this one was giving to the pod's containers; 0: none."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return next((c.get("observedGeneration", 1) for c in conditions if c["type"] == "PodResizeInProgress"), 0)
