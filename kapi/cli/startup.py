"""Starts the processes of a cluster, independent ones at the same time.

`kapi.cli.cluster` stops them, also after a failed start.
"""

import asyncio
from pathlib import Path
from typing import Protocol

from kapi.apiserver import settings as servers
from kapi.cli import cleanup, components, processes
from kapi.cli.processes import Process, Starting
from kapi.cli.progress import Progress
from kapi.client import config
from kapi.objects import together
from kapi.objects.resource import NODES
from kapi.process import Failure
from kubelet import containerd, images
from kubelet.settings import CONTROL_PLANE


class UpOptions(Protocol):
    """The settings of `kapi up` that are used here."""

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


def simulated(options: UpOptions, progress: Progress) -> None:
    """Start a simulated cluster: one process with all components."""
    with progress.step("Certificates and keys"):
        _certificates(options, {})
    with progress.step(f"API server, controllers, scheduler and {options.nodes} simulated node{'s' if options.nodes > 1 else ''}"):
        named = ("--nodes", str(options.nodes), "--node-name", options.node_name, "--pod-cidr", options.pod_cidr)
        _start(options, "simulated", "kapi", "simulated", *_common(options), *named).wait()


def real(options: UpOptions, progress: Progress) -> None:
    """Start containerd, API server, control and kubelet, a process each. Returns when all are ready. Raises Failure."""
    cleanup.set_marker(options.data_dir)
    for closed in ("containerd", "kubelet", "kubelet/pods", "pod-logs"):  # what is in them has the modes that containers need
        (options.data_dir / closed).mkdir(exist_ok=True, mode=0o700)
    with progress.step("Certificates, containerd and API server"):
        runtime = None if options.container_runtime_endpoint else _containerd(options)
        pki = _certificates(options, {options.name: (servers.own_address(),)})
        server = _start(options, "apiserver", "kapi", "apiserver", *_common(options))
        if runtime:
            asyncio.run(runtime.ready())
        server.wait()
    with progress.step("Controllers, scheduler, proxy and kubelet"):
        table = cleanup.machine_names(options.data_dir).table
        control = _start(options, "control", "kapi", "control", "--pki", str(pki), "--table", table)
        kubelet = _start(options, "kubelet", "kubelet", *_kubelet(options, pki))
        control.wait()
        kubelet.wait()
        asyncio.run(_control_plane(options))


async def _control_plane(options: UpOptions) -> None:
    """Label the node with its role. A kubelet must not do that itself; as with kubeadm, the administrator does."""
    client = config.connect(config.from_kubeconfig(options.admin), agent="kapi-up")
    try:
        await client.patch(NODES, options.name, {"metadata": {"labels": {CONTROL_PLANE: ""}}})
    finally:
        await client.close()


def _start(options: UpOptions, name: str, module: str, *arguments: str) -> Starting:
    process = Process(name, options.data_dir)
    logged = ("--log-file", str(process.log_file), "--log-format", options.log_format, "--v", str(options.v))
    return process.start(processes.python(module, *arguments, *logged))


def _common(options: UpOptions) -> list[str]:
    address = ["--bind-address", options.bind_address] if options.bind_address else []
    return ["--data-dir", str(options.data_dir), "--port", str(options.port), *address]


def _certificates(options: UpOptions, nodes: dict[str, tuple[str, ...]]) -> Path:
    return components.keys(servers.Settings(data_dir=options.data_dir, port=options.port, bind_address=options.bind_address), nodes)


class _Runtime:
    """The cluster's containerd while it starts."""

    def __init__(self, options: UpOptions) -> None:
        self._settings = cleanup.runtime(options.data_dir, options.pod_cidr)
        with processes.deferred_signals():
            self._process = containerd.launch(self._settings)

    async def ready(self) -> None:
        """Wait until it listens, and load the images that are in no registry. Raises Failure."""
        socket = str(self._settings.socket)
        try:
            await containerd.wait(self._settings, self._process)
            missing = await images.missing(socket, [images.PAUSE, images.BUSYBOX])
            builders = {images.PAUSE: images.pause, images.BUSYBOX: images.busybox}
            await together.run(images.load(socket, builders[name]()) for name in missing)
        except (containerd.Unavailable, images.ImageError) as why:
            raise Failure(f"{why}.") from None


def _containerd(options: UpOptions) -> _Runtime:
    try:
        return _Runtime(options)
    except containerd.Unavailable as why:
        raise Failure(f"{why}.") from None


def _kubelet(options: UpOptions, pki: Path) -> list[str]:
    node = pki / "nodes" / options.name
    endpoint = options.container_runtime_endpoint or cleanup.runtime(options.data_dir).endpoint
    return [
        "--node-name", options.name, "--kubeconfig", str(node / "kubelet.conf"), "--root-dir", str(options.data_dir / "kubelet"),
        "--pod-logs-dir", str(options.data_dir / "pod-logs"), "--container-runtime-endpoint", endpoint, "--pod-cidr", options.pod_cidr,
        "--tls-cert-file", str(node / "serving.crt"), "--tls-private-key-file", str(node / "serving.key"),
        "--client-ca-file", str(pki / "ca.crt"), "--cgroup-root", cleanup.machine_names(options.data_dir).cgroup,
    ]  # fmt: skip
