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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import certs.userconfig
from kapi.api import settings as servers
from kapi.cli import cleanup, processes
from kapi.cli.processes import Process
from kapi.cli.progress import Failure, Progress
from kapi.client import config
from kapi.objects import resource

NAMES = ("kubelet", "control", "apiserver", "containerd", "simulated")
"""Every process a cluster may have, in the order they are stopped."""
_KUBELET_PORT = 10250
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


@dataclass(frozen=True)
class Up(Place):
    """A cluster on this machine."""

    simulate: bool = False
    """Run no containers: pods only pretend to run."""
    nodes: int = 1
    """Number of nodes (more than one only with --simulate)."""
    port: int = 6443
    """Port of the API server."""
    node_name: str = ""
    """Name of the node; empty: the host's name."""
    container_runtime_endpoint: str = ""
    """Socket of a running CRI runtime, unix:///run/containerd/containerd.sock for instance; empty: start an own containerd."""
    pod_cidr: str = "10.244.0.0/24"
    """Addresses of the node's pods."""
    foreground: bool = False
    """Stay, and stop the cluster with ctrl-C."""
    kubeconfig: bool = True
    """Add the context kapi to the user's kubeconfig and make it the current one."""

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
    try:
        given.data_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
        (given.data_dir / ".writable").touch()
        (given.data_dir / ".writable").unlink()
    except OSError as why:
        raise Failure(f"The data directory {given.data_dir} can't be used: {why.strerror}. Name another with --data-dir.") from None
    _check_port(given.port, "Choose another with --port.")
    if not given.simulate:
        _check_machine(given)
        _check_port(_KUBELET_PORT, "It is the kubelet's: one machine runs one cluster with containers.")


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
    try:
        with progress.step("Certificates and keys"):
            settings = servers.Settings(data_dir=given.data_dir, port=given.port)
            address = servers.own_address()
            pki = servers.certificates(settings, {} if given.simulate else {given.name: (address,)})
        if given.simulate:
            with progress.step(f"API server, controllers, scheduler and {given.nodes} simulated node{'s' if given.nodes > 1 else ''}"):
                _simulated(given)
        else:
            _real(given, pki, progress)
        with progress.step("Waiting for the node to be Ready" if given.nodes == 1 else f"Waiting for {given.nodes} nodes to be Ready"):
            asyncio.run(_nodes_ready(pki / "admin.conf", given.nodes))
        if given.kubeconfig:
            with progress.step("Context kapi in your kubeconfig"):
                certs.userconfig.merge((pki / "admin.conf").read_bytes())
    except BaseException:
        _stop(given)
        raise
    progress.done("The cluster is up.")
    image = "localhost/kapi/busybox:1"
    print(f"\nNext: kubectl --context kapi create deployment web --image={image} -- httpd -f -p 8080")
    return _stay(given) if given.foreground else 0


def _stay(given: Up) -> int:
    print("Press ctrl-C to stop.", flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    return down(Place(given.data_dir))


def _common(given: Up) -> list[str]:
    return ["--data-dir", str(given.data_dir), "--port", str(given.port)]


def _simulated(given: Up) -> None:
    command = processes.python("kapi", "simulated", *_common(given), "--nodes", str(given.nodes))
    Process("simulated", given.data_dir).start(command).wait()


def _real(given: Up, pki: Path, progress: Progress) -> None:
    with progress.step("API server and containerd"):
        server = Process("apiserver", given.data_dir).start(processes.python("kapi", "apiserver", *_common(given)))
        endpoint = given.container_runtime_endpoint or asyncio.run(_containerd(given))
        server.wait()
    with progress.step("Controllers, scheduler, proxy and kubelet"):
        control = Process("control", given.data_dir).start(processes.python("kapi", "control", "--pki", str(pki)))
        kubelet = Process("kubelet", given.data_dir).start(_kubelet(given, pki, endpoint))
        control.wait()
        kubelet.wait()


async def _containerd(given: Up) -> str:
    """Start an own containerd and give it the images it can't pull; its endpoint."""
    from kubelet import containerd, images

    settings = containerd.Settings(given.data_dir / "containerd", pod_cidr=given.pod_cidr)
    try:
        process = await containerd.start(settings)
        Process("containerd", given.data_dir).adopt(process.pid)
        for archive in (images.pause(), images.busybox()):
            await images.load(str(settings.socket), archive)
    except (containerd.Unavailable, images.ImageError) as why:
        raise Failure(str(why)) from None
    return settings.endpoint


def _kubelet(given: Up, pki: Path, endpoint: str) -> list[str]:
    node = pki / "nodes" / given.name
    return processes.python(
        "kubelet", "--node-name", given.name, "--kubeconfig", str(node / "kubelet.conf"), "--root-dir", str(given.data_dir / "kubelet"),
        "--pod-logs-dir", str(given.data_dir / "pod-logs"), "--container-runtime-endpoint", endpoint, "--pod-cidr", given.pod_cidr,
        "--tls-cert-file", str(node / "serving.crt"), "--tls-private-key-file", str(node / "serving.key"),
        "--client-ca-file", str(pki / "ca.crt"), "--cgroup-root", cleanup.CGROUP,
    )  # fmt: skip


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
    """Everything of the cluster but its data: processes, pods, mounts, network, context."""
    endpoint = place.data_dir / "containerd" / "containerd.sock"
    by_name = {p.name: p for p in _processes(place)}
    for name in ("simulated", "kubelet", "control"):
        by_name[name].stop()
    if by_name["containerd"].pid:
        asyncio.run(cleanup.remove_pods(f"unix://{endpoint}"))
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
    certs.userconfig.remove()
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
    """Print the processes with their memory; 1 when none runs."""
    running = _running(given)
    for process in running:
        print(f"{process.name:12} pid {process.pid:<8} {processes.resident(process.pid) / 2**20:6.1f} MB   log: {process.log_file}")
    if not running:
        print(f"No cluster is running from {given.data_dir}. Start one with: kapi up")
        return 1
    print(f"{'all':12}              {sum(processes.resident(p.pid) for p in running) / 2**20:6.1f} MB")
    return 0


def _file(given: Place, name: str) -> str:
    try:
        return (given.data_dir / name).read_text()
    except OSError:
        raise Failure(f"There is no cluster in {given.data_dir}. Start one with: kapi up") from None


def kubeconfig(given: Place) -> int:
    print(_file(given, "pki/admin.conf"), end="")
    return 0


def token(given: Place) -> int:
    print(_file(given, "tokens.csv").partition(",")[0])
    return 0


@dataclass(frozen=True)
class Image(Place):
    """Load an image archive into the cluster's containerd."""

    action: Literal["load"] = "load"
    """What to do."""
    file: str = ""
    """An image archive (docker save or OCI layout)."""


def image(given: Image) -> int:
    """Load an archive; the names of its images are printed."""
    from kubelet import images

    endpoint = given.data_dir / "containerd" / "containerd.sock"
    if not endpoint.exists():
        raise Failure("The cluster runs no containerd of its own: load the image where its runtime is.")
    try:
        for name in asyncio.run(images.load(str(endpoint), Path(given.file))):
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
