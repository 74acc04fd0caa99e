"""`kapi certs`: lists a cluster's certificates with what is wrong with them, and replaces a lost authority."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from certs import checking
from kapi.cli import advice, datadir
from kapi.cli.cluster import PROCESS_NAMES, ClusterSettings
from kapi.cli.processes import Process
from kapi.objects import time
from kapi.process import Failure


@dataclass(frozen=True)
class Settings(ClusterSettings):
    """Keys and certificates of a cluster."""

    action: Literal["check", "replace"] = field(kw_only=True)
    """check: list certificates and what is wrong with them; replace: set a damaged authority aside, so that the next start makes one."""
    name: Literal["ca", "front-proxy-ca", "sa"] | None = None
    """What to replace: ca, front-proxy-ca (authorities) or sa (the key of service accounts' tokens)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.action == "check" and self.name:
            raise ValueError(f"check takes no name, such as {self.name}: it lists all certificates")


def run(settings: Settings) -> int:
    """The exit status of check is 1 when something is wrong."""
    directory = settings.data_dir / "pki"
    if not settings.directory_exists("certs", settings.action, *filter(None, [settings.name])) or not directory.is_dir():
        if not datadir.may_hold_cluster(settings.data_dir):
            raise Failure(datadir.absence(settings.data_dir))
        raise Failure(f"There are no certificates in {settings.data_dir}. Start a cluster with: {datadir.start_command(settings.data_dir)}")
    if settings.action == "check":
        return _check(directory)
    if settings.name is None:
        raise Failure("Say what to replace: ca, front-proxy-ca or sa.")
    if running := [name for name in PROCESS_NAMES if Process(name, settings.data_dir).pid]:
        raise Failure(f"The cluster is running ({', '.join(running)}). Stop it with: {advice.command('down', settings.data_dir)}")
    return _replace(directory, settings.name)


def _check(directory: Path) -> int:
    lines = [_line(directory, path) for path in sorted(directory.rglob("*.crt")) if not path.is_relative_to(directory / "replaced")]
    width = max((len(line[0]) for line in lines), default=0)
    for name, state, wrong in lines:
        print(f"{'✗' if wrong else '✓'} {name:{width}}  {state}")
    return 1 if any(wrong for _, _, wrong in lines) else 0


def _line(directory: Path, path: Path) -> tuple[str, str, bool]:
    """(file, its description, whether something is wrong)."""
    from certs import making  # loads cryptography

    name = str(path.relative_to(directory))
    try:
        if wrong := checking.fault(path, path.with_suffix(".key")):
            return name, wrong, True
    except OSError as why:
        return name, f"{why.filename}: {why.strerror}", True
    about = making.describe(path.read_bytes())
    days = int((about.end - time.now()) // 86400)
    return name, f"CN={about.name}, signed by {about.issuer}, {'expired' if days < 0 else f'ends in {days} days'}", days < 0


def _replace(directory: Path, name: str) -> int:
    aside = directory / "replaced" / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    files = [path for path in (directory / f"{name}{suffix}" for suffix in (".crt", ".key", ".pub")) if path.exists()]
    if not files:
        raise Failure(f"There is no {name} in {directory}: the next start makes one.")
    for new in (aside.parent, aside):
        new.mkdir(exist_ok=True, mode=0o700)
    for path in files:
        path.replace(aside / path.name)
    print(f"{', '.join(path.name for path in files)} went to {aside}. The next start makes new ones: {checking.LOST[name]}.")
    return 0
