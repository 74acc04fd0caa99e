"""What the kubelet asks of a container runtime: CRI as the kubelet means it, in plain Python.

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
    """The runtime refused or could not be reached; `code` is gRPC's name for it, e.g. "NotFound" or "Unavailable"."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"rpc error: code = {code} desc = {message}")
        self.code = code
        self.description = message


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A pod's sandbox: the network and the cgroup its containers share. Times are seconds since the epoch."""

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
    """A container as the runtime sees it. `attempt` is the restart count it was created with."""

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
    """Everything the runtime knows of one pod, newest first."""

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
    """A container's consumption: CPU nanoseconds since its start, memory working set and total in bytes."""

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
    """What went through a network interface, in and out: bytes and errors."""

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
    """Something ended or began: a container or sandbox id; an empty id means that changes may have been missed."""

    id: str
    kind: str = "exit"


class Runtime(Protocol):
    """Every method raises RuntimeFailure."""

    async def version(self) -> Version: ...
    async def conditions(self) -> dict[str, tuple[bool, str]]:
        """{"RuntimeReady": (True, ""), "NetworkReady": (False, "cni plugin not initialized")}."""

    async def sandboxes(self) -> list[Sandbox]:
        """All pods' sandboxes, without addresses."""

    async def containers(self) -> list[Container]:
        """All containers, without times and exit codes."""

    async def pod(self, uid: str) -> PodState:
        """One pod in full."""

    async def run_sandbox(self, config: Config, handler: str = "") -> str: ...
    async def stop_sandbox(self, id: str) -> None: ...
    async def remove_sandbox(self, id: str) -> None: ...
    async def create_container(self, sandbox: str, config: Config, sandbox_config: Config) -> str: ...
    async def start_container(self, id: str) -> None: ...
    async def stop_container(self, id: str, grace: float) -> None: ...
    async def remove_container(self, id: str) -> None: ...
    async def update_container(self, id: str, resources: Config) -> None:
        """Other LinuxContainerResources for a running container."""

    async def exec(self, id: str, command: Sequence[str], seconds: float) -> ExecResult: ...
    async def reopen_log(self, id: str) -> None: ...
    async def usages(self) -> list[Usage]: ...
    async def traffic(self) -> dict[str, list[Traffic]]:
        """Of pods with a network of their own, by uid; empty where the runtime does not tell."""

    async def images(self) -> list[Image]: ...
    async def image(self, name: str) -> Image | None: ...
    async def pull(self, name: str, auth: Config | None, sandbox_config: Config) -> str: ...
    async def remove_image(self, name: str) -> None: ...
    async def image_disk(self) -> tuple[str, int]:
        """(mount point, bytes used) of the images' file system."""

    def changes(self) -> AsyncIterator[Change]:
        """What happens, as it happens; ends or raises when the runtime goes away."""

    async def stream_url(self, method: str, **request: Any) -> str:
        """Where the runtime's streaming server answers to Exec, Attach or PortForward; `request` in CRI's words."""

    async def close(self) -> None: ...
