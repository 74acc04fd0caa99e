"""The harness of a row: a cluster's directory, the kapi command, small disks, and what must not be lost."""

import contextlib
import http.client
import json
import os
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from kapi.cli import datadir
from tests.e2e.cluster import free_port
from tests.e2e.conftest import processes_of

ROOT = Path(__file__).parents[2]
SOMEBODY = 12345
"""A user without privileges."""
SECONDS = 60
TOKEN_REQUEST = ("/api/v1/namespaces/default/serviceaccounts/default/token", '{"spec": {"expirationSeconds": 3600}}')
KEPT = "/api/v1/namespaces/default/configmaps/kept"


@dataclass
class Outcome:
    """A line of the matrix."""

    sees: str
    left: list[str] = field(default_factory=list)
    """Command lines of processes that run when they should not."""
    lost: list[str] = field(default_factory=list)
    goes_on: str = ""

    def of(self, directory: Path) -> "Outcome":
        """The same for a reader, in /srv/demo instead of a directory of the test's."""
        return replace(self, sees=self.sees.replace(str(directory), "/srv/demo"), goes_on=self.goes_on.replace(str(directory), "/srv/demo"))

    def check(self) -> None:
        """Raises AssertionError unless the row is as it should be."""
        assert self.sees
        assert "\n" not in self.sees, f"more than one line: {self.sees}"
        assert "Traceback" not in self.sees
        assert self.left == []
        assert self.lost == []


@dataclass(frozen=True)
class CommandResult:
    """The exit status and output of a command."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """Standard error without the name of the command in front."""
        return self.err.strip().partition(": ")[2] if self.err.startswith("kapi ") else self.err.strip()


@dataclass(frozen=True)
class Kept:
    """What was acknowledged or issued before the fault."""

    certificate: Path
    """Directory with the CA and the administrator's certificate of then."""
    token: str
    service_account: str

    def lost(self, port: int) -> list[str]:
        """What is lost."""
        try:
            context = ssl.create_default_context(cafile=str(self.certificate / "ca.crt"))
            context.load_cert_chain(self.certificate / "admin.crt", self.certificate / "admin.key")
            found = [] if get(port, context) == 200 else ["an object, or the administrator's certificate"]
        except ssl.SSLError:
            return ["trust in the CA"]
        context = ssl.create_default_context(cafile=str(self.certificate / "ca.crt"))
        if get(port, context, self.token) != 200:
            found.append("the administrator's token")
        if get(port, context, self.service_account) == 401:
            found.append("service accounts' tokens")
        if not found and ask(port, context, self.token, *TOKEN_REQUEST)[0] != 201:
            found.append("new tokens of service accounts")
        return found


def get(port: int, context: ssl.SSLContext, token: str = "", path: str = KEPT, body: str = "") -> int:
    """The status of one request (a POST when there is a body)."""
    return ask(port, context, token, path, body)[0]


def ask(port: int, context: ssl.SSLContext, token: str, path: str, body: str = "") -> tuple[int, bytes]:
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=30)
    try:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        connection.request("POST" if body else "GET", path, body or None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class Harness:
    """The directory, port and environment of one row; everything is undone at its end."""

    def __init__(self, directory: Path, undo: ExitStack) -> None:
        self.directory, self.data, self.undo, self.port = directory, directory / "data", undo, free_port()
        self.environment = {
            **os.environ, "HOME": str(directory / "home"), "KUBECONFIG": str(directory / "kubeconfig"), "PYTHONPATH": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "KAPI_DATA_DIR": "",
        }  # fmt: skip

    def run(self, *command: str) -> CommandResult:
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=SECONDS, cwd=self.directory, stdin=subprocess.DEVNULL,
            check=False,
        )  # fmt: skip
        return CommandResult(done.returncode, done.stdout, done.stderr)

    def kapi(self, name: str, *options: str) -> CommandResult:
        return self.run(sys.executable, "-m", "kapi", name, *self.options(name, *options))

    def killed(self, name: str, event: str, text: str, count: int = 1, options: Sequence[str] = ()) -> None:
        """The command, killed before its `count`-th step of a kind."""
        result = self.run(sys.executable, "-m", "tests.faults.interrupted", event, text, str(count), name, *self.options(name, *options))
        assert result.code == -signal.SIGKILL, f"it was not killed: {result}"

    def as_somebody(self, name: str, *options: str) -> CommandResult:
        """The command as a user without privileges, with a Python that everybody may run."""
        paths = f"{ROOT}:{next(p for p in sys.path if p.endswith('site-packages'))}"
        drop = ["setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups", "env", f"PYTHONPATH={paths}"]
        return self.run(*drop, everybody_s_python(), "-m", "kapi", name, *self.options(name, *options))

    def options(self, name: str, *more: str) -> list[str]:
        start = ["--simulate", "--port", str(self.port)] if name == "up" and "--real" not in more else []
        return [*(["--yes"] if name == "reset" else []), "--data-dir", str(self.data), *start, *(m for m in more if m != "--real")]

    def up(self, *options: str) -> CommandResult:
        result = self.kapi("up", *options)
        assert result.code == 0, result
        return result

    def down(self) -> None:
        result = self.kapi("down")
        assert result.code == 0, result
        assert self.left() == []

    def left(self) -> list[str]:
        return [connection for connection in processes_of(self.directory) if "kapi" in connection]

    def typed(self, name: str, *more: str) -> str:
        """The command as a user types it."""
        return shlex.join(["kapi", name, *self.options(name, *more)])

    def as_advised(self, sentence: str) -> str:
        """Run the command that a sentence ends with, and return it."""
        command = sentence.rpartition(": ")[2]
        result = self.run(*shlex.split(command))
        assert result.code == 0, result
        return command

    def with_data(self, kind: str = "down") -> Kept:
        """Make the directory that of a cluster with an object. `kind`: "down", "killed", or "containers" (it had some, and is down)."""
        kept, original = _original(kind)
        shutil.copytree(original, self.data, symlinks=True, ignore=_sockets)
        known = datadir.read(self.data)
        assert known is not None
        datadir.write(self.data, replace(known, directory=str(self.data)))  # it is no copy but that cluster
        return kept

    def disk(self, size: str = "64m") -> Path:
        """The directory is on a file system of its own from now on."""
        mount = self.directory / "disk"
        mount.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(mount)], check=True)
        self.undo.callback(subprocess.run, ["umount", "--lazy", str(mount)], check=True)
        self.data = mount / "data"
        return mount

    @contextmanager
    def full(self, disk: Path, left: int = 0) -> Iterator[None]:
        """No more than `left` bytes are free within the block."""
        filler, facts = disk / "filler", os.statvfs(disk)
        with open(filler, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, facts.f_bavail * facts.f_frsize - left)
        try:
            yield
        finally:
            filler.unlink()


def _sockets(directory: str, names: list[str]) -> list[str]:
    """They cannot be copied."""
    return [name for name in names if Path(directory, name).is_socket()]


@cache
def everybody_s_python() -> str:
    """An interpreter that a user without privileges may run (pyenv's is in a home)."""
    for path in (sys.executable, "/usr/bin/python3"):
        command = ["setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups", "env", path, "-c", ""]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return path
    raise AssertionError("no Python that everybody may run")


_creating = threading.Lock()
originals: list[Path] = []


def _original(kind: str) -> tuple[Kept, Path]:
    with _creating:
        kept, data = _create("containers" if kind == "containers" else "simulated")
        return kept, data.with_name("killed") if kind == "killed" else data


@cache
def _create(kind: str) -> tuple[Kept, Path]:
    """A data directory with an object, and the credentials issued there; beside it a copy made while the cluster ran."""
    directory = Path(mkdtemp(prefix="kapi-faults-"))
    originals.append(directory)
    with ExitStack() as undo:
        harness = Harness(directory, undo)
        harness.up("--no-kubeconfig", *(["--real", "--port", str(harness.port)] if kind == "containers" else []))
        token = (harness.data / "tokens.csv").read_text().partition(",")[0]
        context = ssl.create_default_context(cafile=str(harness.data / "pki" / "ca.crt"))
        assert get(harness.port, context, token, "/api/v1/namespaces/default/configmaps", '{"metadata": {"name": "kept"}}') == 201
        status, answer = ask(harness.port, context, token, *TOKEN_REQUEST)
        assert status == 201, answer
        if kind == "simulated":
            shutil.copytree(harness.data, directory / "killed")
        harness.down()
    shutil.copytree(harness.data / "pki", directory / "pki")
    return Kept(directory / "pki", token, json.loads(answer)["status"]["token"]), harness.data


def discard() -> None:
    """Delete the originals."""
    while originals:
        shutil.rmtree(originals.pop())
    _create.cache_clear()


@contextmanager
def new_harness() -> Iterator[Harness]:
    directory = Path(mkdtemp(prefix="kapi-faults-"))
    try:
        with ExitStack() as undo:
            harness = Harness(directory, undo)
            try:
                yield harness
            finally:
                with contextlib.suppress(AssertionError):
                    harness.down()
    finally:
        shutil.rmtree(directory)
