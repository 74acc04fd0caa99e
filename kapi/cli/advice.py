"""Commands for messages that tell a user what to run: complete, so that they can be pasted."""

import os
import shlex
import shutil
import sys
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from certs import files
from kapi import settings


def default_directory() -> Path:
    """/var/lib/kapi for root, ~/.local/share/kapi for others; KAPI_DATA_DIR overrides."""
    named = os.environ.get("KAPI_DATA_DIR")
    return Path(named) if named else standard_directory()


def standard_directory() -> Path:
    """The default where KAPI_DATA_DIR is not set."""
    return Path("/var/lib/kapi") if os.geteuid() == 0 else files.home() / ".local/share/kapi"


def program() -> list[str]:
    """The words that start this program: kapi where that is on PATH."""
    return ["kapi"] if shutil.which("kapi") else [sys.executable, "-m", "kapi"]


def command(name: str, directory: Path, *options: str) -> str:
    """'kapi down --data-dir /srv/demo'; without the directory where it is the default."""
    default = directory.resolve() == default_directory().resolve()
    return shlex.join([*program(), name, *options, *([] if default else ["--data-dir", str(directory)])])


def sudo(name: str, directory: Path, *options: str, user: str = "root") -> str:
    """The same for another user: sudo keeps neither PATH nor KAPI_DATA_DIR."""
    path = shutil.which("kapi")
    start = ["sudo", *(["-u", user] if user != "root" else []), *([path] if path else program())]
    default = user == "root" and directory.resolve() == Path("/var/lib/kapi").resolve()
    return shlex.join([*start, name, *options, *([] if default else ["--data-dir", str(directory)])])


def options(config: Any) -> list[str]:
    """The options of a settings object that differ from their defaults, without the data directory."""
    out: list[str] = []
    for field in settings.options(type(config)):
        value, default = getattr(config, field.name), field.default
        if field.name == "data_dir" or default is MISSING or value == default:
            continue
        flag = field.name.replace("_", "-")
        out += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return out


def up(config: Any, *, for_root: bool = False) -> str:
    """The `kapi up` command with the options of its settings."""
    if not for_root:
        return command("up", config.data_dir, *options(config))
    return as_root("up", config.data_dir, *options(config))


def as_root(name: str, directory: Path, *more: str) -> str:
    """The same for root, whose default directory is another."""
    own_default = directory.resolve() == standard_directory().resolve()
    return sudo(name, Path("/var/lib/kapi") if own_default else directory, *more)


def first_options() -> list[str]:
    """The options of `kapi up` for a user who has no cluster yet."""
    return [] if os.geteuid() == 0 else ["--simulate"]

