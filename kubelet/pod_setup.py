"""Sets up what a pod's sandbox and containers need on this machine: directories, volumes, hosts file, environment, mounts, cgroup.

Two implementations: RealPodSetup for real containers, and PodSetup itself, which sets up nothing, for simulated ones.
"""

import contextlib
import logging
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from kapi import logs
from kapi.objects import pod_resources, quantity
from kapi.objects.errors import StatusError
from kapi.objects.meta import Object
from kubelet import cgroups, config, dns, environment, local_storage, pods, resources, runtime, security
from kubelet.config import Inputs
from kubelet.environment import EnvironmentContext, MissingReference
from kubelet.observed_state import Failure, NotStarted
from kubelet.runtime import Container, Image, Usage
from kubelet.settings import Settings
from kubelet.sources import Sources
from kubelet.volumes import payload
from kubelet.volumes.manager import VolumeError, Volumes
from kubelet.volumes.tokens import Tokens

log = logging.getLogger(__name__)
_ALLOCATION_FILE = "allotment.json"
MAX_MESSAGE, MAX_LOG_MESSAGE, MAX_LOG_LINES = 4096, 2048, 80


class PodSetup:
    """The interface, and its implementation for simulated pods, which need nothing."""

    async def prepare(self, pod: Object, ips: Sequence[str]) -> None:
        """Create the pod's directories, cgroup and volumes. Raises VolumeError, OSError."""

    def sandbox(self, pod: Object, attempt: int) -> Object:
        """PodSandboxConfig. Raises ValueError."""
        meta = pod["metadata"]
        names = {"name": meta["name"], "namespace": meta["namespace"], "uid": pods.uid(pod), "attempt": attempt}
        return {"metadata": names, "host_network": pods.host_network(pod)}

    async def container(self, pod: Object, spec: Object, image: Image, attempt: int, ips: Sequence[str], target: str) -> Object:
        """ContainerConfig. Raises NotStarted."""
        return config.container(pod, spec, Inputs(image.id, attempt=attempt))

    def resources(self, pod: Object, spec: Object) -> Object:
        """The LinuxContainerResources of a container."""
        return {}

    def update_pod_cgroup(self, pod: Object, *, grow: bool) -> None:
        """Set the pod's cgroup to its allocated resources; with `grow` limits are only raised. Raises OSError."""

    def memory_limit(self, pod: Object) -> int:
        """The limit of memory its cgroup has now, in bytes; 0: none. Raises OSError."""
        return resources.pod_limits(pod)["memory"]

    def memory_used(self, pod: Object, usages: Iterable[Usage]) -> int:
        """Bytes of memory the pod uses, of which `usages` tells what its containers do. Raises OSError."""
        return sum(one.usage for one in usages)

    def update_qos_cgroups(self, kept: Iterable[Object]) -> None:
        """Set the CPU weights of the QoS classes from the pods that hold resources. Raises OSError."""

    def save_allocation(self, uid: str, allocated: Mapping[str, Object]) -> None:
        """Store a pod's allocated resources, so that they survive a restart of the kubelet."""

    def load_allocation(self, uid: str) -> dict[str, Object]:
        """The stored allocated resources of a pod; {} if there are none."""
        return {}

    def exceeded_storage_limit(self, pod: Object, usages: Iterable[Usage]) -> str:
        """The message of the local storage limit that the pod exceeds, or ""."""
        return ""

    def with_termination_message(self, run: Container) -> Container:
        """An exited container with its termination message."""
        return run

    def tear_down(self, uid: str, pod: Object | None, *, logs: bool) -> None:
        """Remove everything set up for the pod; `logs`: its log directory too."""

    def remove_orphans(self, keep: Iterable[str]) -> None:
        """Remove what is left of pods not in `keep`. Called at startup."""


@dataclass
class NodeInfo:
    """What pods need to know of the node."""

    host_ips: tuple[str, ...] = ()
    memory: int = 0
    allocatable: Mapping[str, str] | None = None
    services: Iterable[Object] = ()
    """All Services, as a live view of the informer's cache."""


class RealPodSetup(PodSetup):
    """The PodSetup of real containers."""

    def __init__(self, settings: Settings, sources: Sources, tokens: Tokens, machine: NodeInfo) -> None:
        self._settings, self._sources, self._tokens, self._node_info = settings, sources, tokens, machine
        self._volumes = Volumes(settings)
        self._unified = cgroups.unified()
        self._prepared: set[str] = set()
        self._dns = settings.cluster_dns

    def _environment_context(self, pod: Object, ips: Sequence[str]) -> EnvironmentContext:
        namespace, linked = pod["metadata"]["namespace"], pod["spec"].get("enableServiceLinks", True)

        def shown(meta: Object) -> bool:
            return (linked and meta["namespace"] == namespace) or (meta["namespace"], meta["name"]) == ("default", "kubernetes")

        own = sorted((s for s in self._node_info.services if shown(s["metadata"])), key=lambda s: str(s["metadata"]["name"]))
        addresses = self._node_info.host_ips if pods.host_network(pod) else tuple(ips)
        return EnvironmentContext(own, addresses, self._node_info.host_ips, self._settings.node_name, self._node_info.allocatable or {})

    async def prepare(self, pod: Object, ips: Sequence[str]) -> None:
        uid = pods.uid(pod)
        self._settings.pod_dir(uid).mkdir(parents=True, exist_ok=True)
        cgroups.make(resources.parent(pod, self._settings.cgroup_root), resources.pod_limits(pod), grow=True)
        self._log_directory(pod)
        context = payload.Context(pod, self._sources.get, self._tokens.get, self._environment_context(pod, ips))
        await self._volumes.set_up(uid, context)
        self._prepared.add(uid)

    def sandbox(self, pod: Object, attempt: int) -> Object:
        host = dns.read(self._settings.resolv_conf)
        resolver = dns.resolver(pod, host, self._dns, self._settings.cluster_domain)
        return config.sandbox(pod, attempt, self._settings, resolver)

    async def container(self, pod: Object, spec: Object, image: Image, attempt: int, ips: Sequence[str], target: str) -> Object:
        if refused := security.refused(pod, spec, image.user):
            raise NotStarted(refused)
        try:
            if pods.uid(pod) not in self._prepared:
                await self.prepare(pod, ips)
            variables = await environment.variables(pod, spec, self._sources.get, self._environment_context(pod, ips))
            mounts = self._mounts(pod, spec, ips, variables)
        except (MissingReference, VolumeError, StatusError, OSError) as error:
            raise NotStarted(Failure("CreateContainerConfigError", str(error))) from None
        self._log_directory(pod, spec["name"])
        profiles = f"{self._settings.root_dir}/seccomp"
        inputs = Inputs(image.id, image.user, variables, mounts, attempt, target, self._node_info.memory, self._unified, profiles)
        return config.container(pod, spec, inputs)

    def _log_directory(self, pod: Object, name: str = "") -> None:
        Path(config.log_directory(pod, self._settings), name).mkdir(parents=True, exist_ok=True)

    def _mounts(self, pod: Object, spec: Object, ips: Sequence[str], variables: Mapping[str, str]) -> list[Object]:
        uid = pods.uid(pod)
        paths = self._volumes.paths(uid, pod)
        out = []
        for at in spec.get("volumeMounts") or ():
            if at["name"] not in paths:
                raise MissingReference(f'volume "{at["name"]}" is not set up')
            out.append(config.mount(at, self._at(paths[at["name"]], at, variables)))
        if not any(m["container_path"] == "/etc/hosts" for m in out):
            hosts = self._settings.pod_dir(uid) / "etc-hosts"
            hosts.write_text(dns.hosts(pod, ips, self._settings.cluster_domain))
            hosts.chmod(0o644)
            out.append({"container_path": "/etc/hosts", "host_path": str(hosts)})
        out.append({"container_path": config.message_path(spec), "host_path": self._message_file(uid, spec["name"])})
        return out

    def _at(self, base: Path, at: Object, variables: Mapping[str, str]) -> str:
        relative = at.get("subPath") or environment.expand(at.get("subPathExpr") or "", variables)
        if not relative:
            return str(base)
        path = config.resolve_subpath(str(base), relative)
        if not path.exists():
            path.mkdir(parents=True)
            path.chmod(0o777 & base.stat().st_mode | 0o750)
        return str(path)

    def _message_file(self, uid: str, name: str) -> str:
        directory = self._settings.pod_dir(uid) / "containers" / name
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / secrets.token_hex(4)
        file.touch()
        file.chmod(0o666)
        return str(file)

    def resources(self, pod: Object, spec: Object) -> Object:
        return resources.container(pod, spec, self._node_info.memory, unified=self._unified)

    def update_pod_cgroup(self, pod: Object, *, grow: bool) -> None:
        cgroups.make(self._group(pod), resources.pod_limits(pod), grow=grow)

    def _group(self, pod: Object) -> str:
        return resources.parent(pod, self._settings.cgroup_root)

    def memory_limit(self, pod: Object) -> int:
        return cgroups.memory_limit(self._group(pod))

    def memory_used(self, pod: Object, usages: Iterable[Usage]) -> int:
        return cgroups.memory_used(self._group(pod))

    def update_qos_cgroups(self, kept: Iterable[Object]) -> None:
        """Weights: the sum of CPU requests for Burstable, the minimum for BestEffort. kubepods itself: allocatable CPU, and memory without
        what is reserved."""
        root, reserved = f"{self._settings.cgroup_root.rstrip('/')}/kubepods", self._settings.system_reserved
        asked = sum(pods.requests(pod).get("cpu", 0) for pod in kept if pods.qos(pod) == pod_resources.BURSTABLE)
        allocatable_cpu = quantity.milli((self._node_info.allocatable or {}).get("cpu", "0"))
        memory = self._node_info.memory - quantity.value(reserved.get("memory", "0"))
        cgroups.make(root, {"shares": resources.shares(allocatable_cpu), "memory": memory})
        cgroups.make(f"{root}/burstable", {"shares": resources.shares(asked)})
        cgroups.make(f"{root}/besteffort", {"shares": resources.shares(0)})

    def save_allocation(self, uid: str, allocated: Mapping[str, Object]) -> None:
        try:
            self._settings.pod_dir(uid).mkdir(parents=True, exist_ok=True)
            (self._settings.pod_dir(uid) / _ALLOCATION_FILE).write_bytes(orjson.dumps(allocated))
        except OSError as error:
            log.warning("The resources of a pod cannot be noted", extra=logs.once(uid, uid=uid, error=error))

    def load_allocation(self, uid: str) -> dict[str, Object]:
        try:
            found: dict[str, Object] = orjson.loads((self._settings.pod_dir(uid) / _ALLOCATION_FILE).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return found

    def exceeded_storage_limit(self, pod: Object, usages: Iterable[Usage]) -> str:
        paths = self._volumes.paths(pods.uid(pod), pod)
        return local_storage.excess(pod, usages, paths, config.log_directory(pod, self._settings))

    def with_termination_message(self, run: Container) -> Container:
        if run.state != runtime.EXITED:
            return run
        path = run.mounts.get(run.annotations.get(runtime.MESSAGE_PATH, ""))
        message = ""
        if path:
            with contextlib.suppress(OSError), open(path, "rb") as file:
                message = file.read(MAX_MESSAGE).decode("utf-8", "replace")
        if not message and run.exit_code and run.annotations.get(runtime.MESSAGE_POLICY) == "FallbackToLogsOnError":
            message = log_tail(run.log_path)
        return replace(run, message=message) if message else run

    def tear_down(self, uid: str, pod: Object | None, *, logs: bool) -> None:
        self._prepared.discard(uid)
        self._volumes.tear_down(uid)
        self._tokens.forget(uid)
        self._remove_cgroup(uid, pod)
        if logs and pod is not None:
            shutil.rmtree(config.log_directory(pod, self._settings), ignore_errors=True)

    def _remove_cgroup(self, uid: str, pod: Object | None) -> None:
        if pod is not None and (pod.get("status") or {}).get("qosClass"):
            cgroups.remove(resources.parent(pod, self._settings.cgroup_root))
            return
        for known, group in cgroups.pods(self._settings.cgroup_root):
            if known == uid:
                cgroups.remove(group)

    def remove_orphans(self, keep: Iterable[str]) -> None:
        kept = set(keep)
        for uid, group in cgroups.pods(self._settings.cgroup_root):
            if uid not in kept:
                cgroups.remove(group)
        with contextlib.suppress(OSError):
            for name in os.listdir(self._settings.pods_dir):
                if name not in kept:
                    self.tear_down(name, None, logs=False)


def log_tail(path: str) -> str:
    """The end of a container's log, for FallbackToLogsOnError: at most MAX_LOG_MESSAGE bytes and MAX_LOG_LINES lines. The log is in CRI's
    format."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 4 * MAX_LOG_MESSAGE))
            lines = file.read().split(b"\n")[-MAX_LOG_LINES - 1 :]
    except OSError:
        return ""
    parts = [line.split(b" ", 3) for line in lines]
    text = b"".join(p[3] + (b"\n" if p[2] == b"F" else b"") for p in parts if len(p) == 4)
    return text[-MAX_LOG_MESSAGE:].decode("utf-8", "replace")
