"""Accessors and predicates on a pod's spec that all parts of the kubelet use. Pure."""

import hashlib
from collections.abc import Iterator

import orjson

from kapi.objects import pod_resources, references
from kapi.objects.meta import Object
from kapi.objects.pod_resources import is_sidecar

CONFIG_SOURCE = "kubernetes.io/config.source"
CONFIG_HASH = "kubernetes.io/config.hash"
_CRITICAL = 2_000_000_000


def uid(pod: Object) -> str:
    """The uid by which the runtime knows the pod. For a mirror pod: the hash of its manifest, which is the static pod's uid."""
    meta = pod["metadata"]
    return str((meta.get("annotations") or {}).get(references.MIRROR) or meta["uid"])


def full_name(pod: Object) -> str:
    """'web_default(1234)': a pod in messages."""
    meta = pod["metadata"]
    return f"{meta['name']}_{meta['namespace']}({uid(pod)})"


def is_static(pod: Object) -> bool:
    source = (pod["metadata"].get("annotations") or {}).get(CONFIG_SOURCE)
    return source is not None and source != "api"


def critical(pod: Object) -> bool:
    """Whether the pod is critical: static, mirror, or of system-critical priority."""
    return is_static(pod) or references.is_mirror(pod) or (pod["spec"].get("priority") or 0) >= _CRITICAL


def inits(pod: Object) -> list[Object]:
    return pod["spec"].get("initContainers") or []


def regulars(pod: Object) -> list[Object]:
    return pod["spec"].get("containers") or []


def ephemerals(pod: Object) -> list[Object]:
    return pod["spec"].get("ephemeralContainers") or []


def sidecars(pod: Object) -> list[Object]:
    """Restartable init containers."""
    return [c for c in inits(pod) if is_sidecar(c)]


def all_containers(pod: Object) -> Iterator[tuple[str, Object]]:
    """(field, container), e.g. ("containers", {"name": "web", ...}); init containers first."""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in pod["spec"].get(field) or ():
            yield field, container


def find(pod: Object, name: str) -> tuple[str, Object] | None:
    return next(((field, c) for field, c in all_containers(pod) if c["name"] == name), None)


def field_path(pod: Object, name: str) -> str:
    """'spec.containers{web}': the fieldPath of an event about a container."""
    found = find(pod, name)
    return f"{found[0].join(('spec.', ''))}{{{name}}}" if found else ""


def host_network(pod: Object) -> bool:
    return bool(pod["spec"].get("hostNetwork"))


def grace(pod: Object) -> float:
    """The termination grace period in seconds."""
    asked = pod["metadata"].get("deletionGracePeriodSeconds")
    if asked is None:
        asked = pod["spec"].get("terminationGracePeriodSeconds")
    return 30.0 if asked is None else float(asked)


def phase(pod: Object) -> str:
    return (pod.get("status") or {}).get("phase") or "Pending"


def terminal(pod: Object) -> bool:
    return phase(pod) in ("Succeeded", "Failed")


def container_hash(container: Object) -> str:
    """A hash of the fields whose change requires a running container to be replaced: name and image."""
    text = orjson.dumps([container["name"], container.get("image")])
    return hashlib.sha256(text).hexdigest()[:8]


def resources(container: Object, what: str, name: str) -> int:
    """resources(container, "limits", "memory") in bytes, CPU in milli-CPUs; 0 if not set."""
    return pod_resources.amounts((container.get("resources") or {}).get(what)).get(name, 0)


def requests(pod: Object) -> pod_resources.Resources:
    """The effective requests of the pod: milli-CPUs, bytes or counts."""
    return pod_resources.effective(pod["spec"], "requests")


def qos(pod: Object) -> str:
    return (pod.get("status") or {}).get("qosClass") or pod_resources.qos_class(pod["spec"])
