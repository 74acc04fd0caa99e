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
    return [pid for pid in _processes() if pid != os.getpid() and any(_locked(pid, fd) for fd in _open(pid, path))]


def is_held(path: Path) -> bool:
    """Whether this process has inherited the lock."""
    return any(_locked(os.getpid(), fd) for fd in _open(os.getpid(), path))


def _open(pid: int, path: Path) -> Iterator[str]:
    """The descriptors of a process that refer to the file."""
    directory, real = f"/proc/{pid}/fd", os.path.realpath(path)
    with contextlib.suppress(OSError):  # it has exited, or belongs to another user
        for fd in os.listdir(directory):
            with contextlib.suppress(OSError):
                text = os.readlink(f"{directory}/{fd}")
                deleted = text == f"{real} (deleted)" and _in_our_mount_namespace(pid)
                if deleted or (text == real and os.path.samestat(os.stat(f"{directory}/{fd}"), os.stat(real))):
                    yield fd


def _in_our_mount_namespace(pid: int) -> bool:
    """Whether a path means the same to the process as to us. False when it has exited, or belongs to another user."""
    return _same_file(f"/proc/{pid}/ns/mnt", "/proc/self/ns/mnt")


def _sees(pid: int, directory: Path) -> bool:
    """Whether the directory is the same for the process as for us; that of a container, say, only has the same path."""
    if os.path.lexists(directory):
        return _same_file(f"/proc/{pid}/root{os.path.realpath(directory)}", directory)
    return _in_our_mount_namespace(pid)


def _same_file(one: str | Path, other: str | Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _locked(pid: int, fd: str) -> bool:
    try:
        return "FLOCK" in Path(f"/proc/{pid}/fdinfo/{fd}").read_text()
    except OSError:
        return False


def find_by_command_line(directory: Path, *sequences: Sequence[str]) -> list[int]:
    """The pids of this user's processes whose command lines contain each of the sequences, and for which `directory`, which these name,
    is the same as for us."""
    found = [pid for pid in _processes() if pid != os.getpid() and _all_in(command_line(pid), sequences) and _ours(pid)]
    return [pid for pid in found if _sees(pid, directory)]


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
