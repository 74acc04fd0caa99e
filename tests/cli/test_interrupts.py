"""Ctrl-C while the command line still loads: its exit status, and not a word."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
STARTS = {
    "python -m kapi": "import runpy; runpy.run_module('kapi', run_name='__main__', alter_sys=True)",
    "kapi": "from kapi.__main__ import main; sys.exit(main())",
}
INTERRUPTING = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
sys.argv = ["kapi", "--version"]
{start}
"""


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("module", ["kapi.settings", "asyncio.base_events", "kapi.process"])
def test_an_interrupt_while_modules_are_imported(start: str, module: str) -> None:
    code = INTERRUPTING.format(module=module, start=STARTS[start])
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "")


@pytest.mark.slow
def test_an_interrupt_that_is_ignored() -> None:
    """As a shell starts its background jobs."""
    code = INTERRUPTING.format(module="kapi.settings", start=STARTS["python -m kapi"])
    code = code.replace("import os", "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); import os", 1)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout[:5], done.stderr) == (0, "kapi ", "")
