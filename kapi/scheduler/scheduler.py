"""The scheduler: pops pods from the queue, selects their nodes one after the other, and binds them in the background.

A scheduling cycle is synchronous and assumes the pod on its node at once. The binding cycle, like all requests to the API server, runs as
a task. If the binding fails, the assumed pod is removed from the node and backs off.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from kapi import logs
from kapi.client import Client, Informer, Informers, Recorder
from kapi.client.health import Figures
from kapi.client.leases import LeaderElection
from kapi.objects import conditions, errors, metrics, time
from kapi.objects.meta import Object
from kapi.objects.resource import NAMESPACES, NODES, PODS, Resource
from kapi.scheduler.event_handlers import UNFINISHED, EventHandlers, trim_node, trim_pod, trim_set
from kapi.scheduler.framework import Code, Cycle, SchedulingPlugin, Status
from kapi.scheduler.handle import INFORMED_RESOURCES, UNTRIMMED, Handle, by_namespace
from kapi.scheduler.pods import Pod
from kapi.scheduler.profile import Plugins, Profile, default_plugins
from kapi.scheduler.queue import Queue, QueuedPod
from kapi.scheduler.search import FitError
from kapi.scheduler.settings import Settings
from kapi.scheduler.snapshot import Cluster, NodeInfo

log = logging.getLogger(__name__)
EVENT_BACKLOG = 20_000
"""Most events waiting to be written. They are written one at a time, so that bindings go first."""
TIME_SLICE = 0.004
"""Seconds of scheduling after which the event loop runs other tasks (bindings, watches)."""


class Scheduler:
    def __init__(self, client: Client, settings: Settings, plugins: Plugins = default_plugins) -> None:
        self._settings, self._client = settings, client
        self.cluster = Cluster()
        self._group: asyncio.TaskGroup | None = None
        self._wake = asyncio.Event()
        self._slot_free = asyncio.Event()
        self._binding = 0
        self._permits: dict[str, asyncio.Future[str]] = {}
        self._informers = Informers(client)
        self._recorder = Recorder(client, "default-scheduler", host=socket.gethostname(), backlog=EVENT_BACKLOG)
        handle = Handle(client, self.cluster, self._recorder, {}, self._spawn, self._activate)
        self.profiles = {p.name: Profile(p, handle, plugins, settings.percentage_of_nodes_to_score) for p in settings.profiles}
        sorter = next(iter(self.profiles.values())).sorter
        self.queue = Queue(sorter.sort_key, self._gate, self._plugins_of)
        self._add_event_handlers(handle)

    def _add_event_handlers(self, handle: Handle) -> None:
        event_handlers = EventHandlers(self.cluster, self.queue, self.profiles.__contains__, self._wake.set)
        handlers: Mapping[Resource, Callable[[Object | None, Object | None], None]]
        handlers = {NAMESPACES: event_handlers.namespace, NODES: event_handlers.node, PODS: event_handlers.pod}
        self.pods = self._informers.select(PODS, fields=UNFINISHED, trim=trim_pod)
        self._informers.select(NODES, trim=trim_node).add_handler(handlers[NODES])
        self._informers.select(NAMESPACES, metadata=True).add_handler(handlers[NAMESPACES])
        self.pods.add_handler(handlers[PODS])
        for resource in INFORMED_RESOURCES:
            informer: Informer = self._informers.select(resource, trim=None if resource in UNTRIMMED else trim_set)
            informer.add_index("namespace", by_namespace)
            informer.add_handler(event_handlers.other(resource))
            informer.add_handler(lambda old, new, r=resource: handle.changed(r))  # type: ignore[misc]
            handle.informers[resource] = informer

    def _gate(self, pod: Pod) -> str:
        return self.profiles[pod.scheduler].gate(pod)

    def _plugins_of(self, pod: Pod) -> Mapping[str, SchedulingPlugin]:
        return self.profiles[pod.scheduler].plugins

    # running

    async def run(self) -> None:
        """Schedule until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._informers.run(), name="scheduler informers")
            group.create_task(self._recorder.run(), name="scheduler events")
            await self._informers.synced()
            await self._schedule()

    async def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + TIME_SLICE
        while True:
            self.queue.flush(time.now())
            if self._binding >= self._settings.bindings:
                self._slot_free.clear()
                await self._slot_free.wait()
                until = loop.time() + TIME_SLICE
            queued = self.queue.pop()
            if queued is None:
                await self._wait()
                until = loop.time() + TIME_SLICE
                continue
            self._attempt_safely(queued)
            if loop.time() > until:
                await asyncio.sleep(0)
                until = loop.time() + TIME_SLICE

    async def _wait(self) -> None:
        """Wait until woken, or until a pod's back-off ends."""
        due = self.queue.next_due()
        seconds = None if due is None else max(due - time.now(), 0.001)
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    def _attempt_safely(self, queued: QueuedPod) -> None:
        """One attempt. If a plugin raises, only this pod's attempt fails."""
        try:
            self.attempt(queued)
        except Exception as error:
            log.exception("Scheduling failed unexpectedly", extra=logs.once(queued.pod.key, pod=queued.pod.key))
            self.cluster.remove(queued.pod.key)
            self._handle_failure(queued, set(), f"{type(error).__name__}: {error}", "SchedulerError", None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._group is not None
        self._group.create_task(self._supervised(work))

    async def _supervised(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            log.exception("A background task failed unexpectedly")

    def _activate(self, key: str, if_gated: bool) -> None:
        self.queue.activate(key, if_gated)
        self._wake.set()

    def pending(self) -> Iterable[str]:
        """The lines of the metric scheduler_pending_pods: number of pods per queue."""
        family = metrics.Family("scheduler_pending_pods", "Pods that are not placed yet, by what they wait for.", ("queue",), gauge=True)
        family.values.update({(queue,): number for queue, number in self.queue.lengths().items()})
        return family.lines()

    # one pod

    def attempt(self, queued: QueuedPod) -> None:
        """Select a node and start the binding, or record why no node fits."""
        pod = queued.pod
        profile = self.profiles[pod.scheduler]
        cycle = Cycle(pod, self.cluster)
        try:
            node = profile.search.place(cycle)
        except FitError as fit_error:
            profile.run_post_filters(cycle, fit_error)
            self._handle_fit_error(queued, cycle, fit_error)
            return
        status = self._assume_and_reserve(profile, cycle, node)
        if status is not None and status.code is not Code.WAIT:
            self._handle_binding_failure(queued, profile, cycle, node, status)
            return
        self._binding += 1
        self._spawn(self._bind(queued, profile, cycle, node, status))

    def _assume_and_reserve(self, profile: Profile, cycle: Cycle, node: NodeInfo) -> Status | None:
        """Assume the pod on the node, then run reserve and permit plugins. Returns a failure, a WAIT, or None."""
        self.cluster.place(cycle.pod, node.name)
        for plugin in profile.reservers:
            status = plugin.reserve(cycle, node)
            if status is not None:
                return status
        wait: Status | None = None
        for plugin in profile.permitters:
            status = plugin.permit(cycle, node)
            if status is not None and status.code is Code.WAIT:
                wait = status if wait is None or status.seconds > wait.seconds else wait
            elif status is not None:
                return status
        return wait

    async def _bind(self, queued: QueuedPod, profile: Profile, cycle: Cycle, node: NodeInfo, wait: Status | None) -> None:
        pod = cycle.pod
        try:
            status = await self._wait_on_permit(pod, wait) if wait is not None else None
            if status is None:
                status = await profile.bind(cycle, node)
        except Exception as error:
            if not isinstance(error, OSError):
                log.exception("Binding failed unexpectedly", extra=logs.once(pod.key, pod=pod.key))
            status = Status(Code.ERROR, (f"{type(error).__name__}: {error}",))
        finally:
            self._binding -= 1
            self._slot_free.set()
        if status is not None:
            self._handle_binding_failure(queued, profile, cycle, node, status)
            self._wake.set()
            return
        self.queue.remove(pod.key)
        self.cluster.drop_nomination(pod)
        message = f"Successfully assigned {pod.key} to {node.name}"
        self._recorder.event(pod.obj, "Normal", "Scheduled", message, action="Binding")

    async def _wait_on_permit(self, pod: Pod, wait: Status) -> Status | None:
        decision: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._permits[pod.key] = decision
        try:
            async with asyncio.timeout(wait.seconds):
                refusal = await decision
        except TimeoutError:
            refusal = "timed out waiting on permit"
        finally:
            del self._permits[pod.key]
        return Status(Code.UNSCHEDULABLE, (refusal,), wait.plugin) if refusal else None

    def allow(self, key: str) -> None:
        """Let a pod (by key) that waits in permit be bound."""
        self.reject(key, "")

    def reject(self, key: str, reason: str) -> None:
        decision = self._permits.get(key)
        if decision is not None and not decision.done():
            decision.set_result(reason)

    # failing

    def _handle_binding_failure(self, queued: QueuedPod, profile: Profile, cycle: Cycle, node: NodeInfo, status: Status) -> None:
        """After a failure past the selection of the node: remove the assumed pod from the node and requeue it."""
        pod = cycle.pod
        for plugin in profile.reservers:
            plugin.unreserve(cycle, node)
        current = self.pods.get(pod.key)
        if current is None or current["metadata"].get("uid") != pod.uid or current["spec"].get("nodeName"):
            if current is None or not current["spec"].get("nodeName"):
                self.cluster.remove(pod.key)
            self.queue.remove(pod.key)
            return
        self.cluster.remove(pod.key)
        error = status.code is Code.ERROR
        self._handle_failure(queued, {status.plugin} - {""}, status.message, "SchedulerError" if error else "Unschedulable", None)

    def _handle_fit_error(self, queued: QueuedPod, cycle: Cycle, fit_error: FitError) -> None:
        plugins = fit_error.plugins or {"NodeUnschedulable"}
        self._handle_failure(queued, plugins, fit_error.message, "Unschedulable", cycle.nominated)

    def _handle_failure(self, queued: QueuedPod, plugins: set[str], message: str, reason: str, nominated: str | None) -> None:
        pod = queued.pod
        self.queue.add_unschedulable(queued, plugins, time.now(), error=reason == "SchedulerError")
        if nominated is not None and nominated != pod.nominated:
            self.cluster.nominate(pod, nominated)
        self._recorder.event(pod.obj, "Warning", "FailedScheduling", message, action="Scheduling")
        patch = status_patch(pod, reason, message, nominated)
        if patch:
            self._spawn(self._write_status(pod, patch))

    async def _write_status(self, pod: Pod, patch: Object) -> None:
        try:
            await self._client.patch(PODS, pod.name, patch, namespace=pod.namespace, kind="strategic", subresource="status")
        except errors.NotFound:
            return
        except (errors.StatusError, OSError) as error:
            log.warning("The status of a pod could not be written", extra=logs.once(pod.key, pod=pod.key, error=error))


def status_patch(pod: Pod, reason: str, message: str, nominated: str | None) -> Object:
    """The strategic merge patch of the pod's PodScheduled condition and nominatedNodeName; {} if nothing changes."""
    status = pod.obj.get("status") or {}
    old = conditions.find(status.get("conditions") or (), "PodScheduled") or {}
    changes: Object = {}
    if (old.get("status"), old.get("reason"), old.get("message")) != ("False", reason, message):
        condition: Object = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
        condition |= {"lastProbeTime": None, "lastTransitionTime": conditions.since(old, "False") or time.stamp()}
        generation = pod.obj["metadata"].get("generation")
        changes["conditions"] = [{**condition, "observedGeneration": generation} if generation else condition]
    if nominated is not None and nominated != pod.nominated:
        changes["nominatedNodeName"] = nominated or None
    return {"metadata": {"uid": pod.uid}, "status": changes} if changes else {}


async def run(client: Client, settings: Settings, plugins: Plugins = default_plugins, figures: Figures | None = None) -> None:
    """Schedule until cancelled; with leader election, only while leading. `figures` receives the metrics."""

    async def lead() -> None:
        scheduler = Scheduler(client, settings, plugins)
        if figures is not None:
            figures[1:] = [scheduler.pending]
        await scheduler.run()

    if settings.leader_elect:
        await LeaderElection(client, "kube-scheduler", settings.identity).run(lead)
    else:
        await lead()
