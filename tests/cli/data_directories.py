"""A data directory as `kapi up --simulate` and `kapi down` leave it, made once and copied; and what is below a directory, to compare."""

import os
import shutil
import stat
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from kapi.cli import datadir
from tests.e2e.cluster import free_port


@cache
def _original() -> Path:
    directory = Path(mkdtemp(prefix="kapi-made-")) / "data"
    environment = {**os.environ, "KUBECONFIG": os.devnull}
    for command in (["up", "--simulate", "--no-kubeconfig", "--port", str(free_port())], ["down"]):
        whole = [sys.executable, "-m", "kapi", *command, "--data-dir", str(directory)]
        subprocess.run(whole, check=True, capture_output=True, env=environment, timeout=60)
    return directory


def cluster(directory: Path) -> Path:
    """A copy of the data directory, with something of a pod in it."""
    shutil.copytree(_original(), directory, symlinks=True)
    (directory / "kubelet").mkdir(mode=0o700)
    volume = directory / "kubelet" / "pods" / "uid" / "volumes" / "kubernetes.io~empty-dir" / "data"
    volume.mkdir(parents=True)
    (volume / "file").write_text("a pod's")
    datadir.prepare(directory)
    return directory


def discard() -> None:
    """Delete the original."""
    if _original.cache_info().currsize:
        shutil.rmtree(_original().parent)
        _original.cache_clear()


def snapshot(directory: Path) -> dict[str, object]:
    """Every path below a directory with its type, mode, and content or target."""
    found: dict[str, object] = {}
    for above, directories, files in os.walk(directory):
        for name in (*directories, *files):
            path = os.path.join(above, name)
            facts = os.lstat(path)
            content: object = None
            if stat.S_ISLNK(facts.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(facts.st_mode):
                content = Path(path).read_bytes()
            found[path] = (facts.st_mode, facts.st_uid, content)
    return found
