"""Processes of a cluster: started detached, with a log file and a lock file each; readiness is notified over a pipe.

A process is identified by the lock it holds (`kapi.cli.locks`), or by its command line; there are no pid files.
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

_MALLOC_SETTINGS = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "524288", "PYTHONUNBUFFERED": "1"}
"""One malloc arena for all threads, trimmed early: components are one thread with a few helpers. Half a megabyte stays, so that the buffers
of a long response are not unmapped and mapped again for each piece."""


def environment() -> dict[str, str]:
    """The environment of components: ours, settings that save memory, and .pyc files (compiling costs 0.5 s and 5 MB a process)."""
    return {**os.environ, **_MALLOC_SETTINGS, "PYTHONDONTWRITEBYTECODE": ""}


class FailureInLog(Failure):
    """A failure whose message names a log that has the reason; so the log is not deleted."""


def end_signals() -> set[signal.Signals]:
    """The signals that end a command: ctrl-C, SIGTERM, and the end of the terminal and ctrl-\\, unless they are ignored (nohup)."""
    terminal = {number for number in (signal.SIGHUP, signal.SIGQUIT) if signal.getsignal(number) != signal.SIG_IGN}
    return {signal.SIGINT, signal.SIGTERM, *terminal}


def interrupt_on_end() -> None:
    """All of them interrupt as ctrl-C does, so that what was started is stopped again."""
    for number in end_signals() - {signal.SIGINT}:
        signal.signal(number, signal.default_int_handler)


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Defer these signals to the end of the block, so that no process is started and not recorded. For the main thread."""
    received: list[int] = []
    before = {n: signal.signal(n, lambda number, _: received.append(number)) for n in end_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for deferred in received:
        signal.raise_signal(deferred)


def resident(pid: int) -> int:
    """Resident bytes of a process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


FULL_BYTES = 1 << 20
"""A disk with less room is as good as full: a new database needs more."""
CONTAINER_UMASK = 0o022
"""The umask of processes that create files for containers (below directories that other users cannot enter)."""


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
    def written_log(self) -> Path | None:
        """The log that the running process writes: not `log_file` where it was started by itself, None for its standard error."""
        pid = self.pid
        words = [word for argument in locks.command_line(pid) for word in _option(argument)]
        with contextlib.suppress(OSError):
            if "--log-file" in words[:-1]:
                return Path(os.readlink(f"/proc/{pid}/cwd"), words[words.index("--log-file") + 1])
            if self.name == "containerd" or os.path.samefile(f"/proc/{pid}/fd/2", self.log_file):
                return self.log_file
        return None

    @property
    def pids(self) -> list[int]:
        """The pids of this process: those that hold its lock, or have its command line."""
        return sorted({*(locks.holders(self.lock_file) if self._locks else ()), *locks.find_by_command_line(self.data_dir, *self._command)})

    @property
    def pid(self) -> int:
        """Its pid, 0 when it does not run."""
        return next(iter(self.pids), 0)

    @property
    def _locks(self) -> bool:
        """Whether it holds its lock. containerd does not: its shims would inherit it."""
        return self.name != "containerd"

    @property
    def _command(self) -> list[list[str]]:
        """Sequences of arguments in its command line."""
        start, directory = ["-m", "kapi", self.name], str(self.data_dir)
        return {
            "containerd": [["--config", f"{directory}/containerd/config.toml"]],
            "kubelet": [["-m", "kubelet"], ["--root-dir", f"{directory}/kubelet"]],
            "control": [start, ["--pki", f"{directory}/pki"]],
        }.get(self.name, [start, ["--data-dir", directory]])

    def start(self, command: Sequence[str], *, notifies: bool = True) -> "Starting":
        """Start it in a session of its own. `notifies`: it writes to READY_FD when it is ready; else it counts as ready at once.

        Raises Failure when it runs already, OSError.
        """
        try:
            lock = locks.acquire(self.lock_file)
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
            with deferred_signals():
                return subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env={**environment(), **variables},
                    pass_fds=inherited, cwd="/", umask=CONTAINER_UMASK if self.name in ("kubelet", "containerd") else PRIVATE,
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
        """Send SIGTERM, and SIGKILL after `seconds`. Raises Failure."""
        while pids := self.pids:
            for pid in pids:
                terminate(pid, seconds)

    def last_log_line(self) -> str:
        """The last line of its log, "" when there is none."""
        try:
            lines = self.log_file.read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1].strip() if lines else ""


def _option(argument: str) -> list[str]:
    """'--log-file=a=b' as '--log-file' and 'a=b'; anything else as it is."""
    return argument.split("=", 1) if argument.startswith("--") else [argument]


def terminate(pid: int, seconds: float = 10.0) -> None:
    """Send SIGTERM, and SIGKILL after `seconds` (0: at once). Raises Failure for a process that does not exit even then."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for number in (signal.SIGTERM, signal.SIGKILL) if seconds else (signal.SIGKILL,):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
            if _wait_for_exit(descriptor, seconds or 10.0):
                break
        else:
            raise Failure(f"The process {pid} does not end, not even by SIGKILL.")
    finally:
        os.close(descriptor)
    _reap(pid)


def _wait_for_exit(descriptor: int, seconds: float) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        return


@dataclass
class Starting:
    """A started process that may not be ready yet."""

    process: Process
    child: "subprocess.Popen[bytes]"
    reader: int
    notifies: bool

    def wait(self, seconds: float = 30.0) -> None:
        """Return when it is ready. Raises Failure with its message, or FailureInLog with its last log line when it exited or timed out."""
        try:
            if not self.notifies:
                return
            deadline = time.monotonic() + seconds
            readable, _, _ = select.select([self.reader], [], [], max(0.0, deadline - time.monotonic()))
            message = os.read(self.reader, 4096) if readable else b""
        finally:
            os.close(self.reader)
        if message == READY:
            return
        last_line = self.process.last_log_line()
        self.process.stop()
        self.child.wait()
        if message:
            raise Failure(message.decode(errors="surrogateescape"))
        what = "ended while starting" if readable else f"was not ready within {seconds:.0f} seconds"
        log = self.process.log_file
        raise FailureInLog(f"{self.process.name} {what}{f': {last_line}' if last_line else ''}. Its log: {log}{full_disk(log.parent)}")


def full_disk(directory: Path) -> str:
    """The sentence for a failure that a full disk explains, "" otherwise. A server with no room goes on trying."""
    status = os.statvfs(directory)
    return " The disk is full: make room and try again." if status.f_bavail * status.f_frsize < FULL_BYTES else ""


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules with the Python that runs this."""
    return [sys.executable, "-m", module, *arguments]
