"""Rows: every file of a data directory truncated, emptied, exchanged for another, and given to another user.

A start either mends the file and everything that was acknowledged or handed out is good as before, or refuses in one sentence and
everything is good again once the file is back.
"""

import os
import shutil
import socket
from functools import partial
from pathlib import Path

from kapi.cli import layout
from tests.faults.harness import SOMEBODY, Harness, Outcome
from tests.faults.rows import row

LEAVES = ("admin", "apiserver", "apiserver-kubelet-client", "controller-manager", "front-proxy-client", "proxy", "scheduler")
FILES: dict[str, tuple[str, ...]] = {
    "kapi.json": ("kapi.json",),
    "kapi.db": ("kapi.db",),
    "kapi.db.lock": ("kapi.db.lock",),
    "tokens.csv": ("tokens.csv",),
    "pki/ca.crt": ("pki/ca.crt",),
    "pki/ca.key": ("pki/ca.key",),
    "pki/front-proxy-ca.crt": ("pki/front-proxy-ca.crt",),
    "pki/front-proxy-ca.key": ("pki/front-proxy-ca.key",),
    "pki/sa.key": ("pki/sa.key",),
    "pki/sa.pub": ("pki/sa.pub",),
    "every other certificate": tuple(f"pki/{name}.crt" for name in LEAVES),
    "every other key": tuple(f"pki/{name}.key" for name in LEAVES),
    "every kubeconfig": tuple(f"pki/{name}.conf" for name in ("admin", "controller-manager", "proxy", "scheduler")),
    "run/simulated.lock": ("run/simulated.lock",),
    "log/simulated.log": ("log/simulated.log",),
    "every rotated log": ("log/simulated.log.1", "log/simulated.log.10"),
    "what an interrupted start leaves": (
        "run/starting", "run/simulated.pid", ".writable", "kapi.db.new", "kapi.db.new-wal", "kapi.db.new-shm", "kapi.db.new-journal",
    ),
}  # fmt: skip
KILLED: dict[str, tuple[str, ...]] = {
    "kapi.db-wal of a killed cluster": ("kapi.db-wal",),
    "kapi.db-shm and -journal of a killed cluster": ("kapi.db-shm", "kapi.db-journal"),
}
_REAL = [name for name in layout.COMPONENTS if name != "simulated"]
_NODE = f"pki/nodes/{socket.gethostname().lower()}"
CONTAINERS: dict[str, tuple[str, ...]] = {
    "every file of the node": (
        *(f"{_NODE}/{name}.{end}" for name in ("client", "serving") for end in ("crt", "key")), f"{_NODE}/kubelet.conf",
    ),
    "every file of containerd's, locks and logs": (
        "containerd/config.toml", "containerd/cni/10-kapi.conflist",
        *(f"containerd/containerd.{end}" for end in ("log", "sock", "sock.ttrpc")),
        *(f"run/{name}.{end}" for name in _REAL for end in ("lock", "pid")), "run/containers",
        *(f"log/{name}.log{end}" for name in _REAL for end in ("", ".1", ".10")),
    ),
}  # fmt: skip
GROUPS = {"down": FILES, "killed": KILLED, "containers": CONTAINERS}


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def exchanged(path: Path) -> None:
    """It has what another file should have."""
    directory = next(above for above in path.parents if above.name == "data")
    other = directory / ("pki/ca.crt" if path.name == "tokens.csv" else "tokens.csv")
    mode = path.stat().st_mode
    shutil.copyfile(other, path)
    path.chmod(mode)


def given_away(path: Path) -> None:
    os.chown(path, SOMEBODY, SOMEBODY)


def _broken(harness: Harness, names: tuple[str, ...], how: str, kind: str) -> Outcome:
    kept = harness.with_data(kind)
    left_over = [name for name in names if not (harness.data / name).exists()]
    """They are there only at times, left by one that was killed."""
    for name in left_over:
        (harness.data / name).parent.mkdir(mode=0o700, exist_ok=True)
        (harness.data / name).write_bytes(b"left" * 100)
        (harness.data / name).chmod(0o600)
    saved = harness.directory / "saved"
    shutil.copytree(harness.data, saved, symlinks=True)
    for name in names:
        globals()[how](harness.data / name)
    options = ["--no-kubeconfig", *(["--real", "--port", str(harness.port)] if kind == "containers" else [])]
    result = harness.kapi("up", *options)
    if result.code == 0:
        shown = result.out.splitlines()
        notes = [line.removeprefix(" ! ") for line in shown if line.startswith(" ! ")]
        up = next(line for line in shown if line.startswith("The cluster is up."))
        return Outcome((notes or [up])[0], [], kept.lost(harness.port))
    left, goes_on = harness.left(), f"{names[0]} from a backup, then: {harness.typed('up', *options)}"
    if how == "given_away":
        goes_on = f"{harness.as_advised(result.sentence)}; then: {harness.typed('up', *options)}"
    for name in left_over:
        (harness.data / name).unlink(missing_ok=True)
    for name in set(names) - set(left_over):
        shutil.copy2(saved / name, harness.data / name)
        os.chown(harness.data / name, os.geteuid(), os.getegid())
    lost: list[str] = []
    if left_over or _data(harness.data) != _data(saved) or how == "given_away":  # else it is as good as it was
        harness.up(*options)
        lost = kept.lost(harness.port)
    return Outcome(result.sentence, left, lost, goes_on)


def _data(directory: Path) -> dict[str, bytes]:
    """What the next start goes by."""
    files = (path for path in directory.rglob("*") if path.is_file() and path.parent.name not in ("log", "run"))
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def listed() -> set[str]:
    """Every file that is broken somewhere, by its path in the data directory."""
    return {name for groups in GROUPS.values() for names in groups.values() for name in names}


for _kind, _groups in GROUPS.items():
    for _what, _names in _groups.items():
        for _how in ("truncated", "emptied", "exchanged", "given_away"):
            row(_what, _how.replace("_", " "), containers=_kind == "containers")(partial(_broken, names=_names, how=_how, kind=_kind))
