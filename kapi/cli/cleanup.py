"""What a cluster leaves on a machine besides its files: pods, mounts, cgroups, the pod bridge, the proxy's tables. Taken away by `down`."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

from kubelet import containerd

CGROUP = "/kapi"
"""Below which cgroup the kubelet makes those of pods."""
_CGROUPS = Path("/sys/fs/cgroup")


async def remove_pods(endpoint: str) -> None:
    """Stop and remove every pod sandbox of the runtime at `endpoint`, all at once."""
    from kubelet.cri.client import Cri  # loads gRPC: only where there may be containers

    runtime = Cri(endpoint)
    try:
        async with asyncio.timeout(60):
            sandboxes = await runtime.sandboxes()

            async def one(sandbox: str) -> None:
                await runtime.stop_sandbox(sandbox)
                await runtime.remove_sandbox(sandbox)

            await asyncio.gather(*(one(s.id) for s in sandboxes), return_exceptions=True)
    finally:
        await runtime.close()


def machine(data_dir: Path) -> None:
    """Take away mounts below the data directory, cgroups, the bridge and the proxy's tables. Harmless when there are none."""
    if os.geteuid() != 0:
        return
    _unmount(data_dir)
    _remove_cgroups()
    for family in ("ip", "ip6"):
        _quiet("nft", "delete", "table", family, "kapi")
    containerd.forget_network(containerd.Settings(data_dir / "containerd"))


def _unmount(data_dir: Path) -> None:
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{data_dir}/")), key=len, reverse=True):
        _quiet("umount", "--lazy", mount)


def _remove_cgroups() -> None:
    for root in {*_CGROUPS.glob(f"*{CGROUP}"), _CGROUPS / CGROUP.lstrip("/")}:
        for directory, _, _ in os.walk(root, topdown=False):
            try:
                os.rmdir(directory)
            except OSError:
                continue


def _quiet(program: str, *arguments: str) -> None:
    if shutil.which(program):
        subprocess.run([program, *arguments], capture_output=True, check=False)
