"""How the processes of a cluster are started: what does not depend on each other at the same time.

Stopping them again, also after a start that failed, is `kapi.cli.cluster`'s.
"""

import asyncio
from pathlib import Path
from typing import Protocol

from kapi.api import settings as servers
from kapi.cli import cleanup, components, processes
from kapi.cli.processes import Process, Starting
from kapi.cli.progress import Failure, Progress
from kapi.client import config
from kapi.objects.resource import NODES
from kubelet import containerd, images
from kubelet.settings import CONTROL_PLANE


class Wish(Protocol):
    """The settings of `kapi up` that matter here."""

    @property
    def data_dir(self) -> Path: ...
    @property
    def port(self) -> int: ...
    @property
    def bind_address(self) -> str: ...
    @property
    def nodes(self) -> int: ...
    @property
    def node_name(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def admin(self) -> Path: ...
    @property
    def pod_cidr(self) -> str: ...
    @property
    def container_runtime_endpoint(self) -> str: ...
    @property
    def v(self) -> int: ...
    @property
    def log_format(self) -> str: ...


def simulated(wish: Wish, progress: Progress) -> None:
    """One process that is everything."""
    with progress.step("Certificates and keys"):
        _certificates(wish, {})
    with progress.step(f"API server, controllers, scheduler and {wish.nodes} simulated node{'s' if wish.nodes > 1 else ''}"):
        named = ("--nodes", str(wish.nodes), "--node-name", wish.node_name, "--pod-cidr", wish.pod_cidr)
        _start(wish, "simulated", "kapi", "simulated", *_common(wish), *named).wait()


def real(wish: Wish, progress: Progress) -> None:
    """containerd, API server, control and kubelet, a process each."""
    cleanup.expect(wish.data_dir)
    for closed in ("containerd", "kubelet", "kubelet/pods", "pod-logs"):  # what is in them has the modes that containers need
        (wish.data_dir / closed).mkdir(exist_ok=True, mode=0o700)
    with progress.step("Certificates, containerd and API server"):
        runtime = None if wish.container_runtime_endpoint else _containerd(wish)
        pki = _certificates(wish, {wish.name: (servers.own_address(),)})
        server = _start(wish, "apiserver", "kapi", "apiserver", *_common(wish))
        if runtime:
            asyncio.run(runtime.ready())
        server.wait()
    with progress.step("Controllers, scheduler, proxy and kubelet"):
        table = cleanup.marks(wish.data_dir).table
        control = _start(wish, "control", "kapi", "control", "--pki", str(pki), "--table", table)
        kubelet = _start(wish, "kubelet", "kubelet", *_kubelet(wish, pki))
        control.wait()
        kubelet.wait()
        asyncio.run(_control_plane(wish))


async def _control_plane(wish: Wish) -> None:
    """The node's role. A kubelet may not give itself one; as with kubeadm, the administrator does."""
    client = config.connect(config.from_kubeconfig(wish.admin), agent="kapi-up")
    try:
        await client.patch(NODES, wish.name, {"metadata": {"labels": {CONTROL_PLANE: ""}}})
    finally:
        await client.close()


def _start(wish: Wish, name: str, module: str, *arguments: str) -> Starting:
    process = Process(name, wish.data_dir)
    logged = ("--log-file", str(process.log_file), "--log-format", wish.log_format, "--v", str(wish.v))
    return process.start(processes.python(module, *arguments, *logged))


def _common(wish: Wish) -> list[str]:
    address = ["--bind-address", wish.bind_address] if wish.bind_address else []
    return ["--data-dir", str(wish.data_dir), "--port", str(wish.port), *address]


def _certificates(wish: Wish, nodes: dict[str, tuple[str, ...]]) -> Path:
    return components.keys(servers.Settings(data_dir=wish.data_dir, port=wish.port, bind_address=wish.bind_address), nodes)


class _Runtime:
    """An own containerd on its way."""

    def __init__(self, wish: Wish) -> None:
        self._settings = cleanup.runtime(wish.data_dir, wish.pod_cidr)
        with processes.undisturbed():
            self._process = containerd.launch(self._settings)

    async def ready(self) -> None:
        """It listens, and has the images that nobody can pull. Raises Failure."""
        socket = str(self._settings.socket)
        try:
            await containerd.wait(self._settings, self._process)
            missing = await images.missing(socket, [images.PAUSE, images.BUSYBOX])
            made = {images.PAUSE: images.pause, images.BUSYBOX: images.busybox}
            await asyncio.gather(*(images.load(socket, made[name]()) for name in missing))
        except (containerd.Unavailable, images.ImageError) as why:
            raise Failure(f"{why}.") from None


def _containerd(wish: Wish) -> _Runtime:
    try:
        return _Runtime(wish)
    except containerd.Unavailable as why:
        raise Failure(f"{why}.") from None


def _kubelet(wish: Wish, pki: Path) -> list[str]:
    node = pki / "nodes" / wish.name
    endpoint = wish.container_runtime_endpoint or cleanup.runtime(wish.data_dir).endpoint
    return [
        "--node-name", wish.name, "--kubeconfig", str(node / "kubelet.conf"), "--root-dir", str(wish.data_dir / "kubelet"),
        "--pod-logs-dir", str(wish.data_dir / "pod-logs"), "--container-runtime-endpoint", endpoint, "--pod-cidr", wish.pod_cidr,
        "--tls-cert-file", str(node / "serving.crt"), "--tls-private-key-file", str(node / "serving.key"),
        "--client-ca-file", str(pki / "ca.crt"), "--cgroup-root", cleanup.marks(wish.data_dir).cgroup,
    ]  # fmt: skip
