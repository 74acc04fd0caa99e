"""Operations of one pod: the planner's actions, executed through the runtime. Each is a coroutine that ends when the runtime answered.

A failure becomes an entry in SyncState (the waiting reason of a container, when to retry) and an event with stock's text.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from kapi import logs
from kapi.objects import time
from kapi.objects.meta import Object
from kapi.objects.resource import RUNTIME_CLASSES
from kubelet import plan, pods, resizing, resources
from kubelet.handlers import Handlers, Target
from kubelet.observed_state import Backoff, Failure, NotStarted
from kubelet.plan import Kill, Start, UpdateResources
from kubelet.pod_setup import PodSetup
from kubelet.probes import ports
from kubelet.pulling import NotPulled, Puller
from kubelet.runtime import Runtime, RuntimeFailure
from kubelet.settings import Settings
from kubelet.sources import Sources
from kubelet.volumes.manager import VolumeError

NORMAL, WARNING = "Normal", "Warning"
RETRY = 10.0
"""Seconds before a failed operation is retried."""
NO_TIMEOUT = 3600.0

log = logging.getLogger(__name__)


class EventRecorder(Protocol):
    """Writes events."""

    def event(self, obj: Object, type: str, reason: str, message: str, *, field_path: str = "") -> None: ...


@dataclass(frozen=True)
class Dependencies:
    """What the workers of one node share."""

    settings: Settings
    runtime: Runtime
    pod_setup: PodSetup
    puller: Puller
    handlers: Handlers
    sources: Sources
    recorder: EventRecorder


@dataclass
class SyncState:
    """State of a pod kept from one sync to the next. It may be lost when the kubelet restarts. Keys are container names; times
    are seconds since the epoch."""

    failures: dict[str, Failure] = field(default_factory=dict)
    retry_at: dict[str, float] = field(default_factory=dict)
    backoffs: dict[str, Backoff] = field(default_factory=dict)
    post_start_running: set[str] = field(default_factory=set)
    """Ids of containers whose postStart hook is running."""
    sandbox_retry_at: float = 0.0
    restarting: set[str] = field(default_factory=set)
    """Ids of containers that were stopped to be restarted."""
    actual_resources: dict[str, Object] = field(default_factory=dict)
    """Resources containers were created with or updated to, by id."""
    resize_retry_at: float = 0.0
    resize_error: str = ""
    """The error of the last attempt to apply a resize."""
    resize_complete: bool = False
    """Whether the last resize has been applied completely."""


def reference(pod: Object) -> Object:
    return {"kind": "Pod", "apiVersion": "v1", **pod}


class PodOperations:
    """The operations of one pod. A created container's id is added to `known` before the container starts, so no exit is missed."""

    def __init__(self, dependencies: Dependencies, sync_state: SyncState, known: dict[str, str]) -> None:
        self._dependencies, self._sync_state, self._known = dependencies, sync_state, known

    def record_event(self, pod: Object, name: str, type: str, reason: str, message: str) -> None:
        path = pods.field_path(pod, name) if name else ""
        self._dependencies.recorder.event(reference(pod), type, reason, message, field_path=path)

    async def run_sandbox(self, pod: Object, attempt: int) -> None:
        dependencies = self._dependencies
        if attempt:
            log.info("Recreating the sandbox", extra=logs.fields(pod=pods.full_name(pod), attempt=attempt))
            self.record_event(pod, "", NORMAL, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
        try:
            await dependencies.pod_setup.prepare(pod, ())
            await dependencies.runtime.run_sandbox(dependencies.pod_setup.sandbox(pod, attempt), await self._handler(pod))
        except VolumeError as error:
            self._retry_sandbox_after(pod, RETRY / 5, "FailedMount", str(error))
        except OSError as error:
            self._retry_sandbox_after(pod, RETRY / 2, "FailedCreatePodContainer", f"unable to ensure pod container exists: {error}")
        except (RuntimeFailure, ValueError) as error:
            what = "create pod sandbox" if isinstance(error, RuntimeFailure) else f'generate sandbox config for pod "{pods.full_name(pod)}"'
            self._retry_sandbox_after(pod, RETRY / 2, "FailedCreatePodSandBox", f"Failed to {what}: {error}")

    def _retry_sandbox_after(self, pod: Object, seconds: float, reason: str, message: str) -> None:
        """Record why no sandbox could be run; retry after `seconds`."""
        self.record_event(pod, "", WARNING, reason, message)
        self._sync_state.sandbox_retry_at = time.now() + seconds

    async def _handler(self, pod: Object) -> str:
        """The runtime handler of the pod's RuntimeClass; "" is the runtime's own choice. Raises RuntimeFailure."""
        name = pod["spec"].get("runtimeClassName")
        if not name:
            return ""
        found = await self._dependencies.sources.get(RUNTIME_CLASSES, "", name)
        if found is None:
            raise RuntimeFailure("NotFound", f'runtimeclasses.node.k8s.io "{name}" not found')
        return str(found["handler"])

    async def stop_sandbox(self, id: str) -> None:
        await self._quietly(self._dependencies.runtime.stop_sandbox(id))

    async def remove(self, id: str, *, sandbox: bool) -> None:
        runtime = self._dependencies.runtime
        await self._quietly(runtime.remove_sandbox(id) if sandbox else runtime.remove_container(id))

    async def _quietly(self, call: Any) -> None:
        """NotFound counts as success; other failures are logged and retried by the next sync."""
        try:
            await call
        except RuntimeFailure as error:
            if error.code != "NotFound":
                log.warning("The runtime refused", extra=logs.fields(error=error))

    async def start(self, pod: Object, wanted: Sequence[Start], sandbox: str, ips: Sequence[str], targets: dict[str, str]) -> None:
        """Start containers one after the other. `targets`: ids of running containers by name, for ephemeral ones."""
        sync_state = self._sync_state
        for one in wanted:
            found = pods.find(pod, one.name)
            if found is None:
                continue
            if one.after:
                sync_state.backoffs[one.name] = plan.next_backoff(sync_state.backoffs.get(one.name), one.after)
            if one.attempt:
                log.info("Restarting container", extra=logs.fields(pod=pods.full_name(pod), container=one.name, attempt=one.attempt))
            try:
                await self._start(pod, found[1], one.attempt, sandbox, ips, targets.get(found[1].get("targetContainerName", ""), ""))
            except NotStarted as error:
                if not isinstance(error, NotPulled):
                    self.record_event(pod, one.name, WARNING, "Failed", f"Error: {error}")
                sync_state.failures[one.name] = error.failure
                sync_state.retry_at[one.name] = error.until or time.now() + RETRY
            else:
                sync_state.failures.pop(one.name, None)
                sync_state.retry_at.pop(one.name, None)

    async def _start(self, pod: Object, spec: Object, attempt: int, sandbox: str, ips: Sequence[str], target: str) -> None:
        dependencies, name = self._dependencies, spec["name"]
        box = dependencies.pod_setup.sandbox(pod, 0)

        def record_event(type: str, reason: str, message: str) -> None:
            self.record_event(pod, name, type, reason, message)

        image = await dependencies.puller.ensure(pod, spec, box, dependencies.sources.get, record_event)
        config = await dependencies.pod_setup.container(pod, spec, image, attempt, ips, target)
        try:
            id = await dependencies.runtime.create_container(sandbox, config, box)
        except RuntimeFailure as error:
            raise NotStarted(Failure("CreateContainerError", error.description)) from None
        self._known[id] = pods.uid(pod)
        self._sync_state.actual_resources[id] = spec.get("resources") or {}
        record_event(NORMAL, "Created", "Container created")
        hook = (spec.get("lifecycle") or {}).get("postStart")
        if hook:
            self._sync_state.post_start_running.add(id)
        try:
            await dependencies.runtime.start_container(id)
        except RuntimeFailure as error:
            self._sync_state.post_start_running.discard(id)
            raise NotStarted(Failure("RunContainerError", error.description)) from None
        record_event(NORMAL, "Started", "Container started")
        if hook:
            await self._post_start(pod, spec, id, hook, ips)

    async def _post_start(self, pod: Object, spec: Object, id: str, hook: Object, ips: Sequence[str]) -> None:
        target = Target(id, ips[0] if ips else "", ports(spec))
        result = await self._dependencies.handlers.run(hook, target, NO_TIMEOUT)
        self._sync_state.post_start_running.discard(id)
        if result.success or result.got_response:
            return
        self.record_event(pod, spec["name"], WARNING, "FailedPostStartHook", "PostStartHook failed")
        await self.kill(pod, Kill(id, spec["name"], max(pods.grace(pod), plan.MIN_GRACE), "FailedPostStartHook"), ips)
        raise NotStarted(Failure("PostStartHookError", result.message or "PostStartHook failed"))

    async def kill(self, pod: Object, order: Kill, ips: Sequence[str]) -> None:
        """Run preStop, then stop the container (SIGTERM, SIGKILL after the grace). The hook's duration is subtracted from the grace."""
        if order.restart:
            self._sync_state.restarting.add(order.id)
        self.record_event(pod, order.name, NORMAL, "Killing", order.message or f"Stopping container {order.name}")
        grace, found = order.grace, pods.find(pod, order.name)
        hook = (found[1].get("lifecycle") or {}).get("preStop") if found else None
        if hook and order.hook and found:
            began = time.now()
            result = await self._dependencies.handlers.run(hook, Target(order.id, ips[0] if ips else "", ports(found[1])), grace)
            if not (result.success or result.got_response):
                self.record_event(pod, order.name, WARNING, "FailedPreStopHook", "PreStopHook failed")
            grace = max(grace - (time.now() - began), plan.MIN_GRACE)
        await self._quietly(self._dependencies.runtime.stop_container(order.id, grace))

    async def update_resources(self, pod: Object, order: UpdateResources) -> None:
        """Apply allocated resources. First grow the pod's cgroup, then update the containers; when all are updated (an order without
        containers), set the pod's cgroup to its exact limits: a parent's limit below its child's would be refused by the kernel."""
        state, pod_setup = self._sync_state, self._dependencies.pod_setup
        try:
            if why := await self._memory_in_use(pod, order):
                raise OSError(why)
            pod_setup.update_pod_cgroup(pod, grow=bool(order.containers))
            for id, name in order.containers:
                found = pods.find(pod, name)
                if found is not None:
                    await self._dependencies.runtime.update_container(id, pod_setup.resources(pod, found[1]))
                    state.actual_resources[id] = found[1].get("resources") or {}
            state.resize_error, state.resize_complete = "", not order.containers
        except (RuntimeFailure, OSError) as error:
            state.resize_error, state.resize_retry_at = str(error), time.now() + RETRY

    async def _memory_in_use(self, pod: Object, order: UpdateResources) -> str:
        """Why memory limits cannot be lowered: more than that is in use."""
        pod_setup, known = self._dependencies.pod_setup, self._sync_state.actual_resources
        pod_limit = resources.pod_limits(pod)["memory"]
        pod_limit = pod_limit if 0 < pod_limit < (pod_setup.memory_limit(pod) or math.inf) else 0
        lowered = {}
        for id, name in order.containers:
            found = pods.find(pod, name)
            now, before = (pods.resources(spec, "limits", "memory") for spec in (found[1] if found else {}, {"resources": known.get(id)}))
            if 0 < now < (before or math.inf):
                lowered[id] = (name, now)
        if not pod_limit and not lowered:
            return ""
        usages = [one for one in await self._dependencies.runtime.usages() if one.uid == pods.uid(pod)]
        of_containers = [(*lowered[one.container], one.usage) for one in usages if one.container in lowered]
        return resizing.memory_in_use(pod_limit, pod_setup.memory_used(pod, usages), of_containers)
