"""The container runtime interface as the kubelet uses it, in plain Python types.

Two implementations: kubelet.cri (any CRI v1 runtime over its socket) and kubelet.simulated (no containers at all).
Configurations of sandboxes and containers are dictionaries in the shape of CRI's messages (made by kubelet.config).
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

Config = dict[str, Any]

CREATED, RUNNING, EXITED, UNKNOWN = "created", "running", "exited", "unknown"

POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"
HASH = "io.kubernetes.container.hash"
RESTART_COUNT = "io.kubernetes.container.restartCount"
MESSAGE_PATH = "io.kubernetes.container.terminationMessagePath"
MESSAGE_POLICY = "io.kubernetes.container.terminationMessagePolicy"
POD_GRACE = "io.kubernetes.pod.terminationGracePeriod"


class RuntimeFailure(Exception):
    """A failed call, or an unreachable runtime. `code` is the name of the gRPC status, e.g. "NotFound" or "Unavailable"."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"rpc error: code = {code} desc = {message}")
        self.code = code
        self.description = message


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A pod sandbox: the network namespace and cgroup that its containers share. Times are seconds since the epoch."""

    id: str
    uid: str
    name: str
    namespace: str
    attempt: int
    ready: bool
    created: float
    ips: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    host_network: bool = False


@dataclass(frozen=True, slots=True)
class Container:
    """A container in the runtime. `attempt` is the restart count it was created with. Times are seconds since the epoch, 0: not yet."""

    id: str
    sandbox: str
    uid: str
    name: str
    attempt: int
    state: str
    created: float
    started: float = 0.0
    finished: float = 0.0
    exit_code: int = 0
    image: str = ""
    image_id: str = ""
    reason: str = ""
    message: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    log_path: str = ""
    mounts: Mapping[str, str] = field(default_factory=dict)
    """Container path -> host path."""


class PodState(NamedTuple):
    """All sandboxes and containers of one pod, newest first."""

    sandboxes: Sequence[Sandbox] = ()
    containers: Sequence[Container] = ()


class Image(NamedTuple):
    """An image on this machine; `user` is a number, a name, or empty for root."""

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    size: int
    user: str = ""
    pinned: bool = False


class Version(NamedTuple):
    name: str
    version: str


class ExecResult(NamedTuple):
    exit_code: int
    stdout: bytes
    stderr: bytes


class Usage(NamedTuple):
    """Resource usage of a container: CPU nanoseconds since its start; memory and disk in bytes."""

    container: str
    uid: str
    name: str
    cpu_ns: int
    working_set: int
    usage: int
    rss: int
    disk: int
    inodes: int
    at: float


class Traffic(NamedTuple):
    """Counters of a network interface: bytes and errors, received and sent."""

    name: str
    rx_bytes: int
    rx_errors: int
    tx_bytes: int
    tx_errors: int


def by_pod(usages: Iterable[Usage]) -> dict[str, list[Usage]]:
    """Usages by their pods' uids."""
    out: dict[str, list[Usage]] = {}
    for usage in usages:
        out.setdefault(usage.uid, []).append(usage)
    return out


class Change(NamedTuple):
    """An event: the id of a container or sandbox that started or exited. An empty id: events may have been missed."""

    id: str
    kind: str = "exit"


class Runtime(Protocol):
    """Every method raises RuntimeFailure."""

    async def version(self) -> Version: ...
    async def conditions(self) -> dict[str, tuple[bool, str]]:
        """{"RuntimeReady": (True, ""), "NetworkReady": (False, "cni plugin not initialized")}."""

    async def sandboxes(self) -> list[Sandbox]:
        """The sandboxes of all pods, without addresses."""

    async def containers(self) -> list[Container]:
        """All containers, without times and exit codes."""

    async def pod(self, uid: str) -> PodState:
        """The full state of one pod."""

    async def run_sandbox(self, config: Config, handler: str = "") -> str: ...
    async def stop_sandbox(self, id: str) -> None: ...
    async def remove_sandbox(self, id: str) -> None: ...
    async def create_container(self, sandbox: str, config: Config, sandbox_config: Config) -> str: ...
    async def start_container(self, id: str) -> None: ...
    async def stop_container(self, id: str, grace: float) -> None: ...
    async def remove_container(self, id: str) -> None: ...
    async def update_container(self, id: str, resources: Config) -> None:
        """Set new LinuxContainerResources on a running container."""

    async def exec(self, id: str, command: Sequence[str], seconds: float) -> ExecResult: ...
    async def reopen_log(self, id: str) -> None: ...
    async def usages(self) -> list[Usage]: ...
    async def traffic(self) -> dict[str, list[Traffic]]:
        """Counters of pods with their own network namespace, by pod uid; empty if the runtime does not report them."""

    async def images(self) -> list[Image]: ...
    async def image(self, name: str) -> Image | None: ...
    async def pull(self, name: str, auth: Config | None, sandbox_config: Config) -> str: ...
    async def remove_image(self, name: str) -> None: ...
    async def image_disk(self) -> tuple[str, int]:
        """(mount point, bytes used) of the images' file system."""

    def changes(self) -> AsyncIterator[Change]:
        """Events as they happen; ends or raises when the connection to the runtime ends."""

    async def stream_url(self, method: str, **request: Any) -> str:
        """The URL of the runtime's streaming server for Exec, Attach or PortForward; `request` has the fields of the CRI message."""

    async def close(self) -> None: ...
