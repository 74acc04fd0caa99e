"""Informer event handlers: pods and nodes go into the cluster snapshot and the queue, other changes become events for queueing hints."""

from collections.abc import Callable
from typing import Any

from kapi.objects import quantity, time
from kapi.objects.meta import Object
from kapi.objects.resource import (
    CSI_NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    STORAGE_CLASSES,
    Resource,
)
from kapi.scheduler.framework import Event
from kapi.scheduler.pods import Pod
from kapi.scheduler.queue import Queue
from kapi.scheduler.snapshot import Cluster

_EVENT_RESOURCES = {PERSISTENT_VOLUMES: "pv", PERSISTENT_VOLUME_CLAIMS: "pvc", STORAGE_CLASSES: "storageclass", CSI_NODES: "csinode"}
UNFINISHED = "status.phase!=Succeeded,status.phase!=Failed"
_CONTAINER_FIELDS = ("name", "image", "resources", "ports", "restartPolicy")
_META_FIELDS = (
    "name", "namespace", "uid", "resourceVersion", "labels", "ownerReferences", "deletionTimestamp", "generation", "creationTimestamp",
)  # fmt: skip
_STATUS_FIELDS = ("phase", "conditions", "nominatedNodeName", "startTime", "resourceClaimStatuses")
_DROPPED_SPEC_FIELDS = (
    "containers", "initContainers", "ephemeralContainers", "volumes", "securityContext", "serviceAccount", "serviceAccountName",
)  # fmt: skip


def _effective_requests(container: Object, status: Object) -> Object:
    """The container with its effective requests during a resize: the largest of desired, allocated and actual."""
    requests = (container.get("resources") or {}).get("requests") or {}
    effective = dict(requests)
    for other in (status.get("allocatedResources") or {}, (status.get("resources") or {}).get("requests") or {}):
        for name, amount in other.items():
            if name in effective and amount != effective[name] and quantity.compare(amount, effective[name]) > 0:
                effective[name] = amount
    return container if effective == requests else {**container, "resources": {**container["resources"], "requests": effective}}


def _containers(obj: Object, kind: str, statuses: str) -> list[Object]:
    by_name = {s.get("name"): s for s in (obj.get("status") or {}).get(statuses) or ()}
    kept = [{k: c[k] for k in _CONTAINER_FIELDS if k in c} for c in obj["spec"][kind]]
    return [_effective_requests(c, by_name[c["name"]]) if c.get("name") in by_name else c for c in kept]


def trim_pod(obj: Object) -> Object:
    """Drop the fields that scheduling does not read; that is most of a pod's memory."""
    spec = {k: v for k, v in obj["spec"].items() if k not in _DROPPED_SPEC_FIELDS}
    for kind, statuses in (("containers", "containerStatuses"), ("initContainers", "initContainerStatuses")):
        if kind in obj["spec"]:
            spec[kind] = _containers(obj, kind, statuses)
    volumes = [v for v in obj["spec"].get("volumes") or () if "persistentVolumeClaim" in v or "ephemeral" in v]
    if volumes:
        spec["volumes"] = volumes
    meta, status = obj["metadata"], obj.get("status") or {}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {k: meta[k] for k in _META_FIELDS if k in meta},
        "spec": spec,
        "status": {k: status[k] for k in _STATUS_FIELDS if k in status},
    }


def trim_node(obj: Object) -> Object:
    meta, status = obj["metadata"], obj.get("status") or {}
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {k: meta[k] for k in _META_FIELDS if k in meta},
        "spec": obj.get("spec") or {},
        "status": {k: status[k] for k in ("allocatable", "capacity", "images") if k in status},
    }


def trim_set(obj: Object) -> Object:
    """Trim Services, controllers and PodDisruptionBudgets to their selectors (and a budget's status)."""
    meta = obj["metadata"]
    kept = {"metadata": {k: meta[k] for k in _META_FIELDS if k in meta}, "spec": {"selector": (obj.get("spec") or {}).get("selector")}}
    return {**kept, "status": obj["status"]} if obj.get("kind") == "PodDisruptionBudget" and "status" in obj else kept


def pod_events(old: Pod, new: Pod) -> list[Event]:
    """The events that the change from `old` to `new` means for scheduling this or other pods."""
    action = []
    if old.identity is not new.identity:
        action.append(Event("pod", "label"))
    if old.spec is not new.spec:
        if old.spec.tolerations != new.spec.tolerations:
            action.append(Event("pod", "tolerations"))
        if any(amount < old.spec.requests.get(name, 0) for name, amount in new.spec.requests.items()):
            action.append(Event("pod", "scale-down"))
        action.append(Event("pod", "update"))
    if old.obj["spec"].get("schedulingGates") != new.obj["spec"].get("schedulingGates"):
        action.append(Event("pod", "gates"))
    return action


class EventHandlers:
    """`wake` is called when the queue may have a pod to attempt. `is_responsible(name)`: whether this process serves a schedulerName."""

    def __init__(self, cluster: Cluster, queue: Queue, is_responsible: Callable[[str], bool], wake: Callable[[], None]) -> None:
        self._cluster, self._queue, self._is_responsible, self._wake = cluster, queue, is_responsible, wake

    def pod(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._delete(old)
        elif new["spec"].get("nodeName"):
            self._add_placed(Pod(new))
        elif self._is_responsible(new["spec"].get("schedulerName") or "default-scheduler"):
            self._add_pending(Pod(new))

    def _add_pending(self, pod: Pod) -> None:
        known = self._queue.get(pod.key)
        if pod.terminating:
            self._queue.remove(pod.key)
            self._cluster.drop_nomination(pod)
            return
        placed = self._cluster.pods.get(pod.key)
        if placed is not None and placed[0].uid != pod.uid:
            self._cluster.remove(pod.key)
        elif placed is not None and known is None:
            return
        if known is not None:
            if known.pod.nominated != pod.nominated:
                self._cluster.nominate(pod, pod.nominated)
            self._queue.update(pod, pod_events(known.pod, pod), time.now())
        else:
            if pod.nominated:
                self._cluster.nominate(pod, pod.nominated)
            self._queue.add(pod, time.now())
        self._wake()

    def _add_placed(self, pod: Pod) -> None:
        known = self._cluster.pods.get(pod.key)
        self._queue.remove(pod.key)
        if pod.nominated:
            self._cluster.drop_nomination(pod)
        self._cluster.place(pod, pod.node)
        if known is None:
            self._notify_queue(Event("pod", "add"), pod)
        elif known[0].spec is not pod.spec or known[0].identity is not pod.identity:
            for event in pod_events(known[0], pod):
                self._notify_queue(event, pod)

    def _delete(self, obj: Object) -> None:
        pod = Pod(obj)
        self._queue.remove(pod.key)
        if pod.nominated:
            self._cluster.drop_nomination(pod)
        if self._cluster.remove(pod.key) is not None or pod.nominated:
            self._notify_queue(Event("pod", "delete"), pod)

    def node(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._cluster.remove_node(old["metadata"]["name"])
            self._notify_queue(Event("node", "delete"), old)
            return
        for action in self._cluster.set_node(new):
            self._notify_queue(Event("node", action), new)

    def namespace(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        name = obj["metadata"]["name"]
        if new is None:
            self._cluster.namespaces.pop(name, None)
        else:
            self._cluster.namespaces[name] = new["metadata"].get("labels") or {}

    def other(self, resource: Resource) -> Callable[[Object | None, Object | None], None]:
        """A handler for resources that only queueing hints depend on."""
        event_resource = _EVENT_RESOURCES.get(resource)

        def handle(old: Object | None, new: Object | None) -> None:
            if event_resource is not None:
                action = "add" if old is None else "delete" if new is None else "update"
                self._notify_queue(Event(event_resource, action), new or old)

        return handle

    def _notify_queue(self, event: Event, obj: Any) -> None:
        self._queue.move_on_event(event, obj, time.now())
        self._wake()
