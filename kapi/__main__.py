"""`python -m kapi` and the console script: meets ctrl-C while Python still loads the commands (kapi.cli.commands), then runs one."""

import os
import signal
import sys

_INTERRUPTED = 128 + signal.SIGINT


def main() -> int:
    """Run the command of the command line; the exit status."""
    known = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else it is ignored, as of a shell's background jobs
    if known:
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(_INTERRUPTED))
    from kapi.cli import commands  # takes long, and has nothing to undo

    try:
        if known:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return commands.main()
    except KeyboardInterrupt:
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
