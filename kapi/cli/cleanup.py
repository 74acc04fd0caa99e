"""Removes what a cluster leaves on a machine besides its files: pods, mounts, cgroups, the pod bridge, nft tables. Used by `down`.

All names are derived from the data directory, so that clusters on one machine do not affect each other. A marker file in the directory
records that there may be anything at all (a simulated cluster never changes the machine). Pods are stopped through the cluster's
containerd; those it does not know of (it was killed while it created a container) are found in the kernel: shims of its socket,
processes in the cluster's cgroup, links of its bridge.
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
"""The directory whose cluster has names without a suffix."""
log = logging.getLogger(__name__)
_NAMESPACE = "k8s.io"
"""containerd's namespace for what it runs over CRI."""
_RUNC, _SHIM_SOCKETS = Path("/run/containerd/runc"), Path("/run/containerd/s")
"""Where runc and shims keep their state, whichever containerd they belong to."""
_SECONDS, _SECONDS_TO_ANSWER = 60, 15
"""Timeouts for all pods to stop, and for the runtime's first response; pods that remain are killed."""
_ROUNDS, _PAUSE = 20, 0.1
"""A container that is being started cannot be removed: how often removal is tried, and the seconds between."""


@dataclass(frozen=True)
class MachineNames:
    """The names of one cluster on the machine: the pods' cgroup, their bridge, and the proxy's nft table."""

    cgroup: str
    bridge: str
    table: str


def machine_names(data_dir: Path) -> MachineNames:
    """/kapi, kapi0, kapi for the default directory, else with a suffix: /kapi-1a2b3c4d, kapi-1a2b3c4d (a link's name has 15 at most)."""
    if data_dir in (DEFAULT, DEFAULT.resolve()):
        return MachineNames("/kapi", "kapi0", "kapi")
    name = "kapi-" + hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:8]
    return MachineNames(f"/{name}", name, name)


def runtime(data_dir: Path, pod_cidr: str = "10.244.0.0/24") -> containerd.Settings:
    """The cluster's own containerd."""
    return containerd.Settings(data_dir / "containerd", pod_cidr=pod_cidr, bridge=machine_names(data_dir).bridge)


def _marker(data_dir: Path) -> Path:
    return data_dir / "run" / "containers"


def set_marker(data_dir: Path) -> None:
    """Record that the cluster has containers; called before anything on the machine is changed."""
    _marker(data_dir).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _marker(data_dir).touch()


def has_marker(data_dir: Path) -> bool:
    """Whether this cluster may have changed the machine."""
    return os.geteuid() == 0 and _marker(data_dir).exists()


async def remove_pods(data_dir: Path, *, running: bool) -> None:
    """Stop and remove all pods of the cluster's containerd in parallel. A containerd that is not running is started for that.

    When containerd does not start, or does not stop its pods in time, they are left to `clean_machine`.
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

    async def remove(sandbox: str) -> None:
        await client.stop_sandbox(sandbox)
        await client.remove_sandbox(sandbox)

    try:
        async with asyncio.timeout(_SECONDS_TO_ANSWER):
            left = await _wait_for_sandboxes(client)
        async with asyncio.timeout(_SECONDS):
            for _ in range(_ROUNDS):
                await asyncio.gather(*(remove(s.id) for s in left), return_exceptions=True)
                if not (left := await _wait_for_sandboxes(client)):
                    break
                await asyncio.sleep(_PAUSE)
    except TimeoutError:
        log.warning("Pods did not end in time and are killed.")
    finally:
        await client.close()


async def _wait_for_sandboxes(client: Runtime) -> list[Sandbox]:
    """The sandboxes, once the runtime has loaded them after its start."""
    while True:
        try:
            return list(await client.sandboxes())
        except RuntimeFailure:
            await asyncio.sleep(0.05)


def pods_left(data_dir: Path) -> int:
    """How many pods run, including those whose cluster's processes are gone."""
    return len(_shims(runtime(data_dir).socket))


def _shims(socket: Path) -> list[int]:
    """The shims of the containerd at `socket`; they outlive it, as their containers do."""
    found = locks.find_by_command_line(socket.parent, ["-address", str(socket)])
    return [pid for pid in found if "containerd-shim" in locks.command_line(pid)[0]]


def clean_machine(data_dir: Path, *, force: bool = False) -> None:
    """Remove the remaining pods, the mounts below the data directory, cgroups, bridge and nft tables of this cluster, if it has a marker
    or with `force`. Raises Failure for what cannot be removed."""
    if not force and not has_marker(data_dir):
        return
    names = machine_names(data_dir)
    _end_containers(runtime(data_dir))
    _end_processes(names.cgroup)
    for point in [point for part in ("containerd", "kubelet") for point in mounts.below(data_dir / part)]:
        mounts.unmount(point)
    if left := cgroups.remove(names.cgroup):
        raise Failure(f"A cgroup of the cluster is still in use: {left[0]}")
    for family in ("ip", "ip6"):
        _run_quietly("nft", "delete", "table", family, names.table)
    _forget_namespaces(names.bridge)
    containerd.forget_network(runtime(data_dir))
    _marker(data_dir).unlink(missing_ok=True)


def _end_containers(settings: containerd.Settings) -> None:
    """Kill the shims, and delete containers that only runc knows, with their state below /run."""
    for pid in _shims(settings.socket):
        arguments = locks.command_line(pid)
        processes.terminate(pid, 0)
        address = f"{settings.socket}/{_NAMESPACE}/{arguments[arguments.index('-id') + 1]}"
        (_SHIM_SOCKETS / hashlib.sha256(os.fsencode(address)).hexdigest()).unlink(missing_ok=True)
    for bundle in (settings.root / "state" / "io.containerd.runtime.v2.task" / _NAMESPACE).glob("*"):
        _run_quietly("runc", "--root", str(_RUNC / _NAMESPACE), "delete", "--force", bundle.name)


def _end_processes(group: str) -> None:
    """Kill all processes in the cluster's cgroup, also those that are started meanwhile. Raises Failure."""
    for _ in range(_ROUNDS):
        if not (left := cgroups.processes(group) - {os.getpid()}):
            return
        for pid in left:
            processes.terminate(pid, 0)
    raise Failure(f"Processes in the cgroup {group} do not end: {', '.join(map(str, sorted(left)))}")


def _forget_namespaces(bridge: str) -> None:
    """Delete the network namespaces of pods that still have a link to the bridge."""
    shown = subprocess.run(["ip", "link", "show", "master", bridge], capture_output=True, check=False, text=True).stdout
    for name in re.findall(r"link-netns (\S+)", shown):  # the JSON form has a number only
        _run_quietly("ip", "netns", "delete", name)


def _run_quietly(program: str, *arguments: str) -> None:
    if shutil.which(program):
        subprocess.run([program, *arguments], capture_output=True, check=False)
