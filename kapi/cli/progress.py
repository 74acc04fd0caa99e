"""What a person sees while something takes time: one line a step, with the seconds it took. And the one way to give up."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Failure(Exception):
    """Something a person can mend: one clear sentence (or a few lines), printed as it is; exit status 1."""


class Progress:
    """Steps on standard output."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._live = sys.stdout.isatty()

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """A step that is under way; its line is finished when it is done."""
        before = time.monotonic()
        if self._live:
            print(f" … {text}", end="\r", flush=True)
        try:
            yield
        except BaseException:
            print(f" ✗ {text}\033[K" if self._live else f" ✗ {text}", flush=True)
            raise
        end = "\033[K" if self._live else ""
        print(f" ✓ {text} ({time.monotonic() - before:.1f} s){end}", flush=True)

    def note(self, text: str) -> None:
        """Something to know that is no step."""
        print(f" ! {text}", flush=True)

    def done(self, text: str) -> None:
        print(f"{text} ({time.monotonic() - self._started:.1f} s)", flush=True)
