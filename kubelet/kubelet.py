"""The sync loop of one node: pod workers, runtime events (kubelet.pleg) and the Node object (kubelet.node). Wiring only."""

import asyncio
import logging
from collections.abc import Iterable

from kapi import logs
from kapi.client.client import Client
from kapi.objects import time
from kapi.objects.meta import Object, deleting
from kubelet import pods, resizing, runtime, status
from kubelet.admit import NODE_AFFINITY, admit
from kubelet.node import Node
from kubelet.observed_state import Failure, Rejection
from kubelet.operations import Dependencies
from kubelet.pleg import Pleg
from kubelet.pod_setup import NodeInfo
from kubelet.runtime import RuntimeFailure
from kubelet.worker import Worker

log = logging.getLogger(__name__)
RUNTIME_GRACE = 30.0
"""Seconds the runtime may be unreachable before the node is NotReady."""


class Kubelet:
    """One node. The caller passes the node's pods to `put` and `drop`, and runs `run`."""

    def __init__(self, client: Client, dependencies: Dependencies, node: Node, machine: NodeInfo) -> None:
        self.dependencies, self.node = dependencies, node
        self.workers: dict[str, Worker] = {}
        self.known: dict[str, str] = {}
        self.mirrors: dict[str, Object] = {}
        """Mirror pods by the uid of their static pod."""
        self.pleg = Pleg(dependencies.runtime, self.known, self.workers, node.status.check_now.set)
        self._down = 0.0
        self._resize_candidates: set[str] = set()
        """Uids of pods whose spec may differ from their allocated resources."""
        self._client, self._node_info = client, machine
        self._group: asyncio.TaskGroup | None = None
        self._waiting: list[Worker] = []
        self._successors: dict[str, Object] = {}
        self._doubtful: dict[str, Object] = {}
        """Pods that the node's labels as last seen do not fit, while the API is asked for them."""

    def facts(self) -> status.Facts:
        return status.Facts(self._node_info.host_ips, self.node.status.version.name)

    def put(self, pod: Object) -> None:
        """Add or update a pod of this node. A mirror pod is passed to the worker of its static pod."""
        uid = pods.uid(pod)
        worker = self.workers.get(uid)
        if uid != pod["metadata"]["uid"]:
            self.mirrors[uid] = pod
            if worker is not None:
                worker.mirror = pod
                worker.wake()
        elif uid in self._doubtful:
            self._doubtful[uid] = pod
        elif worker is None:
            self._admit(pod)
        elif worker.gone:
            self._successors[uid] = pod
        else:
            worker.update(pod)
            self._resize_candidates.add(uid)
        self._decide_resizes()

    def _others(self, worker: Worker | None = None) -> list[Object]:
        """The other pods that hold resources of the node, with their allocated resources."""
        return [w.allocated_pod for w in self.workers.values() if w is not worker and not w.gone and not pods.terminal(w.pod)]

    def _decide_resizes(self) -> None:
        """Grant, defer or refuse pending resizes, in the order of `resizing.resize_order`."""
        self._resize_candidates = {uid for uid in self._resize_candidates if (worker := self.workers.get(uid)) and worker.wants_resize}
        asking = [self.workers[uid] for uid in self._resize_candidates]
        for worker in sorted(asking, key=lambda w: resizing.resize_order(w.pod, w.allocated)):
            worker.answer_resize(resizing.refusal(worker.pod, self._others(worker), self.node.attributes()))
        if asking:
            self._update_qos_cgroups()

    def _update_qos_cgroups(self) -> None:
        """Write the cgroups of the QoS classes. A failure is only logged: pods can run without these weights."""
        running = (w.allocated_pod for w in self.workers.values() if not w.gone and not pods.terminal(w.pod))
        try:
            self.dependencies.pod_setup.update_qos_cgroups(running)
        except OSError as error:
            log.warning("The cgroups of the QoS classes could not be updated", extra=logs.once("", error=error))

    def drop(self, pod: Object) -> None:
        """Remove a pod that was deleted from the API."""
        uid = pods.uid(pod)
        worker = self.workers.get(uid)
        if uid != pod["metadata"]["uid"]:
            self.mirrors.pop(uid, None)
            if worker is not None:
                worker.mirror = None
        elif worker is not None:
            worker.on_deleted()
        self._doubtful.pop(uid, None)
        self._decide_resizes()

    def _admit(self, pod: Object) -> None:
        """Start the worker of a new pod. Its scheduler may have seen labels of the node that have not come here yet."""
        refused = self._refusal(pod)
        if refused and refused.reason == NODE_AFFINITY and self._group is not None:
            self._doubtful[pods.uid(pod)] = pod
            self._group.create_task(self._admit_with_fresh_node(pods.uid(pod)))
        else:
            self._start_worker(pod, refused)

    async def _admit_with_fresh_node(self, uid: str) -> None:
        await self.node.refresh()
        if pod := self._doubtful.pop(uid, None):
            self._start_worker(pod, self._refusal(pod))

    def _refusal(self, pod: Object) -> Failure | None:
        """Why a new pod cannot run here; one that has run before is not asked again."""
        if not _is_new(pod):
            return None
        return admit(pod, self._others(), self.node.attributes())

    def _start_worker(self, pod: Object, refused: Failure | None = None, *, gone: bool = False) -> None:
        worker = Worker(pod, self.dependencies, self._client, self.facts, self.known)
        self.workers[worker.uid] = worker
        worker.mirror = self.mirrors.get(worker.uid)
        if gone:
            worker.gone = True
        elif refused:
            worker.warn(*refused)
            worker.end(Rejection(refused.reason, f"Pod was rejected: {refused.message}"))
        elif _is_new(pod):
            self.dependencies.pod_setup.save_allocation(worker.uid, worker.allocated)
        self._update_qos_cgroups()
        if self._group is None:
            self._waiting.append(worker)
        else:
            self._group.create_task(self._supervise(worker))

    async def _supervise(self, worker: Worker) -> None:
        """Run a worker to its end. An unexpected exception restarts that worker after a second; other pods are not affected."""
        while not worker.finished:
            try:
                await worker.run()
            except Exception:
                log.exception("The worker of a pod failed, restarting it", extra=logs.once(worker.uid, pod=pods.full_name(worker.pod)))
                await asyncio.sleep(1)
        del self.workers[worker.uid]
        for id in [id for id, uid in self.known.items() if uid == worker.uid]:
            del self.known[id]
        self._update_qos_cgroups()
        self._decide_resizes()
        successor = self._successors.pop(worker.uid, None)
        if successor is not None:
            self.put(successor)

    async def run(self) -> None:
        """Run the workers and consume runtime events until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self.pleg.run())
                for worker in self._waiting:
                    group.create_task(self._supervise(worker))
                self._waiting.clear()
        finally:
            await self.dependencies.runtime.close()

    async def terminate_orphans(self, pods_of_api: Iterable[Object]) -> None:
        """At startup: stop and remove sandboxes and containers whose pod is not in the API."""
        present = {pods.uid(p) for p in pods_of_api} | set(self.workers)
        found: dict[str, Object] = {}
        for sandbox in await self.dependencies.runtime.sandboxes():
            if sandbox.uid and sandbox.labels.get(runtime.POD_UID) == sandbox.uid and sandbox.uid not in present:
                found[sandbox.uid] = _orphan(sandbox.uid, sandbox.namespace, sandbox.name)
        for container in await self.dependencies.runtime.containers():
            uid = container.uid
            if uid and uid not in present:
                labels = container.labels
                orphan = found.setdefault(uid, _orphan(uid, labels.get(runtime.POD_NAMESPACE, ""), labels.get(runtime.POD_NAME, "")))
                orphan["spec"]["containers"].append({"name": container.name})
                grace = container.annotations.get(runtime.POD_GRACE, "")
                if grace.isdigit():
                    orphan["spec"]["terminationGracePeriodSeconds"] = int(grace)
        for uid, pod in found.items():
            log.info("Removing a pod that is not in the API", extra=logs.fields(pod=pods.full_name(pod)))
            if uid not in self.workers:
                self._start_worker(pod, gone=True)
        self.dependencies.pod_setup.remove_orphans(self.workers)

    async def check_runtime(self) -> None:
        """Update the node's status with the runtime's health and its images."""
        state = self.node.status
        try:
            conditions = await self.dependencies.runtime.conditions()
            images = await self.dependencies.runtime.images()
        except RuntimeFailure as error:
            self._down = self._down or time.now()
            if time.now() - self._down >= RUNTIME_GRACE:
                state.set("Ready", f"container runtime is down: {error}")
            return
        self._down = 0.0
        trouble = [message for name, (well, message) in conditions.items() if not well and name in ("RuntimeReady", "NetworkReady")]
        state.set("Ready", None if not trouble else f"container runtime network not ready: {'; '.join(trouble)}")
        if images != state.images:
            state.images = images
            state.changed.set()

    async def start(self) -> None:
        """Wait until the runtime answers."""
        while True:
            try:
                self.node.status.version = await self.dependencies.runtime.version()
                await self.check_runtime()
                return
            except RuntimeFailure as error:
                log.warning("The container runtime is not there yet", extra=logs.once("", error=error))
                await asyncio.sleep(0.2)


def _orphan(uid: str, namespace: str, name: str) -> Object:
    meta = {"name": name, "namespace": namespace, "uid": uid}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": meta, "spec": {"containers": []}, "status": {"startTime": time.stamp()}}


def _is_new(pod: Object) -> bool:
    """Whether the pod has yet to be admitted."""
    return not deleting(pod) and not pods.terminal(pod) and not (pod.get("status") or {}).get("containerStatuses")
