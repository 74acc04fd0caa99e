"""Processes of a cluster: started detached, with a log and a lock each, known to be ready by a byte on a pipe, ended politely.

Which process is which says the lock it holds (`kapi.cli.locks`), or how it was started; no file has its pid.
"""

import contextlib
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

from kapi.cli import locks
from kapi.process import PRIVATE, READY, READY_FD, Failure

_FRUGAL = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072", "PYTHONUNBUFFERED": "1"}
"""One heap for all threads, given back when it is no longer needed: components are one thread and their helpers."""


def environment() -> dict[str, str]:
    """What components get: ours, frugal with memory; and Python keeps compiled modules (compiling costs 0.5 s and 5 MB a process)."""
    return {**os.environ, **_FRUGAL, "PYTHONDONTWRITEBYTECODE": ""}


class InLog(Failure):
    """A failure whose reason is in the log that it names."""


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


def resident(pid: int) -> int:
    """Resident bytes of a process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


SHARED = 0o022
"""The umask of processes that make files which containers read (theirs are below directories closed to others)."""


@dataclass(frozen=True)
class Process:
    """One process of the cluster: `run/NAME.lock` and `log/NAME.log` below the data directory."""

    name: str
    data_dir: Path

    @property
    def lock_file(self) -> Path:
        return self.data_dir / "run" / f"{self.name}.lock"

    @property
    def log_file(self) -> Path:
        return self.data_dir / ("containerd" if self.name == "containerd" else "log") / f"{self.name}.log"

    @property
    def pids(self) -> list[int]:
        """Those that run as this process: they hold its lock, or were started as `kapi up` does."""
        return sorted({*(locks.holders(self.lock_file) if self._locks else ()), *locks.started_as(*self._command)})

    @property
    def pid(self) -> int:
        """Its pid while it runs, else 0."""
        return next(iter(self.pids), 0)

    @property
    def _locks(self) -> bool:
        """Whether it holds its lock; containerd would hand it down to every shim."""
        return self.name != "containerd"

    @property
    def _command(self) -> list[list[str]]:
        """What its command line holds."""
        start, directory = ["-m", "kapi", self.name], str(self.data_dir)
        return {
            "containerd": [["--config", f"{directory}/containerd/config.toml"]],
            "kubelet": [["-m", "kubelet"], ["--root-dir", f"{directory}/kubelet"]],
            "control": [start, ["--pki", f"{directory}/pki"]],
        }.get(self.name, [start, ["--data-dir", directory]])

    def start(self, command: Sequence[str], *, notifies: bool = True) -> "Starting":
        """Start it in a session of its own. With `notifies` it is ready when it says so, else at once. Raises Failure, OSError."""
        try:
            lock = locks.hold(self.lock_file)
        except BlockingIOError:
            raise Failure(f"{self.name} (pid {self.pid}) runs in {self.data_dir} already.") from None
        reader, writer = os.pipe()
        try:
            inherited = [*([lock] if self._locks else []), *([writer] if notifies else [])]
            child = self._spawn(command, inherited, {READY_FD: str(writer)})
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
            os.close(lock)
        return Starting(self, child, reader, notifies)

    def _spawn(self, command: Sequence[str], inherited: Sequence[int], variables: dict[str, str]) -> "subprocess.Popen[bytes]":
        self.log_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            with undisturbed():
                return subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env={**environment(), **variables},
                    pass_fds=inherited, cwd="/", umask=SHARED if self.name in ("kubelet", "containerd") else PRIVATE,
                )  # fmt: skip
        finally:
            os.close(log)

    def signal(self, number: int) -> bool:
        """Send a signal; False when it does not run."""
        pid = self.pid
        if not pid:
            return False
        os.kill(pid, number)
        return True

    def stop(self, seconds: float = 10.0) -> None:
        """SIGTERM, and SIGKILL to what is still there after `seconds`."""
        while pids := self.pids:
            for pid in pids:
                end(pid, seconds)

    def last_words(self) -> str:
        """The last line of its log."""
        try:
            lines = self.log_file.read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1].strip() if lines else ""


def end(pid: int, seconds: float = 10.0) -> None:
    """SIGTERM, and SIGKILL after `seconds`. Raises Failure for a process that does not end even then."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for number in (signal.SIGTERM, signal.SIGKILL) if seconds else (signal.SIGKILL,):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
            if _ended(descriptor, seconds or 10.0):
                break
        else:
            raise Failure(f"The process {pid} does not end, not even by SIGKILL.")
    finally:
        os.close(descriptor)
    _reap(pid)


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
        if said == READY:
            return
        words = self.process.last_words()
        self.process.stop()
        self.child.wait()
        if said:
            raise Failure(said.decode(errors="replace"))
        what = "ended while starting" if answered else f"was not ready within {seconds:.0f} seconds"
        raise InLog(f"{self.process.name} {what}{f': {words}' if words else ''}. Its log: {self.process.log_file}")


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules with the Python that runs this."""
    return [sys.executable, "-m", module, *arguments]
