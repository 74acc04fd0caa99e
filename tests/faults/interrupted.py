"""`python -m tests.faults.interrupted EVENT TEXT N kapi-arguments…`: kapi, killed by SIGKILL right before its N-th step of a kind.

EVENT is one of Python's audit events (os.mkdir, open, subprocess.Popen …), TEXT a part of its arguments.
"""

import os
import signal
import sys

from kapi.cli import commands as cli

SIGNAL = "signal.pidfd_send_signal"
"""An event that Python 3.11 does not have: a signal is sent to a process."""


def main(event: str, text: str, count: int) -> None:
    left = [count]

    def hook(audited_event: str, arguments: tuple[object, ...]) -> None:
        if audited_event == event and text in repr(arguments):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    real = signal.pidfd_send_signal

    def audited(descriptor: int, number: int) -> None:
        sys.audit(SIGNAL, number)
        real(descriptor, number)

    signal.pidfd_send_signal = audited  # type: ignore[assignment]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    sys.exit(cli.main(sys.argv[4:]))
