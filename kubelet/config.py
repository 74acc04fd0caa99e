"""PodSandboxConfig and ContainerConfig of CRI from a pod. Pure: everything looked up is passed in.

Labels and annotations are those stock sets. After a restart the kubelet recognizes its containers by them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from kapi.objects.meta import Object
from kubelet import dns, environment, pods, resources, runtime, security
from kubelet.settings import Settings

_PROTOCOLS = {"TCP": 0, "UDP": 1, "SCTP": 2}
_PROPAGATION = {"None": 0, "HostToContainer": 1, "Bidirectional": 2}


@dataclass(frozen=True)
class Inputs:
    """What a ContainerConfig needs besides the pod."""

    image: str = ""
    """The image's id."""
    image_user: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[Object] = ()
    """CRI mounts."""
    attempt: int = 0
    target: str = ""
    """Id of the container whose process namespace an ephemeral container joins."""
    memory: int = 0
    """Bytes of this machine's memory."""
    unified: bool = False
    profiles: str = ""
    """Directory of localhost seccomp profiles."""


def log_directory(pod: Object, settings: Settings) -> str:
    meta = pod["metadata"]
    return f"{settings.pod_logs_dir}/{meta['namespace']}_{meta['name']}_{pods.uid(pod)}"


def _labels(pod: Object) -> dict[str, str]:
    meta = pod["metadata"]
    return {runtime.POD_NAME: meta["name"], runtime.POD_NAMESPACE: meta["namespace"], runtime.POD_UID: pods.uid(pod)}


def sandbox(pod: Object, attempt: int, settings: Settings, resolver: dns.Resolver) -> Object:
    """PodSandboxConfig. Raises ValueError."""
    if pod["spec"].get("hostUsers") is False:
        raise ValueError("user namespaces are not supported on this node")
    meta = pod["metadata"]
    linux: Object = {"cgroup_parent": resources.parent(pod, settings.cgroup_root), "security_context": security.sandbox(pod)}
    linux["sysctls"] = security.sysctls(pod)
    out: Object = {
        "metadata": {"name": meta["name"], "uid": pods.uid(pod), "namespace": meta["namespace"], "attempt": attempt},
        "log_directory": log_directory(pod, settings),
        "dns_config": {"servers": resolver.servers, "searches": resolver.searches, "options": resolver.options},
        "labels": {**(meta.get("labels") or {}), **_labels(pod)},
        "annotations": meta.get("annotations") or {},
        "linux": linux,
    }
    if not pods.host_network(pod):
        out["hostname"] = dns.kernel_name(pod, settings.cluster_domain)
        out["port_mappings"] = [_port(p) for c in pods.inits(pod) + pods.regulars(pod) for p in c.get("ports") or () if p.get("hostPort")]
    return out


def _port(port: Object) -> Object:
    return {
        "protocol": _PROTOCOLS[port.get("protocol", "TCP")],
        "container_port": port["containerPort"],
        "host_port": port["hostPort"],
        "host_ip": port.get("hostIP", ""),
    }


def container(pod: Object, spec: Object, inputs: Inputs) -> Object:
    """ContainerConfig."""
    name = spec["name"]
    command = [environment.expand(word, inputs.variables) for word in spec.get("command") or ()]
    args = [environment.expand(word, inputs.variables) for word in spec.get("args") or ()]
    return {
        "metadata": {"name": name, "attempt": inputs.attempt},
        "image": {"image": inputs.image, "user_specified_image": spec.get("image", "")},
        "command": command,
        "args": args,
        "working_dir": spec.get("workingDir") or "",
        "envs": [{"key": k, "value": v} for k, v in inputs.variables.items()],
        "mounts": inputs.mounts,
        "labels": {**_labels(pod), runtime.CONTAINER_NAME: name},
        "annotations": _annotations(pod, spec, inputs.attempt),
        "log_path": f"{name}/{inputs.attempt}.log",
        "stdin": bool(spec.get("stdin")),
        "stdin_once": bool(spec.get("stdinOnce")),
        "tty": bool(spec.get("tty")),
        "linux": {
            "resources": resources.container(pod, spec, inputs.memory, unified=inputs.unified),
            "security_context": security.container(pod, spec, inputs.image_user, inputs.target, inputs.profiles),
        },
    }


def message_path(spec: Object) -> str:
    return spec.get("terminationMessagePath") or "/dev/termination-log"


def _annotations(pod: Object, spec: Object, attempt: int) -> dict[str, str]:
    out = {
        runtime.HASH: pods.container_hash(spec),
        runtime.RESTART_COUNT: str(attempt),
        runtime.MESSAGE_PATH: message_path(spec),
        runtime.MESSAGE_POLICY: spec.get("terminationMessagePolicy") or "File",
        runtime.POD_GRACE: str(int(pods.grace(pod))),
    }
    if ports := spec.get("ports"):
        out["io.kubernetes.container.ports"] = orjson.dumps(ports).decode()
    return out


def mount(at: Object, host_path: str) -> Object:
    """A volumeMount as a CRI mount."""
    return {
        "container_path": at["mountPath"] if at["mountPath"].startswith("/") else "/" + at["mountPath"],
        "host_path": host_path,
        "readonly": bool(at.get("readOnly")),
        "propagation": _PROPAGATION[at.get("mountPropagation") or "None"],
    }


def resolve_subpath(base: str, relative: str) -> Path:
    """base/relative, which must not lead out of base. Raises environment.MissingReference."""
    root = Path(base).resolve()
    path = (root / relative).resolve()
    if path != root and root not in path.parents:
        raise environment.MissingReference(f"subpath '{relative}' is outside of the volume")
    return path
