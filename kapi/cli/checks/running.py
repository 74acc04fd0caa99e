"""Which processes run on this machine, and which of them belong to a cluster of kapi."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_DIRECTORIES = ("--data-dir", "--pki", "--root-dir", "--root", "--address", "-address")
"""Options of our processes that name the data directory, or what is below it."""
_BELOW = {"--pki": 1, "--root-dir": 1, "--root": 1, "--address": 2, "-address": 2}


class Running(NamedTuple):
    """A process; `data_dir` is that of its cluster, None for a stranger."""

    pid: int
    name: str
    data_dir: Path | None
    shim: bool
    """It watches over a container."""


def processes_of() -> Iterator[Running]:
    """Every process that can be seen."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = [os.fsdecode(word) for word in Path("/proc", pid, "cmdline").read_bytes().split(b"\0")]
        except OSError:
            continue
        if words[0]:
            yield of_command(int(pid), words)


def running() -> list[Running]:
    """The processes of clusters of kapi."""
    return [process for process in processes_of() if process.data_dir]


def of_command(pid: int, words: list[str]) -> Running:
    """A process, by its command line."""
    program = Path(words[0]).name
    ours = "-m" in words[:3] and words[words.index("-m") + 1] in ("kapi", "kubelet")
    name = " ".join(words[words.index("-m") + 1 : words.index("-m") + 3]) if ours else program
    shim = program.startswith("containerd-shim")
    ours = ours or program in ("kapi", "kubelet") or any(Path(word).name in ("kapi", "kubelet") for word in words[1:2])
    directory = next((_directory(option, value) for option, value in itertools.pairwise(words) if option in _DIRECTORIES), None)
    known = directory if ours or (directory and _has_keys(directory)) else None
    return Running(pid, name, known, shim)


def _has_keys(directory: Path) -> bool:
    """Whether it is a data directory; False for another user's, which this one cannot look into."""
    try:
        return directory.joinpath("pki").exists()
    except OSError:
        return False


def _directory(option: str, value: str) -> Path:
    path = Path(value)
    for _ in range(_BELOW.get(option, 0)):
        path = path.parent
    return path
