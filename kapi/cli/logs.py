"""`kapi logs`: print the log of a component of this machine's cluster, and follow it, also across rotations."""

import asyncio
import json
import os
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from kapi.cli import cleanup
from kapi.cli.cluster import ClusterSettings
from kapi.cli.layout import COMPONENTS
from kapi.cli.processes import Process
from kapi.logs import files
from kapi.objects import time
from kapi.process import Failure
from kapi.settings import Form, types
from kubelet import inotify

_TIMESTAMP = re.compile(rb'(?:time=")?(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))')
_POLL = 0.5
"""Seconds between polls where inotify is not available."""


@dataclass(frozen=True)
class Settings(ClusterSettings):
    """The log of a component."""

    component: Literal["apiserver", "control", "kubelet", "containerd", "simulated"] | None = None
    """Whose log: apiserver, control, kubelet, containerd or simulated; may be left out where there is only one."""
    follow: bool = field(default=False, metadata={"short": "-f"})
    """Go on with what is written from now on; ctrl-C ends it."""
    tail: Annotated[int, Form(types.integer(-1), "N")] = -1
    """Only so many of the newest lines; -1: all."""
    since: types.Seconds | None = None
    """Only lines newer than this: 5s, 2m, 3h."""


def run(settings: Settings) -> int:
    """Print it."""
    name, path = _choose(settings)
    since = time.now() - settings.since if settings.since else 0.0
    log = Log(path)
    try:
        _print(_newest(_newer_than(log.read(), since), settings.tail))
        if settings.follow:
            if not Process(name, settings.data_dir).pid:
                raise Failure(f"{name} does not run; nothing is to be followed.")
            asyncio.run(_follow(log))
    except BrokenPipeError:  # the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        log.close()
    return 0


def known(data_dir: Path) -> dict[str, Path]:
    """The logs there are, by component. Raises OSError."""
    directory, containerd = data_dir / "log", cleanup.runtime(data_dir).log
    names = sorted(os.listdir(directory)) if directory.exists() else ()
    logs = {name.removesuffix(".log"): directory / name for name in names if name.endswith(".log")}
    return {**logs, "containerd": containerd} if containerd.exists() else logs


def _choose(settings: Settings) -> tuple[str, Path]:
    """The name of the component and its log. Raises Failure."""
    try:
        logs = known(settings.data_dir)
    except OSError as why:
        raise Failure(f"The logs in {settings.data_dir} can't be read: {why.strerror}.") from None
    if elsewhere := _written_elsewhere(settings, logs):
        raise Failure(elsewhere)
    if not logs:
        raise Failure(f"There is no log in {settings.data_dir}: no cluster was started there. Name another with --data-dir.")
    only = next(iter(logs)) if len(logs) == 1 else ""
    name: str = settings.component or only
    if name not in logs:
        reason = f"There is no log of {settings.component!r} in {settings.data_dir}." if settings.component else "Say whose log."
        raise Failure(f"{reason} There is: {', '.join(logs)}.")
    return name, logs[name]


def _written_elsewhere(settings: Settings, logs: dict[str, Path]) -> str:
    """Where a process that was started by itself, not by `kapi up`, writes its log; '' for others."""
    names = (settings.component,) if settings.component else () if logs else COMPONENTS
    for process in (Process(name, settings.data_dir.resolve()) for name in names if name not in logs):
        if process.pid and (log := process.written_log) != process.log_file:
            return f"{process.name} (pid {process.pid}) was started by itself: its log is {log or 'its standard error'}."
    return ""


# reading --------------------------------------------------------------------------------------------------------------------------------


class Log:
    """Lines of a log and of the older files it was rotated into, oldest first."""

    def __init__(self, path: Path) -> None:
        """Raises Failure."""
        self._paths = files(path)[::-1]
        self.directory = path.parent
        try:
            self._file: BinaryIO = next(path for path in self._paths if path.exists()).open("rb")
        except (OSError, StopIteration) as why:
            raise Failure(f"{path} can't be read: {getattr(why, 'strerror', 'it is gone')}.") from None

    def read(self) -> Iterator[bytes]:
        """The complete lines that were not read yet."""
        while True:
            for line in iter(self._file.readline, b""):
                if not line.endswith(b"\n"):
                    self._file.seek(-len(line), os.SEEK_CUR)
                    break
                yield line
            following = self._next()
            if following is None:
                return
            yield from self._file  # lines written before it was rotated
            self._file.close()
            self._file = following

    def _next(self) -> BinaryIO | None:
        """The file that follows the current one after a rotation; None when there is none (yet)."""
        while True:
            place = self._place()
            following = next(filter(None, map(_opened, self._paths[place + 1 :])), None)
            if following is None or self._place() == place:
                return following
            following.close()  # rotated meanwhile

    def _place(self) -> int:
        """Index of the current file in `_paths`; -1 when it was deleted."""
        own = os.fstat(self._file.fileno())
        for place, path in enumerate(self._paths):
            try:
                if os.path.samestat(path.stat(), own):
                    return place
            except FileNotFoundError:
                continue
        return -1

    def close(self) -> None:
        self._file.close()


def _opened(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _newest(lines: Iterable[bytes], count: int) -> Iterable[bytes]:
    return lines if count < 0 else deque(lines, maxlen=count)


def _newer_than(lines: Iterable[bytes], since: float) -> Iterator[bytes]:
    """The lines since a time; one without a timestamp belongs to the line before."""
    chosen = not since
    for line in lines:
        if not chosen and (stamp := _stamp(line)) is not None:
            chosen = stamp >= since
        if chosen:
            yield line


def _stamp(line: bytes) -> float | None:
    """The timestamp of a line in text, JSON, or containerd's format."""
    if match := _TIMESTAMP.match(line):
        return time.parse(match[1].decode())
    try:
        return float(json.loads(line)["ts"]) / 1000 if line.startswith(b'{"') else None
    except (ValueError, KeyError, TypeError):
        return None


def _print(lines: Iterable[bytes]) -> None:
    sys.stdout.buffer.writelines(lines)
    sys.stdout.buffer.flush()


async def _follow(log: Log) -> None:
    """Print new lines until cancelled."""
    async with AsyncExitStack() as stack:
        try:
            changed = await stack.enter_async_context(inotify.watching(log.directory))
        except OSError:  # the user has as many as the kernel allows
            changed = None
        while True:
            _print(log.read())
            if changed is None:
                await asyncio.sleep(_POLL)
            else:
                await changed.wait()
                changed.clear()
