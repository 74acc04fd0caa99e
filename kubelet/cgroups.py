"""The pods' cgroups, v1 and v2: made before the sandbox, removed after it. What goes into them is kubelet.resources' business."""

import contextlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from kubelet import resources

log = logging.getLogger(__name__)
_ROOT = Path("/sys/fs/cgroup")
_V1 = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd", "hugetlb", "unified")


def unified() -> bool:
    """Whether this machine has cgroup v2 alone."""
    return (_ROOT / "cgroup.controllers").exists()


def _hierarchies() -> list[Path]:
    if unified():
        return [_ROOT]
    found = {Path(os.path.realpath(_ROOT / name)) for name in _V1 if (_ROOT / name).is_dir()}
    return sorted(found)


def _write(path: Path, value: object) -> None:
    try:
        path.write_text(str(value))
    except OSError as error:
        log.debug("%s: %s", path, error)


def make(group: str, limits: dict[str, int]) -> None:
    """Create a pod's cgroup (e.g. '/kubepods/podX') with its limits."""
    relative = group.lstrip("/")
    if unified():
        _make_unified(relative, limits)
        return
    cpu, memory = _ROOT / "cpu" / relative, _ROOT / "memory" / relative
    for directory in (cpu, memory):
        directory.mkdir(parents=True, exist_ok=True)
    _write(cpu / "cpu.shares", limits["shares"])
    if limits["quota"]:
        _write(cpu / "cpu.cfs_period_us", resources.PERIOD)
        _write(cpu / "cpu.cfs_quota_us", limits["quota"])
    if limits["memory"]:
        _write(memory / "memory.limit_in_bytes", limits["memory"])


def _make_unified(relative: str, limits: dict[str, int]) -> None:
    path = _ROOT
    for part in Path(relative).parts:
        available = (path / "cgroup.controllers").read_text().split()
        _write(path / "cgroup.subtree_control", " ".join(f"+{name}" for name in available))
        path = path / part
        path.mkdir(exist_ok=True)
    _write(path / "cpu.weight", resources.weight(limits["shares"]))
    if limits["quota"]:
        _write(path / "cpu.max", f"{limits['quota']} {resources.PERIOD}")
    if limits["memory"]:
        _write(path / "memory.max", limits["memory"])


def remove(group: str) -> None:
    """Remove a pod's cgroup and what is below it, in every hierarchy. A busy one is left."""
    for hierarchy in _hierarchies():
        top = hierarchy / group.lstrip("/")
        if not top.is_dir():
            continue
        for directory, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                Path(directory).rmdir()


def pods(root: str) -> Iterable[tuple[str, str]]:
    """(uid, cgroup) of every pod cgroup below `root`."""
    seen: dict[str, str] = {}
    for hierarchy in _hierarchies():
        base = hierarchy / root.strip("/") / "kubepods"
        for middle in ("", "burstable", "besteffort"):
            for path in (base / middle).glob("pod*"):
                seen[path.name[3:]] = "/" + str(path.relative_to(hierarchy))
    return seen.items()


def remove_root(root: str) -> None:
    """Remove the empty kubepods hierarchy; to be called when no pod is left."""
    for middle in ("burstable", "besteffort", ""):
        remove(f"{root.rstrip('/')}/kubepods/{middle}")
