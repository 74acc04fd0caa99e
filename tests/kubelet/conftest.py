"""A containerd of the tests' own, started once, with everything it leaves taken away at the end."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kapi.objects.resource import PODS
from kubelet import cgroups, containerd, images, mounts
from kubelet.cri.client import Cri
from kubelet.settings import Settings
from tests.kubelet.real import CGROUP, Real


async def _begin(settings: containerd.Settings) -> "subprocess.Popen[bytes]":
    process = await containerd.start(settings)
    for archive in (images.pause(), images.busybox()):
        await images.load(str(settings.socket), archive)
    return process


@dataclass
class Containerd:
    """The one that runs; `crash` kills it and starts another in its place."""

    settings: containerd.Settings
    process: "subprocess.Popen[bytes]"

    async def crash(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process = await containerd.start(self.settings)


async def _clear(endpoint: str) -> None:
    runtime = Cri(endpoint)
    for sandbox in await runtime.sandboxes():
        await runtime.stop_sandbox(sandbox.id)
        await runtime.remove_sandbox(sandbox.id)
    await runtime.close()


@pytest.fixture(scope="session")
def own_containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    settings = containerd.Settings(tmp_path_factory.mktemp("containerd"), pod_cidr="10.203.0.0/24", bridge="kubelettest0")
    process = asyncio.run(_begin(settings))
    running = Containerd(settings, process)
    yield running
    asyncio.run(_clear(settings.endpoint))
    running.process.terminate()
    running.process.wait()
    containerd.forget_network(settings)
    cgroups.remove(CGROUP)
    for point in mounts.below(settings.root):
        mounts.unmount(point)
    shutil.rmtree(settings.root, ignore_errors=True)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A directory for pods; what is mounted below it goes at the end."""
    yield tmp_path
    for point in mounts.below(tmp_path):
        mounts.unmount(point)


@pytest.fixture
async def node(own_containerd: Containerd, root: Path) -> AsyncIterator[Real]:
    settings = Settings(
        node_name="n1", root_dir=root / "kubelet", pod_logs_dir=str(root / "logs"), pod_cidr=own_containerd.settings.pod_cidr,
        container_runtime_endpoint=own_containerd.settings.endpoint, cgroup_root=CGROUP, cluster_dns=("10.96.0.10",),
        pod_manifest_path=root / "manifests",
    )  # fmt: skip
    real = Real(settings)
    await real.start()
    yield real
    for found in real.api.all(PODS):
        if found["spec"].get("nodeName"):
            real.api.remove(PODS, found)
    await real.cleared()
    await real.stop()
