"""How the processes of a cluster are started: what does not depend on each other at the same time.

Stopping them again, also after a start that failed, is `kapi.cli.cluster`'s.
"""

import asyncio
from pathlib import Path
from typing import Protocol

from kapi.apiserver import settings as servers
from kapi.cli import cleanup, components, processes
from kapi.cli.processes import Process, Starting
from kapi.cli.progress import Progress
from kapi.client import config
from kapi.objects.resource import NODES
from kapi.process import Failure
from kubelet import containerd, images
from kubelet.settings import CONTROL_PLANE


class UpOptions(Protocol):
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


def simulated(given: UpOptions, progress: Progress) -> None:
    """One process that is everything."""
    with progress.step("Certificates and keys"):
        _certificates(given, {})
    with progress.step(f"API server, controllers, scheduler and {given.nodes} simulated node{'s' if given.nodes > 1 else ''}"):
        named = ("--nodes", str(given.nodes), "--node-name", given.node_name, "--pod-cidr", given.pod_cidr)
        _start(given, "simulated", "kapi", "simulated", *_common(given), *named).wait()


def real(given: UpOptions, progress: Progress) -> None:
    """containerd, API server, control and kubelet, a process each."""
    cleanup.expect(given.data_dir)
    for closed in ("containerd", "kubelet", "kubelet/pods", "pod-logs"):  # what is in them has the modes that containers need
        (given.data_dir / closed).mkdir(exist_ok=True, mode=0o700)
    with progress.step("Certificates, containerd and API server"):
        runtime = None if given.container_runtime_endpoint else _containerd(given)
        pki = _certificates(given, {given.name: (servers.own_address(),)})
        server = _start(given, "apiserver", "kapi", "apiserver", *_common(given))
        if runtime:
            asyncio.run(runtime.ready())
        server.wait()
    with progress.step("Controllers, scheduler, proxy and kubelet"):
        table = cleanup.marks(given.data_dir).table
        control = _start(given, "control", "kapi", "control", "--pki", str(pki), "--table", table)
        kubelet = _start(given, "kubelet", "kubelet", *_kubelet(given, pki))
        control.wait()
        kubelet.wait()
        asyncio.run(_control_plane(given))


async def _control_plane(given: UpOptions) -> None:
    """The node's role. A kubelet may not give itself one; as with kubeadm, the administrator does."""
    client = config.connect(config.from_kubeconfig(given.admin), agent="kapi-up")
    try:
        await client.patch(NODES, given.name, {"metadata": {"labels": {CONTROL_PLANE: ""}}})
    finally:
        await client.close()


def _start(given: UpOptions, name: str, module: str, *arguments: str) -> Starting:
    process = Process(name, given.data_dir)
    logged = ("--log-file", str(process.log_file), "--log-format", given.log_format, "--v", str(given.v))
    return process.start(processes.python(module, *arguments, *logged))


def _common(given: UpOptions) -> list[str]:
    address = ["--bind-address", given.bind_address] if given.bind_address else []
    return ["--data-dir", str(given.data_dir), "--port", str(given.port), *address]


def _certificates(given: UpOptions, nodes: dict[str, tuple[str, ...]]) -> Path:
    return components.keys(servers.Settings(data_dir=given.data_dir, port=given.port, bind_address=given.bind_address), nodes)


class _Runtime:
    """An own containerd on its way."""

    def __init__(self, given: UpOptions) -> None:
        self._settings = cleanup.runtime(given.data_dir, given.pod_cidr)
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


def _containerd(given: UpOptions) -> _Runtime:
    try:
        return _Runtime(given)
    except containerd.Unavailable as why:
        raise Failure(f"{why}.") from None


def _kubelet(given: UpOptions, pki: Path) -> list[str]:
    node = pki / "nodes" / given.name
    endpoint = given.container_runtime_endpoint or cleanup.runtime(given.data_dir).endpoint
    return [
        "--node-name", given.name, "--kubeconfig", str(node / "kubelet.conf"), "--root-dir", str(given.data_dir / "kubelet"),
        "--pod-logs-dir", str(given.data_dir / "pod-logs"), "--container-runtime-endpoint", endpoint, "--pod-cidr", given.pod_cidr,
        "--tls-cert-file", str(node / "serving.crt"), "--tls-private-key-file", str(node / "serving.key"),
        "--client-ca-file", str(pki / "ca.crt"), "--cgroup-root", cleanup.marks(given.data_dir).cgroup,
    ]  # fmt: skip
