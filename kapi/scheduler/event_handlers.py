"""From the informers into the scheduler: pods and nodes into the cluster and the queue, every other change as an event for hints."""

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

_NAMED = {PERSISTENT_VOLUMES: "pv", PERSISTENT_VOLUME_CLAIMS: "pvc", STORAGE_CLASSES: "storageclass", CSI_NODES: "csinode"}
UNFINISHED = "status.phase!=Succeeded,status.phase!=Failed"
_CONTAINER = ("name", "image", "resources", "ports", "restartPolicy")
_META = ("name", "namespace", "uid", "resourceVersion", "labels", "ownerReferences", "deletionTimestamp", "generation", "creationTimestamp")
_STATUS = ("phase", "conditions", "nominatedNodeName", "startTime", "resourceClaimStatuses")
_LEFT_OUT = ("containers", "initContainers", "ephemeralContainers", "volumes", "securityContext", "serviceAccount", "serviceAccountName")


def _held(container: Object, said: Object) -> Object:
    """The container with what it holds on its node, while a resize is under way: the most of wanted, allotted and actual."""
    wanted = (container.get("resources") or {}).get("requests") or {}
    held = dict(wanted)
    for other in (said.get("allocatedResources") or {}, (said.get("resources") or {}).get("requests") or {}):
        for name, amount in other.items():
            if name in held and amount != held[name] and quantity.compare(amount, held[name]) > 0:
                held[name] = amount
    return container if held == wanted else {**container, "resources": {**container["resources"], "requests": held}}


def _containers(obj: Object, kind: str, statuses: str) -> list[Object]:
    said = {s.get("name"): s for s in (obj.get("status") or {}).get(statuses) or ()}
    kept = [{k: c[k] for k in _CONTAINER if k in c} for c in obj["spec"][kind]]
    return [_held(c, said[c["name"]]) if c.get("name") in said else c for c in kept]


def trim_pod(obj: Object) -> Object:
    """What scheduling never reads is dropped: most of a pod's bytes."""
    spec = {k: v for k, v in obj["spec"].items() if k not in _LEFT_OUT}
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
        "metadata": {k: meta[k] for k in _META if k in meta},
        "spec": spec,
        "status": {k: status[k] for k in _STATUS if k in status},
    }


def trim_node(obj: Object) -> Object:
    meta, status = obj["metadata"], obj.get("status") or {}
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {k: meta[k] for k in _META if k in meta},
        "spec": obj.get("spec") or {},
        "status": {k: status[k] for k in ("allocatable", "capacity", "images") if k in status},
    }


def trim_set(obj: Object) -> Object:
    """Services, controllers of pods and disruption budgets: which pods they mean is all that is read of them."""
    meta = obj["metadata"]
    kept = {"metadata": {k: meta[k] for k in _META if k in meta}, "spec": {"selector": (obj.get("spec") or {}).get("selector")}}
    return {**kept, "status": obj["status"]} if obj.get("kind") == "PodDisruptionBudget" and "status" in obj else kept


def pod_news(old: Pod, new: Pod) -> list[Event]:
    """In which ways a pod changed that scheduling (its own or another's) may care about."""
    news = []
    if old.identity is not new.identity:
        news.append(Event("pod", "label"))
    if old.spec is not new.spec:
        if old.spec.tolerations != new.spec.tolerations:
            news.append(Event("pod", "tolerations"))
        if any(amount < old.spec.requests.get(name, 0) for name, amount in new.spec.requests.items()):
            news.append(Event("pod", "scale-down"))
        news.append(Event("pod", "update"))
    if old.obj["spec"].get("schedulingGates") != new.obj["spec"].get("schedulingGates"):
        news.append(Event("pod", "gates"))
    return news


class Feed:
    """`wake` is called when the queue may have something to try; `mine` says whether a scheduler name is served here."""

    def __init__(self, cluster: Cluster, queue: Queue, mine: Callable[[str], bool], wake: Callable[[], None]) -> None:
        self._cluster, self._queue, self._mine, self._wake = cluster, queue, mine, wake

    def pod(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._gone(old)
        elif new["spec"].get("nodeName"):
            self._placed(Pod(new))
        elif self._mine(new["spec"].get("schedulerName") or "default-scheduler"):
            self._pending(Pod(new))

    def _pending(self, pod: Pod) -> None:
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
            self._queue.update(pod, pod_news(known.pod, pod), time.now())
        else:
            if pod.nominated:
                self._cluster.nominate(pod, pod.nominated)
            self._queue.add(pod, time.now())
        self._wake()

    def _placed(self, pod: Pod) -> None:
        known = self._cluster.pods.get(pod.key)
        self._queue.remove(pod.key)
        if pod.nominated:
            self._cluster.drop_nomination(pod)
        self._cluster.place(pod, pod.node)
        if known is None:
            self._happened(Event("pod", "add"), pod)
        elif known[0].spec is not pod.spec or known[0].identity is not pod.identity:
            for event in pod_news(known[0], pod):
                self._happened(event, pod)

    def _gone(self, obj: Object) -> None:
        pod = Pod(obj)
        self._queue.remove(pod.key)
        if pod.nominated:
            self._cluster.drop_nomination(pod)
        if self._cluster.remove(pod.key) is not None or pod.nominated:
            self._happened(Event("pod", "delete"), pod)

    def node(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._cluster.remove_node(old["metadata"]["name"])
            self._happened(Event("node", "delete"), old)
            return
        for news in self._cluster.set_node(new):
            self._happened(Event("node", news), new)

    def namespace(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        name = obj["metadata"]["name"]
        if new is None:
            self._cluster.namespaces.pop(name, None)
        else:
            self._cluster.namespaces[name] = new["metadata"].get("labels") or {}

    def other(self, resource: Resource) -> Callable[[Object | None, Object | None], None]:
        """A handler for what only hints care about."""
        word = _NAMED.get(resource)

        def handle(old: Object | None, new: Object | None) -> None:
            if word is not None:
                action = "add" if old is None else "delete" if new is None else "update"
                self._happened(Event(word, action), new or old)

        return handle

    def _happened(self, event: Event, obj: Any) -> None:
        self._queue.happened(event, obj, time.now())
        self._wake()
