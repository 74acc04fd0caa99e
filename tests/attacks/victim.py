"""A real API server in a process of its own, attacked over TLS; `watched` measures what an attack costs it and its other users."""

import http.client
import json
import mmap
import os
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kapi.cli import processes
from kapi.cli.processes import Process
from tests.attacks.measured import PAIR, TICK

ROOT = Path(__file__).parent.parent.parent
MEGABYTES, HELD, P99 = 64.0, 50.0, 100.0
"""What no request of anybody may exceed: MB of memory, milliseconds of the event loop, milliseconds of another user's GET (p99)."""


@dataclass
class Cost:
    """What an attack cost; filled in when the block of `watched` ends."""

    attack: str
    megabytes: float = 0.0
    """Peak of resident memory above what it was before."""
    held: float = 0.0
    """Longest turn of the event loop, milliseconds of CPU."""
    clock: float = 0.0
    """The same in milliseconds of the clock."""
    p99: float = 0.0
    """Another user's GET, milliseconds."""
    gets: int = 0
    note: str = ""

    def check(self) -> None:
        """Raises AssertionError for a cost beyond what anybody may cause."""
        assert self.megabytes <= MEGABYTES, f"{self.attack}: {self.megabytes:.0f} MB"
        assert self.held <= HELD, f"{self.attack}: the event loop was held {self.held:.0f} ms"
        assert self.p99 <= P99, f"{self.attack}: another user's GET took {self.p99:.0f} ms (p99)"


@dataclass
class Victim:
    """A running API server."""

    directory: Path
    port: int
    pid: int
    costs: list[Cost] = field(default_factory=list)

    @property
    def token(self) -> str:
        """The administrator's bearer token."""
        return (self.directory / "tokens.csv").read_text().partition(",")[0]

    def cpu(self) -> float:
        """Seconds of CPU it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def tls(self, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """A context that trusts the cluster's CA; with `certificate` (certificate, key) as that user."""
        context = ssl.create_default_context(cafile=str(self.directory / "pki" / "ca.crt"))
        if certificate:
            context.load_cert_chain(*map(str, certificate))
        return context

    def connect(self, certificate: tuple[Path, Path] | None = None, timeout: float = 30.0) -> ssl.SSLSocket:
        """A TLS connection for bytes of the test's own making."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        return self.tls(certificate).wrap_socket(plain, server_hostname="127.0.0.1")

    def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, headers: Mapping[str, str] | None = None,
        certificate: tuple[Path, Path] | None = None, timeout: float = 60.0,
    ) -> tuple[int, Any]:  # fmt: skip
        """(status, answer) of one request; `body` is bytes or what becomes JSON. The administrator asks unless `token` says otherwise."""
        line = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.tls(certificate), timeout=timeout)
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})} if raw is not None else dict(headers or {})
        bearer = (self.token if certificate is None else "") if token is None else token
        if bearer:
            sent["Authorization"] = f"Bearer {bearer}"
        try:
            line.request(method, path, raw, sent)
            answer = line.getresponse()
            text = answer.read()
        finally:
            line.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    @contextmanager
    def watched(self, attack: str, *, bystander: bool = True) -> Iterator[Cost]:
        """Measure the attack made in the block; `check` of what it gives is the caller's, and it is printed after the tests."""
        cost = Cost(attack)
        other = _Bystander(self) if bystander else None
        before = _status(self.pid, "VmRSS")
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # the peak begins anew (proc(5))
        self._worst(reset=True)
        try:
            yield cost
        finally:
            cost.megabytes = max(0.0, _status(self.pid, "VmHWM") - before)
            if other:
                took = sorted(other.stop())
                cost.gets = len(took)
                cost.p99 = took[int(0.99 * (len(took) - 1))] if took else 0.0
            else:
                self.ask("GET", "/version")
            time.sleep(2 * TICK)  # the turn that answered is over, and noted by the next one
            cost.held, cost.clock = (1e3 * seconds for seconds in self._worst())
            self.costs.append(cost)

    def _worst(self, *, reset: bool = False) -> tuple[float, float]:
        with open(loop_file(self.directory), "r+b") as file, mmap.mmap(file.fileno(), PAIR.size) as shared:
            cpu, clock = PAIR.unpack(shared[:])
            if reset:
                shared[:] = PAIR.pack(0.0, 0.0)
        return cpu, clock


class _Bystander:
    """Another user at work meanwhile, in a process of its own."""

    def __init__(self, victim: Victim) -> None:
        command = [sys.executable, "-m", "tests.attacks.bystander", str(victim.port), victim.token]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        assert self._process.stdout.readline() == "ready\n"

    def stop(self) -> list[float]:
        """Milliseconds of its requests."""
        out, _ = self._process.communicate("\n", timeout=120)
        assert self._process.returncode == 0, "another user got no answer"
        return [float(ms) for ms in json.loads(out)]


def _status(pid: int, field: str) -> float:
    """A size of /proc/PID/status in MB."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def loop_file(directory: Path) -> Path:
    """Where the server notes how long its event loop was held: beside its data directory, in which there is nothing foreign."""
    return directory.with_name(f"{directory.name}.loop")


@contextmanager
def running(directory: Path, *options: str, files: int = 0) -> Iterator[Victim]:
    """An API server with further options of `tests.attacks.measured`, in a fresh directory; it may open as many `files`, if that is set."""
    loop_file(directory).write_bytes(PAIR.pack(0.0, 0.0))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = Process("apiserver", directory)
    command = processes.python(
        "tests.attacks.measured", str(loop_file(directory)), "--data-dir", str(directory), "--port", str(port),
        "--bind-address", "127.0.0.1", *options,
    )  # fmt: skip
    limit = ["prlimit", f"--nofile={files}:{files}"] if files else []
    started = process.start([*limit, "env", f"PYTHONPATH={ROOT}", *command])
    started.wait(60)
    try:
        yield Victim(directory, port, process.pid)
    finally:
        process.stop()
        started.child.wait()
