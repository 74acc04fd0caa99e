"""Lock files of a data directory, by flock, which the kernel releases when the holder exits; and the processes that hold them.

A command that changes a cluster locks the directory itself (`exclusive`). A process of the cluster holds run/NAME.lock, whose descriptor
it inherits: so it is found at any moment while it runs, and there is no pid file that a full disk could keep from being written.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from kapi.process import Failure


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Lock the directory for one command. Raises Failure when another command holds the lock, OSError when there is no such directory."""
    descriptor = _locked_directory(directory)
    while not os.path.samestat(os.fstat(descriptor), os.stat(directory)):  # it was deleted or replaced meanwhile
        os.close(descriptor)
        descriptor = _locked_directory(directory)
    try:
        yield
    finally:
        os.close(descriptor)


def _locked_directory(directory: Path) -> int:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Failure(f"{_busy(directory)} Try again when it is done.") from None
    return descriptor


def _busy(directory: Path) -> str:
    """'`kapi up` (pid 12) is at work on /srv/demo.'"""
    for pid in holders(directory):
        arguments = command_line(pid)
        name = next((w for w in arguments if w in ("up", "down", "reset")), "")
        return f"{f'kapi {name}' if name else arguments[0]} (pid {pid}) is at work on {directory}."
    return f"Another command is at work on {directory}."


def acquire(file: Path) -> int:
    """Lock a file. Returns the descriptor, which child processes may inherit with the lock. Raises BlockingIOError when it is locked."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def holders(path: Path) -> list[int]:
    """The pids of other processes that hold the lock of a file or directory, also of a deleted one."""
    real = os.path.realpath(path)
    names = {real, f"{real} (deleted)"}
    return [pid for pid in _processes() if pid != os.getpid() and any(_locked(pid, fd) for fd in _open(pid, names))]


def is_held(path: Path) -> bool:
    """Whether this process has inherited the lock."""
    return any(_locked(os.getpid(), fd) for fd in _open(os.getpid(), {os.path.realpath(path)}))


def _open(pid: int, names: set[str]) -> Iterator[str]:
    """The descriptors of a process that refer to one of the files."""
    directory = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):  # it has exited, or belongs to another user
        for fd in os.listdir(directory):
            with contextlib.suppress(OSError):
                if os.readlink(f"{directory}/{fd}") in names:
                    yield fd


def _locked(pid: int, fd: str) -> bool:
    try:
        return "FLOCK" in Path(f"/proc/{pid}/fdinfo/{fd}").read_text()
    except OSError:
        return False


def find_by_command_line(*sequences: Sequence[str]) -> list[int]:
    """The pids of this user's processes whose command lines contain each of the sequences."""
    return [pid for pid in _processes() if pid != os.getpid() and _all_in(command_line(pid), sequences) and _ours(pid)]


def _all_in(arguments: list[str], sequences: Iterable[Sequence[str]]) -> bool:
    return all(any(arguments[i : i + len(s)] == list(s) for i in range(len(arguments))) for s in sequences)


def _ours(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}").st_uid == os.geteuid()
    except OSError:
        return False


def command_line(pid: int) -> list[str]:
    """The arguments of a process; [""] when it has exited."""
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")
    except OSError:
        return [""]


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]
