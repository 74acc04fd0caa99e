"""What a cluster leaves on a machine besides its files: pods, mounts, cgroups, the pod bridge, nft tables. Taken away by `down`.

All of it carries names that follow from the data directory, so that clusters on one machine leave each other alone; a mark in the
directory says that there may be something at all (a simulated cluster never touches the machine).
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kapi.cli.progress import Failure
from kubelet import cgroups, containerd
from kubelet.runtime import Runtime, RuntimeFailure, Sandbox

DEFAULT = Path("/var/lib/kapi")
"""The directory whose cluster gets the plain names."""
_SECONDS = 60
_ROUNDS, _PAUSE = 20, 0.1
"""A container that is just being started cannot be removed: how often all that is left is tried, and the seconds between."""


@dataclass(frozen=True)
class Marks:
    """The names of one cluster: of pods' cgroup, their bridge, and the proxy's nft table."""

    cgroup: str
    bridge: str
    table: str


def marks(data_dir: Path) -> Marks:
    """/kapi, kapi0, kapi for the default directory, else with a suffix: /kapi-1a2b3c4d, kapi-1a2b3c4d (a link's name has 15 at most)."""
    if data_dir == DEFAULT:
        return Marks("/kapi", "kapi0", "kapi")
    name = "kapi-" + hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:8]
    return Marks(f"/{name}", name, name)


def runtime(data_dir: Path, pod_cidr: str = "10.244.0.0/24") -> containerd.Settings:
    """The cluster's own containerd."""
    return containerd.Settings(data_dir / "containerd", pod_cidr=pod_cidr, bridge=marks(data_dir).bridge)


def _mark(data_dir: Path) -> Path:
    return data_dir / "run" / "containers"


def expect(data_dir: Path) -> None:
    """To be called before anything of the machine is touched."""
    _mark(data_dir).parent.mkdir(parents=True, exist_ok=True)
    _mark(data_dir).touch()


def expected(data_dir: Path) -> bool:
    """Whether this cluster may have left something on the machine."""
    return os.geteuid() == 0 and _mark(data_dir).exists()


async def remove_pods(data_dir: Path, *, running: bool) -> None:
    """Stop and remove every pod of the cluster's own containerd, all at once; one that was killed is started for that."""
    settings = runtime(data_dir)
    process = None
    if not running:
        if not _shims(settings.socket):
            return
        process = await containerd.start(settings)
    try:
        await _remove_sandboxes(settings.endpoint)
    finally:
        if process is not None:
            process.terminate()
            process.wait()


async def _remove_sandboxes(endpoint: str) -> None:
    from kubelet.cri.client import Cri  # loads gRPC: only where there are containers

    client = Cri(endpoint)

    async def one(sandbox: str) -> None:
        await client.stop_sandbox(sandbox)
        await client.remove_sandbox(sandbox)

    try:
        async with asyncio.timeout(_SECONDS):
            left = await _listed(client)
            for _ in range(_ROUNDS):
                await asyncio.gather(*(one(s.id) for s in left), return_exceptions=True)
                if not (left := await _listed(client)):
                    break
                await asyncio.sleep(_PAUSE)
    except TimeoutError:
        raise Failure(f"Pods did not end within {_SECONDS} seconds. Try again: kapi down") from None
    finally:
        await client.close()


async def _listed(client: Runtime) -> list[Sandbox]:
    """The sandboxes, once the runtime has found them again after its start."""
    while True:
        try:
            return list(await client.sandboxes())
        except RuntimeFailure:
            await asyncio.sleep(0.05)


def _shims(socket: Path) -> bool:
    """Whether containers of the containerd at `socket` have outlived it."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"containerd-shim" in words[0] and os.fsencode(socket) in words:
                return True
    return False


def machine(data_dir: Path) -> None:
    """Take away mounts below the data directory, cgroups, the bridge and nft tables: this cluster's, and only when it had containers."""
    if not expected(data_dir):
        return
    names = marks(data_dir)
    _unmount(data_dir)
    cgroups.remove(names.cgroup)
    for family in ("ip", "ip6"):
        _quiet("nft", "delete", "table", family, names.table)
    containerd.forget_network(runtime(data_dir))
    _mark(data_dir).unlink()


def _unmount(data_dir: Path) -> None:
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{data_dir}/")), key=len, reverse=True):
        _quiet("umount", "--lazy", mount)


def _quiet(program: str, *arguments: str) -> None:
    if shutil.which(program):
        subprocess.run([program, *arguments], capture_output=True, check=False)
