"""Doing what the planner decided for one pod: thin. Each deed is a coroutine that ends when the runtime has answered.

Failures become entries in the pod's memory (why a container does not start, until when it is held) and events with stock's texts.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from kapi import logs
from kapi.objects import time
from kapi.objects.meta import Object
from kapi.objects.resource import RUNTIME_CLASSES
from kubelet import plan, pods
from kubelet.handlers import Handlers, Target
from kubelet.observed_state import Backoff, Failure, NotStarted
from kubelet.plan import Adjust, Kill, Start
from kubelet.pod_setup import Furnisher
from kubelet.probes import ports
from kubelet.pulling import NotPulled, Puller
from kubelet.runtime import Runtime, RuntimeFailure
from kubelet.settings import Settings
from kubelet.sources import Sources
from kubelet.volumes.manager import VolumeError

NORMAL, WARNING = "Normal", "Warning"
RETRY = 10.0
"""Seconds before something that failed is tried again."""
NEVER_ENDING = 3600.0

log = logging.getLogger(__name__)


class Teller(Protocol):
    """Writes events."""

    def event(self, obj: Object, type: str, reason: str, message: str, *, field_path: str = "") -> None: ...


@dataclass(frozen=True)
class Means:
    """What the pods of one node are run with."""

    settings: Settings
    runtime: Runtime
    furnisher: Furnisher
    puller: Puller
    handlers: Handlers
    sources: Sources
    teller: Teller


@dataclass
class Memory:
    """What is remembered of a pod's containers between looks; nothing of it has to survive the kubelet."""

    failures: dict[str, Failure] = field(default_factory=dict)
    holds: dict[str, float] = field(default_factory=dict)
    backoffs: dict[str, Backoff] = field(default_factory=dict)
    hooking: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    """Containers whose postStart hook failed."""
    held: float = 0.0
    """Until when no sandbox is tried again."""
    again: set[str] = field(default_factory=set)
    """Containers that were stopped to be started again."""
    given: dict[str, Object] = field(default_factory=dict)
    """The resources containers were made with or have been given since, by id."""
    stalled: float = 0.0
    """Until when a resize that failed is not tried again."""
    wrong: str = ""
    """Why it failed."""
    settled: bool = False
    """Whether the last resize is complete."""


def reference(pod: Object) -> Object:
    return {"kind": "Pod", "apiVersion": "v1", **pod}


class Actor:
    """The deeds for one pod; `known` is told of every container made, before it can end."""

    def __init__(self, means: Means, memory: Memory, known: dict[str, str]) -> None:
        self._means, self._memory, self._known = means, memory, known

    def say(self, pod: Object, name: str, type: str, reason: str, message: str) -> None:
        path = pods.field_path(pod, name) if name else ""
        self._means.teller.event(reference(pod), type, reason, message, field_path=path)

    async def run_sandbox(self, pod: Object, attempt: int) -> None:
        means = self._means
        if attempt:
            log.info("Making the sandbox anew", extra=logs.fields(pod=pods.full_name(pod), attempt=attempt))
            self.say(pod, "", NORMAL, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
        try:
            await means.furnisher.prepare(pod, ())
            await means.runtime.run_sandbox(means.furnisher.sandbox(pod, attempt), await self._handler(pod))
        except VolumeError as error:
            self._hold(pod, RETRY / 5, "FailedMount", str(error))
        except OSError as error:
            self._hold(pod, RETRY / 2, "FailedCreatePodContainer", f"unable to ensure pod container exists: {error}")
        except (RuntimeFailure, ValueError) as error:
            what = "create pod sandbox" if isinstance(error, RuntimeFailure) else f'generate sandbox config for pod "{pods.full_name(pod)}"'
            self._hold(pod, RETRY / 2, "FailedCreatePodSandBox", f"Failed to {what}: {error}")

    def _hold(self, pod: Object, seconds: float, reason: str, message: str) -> None:
        """Why there is no sandbox; the next try is in so many seconds."""
        self.say(pod, "", WARNING, reason, message)
        self._memory.held = time.now() + seconds

    async def _handler(self, pod: Object) -> str:
        """The runtime handler of the pod's RuntimeClass; "" is the runtime's own choice. Raises RuntimeFailure."""
        name = pod["spec"].get("runtimeClassName")
        if not name:
            return ""
        found = await self._means.sources.get(RUNTIME_CLASSES, "", name)
        if found is None:
            raise RuntimeFailure("NotFound", f'runtimeclasses.node.k8s.io "{name}" not found')
        return str(found["handler"])

    async def stop_sandbox(self, id: str) -> None:
        await self._quietly(self._means.runtime.stop_sandbox(id))

    async def remove(self, id: str, *, sandbox: bool) -> None:
        runtime = self._means.runtime
        await self._quietly(runtime.remove_sandbox(id) if sandbox else runtime.remove_container(id))

    async def _quietly(self, call: Any) -> None:
        """What is gone already is fine; everything else is tried again at the next look."""
        try:
            await call
        except RuntimeFailure as error:
            if error.code != "NotFound":
                log.warning("The runtime refused", extra=logs.fields(error=error))

    async def start(self, pod: Object, wanted: Sequence[Start], sandbox: str, ips: Sequence[str], targets: dict[str, str]) -> None:
        """Start containers in order, one after the other. `targets` are ids of running containers by name."""
        memory = self._memory
        for one in wanted:
            found = pods.find(pod, one.name)
            if found is None:
                continue
            if one.after:
                memory.backoffs[one.name] = plan.advance(memory.backoffs.get(one.name), one.after)
            if one.attempt:
                log.info("Restarting container", extra=logs.fields(pod=pods.full_name(pod), container=one.name, attempt=one.attempt))
            try:
                await self._start(pod, found[1], one.attempt, sandbox, ips, targets.get(found[1].get("targetContainerName", ""), ""))
            except NotStarted as error:
                if not isinstance(error, NotPulled):
                    self.say(pod, one.name, WARNING, "Failed", f"Error: {error}")
                memory.failures[one.name] = error.failure
                memory.holds[one.name] = error.until or time.now() + RETRY
            else:
                memory.failures.pop(one.name, None)
                memory.holds.pop(one.name, None)

    async def _start(self, pod: Object, spec: Object, attempt: int, sandbox: str, ips: Sequence[str], target: str) -> None:
        means, name = self._means, spec["name"]
        box = means.furnisher.sandbox(pod, 0)

        def say(type: str, reason: str, message: str) -> None:
            self.say(pod, name, type, reason, message)

        image = await means.puller.ensure(pod, spec, box, means.sources.get, say)
        config = await means.furnisher.container(pod, spec, image, attempt, ips, target)
        try:
            id = await means.runtime.create_container(sandbox, config, box)
        except RuntimeFailure as error:
            raise NotStarted(Failure("CreateContainerError", error.description)) from None
        self._known[id] = pods.uid(pod)
        self._memory.given[id] = spec.get("resources") or {}
        say(NORMAL, "Created", "Container created")
        hook = (spec.get("lifecycle") or {}).get("postStart")
        if hook:
            self._memory.hooking.add(id)
        try:
            await means.runtime.start_container(id)
        except RuntimeFailure as error:
            self._memory.hooking.discard(id)
            raise NotStarted(Failure("RunContainerError", error.description)) from None
        say(NORMAL, "Started", "Container started")
        if hook:
            await self._post_start(pod, spec, id, hook, ips)

    async def _post_start(self, pod: Object, spec: Object, id: str, hook: Object, ips: Sequence[str]) -> None:
        target = Target(id, ips[0] if ips else "", ports(spec))
        said = await self._means.handlers.run(hook, target, NEVER_ENDING)
        self._memory.hooking.discard(id)
        if said.well or said.answered:
            return
        self.say(pod, spec["name"], WARNING, "FailedPostStartHook", "PostStartHook failed")
        await self.kill(pod, Kill(id, spec["name"], max(pods.grace(pod), plan.MINIMUM_GRACE), "FailedPostStartHook"), ips)
        raise NotStarted(Failure("PostStartHookError", said.message or "PostStartHook failed"))

    async def kill(self, pod: Object, order: Kill, ips: Sequence[str]) -> None:
        """preStop first, then SIGTERM, then SIGKILL; the hook's time is taken off the grace."""
        if order.again:
            self._memory.again.add(order.id)
        self.say(pod, order.name, NORMAL, "Killing", order.message or f"Stopping container {order.name}")
        grace, found = order.grace, pods.find(pod, order.name)
        hook = (found[1].get("lifecycle") or {}).get("preStop") if found else None
        if hook and order.hook and found:
            began = time.now()
            said = await self._means.handlers.run(hook, Target(order.id, ips[0] if ips else "", ports(found[1])), grace)
            if not (said.well or said.answered):
                self.say(pod, order.name, WARNING, "FailedPreStopHook", "PreStopHook failed")
            grace = max(grace - (time.now() - began), plan.MINIMUM_GRACE)
        await self._quietly(self._means.runtime.stop_container(order.id, grace))

    async def adjust(self, pod: Object, order: Adjust) -> None:
        """Let the pod's cgroup grow, then give each container its share; when all have theirs, the cgroup gets exactly its own."""
        memory, means = self._memory, self._means
        try:
            means.furnisher.limit(pod, grow=bool(order.containers))
            for id, name in order.containers:
                found = pods.find(pod, name)
                if found is not None:
                    await means.runtime.update_container(id, means.furnisher.resources(pod, found[1]))
                    memory.given[id] = found[1].get("resources") or {}
            memory.wrong, memory.settled = "", not order.containers
        except (RuntimeFailure, OSError) as error:
            memory.wrong, memory.stalled = str(error), time.now() + RETRY
