"""Small questions about a pod's spec that every room of the kubelet asks. Pure."""

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
    """The uid the runtime knows the pod by: a mirror pod's is its manifest's hash."""
    meta = pod["metadata"]
    return str((meta.get("annotations") or {}).get(references.MIRROR) or meta["uid"])


def full_name(pod: Object) -> str:
    """'web_default(1234)': how messages name a pod."""
    meta = pod["metadata"]
    return f"{meta['name']}_{meta['namespace']}({uid(pod)})"


def is_static(pod: Object) -> bool:
    source = (pod["metadata"].get("annotations") or {}).get(CONFIG_SOURCE)
    return source is not None and source != "api"


def critical(pod: Object) -> bool:
    """Whether the node would rather do without any other pod."""
    return is_static(pod) or references.is_mirror(pod) or (pod["spec"].get("priority") or 0) >= _CRITICAL


def inits(pod: Object) -> list[Object]:
    return pod["spec"].get("initContainers") or []


def regulars(pod: Object) -> list[Object]:
    return pod["spec"].get("containers") or []


def ephemerals(pod: Object) -> list[Object]:
    return pod["spec"].get("ephemeralContainers") or []


def sidecars(pod: Object) -> list[Object]:
    """Init containers that keep running beside the others."""
    return [c for c in inits(pod) if is_sidecar(c)]


def all_containers(pod: Object) -> Iterator[tuple[str, Object]]:
    """(field, container), e.g. ("containers", {"name": "web", ...}); init containers first."""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in pod["spec"].get(field) or ():
            yield field, container


def find(pod: Object, name: str) -> tuple[str, Object] | None:
    return next(((field, c) for field, c in all_containers(pod) if c["name"] == name), None)


def field_path(pod: Object, name: str) -> str:
    """'spec.containers{web}': what an event about a container points at."""
    found = find(pod, name)
    return f"{found[0].join(('spec.', ''))}{{{name}}}" if found else ""


def host_network(pod: Object) -> bool:
    return bool(pod["spec"].get("hostNetwork"))


def grace(pod: Object) -> float:
    """Seconds a container has between SIGTERM and SIGKILL."""
    asked = pod["metadata"].get("deletionGracePeriodSeconds")
    if asked is None:
        asked = pod["spec"].get("terminationGracePeriodSeconds")
    return 30.0 if asked is None else float(asked)


def phase(pod: Object) -> str:
    return (pod.get("status") or {}).get("phase") or "Pending"


def terminal(pod: Object) -> bool:
    return phase(pod) in ("Succeeded", "Failed")


def container_hash(container: Object) -> str:
    """Changes when a running container must be replaced: its name or image differ."""
    text = orjson.dumps([container["name"], container.get("image")])
    return hashlib.sha256(text).hexdigest()[:8]


def resources(container: Object, what: str, name: str) -> int:
    """resources(container, "limits", "memory") in bytes, cpu in thousandths; 0 when not said."""
    return pod_resources.amounts((container.get("resources") or {}).get(what)).get(name, 0)


def requests(pod: Object) -> pod_resources.Resources:
    """What the pod asks for as a whole."""
    return pod_resources.effective(pod["spec"], "requests")


def qos(pod: Object) -> str:
    return (pod.get("status") or {}).get("qosClass") or pod_resources.qos_class(pod["spec"])
