"""Progress of a command on the terminal: one line a step, with the seconds it took."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_RED, _GREEN, _PLAIN, _ERASE = "\033[31m", "\033[32m", "\033[0m", "\033[K"
"""Control sequences (ECMA-48): only for a terminal, colours only without NO_COLOR (no-color.org)."""


def say(text: str, end: str = "\n") -> None:
    """Print a line. When it cannot be written (its reader is gone, the disk is full) the work goes on all the same; what is still
    buffered then fails once more at the end of the command, which says so."""
    with contextlib.suppress(OSError):
        print(text, end=end, flush=True)


class Progress:
    """Steps on standard output; plain lines where that is not a terminal."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._coloured = self._live and not os.environ.get("NO_COLOR")

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Print a step, and finish its line at the end of the block."""
        before = time.monotonic()
        if self._live:
            say(f" … {text}", end="\r")
        try:
            yield
        except BaseException:
            self._finish("✗", _RED, text)
            raise
        self._finish("✓", _GREEN, f"{text} ({time.monotonic() - before:.1f} s)")

    def _finish(self, sign: str, colour: str, text: str) -> None:
        shown = f"{colour}{sign}{_PLAIN}" if self._coloured else sign
        say(f" {shown} {text}{_ERASE if self._live else ''}")

    def note(self, text: str) -> None:
        """Print a note."""
        say(f" ! {text}")

    def done(self, text: str) -> None:
        say(f"{text} ({time.monotonic() - self._started:.1f} s)")
