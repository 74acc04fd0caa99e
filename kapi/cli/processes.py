"""Processes of a cluster: started detached, with a log and a pid file each, known to be ready by a byte on a pipe, ended politely.

A pid file names the process and its start time, so that a pid used again by somebody else is never taken for ours.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kapi.cli.progress import Failure

READY_FD = "KAPI_READY_FD"
"""Environment variable: the descriptor a component writes to when it is ready."""
_READY = b"ready"
_FRUGAL = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072", "PYTHONUNBUFFERED": "1"}
"""One heap for all threads, given back when it is no longer needed: components are one thread and their helpers."""


def say_ready() -> None:
    """Called by a component: tell whoever started it that it is ready."""
    _say(_READY)


def say_failed(why: str) -> None:
    """Called by a component that gives up before it is ready: the sentence whoever started it shows."""
    _say(why.encode())


def _say(what: bytes) -> None:
    descriptor = os.environ.pop(READY_FD, "")
    if descriptor:
        os.write(int(descriptor), what)
        os.close(int(descriptor))


def environment() -> dict[str, str]:
    """What components get: ours, frugal with memory; and Python keeps compiled modules (compiling costs 0.5 s and 5 MB a process)."""
    return {**os.environ, **_FRUGAL, "PYTHONDONTWRITEBYTECODE": ""}


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the block is over, so that no process is started and not noted. For the main thread."""
    came: list[int] = []
    before = {n: signal.signal(n, lambda number, _: came.append(number)) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for late in came:
        signal.raise_signal(late)


def _start_time(pid: int) -> str:
    """When a process started, in ticks since boot; '' when there is none (or only its corpse)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def resident(pid: int) -> int:
    """Resident bytes of a process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@dataclass(frozen=True)
class Process:
    """One process of the cluster: `run/NAME.pid` and `log/NAME.log` below the data directory."""

    name: str
    data_dir: Path

    @property
    def pid_file(self) -> Path:
        return self.data_dir / "run" / f"{self.name}.pid"

    @property
    def log_file(self) -> Path:
        return self.data_dir / "log" / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """Its pid while it runs, else 0."""
        try:
            known = json.loads(self.pid_file.read_text())
        except (OSError, ValueError):
            return 0
        pid = int(known["pid"])
        return pid if _start_time(pid) == known["started"] else 0

    def start(self, command: Sequence[str], *, notifies: bool = True) -> "Starting":
        """Start it in a session of its own. With `notifies` it is ready when it says so, else at once."""
        self.pid_file.parent.mkdir(parents=True, exist_ok=True)
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        reader, writer = os.pipe()
        told = {**environment(), READY_FD: str(writer)}
        with open(self.log_file, "ab", opener=_private) as log, undisturbed():
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=told,
                pass_fds=(writer,) if notifies else (), cwd="/",
            )  # fmt: skip
            self.adopt(child.pid)
        os.close(writer)
        return Starting(self, child, reader, notifies)

    def adopt(self, pid: int) -> None:
        """Note a process as this one."""
        self.pid_file.parent.mkdir(parents=True, exist_ok=True)
        self.pid_file.write_text(json.dumps({"pid": pid, "started": _start_time(pid)}))

    def signal(self, number: int) -> bool:
        """Send a signal; False when it does not run."""
        pid = self.pid
        if not pid:
            return False
        os.kill(pid, number)
        return True

    def stop(self, seconds: float = 10.0) -> None:
        """SIGTERM, and SIGKILL to what is still there after `seconds`."""
        pid = self.pid
        if pid:
            descriptor = os.pidfd_open(pid)
            try:
                os.kill(pid, signal.SIGTERM)
                if not _ended(descriptor, seconds):
                    os.kill(pid, signal.SIGKILL)
                    _ended(descriptor, seconds)
            except ProcessLookupError:
                pass
            finally:
                os.close(descriptor)
            _reap(pid)
        self.pid_file.unlink(missing_ok=True)

    def last_words(self, lines: int = 5) -> str:
        """The end of its log."""
        try:
            return "\n".join(self.log_file.read_text(errors="replace").strip().splitlines()[-lines:])
        except OSError:
            return ""


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _ended(descriptor: int, seconds: float) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        return


@dataclass
class Starting:
    """A process that was started and may not be ready yet."""

    process: Process
    child: "subprocess.Popen[bytes]"
    reader: int
    notifies: bool

    def wait(self, seconds: float = 30.0) -> None:
        """Return when it is ready. Raises Failure with the end of its log when it ended or took too long."""
        try:
            if not self.notifies:
                return
            deadline = time.monotonic() + seconds
            answered, _, _ = select.select([self.reader], [], [], max(0.0, deadline - time.monotonic()))
            said = os.read(self.reader, 4096) if answered else b""
        finally:
            os.close(self.reader)
        if said == _READY:
            return
        words = self.process.last_words()
        self.process.stop()
        self.child.wait()
        if said:
            raise Failure(said.decode(errors="replace"))
        what = "ended while starting" if answered else f"was not ready within {seconds:.0f} seconds"
        raise Failure(f"{self.process.name} {what}. The end of {self.process.log_file}:\n{words}")


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules with the Python that runs this."""
    return [sys.executable, "-m", module, *arguments]
