"""Rows: every file of a data directory truncated, emptied, exchanged for another, and given to another user.

A start either mends the file and everything that was acknowledged or handed out is good as before, or refuses in one sentence and
everything is good again once the file is back.
"""

import os
import shutil
from functools import partial
from pathlib import Path

from tests.faults.bench import SOMEBODY, Bench, Outcome
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
}


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


def _broken(bench: Bench, names: tuple[str, ...], how: str) -> Outcome:
    kept = bench.with_data()
    saved = bench.directory / "saved"
    shutil.copytree(bench.data, saved, symlinks=True)
    for name in names:
        globals()[how](bench.data / name)
    said = bench.kapi("up", "--no-kubeconfig")
    if said.code == 0:
        notes = [line.removeprefix(" ! ") for line in said.out.splitlines() if line.startswith(" ! ")]
        return Outcome(notes[0] if notes else "(nothing: it is mended)", [], kept.lost(bench.port), "kapi up")
    left = bench.left()
    for name in names:
        shutil.copy2(saved / name, bench.data / name)
        os.chown(bench.data / name, os.geteuid(), os.getegid())
    lost: list[str] = []
    if _data(bench.data) != _data(saved):  # else it is as good as it was
        bench.up("--no-kubeconfig")
        lost = kept.lost(bench.port)
    return Outcome(said.sentence, left, lost, "the file from a backup, then kapi up")


def _data(directory: Path) -> dict[str, bytes]:
    """What the next start goes by."""
    files = (path for path in directory.rglob("*") if path.is_file() and path.parent.name not in ("log", "run"))
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


for _what, _names in FILES.items():
    for _how in ("truncated", "emptied", "exchanged", "given_away"):
        row(_what, _how.replace("_", " "))(partial(_broken, names=_names, how=_how))
