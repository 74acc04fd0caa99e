"""The user's own kubeconfig: ours is merged into it and taken out again.

The file is locked as kubectl locks it (a `.lock` beside it), replaced in one step, and keeps everything that is not ours.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from certs import files
from certs.kubeconfig import NAME

Config = dict[str, Any]

PREVIOUS = "kapi/previous-context"
"""An extension of our context that remembers which one was current before."""
LOCK_SECONDS = 5.0


def default_path() -> Path:
    """The file kubectl would write: of $KUBECONFIG the first that exists, else the last; else ~/.kube/config."""
    listed = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    if not listed:
        return Path.home() / ".kube" / "config"
    return next((path for path in listed if path.exists()), listed[-1])


def merge(added: bytes, path: Path | None = None) -> None:
    """Put the cluster, user and context of the kubeconfig `added` into the user's file and make the context current."""
    new: Config = yaml.safe_load(added)
    with _editing(path or default_path()) as config:
        name = new["current-context"]
        previous = _previous(config, name) if config.get("current-context") == name else config.get("current-context")
        if previous:
            extension = {"name": PREVIOUS, "extension": {"context": previous}}
            new["contexts"][0]["context"]["extensions"] = [extension]
        for section in ("clusters", "contexts", "users"):
            (entry,) = new[section]
            config[section] = [*_without(config, section, name), entry]
        config["current-context"] = name


def remove(path: Path | None = None, name: str = NAME, only: bytes = b"") -> None:
    """Take them out again; the context that was current before is current again. No file, no change.

    With `only`, a kubeconfig, nothing is done when the cluster of that name is another one by now.
    """
    path = path or default_path()
    if not path.exists():
        return
    with _editing(path) as config:
        if only and _cluster(config, name) != _cluster(yaml.safe_load(only), name):
            return
        if config.get("current-context") == name:
            config["current-context"] = _previous(config, name) or ""
        for section in ("clusters", "contexts", "users"):
            config[section] = _without(config, section, name)


def _cluster(config: Config, name: str) -> object:
    return next((entry.get("cluster") for entry in config.get("clusters") or [] if entry.get("name") == name), None)


def _without(config: Config, section: str, name: str) -> list[Config]:
    return [entry for entry in config.get(section) or [] if entry.get("name") != name]


def _previous(config: Config, name: str) -> str | None:
    """The context that was current before `name` was merged in, if it still is there."""
    contexts = {entry.get("name"): entry.get("context") or {} for entry in config.get("contexts") or []}
    for extension in contexts.get(name, {}).get("extensions") or []:
        if extension.get("name") == PREVIOUS:
            previous = (extension.get("extension") or {}).get("context")
            return previous if previous in contexts else None
    return None


@contextlib.contextmanager
def _editing(path: Path) -> Iterator[Config]:
    """The parsed file, to be changed in place; written back (or removed, when nothing is left) at the end."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        config: Config = (yaml.safe_load(path.read_bytes()) if path.exists() else None) or {}
        before = yaml.safe_dump(config)
        yield config
        config.setdefault("apiVersion", "v1")
        config.setdefault("kind", "Config")
        config.setdefault("preferences", {})
        if not any(config.get(section) for section in ("clusters", "contexts", "users", "preferences")):
            path.unlink(missing_ok=True)
        elif yaml.safe_dump(config) != before:
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
            files.write(path, yaml.safe_dump(config, default_flow_style=False, allow_unicode=True, width=1 << 20).encode(), mode)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock kubectl respects. Raises TimeoutError when somebody else does not let go."""
    lock = path.with_name(path.name + ".lock")
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL, 0))
            break
        except FileExistsError:
            if time.monotonic() > until:
                raise TimeoutError(f"{path} is locked; if no kubectl is running, remove {lock}") from None
            time.sleep(0.02)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
