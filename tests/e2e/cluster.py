"""A cluster started by `kapi up`, and kubectl pointed at it: what the end-to-end tests hold in their hands."""

import json
import os
import pty
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from kapi.cli.processes import Process

IMAGE = "localhost/kapi/busybox:1"
KUBECTL = str(Path(sys.executable).parent / "kubectl")
_START = """
import sys
from pathlib import Path
from kapi.cli.processes import Process
name, directory, notifies, *command = sys.argv[1:]
Process(name, Path(directory)).start(command, notifies=notifies == "True").wait()
"""
"""Starts a process whose parent is gone at once, as those of `kapi up` are."""
SECONDS = 45
"""No single command may take longer."""


def free_port() -> int:
    """A port that no connection is given (Linux gives them 32768 to 60999), nor a Service: it stays free between two uses."""
    while True:
        port = random.randrange(11_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Failed(AssertionError):
    """A command failed that should not have."""


class Result(str):
    """What a command printed on stdout; `err` is its stderr, `code` its exit status."""

    err: str
    code: int

    @classmethod
    def of(cls, done: "subprocess.CompletedProcess[str]") -> "Result":
        out = cls(done.stdout)
        out.err, out.code = done.stderr, done.returncode
        return out


class Cluster:
    """One cluster, in a directory."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory, self.port = directory, free_port()
        self.kubeconfig = directory / "pki" / "admin.conf"
        self.options = options
        self.env = {
            **os.environ, "KAPI_DATA_DIR": str(directory), "KUBECONFIG": str(self.kubeconfig), "HOME": str(directory.parent / "home"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }  # fmt: skip

    def up(self) -> None:
        done = self.kapi("up", "--port", str(self.port), "--no-kubeconfig", *self.options)
        assert "The cluster is up." in done

    def down(self) -> None:
        self.kapi("down")

    def kapi(self, *arguments: str) -> Result:
        """The kapi command. Raises Failed."""
        return self._run([sys.executable, "-m", "kapi", *arguments])

    def pid(self, process: str) -> int:
        """The pid of one of its processes; 0 when it does not run."""
        return Process(process, self.directory).pid

    def kill(self, process: str) -> Callable[[], Result]:
        """SIGKILL one of its processes; what is returned starts it again and waits until it is ready."""
        pid = self.pid(process)
        command = [a.decode() for a in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]]
        gone = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        select.select([gone], [], [])
        os.close(gone)
        arguments = [process, str(self.directory), str(process != "containerd"), *command]
        return lambda: self._run([sys.executable, "-c", _START, *arguments])

    def _run(self, command: list[str], given: str | None = None, *, fails: bool = False) -> Result:
        done = subprocess.run(command, input=given, capture_output=True, text=True, env=self.env, timeout=SECONDS, check=False)
        if (done.returncode != 0) != fails:
            raise Failed(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return Result.of(done)


class Kubectl:
    """kubectl in one namespace. Called, it is one command: kubectl("get", "pods")."""

    def __init__(self, cluster: Cluster, namespace: str, program: str = KUBECTL) -> None:
        self.cluster, self.namespace, self.program = cluster, namespace, program

    def command(self, *arguments: str) -> list[str]:
        return [self.program, "-n", self.namespace, *arguments]

    def __call__(self, *arguments: str, given: str | None = None, fails: bool = False) -> Result:
        """What it printed. Raises Failed when it fails and should not, or the other way round."""
        return self.cluster._run(self.command(*arguments), given, fails=fails)

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "-o", "json"))

    def apply(self, *objects: dict[str, Any]) -> Result:
        return self("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def field(self, what: str, path: str) -> str:
        """One field, e.g. field("pod/web", ".status.podIP")."""
        return str(self("get", what, "-o", f"jsonpath={{{path}}}"))

    @contextmanager
    def running(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """A command that goes on (logs -f, get -w, port-forward), its output to be read line by line; ended with the block."""
        process = subprocess.Popen(
            self.command(*arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=self.cluster.env,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def terminal(self, *arguments: str, typed: str = "") -> str:
        """What a command shows on a terminal, `typed` being what is typed there; carriage returns are left out."""
        outer, inner = pty.openpty()
        process = subprocess.Popen(self.command(*arguments), stdin=inner, stdout=inner, stderr=inner, env=self.cluster.env)
        os.close(inner)
        os.write(outer, typed.encode())
        shown = b""
        with suppress(OSError):  # the terminal is gone with its last user
            while piece := os.read(outer, 4096):
                shown += piece
        os.close(outer)
        process.wait(SECONDS)
        return shown.decode(errors="replace").replace("\r", "")


def line_with(stream: IO[str] | None, text: str) -> str:
    """The next line with `text` in it; the lines before are passed over."""
    assert stream is not None
    seen = []
    for line in stream:
        if text in line:
            return line
        seen.append(line)
    raise Failed(f"no line with {text!r} in:\n{''.join(seen)}")


@contextmanager
def started(*options: str) -> Iterator[Cluster]:
    """A cluster that is up for as long as the block lasts; its directory goes with it (pytest's have too long a path for sockets)."""
    directory = Path(tempfile.mkdtemp(prefix="kapi-e2e-"))
    cluster = Cluster(directory / "data", *options)
    (directory / "home").mkdir()
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()
        shutil.rmtree(directory)
