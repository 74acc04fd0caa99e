"""What a cluster leaves on a machine besides its files: pods, mounts, cgroups, the pod bridge, nft tables. Taken away by `down`.

All of it carries names that follow from the data directory, so that clusters on one machine leave each other alone; a mark in the
directory says that there may be something at all (a simulated cluster never touches the machine). Pods are ended through the cluster's
containerd; what it does not know of (it was killed while it made a container) by what the kernel shows: shims of its socket, processes
in the cluster's cgroup, links at its bridge.
"""

import asyncio
import hashlib
import logging
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kapi.cli import locks, processes
from kapi.process import Failure
from kubelet import cgroups, containerd, mounts
from kubelet.runtime import Runtime, RuntimeFailure, Sandbox

DEFAULT = Path("/var/lib/kapi")
"""The directory whose cluster gets the plain names."""
log = logging.getLogger(__name__)
_NAMESPACE = "k8s.io"
"""containerd's namespace for what it runs over CRI."""
_RUNC, _SHIM_SOCKETS = Path("/run/containerd/runc"), Path("/run/containerd/s")
"""Where runc and shims keep their state, whichever containerd they belong to."""
_SECONDS, _SECONDS_TO_ANSWER = 60, 15
"""For all pods to end, and for the runtime's first answer; what remains then is killed."""
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
    if data_dir in (DEFAULT, DEFAULT.resolve()):
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
    _mark(data_dir).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _mark(data_dir).touch()


def expected(data_dir: Path) -> bool:
    """Whether this cluster may have left something on the machine."""
    return os.geteuid() == 0 and _mark(data_dir).exists()


async def remove_pods(data_dir: Path, *, running: bool) -> None:
    """Stop and remove every pod of the cluster's own containerd, all at once; one that was killed is started for that.

    A containerd that does not come up, or does not end its pods in time, leaves them to `machine`.
    """
    settings = runtime(data_dir)
    if running:
        await _remove_sandboxes(settings.endpoint)
    elif _shims(settings.socket):
        try:
            process = await containerd.start(settings)
        except (containerd.Unavailable, OSError) as why:
            log.warning("Pods are ended without containerd: %s", why)
            return
        try:
            await _remove_sandboxes(settings.endpoint)
        finally:
            process.terminate()
            process.wait()


async def _remove_sandboxes(endpoint: str) -> None:
    from kubelet.cri.client import Cri  # loads gRPC: only where there are containers

    client = Cri(endpoint)

    async def one(sandbox: str) -> None:
        await client.stop_sandbox(sandbox)
        await client.remove_sandbox(sandbox)

    try:
        async with asyncio.timeout(_SECONDS_TO_ANSWER):
            left = await _listed(client)
        async with asyncio.timeout(_SECONDS):
            for _ in range(_ROUNDS):
                await asyncio.gather(*(one(s.id) for s in left), return_exceptions=True)
                if not (left := await _listed(client)):
                    break
                await asyncio.sleep(_PAUSE)
    except TimeoutError:
        log.warning("Pods did not end in time and are killed.")
    finally:
        await client.close()


async def _listed(client: Runtime) -> list[Sandbox]:
    """The sandboxes, once the runtime has found them again after its start."""
    while True:
        try:
            return list(await client.sandboxes())
        except RuntimeFailure:
            await asyncio.sleep(0.05)


def pods_left(data_dir: Path) -> int:
    """How many pods run; also those that have outlived their cluster's processes."""
    return len(_shims(runtime(data_dir).socket))


def _shims(socket: Path) -> list[int]:
    """The shims of the containerd at `socket`; they outlive it, as their containers do."""
    found = locks.started_as(["-address", str(socket)])
    return [pid for pid in found if "containerd-shim" in locks.command_line(pid)[0]]


def machine(data_dir: Path, *, certain: bool = False) -> None:
    """Take away what is left of pods, mounts below the data directory, cgroups, the bridge and nft tables: this cluster's, and only when
    it had containers, by its directory or because it is certain. Raises Failure for what does not go."""
    if not certain and not expected(data_dir):
        return
    names = marks(data_dir)
    _end_containers(runtime(data_dir))
    _end_processes(names.cgroup)
    for point in [point for part in ("containerd", "kubelet") for point in mounts.below(data_dir / part)]:
        mounts.unmount(point)
    if left := cgroups.remove(names.cgroup):
        raise Failure(f"A cgroup of the cluster is still in use: {left[0]}")
    for family in ("ip", "ip6"):
        _quiet("nft", "delete", "table", family, names.table)
    _forget_namespaces(names.bridge)
    containerd.forget_network(runtime(data_dir))
    _mark(data_dir).unlink(missing_ok=True)


def _end_containers(settings: containerd.Settings) -> None:
    """End the shims, and the containers that are known only to runc; nothing of theirs stays below /run."""
    for pid in _shims(settings.socket):
        words = locks.command_line(pid)
        processes.end(pid, 0)
        address = f"{settings.socket}/{_NAMESPACE}/{words[words.index('-id') + 1]}"
        (_SHIM_SOCKETS / hashlib.sha256(os.fsencode(address)).hexdigest()).unlink(missing_ok=True)
    for bundle in (settings.root / "state" / "io.containerd.runtime.v2.task" / _NAMESPACE).glob("*"):
        _quiet("runc", "--root", str(_RUNC / _NAMESPACE), "delete", "--force", bundle.name)


def _end_processes(group: str) -> None:
    """Kill what is left in the cluster's cgroup, also what is started meanwhile. Raises Failure."""
    for _ in range(_ROUNDS):
        if not (left := cgroups.processes(group) - {os.getpid()}):
            return
        for pid in left:
            processes.end(pid, 0)
    raise Failure(f"Processes in the cgroup {group} do not end: {', '.join(map(str, sorted(left)))}")


def _forget_namespaces(bridge: str) -> None:
    """Delete the network namespaces of pods that are still linked to the bridge."""
    shown = subprocess.run(["ip", "link", "show", "master", bridge], capture_output=True, check=False, text=True).stdout
    for name in re.findall(r"link-netns (\S+)", shown):  # the JSON form has a number only
        _quiet("ip", "netns", "delete", name)


def _quiet(program: str, *arguments: str) -> None:
    if shutil.which(program):
        subprocess.run([program, *arguments], capture_output=True, check=False)
