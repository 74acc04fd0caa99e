"""The user's kubeconfig: entries of a cluster are merged into it and removed again. Entries of other clusters are never overwritten.

The file is locked as kubectl does (a `.lock` file beside it) and replaced atomically; entries that are not ours are unchanged.
"""

import contextlib
import errno
import fcntl
import itertools
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from certs import files

Config = dict[str, Any]

PREVIOUS = "kapi/previous-context"
"""Extension of our context: the context that was current before."""
OWNER = "kapi/cluster"
"""Extension of our context: the cluster's data directory."""
SECTIONS = ("clusters", "contexts", "users")
LOCK_SECONDS = 5.0
_OURS = b"kapi"
"""Content of our lock files, which their holder also locks with flock."""


def _listed() -> list[Path]:
    """The files that kubectl reads."""
    named = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return named or [files.home() / ".kube" / "config"]


def default_path() -> Path:
    """The file that kubectl would write: the first existing file of $KUBECONFIG, else the last; else ~/.kube/config."""
    listed = _listed()
    return next((path for path in listed if path.exists()), listed[-1])


class Taken(Exception):
    """The name is used by another cluster's context, which the message names."""


@dataclass(frozen=True)
class Entries:
    """The cluster, user and context entries of one cluster: their name, and how to recognize them."""

    name: str
    directory: str
    """The cluster's data directory, which no other cluster has."""
    authority: str = ""
    """Its CA as in kubeconfigs; "": unknown."""

    def are_in(self, config: Config) -> bool:
        """Whether the entries with this name are ours."""
        cluster = _entry(config, "clusters", self.name, "cluster")
        if self.authority and cluster.get("certificate-authority-data") == self.authority:
            return True
        return bool(_extension(config, self.name, OWNER).get("directory") == self.directory)

    def check(self, config: Config) -> None:
        """Raises Taken."""
        named = any(entry.get("name") == self.name for section in SECTIONS for entry in config.get(section) or [])
        if named and not self.are_in(config):
            server = _entry(config, "clusters", self.name, "cluster").get("server", "another server")
            raise Taken(f"is already that of {server}")


def authority(kubeconfig: bytes) -> str:
    """The CA in one of our kubeconfigs; "" if there is none."""
    try:
        return str(_parsed(kubeconfig)["clusters"][0]["cluster"]["certificate-authority-data"])
    except (yaml.YAMLError, ValueError, LookupError, TypeError):
        return ""


def check(ours: Entries, path: Path | None = None) -> None:
    """Check whether `merge` would succeed. Raises Taken, OSError, ValueError, yaml.YAMLError."""
    for file in [path] if path else _listed():
        ours.check(_read(file))
    check_writable(path or default_path())


def check_writable(path: Path) -> None:
    """Check whether the file can be replaced, or made. Raises OSError; ValueError for what is no file."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")
    directory = next(above for above in path.parents if above.exists())
    if not directory.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), directory)
    if not os.access(directory, os.W_OK | os.X_OK):
        code = errno.EROFS if os.statvfs(directory).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(code, os.strerror(code), str(directory))


def merge(added: bytes, ours: Entries, path: Path | None = None) -> bool:
    """Merge the cluster, user and context of the kubeconfig `added` into the user's file and make the context current.

    Returns whether the file was readable by others before. Raises what `check` raises.
    """
    new = renamed(_parsed(added), ours.name)
    check(ours, path)
    with _editing(path or default_path(), private=True) as (config, was_open):
        ours.check(config)
        current = config.get("current-context")
        previous = _previous(config, ours.name) if current == ours.name else current
        about = {PREVIOUS: {"context": previous} if previous else None, OWNER: {"directory": ours.directory}}
        new["contexts"][0]["context"]["extensions"] = [{"name": name, "extension": what} for name, what in about.items() if what]
        for section in SECTIONS:
            (entry,) = new[section]
            config[section] = [*_without(config, section, ours.name), entry]
        config["current-context"] = ours.name
    return was_open


def renamed(config: Config, name: str) -> Config:
    """The kubeconfig with its cluster, user and context renamed."""
    for section in SECTIONS:
        (entry,) = config[section]
        entry["name"] = name
    config["contexts"][0]["context"] |= {"cluster": name, "user": name}
    return {**config, "current-context": name}


def of_directory(directory: Path) -> list[tuple[Path, str]]:
    """The user's files and the names of the contexts in them that belong to the cluster of a data directory.

    Raises OSError, ValueError, yaml.YAMLError.
    """
    found = []
    for path in _listed():
        config = _read(path)
        names = [entry.get("name", "") for entry in config.get("contexts") or []]
        found += [(path, name) for name in names if _extension(config, name, OWNER).get("directory") == str(directory)]
    return found


def remove(ours: Entries, path: Path | None = None) -> bool:
    """Remove the entries; the previous context becomes current again. Without a file, or for another cluster's entries, nothing changes.

    Returns whether they were there.
    """
    path = path or default_path()
    if not path.exists() or not ours.are_in(_read(path)):
        return False
    with _editing(path) as (config, _):
        if not ours.are_in(config):
            return False
        if config.get("current-context") == ours.name:
            config["current-context"] = _previous(config, ours.name) or ""
        for section in SECTIONS:
            config[section] = _without(config, section, ours.name)
    return True


def _entry(config: Config, section: str, name: str, key: str) -> Config:
    """The value of an entry, e.g. {"server": …} of a cluster."""
    return next((entry.get(key) or {} for entry in config.get(section) or [] if entry.get("name") == name), {})


def _extension(config: Config, context: str, name: str) -> Config:
    found = _entry(config, "contexts", context, "context").get("extensions") or []
    return next((e.get("extension") or {} for e in found if e.get("name") == name), {})


def _without(config: Config, section: str, name: str) -> list[Config]:
    return [entry for entry in config.get(section) or [] if entry.get("name") != name]


def _previous(config: Config, name: str) -> str | None:
    """The context that was current before `name` was merged, if it still exists."""
    previous = _extension(config, name, PREVIOUS).get("context")
    return previous if any(entry.get("name") == previous for entry in config.get("contexts") or []) else None


def _parsed(data: bytes) -> Config:
    """Raises ValueError, yaml.YAMLError."""
    config = yaml.safe_load(data) or {}
    if not isinstance(config, dict):
        raise ValueError("it is not a kubeconfig")
    for section in SECTIONS:
        entries = config.get(section) or []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError(f"its {section} are not a list of entries")
        if not all(isinstance(entry.get(section[:-1]) or {}, dict) for entry in entries):
            raise ValueError(f"one of its {section} is not a map")
    return config


def _read(path: Path) -> Config:
    """The parsed file; {} if it does not exist, or is no regular file. Raises OSError, ValueError, yaml.YAMLError."""
    try:
        return _parsed(path.read_bytes()) if stat.S_ISREG(path.stat().st_mode) else {}
    except FileNotFoundError:
        return {}


@contextlib.contextmanager
def _editing(path: Path, *, private: bool = False) -> Iterator[tuple[Config, bool]]:
    """The parsed file, to be changed in place, and whether others can read it; written back (or removed, when nothing is left) at the end.

    With `private` it is the user's alone from then on.
    """
    path = path.resolve()
    check_writable(path)
    with _owned_like_its_home(path), _locked(path):
        config = _read(path)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        before = yaml.safe_dump(config)
        yield config, bool(mode & 0o077)
        config.setdefault("apiVersion", "v1")
        config.setdefault("kind", "Config")
        config.setdefault("preferences", {})
        if not any(config.get(section) for section in (*SECTIONS, "preferences")):
            path.unlink(missing_ok=True)
        elif yaml.safe_dump(config) != before:
            text = yaml.safe_dump(config, default_flow_style=False, allow_unicode=True, width=1 << 20)
            files.write(path, text.encode(), mode & 0o700 if private else mode)


@contextlib.contextmanager
def _owned_like_its_home(path: Path) -> Iterator[None]:
    """Files and directories created in the block get the owner of the directory they are in, which with sudo is not root."""
    new = list(itertools.takewhile(lambda p: not p.exists(), (path, *path.parents)))
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    yield
    if new and os.geteuid() == 0:
        owner = new[-1].parent.stat()
        for made in filter(Path.exists, new):
            os.chown(made, owner.st_uid, owner.st_gid)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold kubectl's lock of the file. Raises TimeoutError."""
    lock = path.with_name(path.name + ".lock")
    until = time.monotonic() + LOCK_SECONDS
    with _own_lock(lock.with_name(f"{lock.name}.{os.getpid()}")) as own:
        while not _linked(own, lock):
            if time.monotonic() > until:
                raise TimeoutError(f"it is locked; if no kubectl is running, remove {lock}")
            if not _unlocked(lock):
                time.sleep(0.02)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


@contextlib.contextmanager
def _own_lock(own: Path) -> Iterator[Path]:
    """A lock file with its content and holder, before it has its final name."""
    descriptor = os.open(own, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, _OURS)
        yield own
    finally:
        own.unlink(missing_ok=True)
        os.close(descriptor)


def _linked(own: Path, lock: Path) -> bool:
    try:
        lock.hardlink_to(own)
    except FileExistsError:
        return False
    return True


def _unlocked(lock: Path) -> bool:
    """Whether the lock was left by a killed kapi; it is then removed. kubectl's locks have no content."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        if os.read(descriptor, len(_OURS)) != _OURS:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name in (*lock.parent.glob(f"{lock.name}.*"), lock):  # all names of it
            if os.path.samestat(os.fstat(descriptor), os.stat(name)):
                name.unlink()
        return True
    except (BlockingIOError, FileNotFoundError):
        return False
    finally:
        os.close(descriptor)
