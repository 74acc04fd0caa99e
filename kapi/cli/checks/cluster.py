"""The cluster of the data directory: its directory, its certificates, its containerd; and what killed clusters left behind."""

import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

from certs import files
from kapi.cli import advice, cleanup, datadir
from kapi.cli.checks.finding import Finding, Scope, joined, odd, ok, quoted, text, wrong
from kapi.cli.checks.running import Running, processes_of
from kubelet.containerd import long_path

_DAY = 86400
SOON = 30 * _DAY
_NAME = re.compile(r"kapi(0|-[0-9a-f]{8})?(-pods)?")
"""Bridges, cgroups and nft tables of clusters."""
_SECONDS = 10


def directory(scope: Scope) -> Finding:
    """Whether it can be used, and only by its user."""
    path = scope.data_dir
    if (other := datadir.other_owner(path)) is not None:
        return wrong(f"{datadir.belongs_to(path, other)}", datadir.as_owner(path, other, "doctor", *scope.options))
    if not scope.simulate and (too_long := long_path(cleanup.runtime(path))):
        return wrong(f"{path}: {too_long}", "name another with --data-dir")
    if not path.exists():
        return ok(f"{path} is not there yet")
    if not path.is_dir():
        return wrong(f"{path} is no directory", "name another with --data-dir")
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        writable = f'mount -o remount,rw "$(findmnt -nT {quoted(path)} -o TARGET)"'
        return wrong(f"{path} cannot be written: its file system is read-only", writable)
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return wrong(f"{path} is yours, and you may not use it", f"chmod u+rwx {quoted(path)}")
    if any(path.iterdir()) and not datadir.is_cluster(path):
        return wrong(f"{path} is not a data directory of kapi", "name another with --data-dir")
    opened = [
        file for file in (path, *path.glob("kapi.db*"), *path.glob("pki/*.key"), *path.glob("tokens.csv")) if file.stat().st_mode & 0o077
    ]
    if opened:
        return wrong(f"others can read {', '.join(map(str, opened))}", f"chmod -R go= {quoted(path)}")
    return ok(str(path))


def certificates(scope: Scope) -> Finding:
    """When they end; the API server renews its own and its clients' when it starts."""
    pki = scope.data_dir / "pki"
    try:
        found = sorted(path for path in pki.rglob("*.crt") if not path.is_relative_to(pki / "replaced"))
    except OSError as why:
        return wrong(f"{pki} cannot be read: {why.strerror}", f"ls -ld {quoted(pki)}")
    findings = []
    now = time.time()
    restart = f"{advice.command('down', scope.data_dir)} && {datadir.start_command(scope.data_dir)}"
    for path in found:
        end = files.expiry(path)
        if not end:
            findings.append(wrong(f"{path} is no certificate", f"restore it from a backup of {pki}"))
        elif end < now + SOON:
            day = time.strftime("%Y-%m-%d", time.gmtime(end))
            state = wrong if end < now else odd
            findings.append(state(f"{path} {'ended' if end < now else 'ends'} on {day}", restart))
        elif not path.with_suffix(".key").exists() and not path.is_relative_to(pki / "nodes"):
            findings.append(wrong(f"{path} has no key beside it", f"restore it from a backup of {pki}"))
    first = min(map(files.expiry, found), default=0.0)
    return joined(findings, f"{len(found)} valid, the first until {time.strftime('%Y-%m-%d', time.gmtime(first))}" if found else "none yet")


def containerd(scope: Scope) -> Finding:
    """Whether the cluster's own containerd answers, when it is to run."""
    path = cleanup.runtime(scope.data_dir).socket
    alive = any(process.data_dir == scope.data_dir.absolute() for process in processes_of())
    if not path.exists():
        return ok("not running")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_SECONDS)
        try:
            probe.connect(str(path))
        except OSError as why:
            if not alive:
                return ok("not running")
            return wrong(
                f"{path} does not answer: {why.strerror or why}",
                f"tail {quoted(cleanup.runtime(scope.data_dir).log)}; {advice.command('down', scope.data_dir)}",
            )
    return ok(f"{path} answers")


def leftovers(scope: Scope) -> Finding:
    """What clusters that were killed left on the machine."""
    processes = list(processes_of())
    alive = {process.data_dir for process in processes if process.data_dir and not process.shim}
    names = {name for path in alive for name in _names(path)}
    findings = [*_shims(processes, alive), *_links(names), *_tables(names), *_cgroups(names), *_mounts(scope, alive)]
    own = set(_names(scope.data_dir.absolute()))
    down = advice.command("down", scope.data_dir)
    return joined([odd(found, down if name in own else mend) for name, found, mend in findings], "none")


def _names(path: Path) -> tuple[str, ...]:
    own = cleanup.machine_names(path)
    return (own.bridge, own.table, own.cgroup.lstrip("/"), f"{own.bridge}-pods", str(path))


Left = tuple[str, str, str]
"""A name, what was found, how to take it away."""


def _shims(processes: list[Running], alive: set[Path]) -> list[Left]:
    stale: dict[Path, int] = {}
    for process in processes:
        if process.shim and process.data_dir and process.data_dir not in alive:
            stale[process.data_dir] = stale.get(process.data_dir, 0) + 1
    return [(str(path), f"{count} pods of {path}", advice.command("down", path)) for path, count in stale.items()]


def _links(names: set[str]) -> list[Left]:
    found = [path.parent.name for path in Path("/sys/class/net").glob("kapi*/bridge")]
    return [(name, f"bridge {name}", f"ip link delete {name}") for name in found if _NAME.fullmatch(name) and name not in names]


def _tables(names: set[str]) -> list[Left]:
    nft = shutil.which("nft")
    if not nft or os.geteuid() != 0:
        return []
    listed = subprocess.run([nft, "list", "tables"], capture_output=True, text=True, timeout=_SECONDS, check=False).stdout
    found = [line.split()[1:3] for line in listed.splitlines() if line.startswith("table ") and len(line.split()) > 2]
    return [
        (name, f"nft table {family} {name}", f"nft delete table {family} {name}")
        for family, name in found if _NAME.fullmatch(name) and name not in names
    ]  # fmt: skip


def _cgroups(names: set[str]) -> list[Left]:
    root = Path("/sys/fs/cgroup")
    found = {path.name for pattern in ("kapi*", "*/kapi*") for path in root.glob(pattern) if path.is_dir()}
    return [
        (name, f"cgroup {name}", f"find {root} -depth -type d -path '*/{name}*' -exec rmdir {{}} +")
        for name in sorted(found) if _NAME.fullmatch(name) and name not in names
    ]  # fmt: skip


def _mounts(scope: Scope, alive: set[Path]) -> list[Left]:
    """Mounts below the data directory, when nothing of it runs."""
    path = scope.data_dir.absolute()
    found = [line.split()[4] for line in text("/proc/self/mountinfo").splitlines()]
    below = [target for target in found if target.startswith(f"{path}/")]
    if path in alive or not below:
        return []
    return [(str(path), f"{len(below)} mounts below {path}", advice.command("down", path))]
