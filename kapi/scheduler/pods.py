"""Pods as the scheduler sees them: `Pod`, and the parts shared by the pods of a template, computed once.

`Spec` has what local plugins depend on (requests, selectors, tolerations, ports, images); `Identity` has what selectors of other pods
match (namespace and labels). Both are interned, so results can be cached per Spec and per Identity.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakValueDictionary

import orjson

from kapi.objects import pod_resources
from kapi.objects.meta import Object
from kapi.scheduler import matching

LEAST_CPU, LEAST_MEMORY = 100, 200 * 1024 * 1024
"""Requests assumed in scoring for containers without any (stock's DefaultMilliCPURequest, DefaultMemoryRequest)."""


def image_name(image: str) -> str:
    """An image name with a tag, as node.status.images has it."""
    return image if image.rfind(":") > image.rfind("/") else image + ":latest"


def claims(pod_name: str, spec: Object) -> list[tuple[str, bool]]:
    """(claim name, whether it is a generic ephemeral volume) for each volume that is a PersistentVolumeClaim."""
    found = []
    for volume in spec.get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            found.append((volume["persistentVolumeClaim"].get("claimName", ""), False))
        elif "ephemeral" in volume:
            found.append((f"{pod_name}-{volume.get('name')}", True))
    return found


_PLACING = ("nodeName", "nodeSelector", "affinity", "tolerations", "topologySpreadConstraints", "overhead", "resources", "resourceClaims")
_CONTAINER = ("image", "resources", "ports", "restartPolicy")


def _key(spec: Object) -> bytes:
    """The part of a pod spec that scheduling depends on, as bytes."""
    containers = [[[c.get(name) for name in _CONTAINER] for c in spec.get(kind) or ()] for kind in ("containers", "initContainers")]
    return orjson.dumps([[spec.get(name) for name in _PLACING], containers])


class Spec:
    """The part of a pod spec that scheduling depends on; pods of one template share it."""

    __slots__ = (
        "__weakref__",
        "_affinities",
        "best_effort",
        "constraints",
        "images",
        "key",
        "named",
        "named_conflict",
        "needs",
        "nonzero_cpu",
        "nonzero_memory",
        "ports",
        "preferred",
        "raw",
        "requests",
        "required",
        "tolerations",
    )  # fmt: skip

    def __init__(self, key: bytes, spec: Object) -> None:
        self.key, self.raw = key, spec
        self.requests = {name: amount for name, amount in pod_resources.effective(spec, "requests").items() if amount}
        self.needs = tuple(self.requests.items())
        padded = pod_resources.effective(spec, "requests", {"cpu": LEAST_CPU, "memory": LEAST_MEMORY})
        self.nonzero_cpu, self.nonzero_memory = padded.get("cpu", 0), padded.get("memory", 0)
        self.best_effort = not self.requests.get("cpu") and not self.requests.get("memory")
        self.ports = pod_resources.host_ports(spec)
        self.required = matching.required_nodes(spec)
        self.named, self.named_conflict = matching.named_nodes(spec)
        affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
        self.preferred: tuple[Object, ...] = tuple(affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ())
        self.tolerations: tuple[Object, ...] = tuple(spec.get("tolerations") or ())
        self.constraints: tuple[Object, ...] = tuple(spec.get("topologySpreadConstraints") or ())
        containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
        self.images = tuple(image_name(c.get("image") or "") for c in containers)
        self._affinities: dict[str, matching.Affinities] = {}

    def affinities(self, namespace: str) -> matching.Affinities:
        affinities = self._affinities.get(namespace)
        if affinities is None:
            affinities = self._affinities[namespace] = matching.affinities(self.raw, namespace)
        return affinities


class Identity:
    """A namespace and labels: what selectors match of a pod. Pods with equal ones share it."""

    __slots__ = ("__weakref__", "labels", "matched", "namespace")

    def __init__(self, namespace: str, labels: Mapping[str, str]) -> None:
        self.namespace, self.labels = namespace, labels
        self.matched: dict[Any, bool] = {}

    def matches(self, selector: Any) -> bool:
        """Whether the selector matches these labels; cached per selector."""
        matched = self.matched.get(selector)
        if matched is None:
            if len(self.matched) > 1000:
                self.matched.clear()
            matched = self.matched[selector] = selector.matches(self.labels)
        return matched


_specs: WeakValueDictionary[bytes, Spec] = WeakValueDictionary()
_identities: WeakValueDictionary[tuple[str, bytes], Identity] = WeakValueDictionary()


def spec_of(spec: Object) -> Spec:
    key = _key(spec)
    cached = _specs.get(key)
    if cached is None:
        cached = _specs[key] = Spec(key, spec)
    return cached


def identity_of(namespace: str, labels: Mapping[str, str]) -> Identity:
    key = (namespace, orjson.dumps(labels, option=orjson.OPT_SORT_KEYS))
    identity = _identities.get(key)
    if identity is None:
        identity = _identities[key] = Identity(namespace, labels)
    return identity


class Pod:
    """A pod of the scheduler. `obj` is the API object and is not changed."""

    __slots__ = ("affinities", "claims", "identity", "key", "name", "namespace", "node", "nominated", "obj", "priority", "spec",
                 "terminating", "uid")  # fmt: skip

    def __init__(self, obj: Object) -> None:
        meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
        self.obj = obj
        self.name: str = meta["name"]
        self.namespace: str = meta.get("namespace") or ""
        self.uid: str = meta.get("uid") or ""
        self.key = f"{self.namespace}/{self.name}"
        self.node: str = spec.get("nodeName") or ""
        self.nominated: str = status.get("nominatedNodeName") or ""
        self.priority: int = spec.get("priority") or 0
        self.terminating = "deletionTimestamp" in meta
        placing = {**spec, "nodeName": None} if self.node else spec
        self.spec = spec_of(placing)
        self.identity = identity_of(self.namespace, meta.get("labels") or {})
        self.affinities = self.spec.affinities(self.namespace)
        self.claims = claims(self.name, spec) if spec.get("volumes") else ()

    @property
    def scheduler(self) -> str:
        return str(self.obj["spec"].get("schedulerName") or "default-scheduler")

    @property
    def finished(self) -> bool:
        return (self.obj.get("status") or {}).get("phase") in ("Succeeded", "Failed")

    @property
    def owner(self) -> Object | None:
        """The controlling owner reference."""
        return next((r for r in self.obj["metadata"].get("ownerReferences") or () if r.get("controller")), None)

    def __repr__(self) -> str:
        return f"Pod({self.key})"


def by_importance(pods: Iterable[Pod]) -> list[Pod]:
    """Most important first: higher priority, then earlier start (stock's MoreImportantPod)."""
    return sorted(pods, key=lambda p: (-p.priority, start_time(p), p.key))


def start_time(pod: Pod) -> str:
    """The start time as text; a pod that has not started sorts after all others."""
    return str((pod.obj.get("status") or {}).get("startTime") or "9999")
