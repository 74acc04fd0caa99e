"""The cgroups of pods, v1 and v2: created before the sandbox, removed after it. Their limits are computed in kubelet.resources."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from kubelet import resources

_UNLIMITED = 1 << 62
_ROOT = Path("/sys/fs/cgroup")
_V1 = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd", "hugetlb", "unified")


def unified() -> bool:
    """Whether this machine has cgroup v2 only."""
    return (_ROOT / "cgroup.controllers").exists()


def _hierarchies() -> list[Path]:
    if unified():
        return [_ROOT]
    found = {Path(os.path.realpath(_ROOT / name)) for name in _V1 if (_ROOT / name).is_dir()}
    return sorted(found)


# limit: (cgroup v1: controller and file, cgroup v2: file)
_FILES = {
    "shares": ("cpu/cpu.shares", "cpu.weight"), "quota": ("cpu/cpu.cfs_quota_us", "cpu.max"),
    "memory": ("memory/memory.limit_in_bytes", "memory.max"),
}  # fmt: skip


def _file(relative: str, name: str) -> Path:
    old, new = _FILES[name]
    controller, _, file = old.partition("/")
    return _ROOT / relative / new if unified() else _ROOT / controller / relative / file


def _value(path: Path) -> int:
    """The current value of a limit; 0: none."""
    try:
        word = path.read_text().split()[0]
    except FileNotFoundError:
        return 0
    return 0 if word in ("max", "-1") or int(word) > _UNLIMITED else int(word)


def memory_used(group: str) -> int:
    """Memory in bytes that the cgroup's processes use."""
    file = _file(group.lstrip("/"), "memory")
    return _value(file.with_name("memory.current" if unified() else "memory.usage_in_bytes"))


def memory_limit(group: str) -> int:
    """The limit of memory in bytes; 0: none."""
    return _value(_file(group.lstrip("/"), "memory"))


def make(group: str, limits: dict[str, int], *, grow: bool = False) -> None:
    """Create a pod's cgroup (e.g. '/kubepods/podX') or set its limits. With `grow`, limits of an existing cgroup are only raised. Raises
    OSError."""
    relative = group.lstrip("/")
    grow = not _create(relative) and grow
    for name, limit in limits.items():
        if not limit:
            continue
        file = _file(relative, name)
        now = _value(file)
        value = resources.weight(limit) if unified() and name == "shares" else limit
        if now == value or (grow and (now > value or (not now and name != "shares"))):
            continue
        file.write_text(f"{value} {resources.PERIOD}" if unified() and name == "quota" else str(value))


def _create(relative: str) -> bool:
    """Create the directories. Returns whether the cgroup is new."""
    fresh = not _file(relative, "shares").exists()
    if not unified():
        for controller in ("cpu", "memory"):
            (_ROOT / controller / relative).mkdir(parents=True, exist_ok=True)
        return fresh
    path = _ROOT
    for part in Path(relative).parts:
        available = (path / "cgroup.controllers").read_text().split()
        with contextlib.suppress(OSError):  # a controller that cannot be passed on
            (path / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in available))
        path = path / part
        path.mkdir(exist_ok=True)
    return fresh


def remove(group: str) -> list[str]:
    """Remove a pod's cgroup and its children in every hierarchy. Returns the directories that are still busy."""
    left = []
    for top in directories(group):
        for directory, _, _ in os.walk(top, topdown=False):
            try:
                Path(directory).rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                left.append(directory)
    return left


def directories(group: str) -> list[Path]:
    """The directories of a cgroup, one for each hierarchy that has it."""
    return [top for hierarchy in _hierarchies() if (top := hierarchy / group.lstrip("/")).is_dir()]


def processes(group: str) -> set[int]:
    """Ids of the processes in a cgroup and its children, in any hierarchy."""
    found: set[int] = set()
    for top in directories(group):
        for directory, _, files in os.walk(top):
            if "cgroup.procs" in files:
                with contextlib.suppress(OSError):  # the cgroup is gone
                    found.update(map(int, Path(directory, "cgroup.procs").read_text().split()))
    return found


def pods(root: str) -> Iterable[tuple[str, str]]:
    """(uid, cgroup) of every pod's cgroup below `root`."""
    seen: dict[str, str] = {}
    for hierarchy in _hierarchies():
        base = hierarchy / root.strip("/") / "kubepods"
        for middle in ("", "burstable", "besteffort"):
            for path in (base / middle).glob("pod*"):
                seen[path.name[3:]] = "/" + str(path.relative_to(hierarchy))
    return seen.items()
