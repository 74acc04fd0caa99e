"""The commands that messages advise: complete, so that they can be pasted as they are."""

import os
import shlex
import shutil
import sys
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from kapi import settings


def default_directory() -> Path:
    """/var/lib/kapi for root, ~/.local/share/kapi for others; KAPI_DATA_DIR overrides."""
    named = os.environ.get("KAPI_DATA_DIR")
    return Path(named) if named else standard_directory()


def standard_directory() -> Path:
    """The default where KAPI_DATA_DIR is not set."""
    return Path("/var/lib/kapi") if os.geteuid() == 0 else Path.home() / ".local/share/kapi"


def program() -> list[str]:
    """How the user starts this program: as kapi where that is on PATH."""
    return ["kapi"] if shutil.which("kapi") else [sys.executable, "-m", "kapi"]


def command(name: str, directory: Path, *options: str) -> str:
    """'kapi down --data-dir /srv/demo'; the directory is left out where it is the default."""
    return shlex.join([*program(), name, *options, *_directory(directory)])


def up(given: Any, *, sudo: bool = False) -> str:
    """The `kapi up` that `given`, its settings, stand for. With `sudo`, as root: neither PATH nor KAPI_DATA_DIR is kept there."""
    options: list[str] = []
    for field in settings.options(type(given)):
        value, default = getattr(given, field.name), field.default
        if field.name == "data_dir" or default is MISSING or value == default:
            continue
        flag = field.name.replace("_", "-")
        options += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    if not sudo:
        return command("up", given.data_dir, *options)
    named = given.data_dir.resolve() != standard_directory().resolve()
    path = shutil.which("kapi")
    start = [path] if path else [sys.executable, "-m", "kapi"]
    return shlex.join(["sudo", *start, "up", *options, *(["--data-dir", str(given.data_dir)] if named else [])])


def first_up(directory: Path) -> str:
    """The `kapi up` for somebody who has no cluster in `directory` yet."""
    return command("up", directory, *([] if os.geteuid() == 0 else ["--simulate"]))


def _directory(directory: Path) -> list[str]:
    return [] if directory.resolve() == default_directory().resolve() else ["--data-dir", str(directory)]
