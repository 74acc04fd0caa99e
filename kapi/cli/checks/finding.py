"""The types of the checks: their scope and their findings."""

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "odd", "wrong"]


@dataclass(frozen=True)
class Scope:
    """The cluster to check, which may not exist yet."""

    data_dir: Path
    storage: str = ""
    """Path of the database, when it is not kapi.db in the data directory."""
    port: int = 6443
    simulate: bool = False

    @property
    def options(self) -> list[str]:
        """Its options of `kapi up` and `kapi doctor`, without the data directory."""
        return [*(["--simulate"] if self.simulate else []), *(["--port", str(self.port)] if self.port != 6443 else [])]

    @property
    def database(self) -> Path:
        return Path(self.storage) if self.storage else self.data_dir / "kapi.db"


@dataclass(frozen=True)
class Finding:
    """What a check found; `mend` is what to do about it, best a command."""

    state: State
    found: str
    mend: str = ""


def ok(found: str) -> Finding:
    return Finding("ok", found)


def odd(found: str, mend: str) -> Finding:
    """Something works less well, or may not work for some."""
    return Finding("odd", found, mend)


def wrong(found: str, mend: str) -> Finding:
    """A cluster cannot run, or not for long."""
    return Finding("wrong", found, mend)


def joined(findings: list[Finding], otherwise: str) -> Finding:
    """One finding of several: the worst state, all texts, every mend once; `otherwise` when there is none."""
    if not findings:
        return ok(otherwise)
    state = max((finding.state for finding in findings), key=("ok", "odd", "wrong").index)
    mends = dict.fromkeys(finding.mend for finding in findings if finding.mend)
    return dataclasses.replace(Finding(state, "; ".join(finding.found for finding in findings)), mend="; ".join(mends))


def quoted(path: str | Path) -> str:
    """A path for a command that mends something."""
    return shlex.quote(str(path))


def text(path: str | Path) -> str:
    """A file of /proc or /sys; "" when there is none."""
    try:
        return Path(path).read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
