"""Facts about this machine: CPUs, memory, kernel, operating system, addresses. Reads /proc and /etc, changes nothing."""

import os
import platform
import socket
from pathlib import Path
from typing import NamedTuple

from kubelet.images import architecture
from kubelet.runtime import Traffic

_INNER = ("lo", "veth", "docker", "nerdctl")
"""Name prefixes of interfaces that are internal to the machine."""


class Facts(NamedTuple):
    """Facts that the Node object reports."""

    cpus: int
    memory: int
    """Bytes."""
    disk: int
    """Bytes of the file system that holds the pods' data."""
    machine_id: str
    system_uuid: str
    boot_id: str
    kernel: str
    os_image: str
    architecture: str
    hugepages: dict[str, int] = {}
    """Bytes of reserved huge pages by size, e.g. {"2Mi": 0}."""


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def memory() -> dict[str, int]:
    """/proc/meminfo in bytes, e.g. {"MemTotal": ..., "MemAvailable": ...}."""
    out: dict[str, int] = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        out[name] = int(words[0]) * (1024 if len(words) > 1 else 1)
    return out


def traffic() -> list[Traffic]:
    """Traffic of this machine's interfaces, except the loopback and those of containers."""
    rows = (line.partition(":")[::2] for line in _read("/proc/net/dev").splitlines()[2:])
    counted = [(name.strip(), [int(word) for word in rest.split()]) for name, rest in rows]
    return [Traffic(name, n[0], n[2], n[8], n[10]) for name, n in counted if not name.startswith(_INNER)]


def _file_system(path: str | Path) -> os.statvfs_result:
    """The nearest existing directory of `path`, which may not exist yet."""
    directory = Path(path)
    while not directory.exists():
        directory = directory.parent
    return os.statvfs(directory)


def disk(path: str | Path) -> tuple[int, int]:
    """(total bytes, available bytes) of a path's file system."""
    found = _file_system(path)
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def inodes(path: str | Path) -> tuple[int, int]:
    """(total inodes, free inodes) of a path's file system."""
    found = _file_system(path)
    return found.f_files, found.f_favail


def pids() -> tuple[int, int]:
    """(maximal number of processes and threads, how many more may be started)."""
    most = min(int(_read(f"/proc/sys/kernel/{name}")) for name in ("pid_max", "threads-max"))
    return most, most - int(_read("/proc/loadavg").split()[3].partition("/")[2])


def _os_image() -> str:
    for line in _read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()


def _hugepages() -> dict[str, int]:
    """Reserved bytes by size; hugepages-2048kB/nr_hugepages holds the number of 2Mi pages."""
    out: dict[str, int] = {}
    for directory in Path("/sys/kernel/mm/hugepages").glob("hugepages-*kB"):
        size = int(directory.name.removeprefix("hugepages-").removesuffix("kB"))
        name = f"{size >> 20}Gi" if size >= 1 << 20 else f"{size >> 10}Mi" if size >= 1 << 10 else f"{size}Ki"
        out[name] = int(_read(f"{directory}/nr_hugepages") or 0) * size * 1024
    return out


def facts(path: str | Path) -> Facts:
    return Facts(
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=memory()["MemTotal"],
        disk=disk(path)[0],
        machine_id=_read("/etc/machine-id"),
        system_uuid=_read("/sys/class/dmi/id/product_uuid") or _read("/etc/machine-id"),
        boot_id=_read("/proc/sys/kernel/random/boot_id"),
        kernel=platform.release(),
        os_image=_os_image(),
        architecture=architecture(),
        hugepages=_hugepages(),
    )


def address() -> str:
    """The address of the default route's interface; without one, the first address that is not loopback."""
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((target, 9))
                return str(probe.getsockname()[0])
            except OSError:
                continue
    return "127.0.0.1"


def hostname() -> str:
    return socket.gethostname().lower()
