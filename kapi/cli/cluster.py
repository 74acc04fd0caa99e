"""`kapi up`, `down`, `status`, `reset` and the small ones: one machine's cluster, its processes and its directory.

With containers: containerd, API server, control (controllers, scheduler, proxy) and kubelet are a process each. With --simulate one
process is everything, and no container runs.
"""

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

import certs.userconfig
from kapi.access import token_file
from kapi.cli import cleanup, components, launching, processes
from kapi.cli.processes import Process
from kapi.cli.progress import Failure, Progress
from kapi.client import config
from kapi.objects import errors, names, resource
from kapi.settings import types
from kapi.settings.logs import Verbosity
from kubelet import images

NAMES = ("kubelet", "control", "apiserver", "containerd", "simulated")
"""Every process a cluster may have, in the order they are stopped."""
_KUBELET_PORT = 10250
_ENDS = {signal.SIGINT, signal.SIGTERM}
"""What ends a cluster in the foreground."""
_PACKAGES = {
    "containerd": "containerd", "runc": "runc", "ctr": "containerd", "nft": "nftables", "ip": "iproute2", "conntrack": "conntrack",
    "catatonit": "catatonit", "busybox": "busybox-static",
}  # fmt: skip


def default_directory() -> Path:
    """/var/lib/kapi for root, ~/.local/share/kapi for others; KAPI_DATA_DIR overrides."""
    named = os.environ.get("KAPI_DATA_DIR")
    if named:
        return Path(named)
    return Path("/var/lib/kapi") if os.geteuid() == 0 else Path.home() / ".local/share/kapi"


DIRECTORY = default_directory()


@dataclass(frozen=True)
class Place:
    """Which cluster is meant."""

    data_dir: Path = DIRECTORY
    """Directory of the cluster."""

    @property
    def admin(self) -> Path:
        """The administrator's kubeconfig."""
        return self.data_dir / "pki" / "admin.conf"


@dataclass(frozen=True)
class Up(Verbosity, Place):
    """A cluster on this machine."""

    simulate: bool = False
    """Run no containers: pods only pretend to run."""
    nodes: types.Count = 1
    """Number of nodes (more than one only with --simulate)."""
    port: types.Port = 6443
    """Port of the API server."""
    bind_address: types.Address = ""
    """Address the API server listens on, beside 127.0.0.1; empty: that of the default route, where pods reach it, and with --simulate none;
    0.0.0.0: all there are."""
    node_name: types.NodeName = ""
    """Name of the node; empty: the host's name. Of simulated nodes: NAME, or of several NAME-0 and so on; empty: node-0 and so on."""
    container_runtime_endpoint: types.Endpoint = ""
    """Socket of a running CRI runtime, unix:///run/containerd/containerd.sock for instance; empty: start an own containerd."""
    pod_cidr: types.CIDR = "10.244.0.0/24"
    """Addresses of the node's pods."""
    foreground: bool = False
    """Stay, and stop the cluster with ctrl-C."""
    kubeconfig: bool = True
    """Add the context kapi to the user's kubeconfig and make it the current one."""

    def __post_init__(self) -> None:
        types.check_pod_ranges(self.pod_cidr, self.nodes)
        if not self.simulate and names.dns_subdomain(self.name):
            raise ValueError(f"the host's name {self.name!r} can't be a node's: give one with --node-name")

    @property
    def name(self) -> str:
        return self.node_name or socket.gethostname().lower()


def _processes(place: Place) -> list[Process]:
    return [Process(name, place.data_dir) for name in NAMES]


def _running(place: Place) -> list[Process]:
    return [p for p in _processes(place) if p.pid]


# up ---------------------------------------------------------------------------------------------------------------------------------


def _check(given: Up) -> None:
    """Refuse, in one sentence, what can't work. Nothing has been started yet."""
    if running := _running(given):
        raise Failure(f"A cluster is running from {given.data_dir} ({', '.join(p.name for p in running)}). Stop it with: kapi down")
    if given.nodes > 1 and not given.simulate:
        raise Failure("More than one node on one machine needs --simulate.")
    if not given.simulate:
        _check_machine(given)
        _check_port(_KUBELET_PORT, "It is the kubelet's: one machine runs one cluster with containers.")
    _check_port(given.port, "Choose another with --port.")
    try:
        given.data_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
        (given.data_dir / ".writable").touch()
        (given.data_dir / ".writable").unlink()
    except OSError as why:
        raise Failure(f"The data directory {given.data_dir} can't be used: {why.strerror}. Name another with --data-dir.") from None


def _check_port(port: int, advice: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError as why:
            raise Failure(f"Port {port} can't be used: {why.strerror}. {advice}") from None


def _check_machine(given: Up) -> None:
    if os.geteuid() != 0:
        raise Failure("Real containers need root: run it with sudo, or without containers: kapi up --simulate")
    needed = (
        _PACKAGES
        if not given.container_runtime_endpoint
        else {k: v for k, v in _PACKAGES.items() if v in ("nftables", "iproute2", "conntrack")}
    )
    missing = sorted({package for program, package in needed.items() if shutil.which(program) is None})
    if missing:
        raise Failure(f"Missing: {', '.join(missing)}. Install with: apt-get install --no-install-recommends {' '.join(missing)}")


def up(given: Up) -> int:
    """Start the cluster and return when every node is Ready."""
    given = replace(given, data_dir=given.data_dir.absolute())
    _check(given)
    progress = Progress()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that whatever was started is stopped then, too
    try:
        (launching.simulated if given.simulate else launching.real)(given, progress)
        with progress.step("Waiting for the node to be Ready" if given.nodes == 1 else f"Waiting for {given.nodes} nodes to be Ready"):
            asyncio.run(_nodes_ready(given.admin, given.nodes))
        if given.kubeconfig:
            with progress.step("Context kapi in your kubeconfig"):
                _merge(given.admin)
        if given.foreground:
            signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)  # from now on they are waited for
    except BaseException:
        _stop(given)
        raise
    progress.done("The cluster is up.")
    print(f"\nNext: kubectl --context kapi create deployment web --image={images.BUSYBOX} -- httpd -f -p 8080")
    return _stay(given) if given.foreground else 0


def _merge(admin: Path) -> None:
    try:
        certs.userconfig.merge(admin.read_bytes())
    except (OSError, ValueError, yaml.YAMLError) as why:
        path = certs.userconfig.default_path()
        raise Failure(f"The context kapi can't go into {path}: {why}. Leave it out with --no-kubeconfig.") from None


def _stay(given: Up) -> int:
    print("Press ctrl-C to stop.", flush=True)
    signal.sigwait(_ENDS)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDS)
    return down(Place(given.data_dir))


async def _nodes_ready(kubeconfig: Path, count: int, seconds: float = 60.0) -> None:
    """Return when `count` nodes are Ready."""
    client = config.connect(config.from_kubeconfig(kubeconfig), agent="kapi-up")
    ready: set[str] = set()
    try:
        async with asyncio.timeout(seconds):
            nodes = await client.list(resource.NODES)
            ready |= {n["metadata"]["name"] for n in nodes["items"] if _is_ready(n)}
            if len(ready) >= count:
                return
            async for _, node in client.watch(resource.NODES, version=nodes["metadata"]["resourceVersion"]):
                if _is_ready(node):
                    ready.add(node["metadata"]["name"])
                if len(ready) >= count:
                    return
    except TimeoutError:
        raise Failure(
            f"{len(ready)} of {count} nodes were Ready after {seconds:.0f} seconds. See the logs below the data directory."
        ) from None
    finally:
        await client.close()


def _is_ready(node: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in (node.get("status") or {}).get("conditions") or ())


# down and the others ------------------------------------------------------------------------------------------------------------------


def _stop(place: Place) -> None:
    """Everything of the cluster but its data: processes, pods, mounts, network."""
    by_name = {p.name: p for p in _processes(place)}
    for name in ("simulated", "kubelet", "control"):
        by_name[name].stop()
    if cleanup.expected(place.data_dir):
        asyncio.run(cleanup.remove_pods(place.data_dir, running=bool(by_name["containerd"].pid)))
    by_name["apiserver"].stop()
    by_name["containerd"].stop()
    cleanup.machine(place.data_dir)


def down(given: Place) -> int:
    """Stop the cluster; `kapi up` finds its data again."""
    given = replace(given, data_dir=given.data_dir.absolute())
    progress = Progress()
    if not _running(given):
        print(f"No cluster is running from {given.data_dir}.")
    with progress.step("Stopping pods and processes"):
        _stop(given)
    if given.admin.exists():
        certs.userconfig.remove(only=given.admin.read_bytes())
    progress.done("The cluster is down.")
    return 0


@dataclass(frozen=True)
class Reset(Place):
    """Forget a cluster."""

    yes: bool = False
    """Do not ask."""


def reset(given: Reset) -> int:
    """Stop the cluster and delete its directory."""
    if not given.yes and not _confirmed(f"Delete everything in {given.data_dir}?"):
        return 1
    down(given)
    shutil.rmtree(given.data_dir, ignore_errors=True)
    print(f"{given.data_dir} is gone.")
    return 0


def _confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise Failure("Nobody is there to confirm: say it with --yes.")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def status(given: Place) -> int:
    """Print the processes with their memory, and the nodes; 1 when none runs."""
    running = _running(given)
    for process in running:
        print(f"{process.name:12} pid {process.pid:<8} {processes.resident(process.pid) / 2**20:6.1f} MB   log: {process.log_file}")
    if not running:
        print(f"No cluster is running from {given.data_dir}. Start one with: kapi up")
        return 1
    print(f"{'all':12}              {sum(processes.resident(p.pid) for p in running) / 2**20:6.1f} MB")
    for line in asyncio.run(_node_lines(given.admin)):
        print(line)
    return 0


async def _node_lines(kubeconfig: Path, seconds: float = 5.0) -> list[str]:
    """A line for each node, or one that says why there is none."""
    client = config.connect(config.from_kubeconfig(kubeconfig), agent="kapi-status")
    try:
        async with asyncio.timeout(seconds):
            nodes = (await client.list(resource.NODES))["items"]
    except (TimeoutError, OSError, errors.StatusError) as why:
        return [f"The API server does not answer: {why or 'it takes too long'}"]
    finally:
        await client.close()
    return [f"node {n['metadata']['name']:20} {'Ready' if _is_ready(n) else 'NotReady'}" for n in nodes] or ["There is no node."]


def _file(given: Place, name: str) -> str:
    try:
        return (given.data_dir / name).read_text()
    except OSError:
        raise Failure(f"There is no cluster in {given.data_dir}. Start one with: kapi up") from None


def kubeconfig(given: Place) -> int:
    print(_file(given, "pki/admin.conf"), end="")
    return 0


def token(given: Place) -> int:
    _file(given, "tokens.csv")
    try:
        print(token_file.administrator(given.data_dir / "tokens.csv"))
    except token_file.Malformed as why:
        raise Failure(components.sentence(str(why))) from None
    return 0


@dataclass(frozen=True)
class Image(Place):
    """Load an image archive into the cluster's containerd."""

    action: Literal["load"] = field(kw_only=True)
    """What to do."""
    file: types.ExistingFile = field(kw_only=True)
    """An image archive (docker save or OCI layout)."""


def image(given: Image) -> int:
    """Load an archive; the names of its images are printed."""
    endpoint = given.data_dir / "containerd" / "containerd.sock"
    if not endpoint.exists():
        raise Failure("The cluster runs no containerd of its own: load the image where its runtime is.")
    try:
        for name in asyncio.run(images.load(str(endpoint), given.file)):
            print(f"Loaded {name}")
    except images.ImageError as why:
        raise Failure(str(why)) from None
    return 0


COMMANDS: dict[str, tuple[type[Any], Callable[[Any], int]]] = {
    "up": (Up, up),
    "down": (Place, down),
    "status": (Place, status),
    "kubeconfig": (Place, kubeconfig),
    "token": (Place, token),
    "reset": (Reset, reset),
    "image": (Image, image),
}
