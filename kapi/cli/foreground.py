"""`kapi up --foreground`: waits for a signal, or for the end of what it started, which may come from elsewhere."""

import asyncio
import os
import select
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kapi.cli.processes import FailureInLog, Process, end_signals


@dataclass(frozen=True)
class Started:
    """A process of the cluster, by a descriptor (pidfd), which never means another process, as a pid may."""

    process: Process
    pid: int
    descriptor: int

    @property
    def runs(self) -> bool:
        return not select.select([self.descriptor], [], [], 0)[0]

    @property
    def ended_well(self) -> bool:
        """Whether it ended with status 0, as it does after SIGTERM."""
        try:
            end = os.waitid(os.P_PIDFD, self.descriptor, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # its status was collected elsewhere
            return False
        return end is not None and end.si_code == os.CLD_EXITED and end.si_status == 0


def hold(processes: Iterable[Process]) -> list[Started]:
    """Descriptors of processes that were just started, until this process ends. Raises FailureInLog for one that has ended already."""
    return [_held(process) for process in processes]


def _held(process: Process) -> Started:
    try:
        if pid := process.pid:
            return Started(process, pid, os.pidfd_open(pid))
    except ProcessLookupError:
        pass
    raise FailureInLog(f"{process.name} ended as soon as it was ready. Its log: {process.log_file}")


async def wait(started: Sequence[Started]) -> Started | None:
    """The first process that ends, None for one of `end_signals`, which must be blocked, and are not afterwards."""
    stopping = end_signals()
    loop = asyncio.get_running_loop()
    something = asyncio.Event()
    for one in started:
        loop.add_reader(one.descriptor, something.set)
    for number in stopping:
        loop.add_signal_handler(number, something.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, stopping)
    try:
        await something.wait()
        return next((one for one in started if not one.runs), None)
    finally:
        for one in started:
            loop.remove_reader(one.descriptor)
