"""A machine for one test: a network namespace of its own, so that the default ports are free, and a directory to work in."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kapi.process import READY_FD

SECONDS = 100.0
_ROOT = os.geteuid() == 0
_UNSHARE = ["unshare", "--net", "--mount", *([] if _ROOT else ["--map-root-user"])]
_ENTER = ["--net", "--mount", *([] if _ROOT else ["--user", "--preserve-credentials"])]
_HOLD = "ip link set lo up && echo up && exec sleep infinity"


class NoNamespace(Exception):
    """Network namespaces can't be made here."""


class Machine:
    """Runs commands as a shell would, with kapi on the PATH."""

    def __init__(self, directory: Path, pid: int) -> None:
        self.directory = directory
        self._enter = ["nsenter", "--target", str(pid), *_ENTER, "bash", "-c"]
        self.env = {
            **os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin", "HOME": str(directory),
            "KAPI_DATA_DIR": str(directory / "cluster"), "KUBECONFIG": str(directory / "kubeconfig"),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }  # fmt: skip

    def run(self, line: str) -> "subprocess.CompletedProcess[str]":
        """A command that ends."""
        return subprocess.run(self._command(line), capture_output=True, text=True, env=self.env, timeout=SECONDS, check=False)

    def start(self, line: str) -> "subprocess.Popen[str]":
        """A command that goes on, with its output to be read."""
        pipe = subprocess.PIPE
        return subprocess.Popen(self._command(f"exec {line}"), stdout=pipe, stderr=subprocess.STDOUT, text=True, env=self.env)

    def _command(self, line: str) -> list[str]:
        return [*self._enter, f"cd {self.directory} && {line}"]

    @contextmanager
    def serving(self, line: str) -> Iterator["subprocess.Popen[str]"]:
        """A command that goes on until SIGTERM; the block begins when it says that it is ready."""
        reader, writer = os.pipe()
        with (self.directory / "server.log").open("ab") as log:
            child = subprocess.Popen(
                self._command(f"exec {line}"), env={**self.env, READY_FD: str(writer)}, pass_fds=(writer,),
                stdout=log, stderr=log, text=True,
            )  # fmt: skip
        os.close(writer)
        try:
            with os.fdopen(reader) as output:
                assert output.read() == "ready", (self.directory / "server.log").read_text()
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(SECONDS)


@contextmanager
def machine(directory: Path, before: str = "") -> Iterator[Machine]:
    """`before` is run first, as a shell does: mounts only this machine sees, say. Raises NoNamespace."""
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        raise NoNamespace("unshare, nsenter or ip is missing")
    holder = subprocess.Popen([*_UNSHARE, "sh", "-c", before + _HOLD], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != "up\n":
            raise NoNamespace(f"no network namespace: {holder.communicate()[1]}")
        yield Machine(directory, holder.pid)
    finally:
        holder.kill()
        holder.communicate()
