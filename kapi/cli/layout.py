"""The layout of a data directory as a table; and a walk over a directory by that table, which never follows a symbolic link.

All operations are relative to directory descriptors (openat and the like), so a path that is replaced by a link meanwhile leads nowhere.
"""

import fnmatch
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from certs import cluster

COMPONENTS = ("kubelet", "control", "apiserver", "containerd", "simulated")
IDENTITY = "kapi.json"
FILE, TREE = "file", "tree"
"""A file or socket; a directory with anything in it (written by pods or containerd)."""
Table = dict[str, "str | Table"]


def _files(*names: str) -> Table:
    return dict.fromkeys(names, FILE)


def _pairs(*names: str) -> Table:
    return _files(*(f"{name}.{end}" for name in names for end in ("crt", "key")))


_NODE: Table = {**_pairs("client", "serving"), **_files("kubelet.conf")}
_PKI: Table = {
    **_pairs(*(spec.file for spec in (*cluster.AUTHORITIES, *cluster.CLIENTS))),
    **_pairs("apiserver", "apiserver-kubelet-client", "front-proxy-client"),
    **_files("sa.key", "sa.pub", *(f"{spec.file}.conf" for spec in cluster.CLIENTS)),
    "nodes": {"*": _NODE}, "replaced": TREE,
}
_CONTAINERD: Table = {
    **_files("config.toml", "containerd.log", "containerd.sock", "containerd.sock.ttrpc"),
    "root": TREE, "state": TREE, "ipam": TREE, "opt": TREE, "cni": _files("10-kapi.conflist"), "certs.d": {},
}  # fmt: skip
_LOGS: Table = _files(*(f"{name}.log{end}" for name in COMPONENTS for end in ("", ".[0-9]", ".[0-9][0-9]")))
_RUN: Table = _files("containers", "starting", *(f"{name}.{end}" for name in COMPONENTS for end in ("lock", "pid")))
_DATABASE = [f"kapi.db{new}{end}" for new in ("", ".new") for end in ("", "-wal", "-shm", "-journal")]
KNOWN: Table = {
    **_files(IDENTITY, "tokens.csv", *_DATABASE, "kapi.db.lock", ".writable"), "kapi.db.set-aside": TREE,
    "pki": _PKI, "run": _RUN, "log": _LOGS, "containerd": _CONTAINERD, "kubelet": {"pods": TREE}, "pod-logs": TREE,
}  # fmt: skip
NEW: Table = {name: rule for name, rule in KNOWN.items() if name not in ("containerd", "kubelet", "pod-logs")}
"""What may be in a directory that is about to become a data directory: keys and tokens brought along, or what an interrupted start left."""
LEGACY_FILES = ("pki/ca.crt", "kapi.db", "tokens.csv")
"""A directory with all of them is a cluster of an older kapi, which wrote no identity."""


@dataclass(frozen=True)
class Entry:
    """A name in a directory. `rule` is its value in the table, None for what is not kapi's."""

    path: str
    """Relative to the data directory."""
    parent: int
    """The open directory it is in."""
    name: str
    facts: os.stat_result
    rule: "str | Table | None"

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.facts.st_mode)


@contextmanager
def open_directory(name: str | Path, parent: int | None = None) -> Iterator[int]:
    """A descriptor of a directory. Raises OSError, also for a symbolic link."""
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def walk(directory: int, table: Table = KNOWN, above: str = "") -> Iterator[Entry]:
    """Every entry, in the table or not, depth first: a directory comes after its content. Trees are not entered."""
    for name in sorted(os.listdir(directory)):
        try:
            facts = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:  # gone meanwhile
            continue
        entry = Entry(above + name, directory, name, facts, _rule(table, name, facts.st_mode))
        if isinstance(entry.rule, dict):
            with open_directory(name, directory) as inner:
                yield from walk(inner, entry.rule, f"{entry.path}/")
        yield entry


def _rule(table: Table, name: str, mode: int) -> "str | Table | None":
    """The table's rule for a name; None where there is none, or where it is for another type of file."""
    if name.startswith(".") and name[-9:-8] == "." and name not in table:
        name = name[1:-9]  # of a file that was being written: .NAME.xxxxxxxx
    rule = table.get(name) or next((r for pattern, r in table.items() if fnmatch.fnmatchcase(name, pattern)), None)
    fits = stat.S_ISREG(mode) or stat.S_ISSOCK(mode) if rule == FILE else stat.S_ISDIR(mode)
    return rule if fits else None


def unknown_entries(directory: int, table: Table = KNOWN) -> list[str]:
    """The paths of entries that are not in the table."""
    return [entry.path for entry in walk(directory, table) if entry.rule is None]


def fix_permissions(directory: int, *, files: bool = True) -> list[str]:
    """Remove all permissions of group and others, of directories only or of files too. Returns the changed paths.

    Raises OSError; PermissionError for another user's file.
    """
    changed = []
    for entry in walk(directory):
        if not (files or entry.is_directory):
            continue
        wanted = 0o700 if entry.is_directory else 0o600
        theirs = stat.S_ISSOCK(entry.facts.st_mode) or (entry.rule == TREE and "/" in entry.path)  # containerd's, in a closed directory
        if entry.rule is None or theirs or stat.S_IMODE(entry.facts.st_mode) == wanted:
            continue
        _chmod(entry, wanted)
        changed.append(entry.path)
    return changed


def _chmod(entry: Entry, mode: int) -> None:
    """chmod through an O_PATH descriptor: a link is never followed, and closing it does not release SQLite's locks on the file."""
    descriptor = os.open(entry.name, os.O_PATH | os.O_NOFOLLOW, dir_fd=entry.parent)
    try:
        os.chmod(f"/proc/self/fd/{descriptor}", mode)
    except OSError as why:
        raise OSError(why.errno, why.strerror, entry.path) from why
    finally:
        os.close(descriptor)


def owned_by_others(directory: int) -> list[str]:
    """The paths of entries of the table that belong to another user."""
    me = os.geteuid()
    return [entry.path for entry in walk(directory) if entry.rule is not None and entry.facts.st_uid != me]
