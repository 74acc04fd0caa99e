"""A node: its pods' workers, what happens in its runtime, its entry in the API. Wiring; each part is a room of its own."""

import asyncio
import logging
from collections.abc import Iterable

from kapi import logs
from kapi.client.client import Client
from kapi.objects import time
from kapi.objects.meta import Object, deleting
from kubelet import pods, resizing, runtime, status
from kubelet.admit import admit
from kubelet.node import Node
from kubelet.observed_state import Rejection
from kubelet.operations import Means
from kubelet.pleg import Pleg
from kubelet.pod_setup import Machine
from kubelet.runtime import RuntimeFailure
from kubelet.worker import Worker

log = logging.getLogger(__name__)
PATIENCE = 30.0
"""Seconds the runtime may be away before the node is not ready."""


class Kubelet:
    """One node. Its owner feeds it the node's pods (`put`, `drop`) and calls `run`."""

    def __init__(self, client: Client, means: Means, node: Node, machine: Machine) -> None:
        self.means, self.node = means, node
        self.workers: dict[str, Worker] = {}
        self.known: dict[str, str] = {}
        self.mirrors: dict[str, Object] = {}
        """The API's pictures of static pods, by the uid of these."""
        self.pleg = Pleg(means.runtime, self.known, self.workers, node.status.look.set)
        self._down = 0.0
        self._asking: set[str] = set()
        """Pods that may ask for other resources than they have, by uid."""
        self._client, self._machine = client, machine
        self._group: asyncio.TaskGroup | None = None
        self._waiting: list[Worker] = []
        self._successors: dict[str, Object] = {}

    def facts(self) -> status.Facts:
        return status.Facts(self._machine.host_ips, self.node.status.version.name)

    def put(self, pod: Object) -> None:
        """A pod of this node, new or changed; a mirror pod goes to its static one."""
        uid = pods.uid(pod)
        worker = self.workers.get(uid)
        if uid != pod["metadata"]["uid"]:
            self.mirrors[uid] = pod
            if worker is not None:
                worker.mirror = pod
                worker.wake()
        elif worker is None:
            self._begin(pod)
        elif worker.gone:
            self._successors[uid] = pod
        else:
            worker.update(pod)
            self._asking.add(uid)
        self._weigh()

    def _others(self, worker: Worker) -> list[Object]:
        """The node's other pods that hold resources."""
        return [w.allotted for w in self.workers.values() if w is not worker and not w.gone and not pods.terminal(w.pod)]

    def _weigh(self) -> None:
        """Answer the pods that ask for other resources than they have."""
        self._asking = {uid for uid in self._asking if (worker := self.workers.get(uid)) and worker.asks}
        asking = [self.workers[uid] for uid in self._asking]
        for worker in sorted(asking, key=lambda w: resizing.claim(w.pod, w.allotment)):
            worker.answer(resizing.refusal(worker.pod, self._others(worker), self.node.place()))
        if asking:
            self._balance()

    def _balance(self) -> None:
        """Weigh the pods' classes anew; a cgroup that cannot be written costs no pod its life."""
        try:
            self.means.furnisher.balance(w.allotted for w in self.workers.values() if not w.gone and not pods.terminal(w.pod))
        except OSError as error:
            log.warning("The cgroups of the QoS classes could not be weighed", extra=logs.once("", error=error))

    def drop(self, pod: Object) -> None:
        """A pod that is no more in the API."""
        uid = pods.uid(pod)
        worker = self.workers.get(uid)
        if uid != pod["metadata"]["uid"]:
            self.mirrors.pop(uid, None)
            if worker is not None:
                worker.mirror = None
        elif worker is not None:
            worker.vanish()
        self._weigh()

    def _begin(self, pod: Object, *, gone: bool = False) -> None:
        worker = Worker(pod, self.means, self._client, self.facts, self.known)
        self.workers[worker.uid] = worker
        worker.mirror = self.mirrors.get(worker.uid)
        if gone:
            worker.gone = True
        elif not deleting(pod) and not pods.terminal(pod) and not (pod.get("status") or {}).get("containerStatuses"):
            if refused := admit(pod, self._others(worker), self.node.place()):
                worker.complain(*refused)
                worker.end(Rejection(refused.reason, f"Pod was rejected: {refused.message}"))
            else:
                self.means.furnisher.remember(worker.uid, worker.allotment)
        self._balance()
        if self._group is None:
            self._waiting.append(worker)
        else:
            self._group.create_task(self._live(worker))

    async def _live(self, worker: Worker) -> None:
        """A worker's whole life; a fault of its own costs a second, not the node."""
        while not worker.finished:
            try:
                await worker.run()
            except Exception:
                log.exception("The worker of a pod broke, beginning anew", extra=logs.once(worker.uid, pod=pods.full_name(worker.pod)))
                await asyncio.sleep(1)
        del self.workers[worker.uid]
        for id in [id for id, uid in self.known.items() if uid == worker.uid]:
            del self.known[id]
        self._balance()
        self._weigh()
        successor = self._successors.pop(worker.uid, None)
        if successor is not None:
            self.put(successor)

    async def run(self) -> None:
        """The workers and the runtime's events, for ever."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self.pleg.run())
                for worker in self._waiting:
                    group.create_task(self._live(worker))
                self._waiting.clear()
        finally:
            await self.means.runtime.close()

    async def adopt(self, pods_of_api: Iterable[Object]) -> None:
        """At start: what runs here without a pod in the API is stopped and cleared away."""
        present = {pods.uid(p) for p in pods_of_api} | set(self.workers)
        found: dict[str, Object] = {}
        for sandbox in await self.means.runtime.sandboxes():
            if sandbox.uid and sandbox.labels.get(runtime.POD_UID) == sandbox.uid and sandbox.uid not in present:
                found[sandbox.uid] = _orphan(sandbox.uid, sandbox.namespace, sandbox.name)
        for container in await self.means.runtime.containers():
            uid = container.uid
            if uid and uid not in present:
                labels = container.labels
                orphan = found.setdefault(uid, _orphan(uid, labels.get(runtime.POD_NAMESPACE, ""), labels.get(runtime.POD_NAME, "")))
                orphan["spec"]["containers"].append({"name": container.name})
                grace = container.annotations.get(runtime.POD_GRACE, "")
                if grace.isdigit():
                    orphan["spec"]["terminationGracePeriodSeconds"] = int(grace)
        for uid, pod in found.items():
            log.info("A pod is no more in the API, clearing it away", extra=logs.fields(pod=pods.full_name(pod)))
            if uid not in self.workers:
                self._begin(pod, gone=True)
        self.means.furnisher.sweep(self.workers)

    async def check(self) -> None:
        """Look after the runtime's health and the images; the node's status tells."""
        state = self.node.status
        try:
            conditions = await self.means.runtime.conditions()
            images = await self.means.runtime.images()
        except RuntimeFailure as error:
            self._down = self._down or time.now()
            if time.now() - self._down >= PATIENCE:
                state.set("Ready", f"container runtime is down: {error}")
            return
        self._down = 0.0
        trouble = [message for name, (well, message) in conditions.items() if not well and name in ("RuntimeReady", "NetworkReady")]
        state.set("Ready", None if not trouble else f"container runtime network not ready: {'; '.join(trouble)}")
        if images != state.images:
            state.images = images
            state.changed.set()

    async def start(self) -> None:
        """Wait for the runtime."""
        while True:
            try:
                self.node.status.version = await self.means.runtime.version()
                await self.check()
                return
            except RuntimeFailure as error:
                log.warning("The container runtime is not there yet", extra=logs.once("", error=error))
                await asyncio.sleep(0.2)


def _orphan(uid: str, namespace: str, name: str) -> Object:
    meta = {"name": name, "namespace": namespace, "uid": uid}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": meta, "spec": {"containers": []}, "status": {"startTime": time.stamp()}}
