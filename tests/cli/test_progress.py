"""Steps: control sequences for terminals, colours where they are wanted, plain lines elsewhere."""

import os
import pty
import re
import subprocess
import sys
from contextlib import suppress

import pytest

STEPS = """
from kapi.cli.progress import Progress
progress = Progress()
with progress.step("first"):
    pass
try:
    with progress.step("second"):
        raise KeyError
except KeyError:
    progress.done("over")
"""
TIME = re.compile(r"\d+\.\d s")


def on_a_terminal(**environment: str) -> str:
    outer, inner = pty.openpty()
    env = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | environment
    subprocess.run([sys.executable, "-c", STEPS], stdout=inner, env=env, check=True)
    os.close(inner)
    shown = b""
    with suppress(OSError):  # the terminal is gone with its last user
        while piece := os.read(outer, 4096):
            shown += piece
    os.close(outer)
    return TIME.sub("T", shown.decode())


@pytest.mark.slow
def test_a_terminal() -> None:
    first, second = " … first\r \033[32m✓\033[0m first (T)\033[K\r\n", " … second\r \033[31m✗\033[0m second\033[K\r\n"
    assert on_a_terminal(TERM="xterm") == f"{first}{second}over (T)\r\n"


@pytest.mark.slow
def test_no_colour() -> None:
    assert on_a_terminal(TERM="xterm", NO_COLOR="1") == " … first\r ✓ first (T)\033[K\r\n … second\r ✗ second\033[K\r\nover (T)\r\n"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["a dumb terminal", "a pipe"])
def test_plain_lines(how: str) -> None:
    if how == "a pipe":
        done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
        shown = TIME.sub("T", done.stdout)
    else:
        shown = on_a_terminal(TERM="dumb").replace("\r\n", "\n")
    assert shown == " ✓ first (T)\n ✗ second\nover (T)\n"


@pytest.mark.slow
def test_an_encoding_without_such_signs() -> None:
    """`kapi up` on a terminal that knows ASCII only."""
    steps = f"import kapi.cli.commands; kapi.cli.commands._main = lambda given: exec({STEPS!r}) or 0; kapi.cli.commands.main([])"
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", steps], capture_output=True, text=True, env=env, check=False)
    assert (done.stderr, TIME.sub("T", done.stdout)) == ("", " ? first (T)\n ? second\nover (T)\n")
