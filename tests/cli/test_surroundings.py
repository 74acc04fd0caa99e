"""What a command is started in: no home, closed or full outputs, odd paths. One sentence, no traceback, and the cluster as it should be."""

import json
import os
import pwd
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from certs import userconfig
from kapi.cli import advice, cleanup, datadir, processes
from kapi.cli import commands as cli
from kapi.cli.checks import CHECKS
from kapi.cli.processes import Process
from kapi.process import READY_FD, Failure, notify_failed
from tests.e2e.cluster import free_port

WITH_DIRECTORY = {
    "up": ["--simulate"], "down": [], "status": [], "doctor": [], "logs": [], "kubeconfig": [], "token": [], "reset": ["--yes"],
    "image": ["load", os.devnull], "certs": ["check"], "version": [], "apiserver": [], "simulated": [],
}  # fmt: skip
"""Every command that has a data directory, with what else it needs."""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Of a cluster that may be up at the end."""
    yield tmp_path / "data"
    assert kapi("down", tmp_path / "data").returncode == 0


def kapi(name: str, directory: Path, *options: str, shell: str = "exec", after: str = "") -> "subprocess.CompletedProcess[str]":
    """A command as a shell runs it; `after` are redirections, or a pipe."""
    words = [sys.executable, "-m", "kapi", name, *options, "--data-dir", str(directory)]
    line = f"{shell} {shlex.join(words)} {after}"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False, env=environment)


def up(directory: Path, *, after: str = "", shell: str = "exec") -> "subprocess.CompletedProcess[str]":
    return kapi("up", directory, "--simulate", "--no-kubeconfig", "--port", str(free_port()), after=after, shell=shell)


# homes --------------------------------------------------------------------------------------------------------------------------------


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither HOME nor an entry in the user database, as in many containers."""

    def nobody(uid: int) -> Any:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    for name in ("HOME", "KUBECONFIG", "KAPI_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert advice.default_directory() == Path("/.local/share/kapi")
    assert userconfig.default_path() == Path("/.kube/config")
    assert datadir.user(54321) == "54321"


# outputs ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_closed_standard_streams(directory: Path) -> None:
    """They read and write nothing, and no file that is opened takes their place."""
    started = up(directory, after="<&- >&- 2>&-")
    assert started.returncode == 0
    process = Process("simulated", directory)
    assert process.pid
    assert {os.readlink(f"/proc/{process.pid}/fd/{number}") for number in (1, 2)} == {str(process.log_file)}
    for name in ("status", "doctor", "version", "token", "logs", "certs"):
        done = kapi(name, directory, *WITH_DIRECTORY[name], after=">&-")
        assert "Traceback" not in done.stderr, (name, done.stderr)
    closed = kapi("reset", directory, after="<&-")
    assert (closed.returncode, closed.stderr) == (1, "kapi reset: Nobody is there to confirm: say it with --yes.\n")
    again = kapi("up", directory, "--simulate", after="2>&-")
    assert (again.returncode, again.stdout) == (1, ""), "what is for standard error does not go elsewhere"
    assert kapi("down", directory, after="<&- >&- 2>&-").returncode == 0
    assert not process.pid


@pytest.mark.slow
@pytest.mark.parametrize("after", [">/dev/full", "| head -1"])
def test_an_output_that_cannot_be_written(directory: Path, after: str) -> None:
    """The cluster goes up and down all the same."""
    lost = "kapi: The output can't be written: No space left on device.\n" if "full" in after else ""
    started = up(directory, after=after, shell="")
    assert started.stderr == lost
    assert kapi("status", directory).returncode == 0
    assert kapi("down", directory, after=after, shell="").stderr == lost
    assert kapi("status", directory).returncode == 1


# signals ------------------------------------------------------------------------------------------------------------------------------


@contextmanager
def heeded(number: int) -> Iterator[None]:
    """Programs that are started within do not ignore the signal, though this one may: that is inherited."""
    before = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def interrupted(directory: Path, number: int, *options: str, until: str, shell: str = "exec") -> tuple[int, str]:
    """The exit status and the errors of `kapi up` that gets a signal once it has printed a text."""
    words = [sys.executable, "-m", "kapi", "up", "--simulate", "--no-kubeconfig", "--port", str(free_port()), "--data-dir", str(directory)]
    pipe = subprocess.PIPE
    command = ["bash", "-c", f"{shell} {shlex.join([*words, *options])}"]
    with heeded(number), subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as started:
        assert started.stdout is not None
        assert started.stderr is not None
        while until not in (line := started.stdout.readline()):
            assert line, started.stderr.read()
        started.send_signal(number)
        _, errors = started.communicate(timeout=60)
    return started.returncode, errors


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_an_interrupted_start_leaves_nothing(directory: Path, number: int) -> None:
    """By ctrl-C, or by the end of the terminal."""
    assert interrupted(directory, number, until="Certificates") == (130, "Interrupted: what was started is stopped again.\n")
    assert not Process("simulated", directory).pid
    assert not directory.exists()


@pytest.mark.slow
def test_a_cluster_in_the_foreground_ends_with_its_terminal(directory: Path) -> None:
    assert interrupted(directory, signal.SIGHUP, "--foreground", until="Press ctrl-C") == (0, "")
    assert not Process("simulated", directory).pid


@pytest.mark.slow
def test_nohup(directory: Path) -> None:
    """Who ignores the end of the terminal goes on."""
    assert interrupted(directory, signal.SIGHUP, until="Certificates", shell="trap '' HUP; exec") == (0, "")
    assert Process("simulated", directory).pid


@pytest.mark.slow
def test_a_disk_that_is_full_before_it_is_ready(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server tries again until there is room; who waited in vain is told why."""
    monkeypatch.setattr(processes, "FULL_BYTES", 1 << 60)
    starting = Process("simulated", directory).start(["sleep", "60"])
    with pytest.raises(Failure, match=r"^simulated was not ready .* The disk is full: make room and try again\.$"):
        starting.wait(0.01)


@pytest.mark.slow
def test_hardly_any_open_files(directory: Path) -> None:
    """Whatever fails first, the limit is told."""
    for most in (14, 20):
        failed = up(directory, shell=f"ulimit -n {most}; exec")
        assert failed.returncode == 1
        assert f"\nOnly {most} files may be open here, which may be why. Allow 4096, as root: ulimit -n 4096, or in " in failed.stderr


@pytest.mark.slow
def test_the_doctor_of_a_simulated_cluster_that_runs(directory: Path) -> None:
    """It looks for nothing that containers need, without being told."""
    assert up(directory).returncode == 0
    found = json.loads(kapi("doctor", directory, "-o", "json").stdout)
    assert [row["what"] for row in found] == [check.name for check in CHECKS if not check.containers]


# paths --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_DIRECTORY)
@pytest.mark.parametrize("path", ["new\nline", "\udcff", "esc\033[31m", "loop", "x" * 256, "/x" * 3000], ids=ascii)
def test_paths_that_no_directory_can_have(
    name: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    with pytest.raises(SystemExit, match="2"):
        cli.main([name, *WITH_DIRECTORY[name], f"--data-dir={path}"])
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"kapi {name}: error: argument --data-dir: invalid value ")
    assert said.err.count("\n") == 1
    assert os.listdir() == ["loop"]


@pytest.mark.parametrize("name", WITH_DIRECTORY)
def test_a_current_directory_that_was_deleted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SystemExit, match="2"):
        cli.main([name, *WITH_DIRECTORY[name], "--data-dir=x"])
    assert "must be an absolute path: the current directory was deleted" in capsys.readouterr().err


def test_every_command_with_a_directory_is_tried() -> None:
    assert {command.name for command in cli.COMMANDS if hasattr(command.load()[0], "data_dir")} == set(WITH_DIRECTORY)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["~somebody", "a=b", 'quo"te and space'])
def test_paths_that_others_read_as_something_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names of homes, options, quotes."""
    monkeypatch.chdir(tmp_path)
    assert up(Path(name)).returncode == 0
    capsys.readouterr()
    try:
        assert cli.main(["status", f"--data-dir={name}"]) == 0
        assert f"log: {tmp_path}/{name}/log/simulated.log\n" in capsys.readouterr().out
        assert cli.main(["version", f"--data-dir={name}"]) == 0
        output = capsys.readouterr()
        assert "Server Version: " in output.out
        assert f" in {tmp_path}/{name}/kapi.db\n" in output.out
    finally:
        assert cli.main(["down", f"--data-dir={name}"]) == 0


@pytest.mark.parametrize("name", ["version", "logs", "certs", "token", "kubeconfig", "image", "status", "down"])
def test_relative_paths_are_named_in_full(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    cli.main([name, *WITH_DIRECTORY[name], "--data-dir", "none"])
    output = capsys.readouterr()
    said = output.err or output.out
    assert f" {tmp_path}/none" in said
    assert " none" not in said


@pytest.mark.parametrize("name", ["status", "certs", "token", "kubeconfig", "image"])
@pytest.mark.parametrize(("kind", "what"), [("file", "directory"), ("folder", "data directory of kapi")])
def test_no_start_is_advised_where_none_can_be(
    name: str, kind: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / kind
    if kind == "folder":
        place.mkdir()
        (place / "letter").touch()
    else:
        place.touch()
    assert cli.main([name, *WITH_DIRECTORY[name], "--data-dir", str(place)]) == 1
    assert capsys.readouterr().err == f"kapi {name}: {place} is not a {what}. Name another with --data-dir.\n"


def test_a_path_that_is_too_long_for_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """containerd would refuse it, after all else was started."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(cleanup, "has_marker", lambda _: False)
    long = tmp_path / ("d" * 100)
    assert cli.main(["up", "--no-kubeconfig", "--port", str(free_port()), "--data-dir", str(long)]) == 1
    length = len(f"{long}/containerd/containerd.sock.ttrpc")
    reason = f"containerd's socket in it would have a path of {length} bytes, and 104 are allowed"
    assert capsys.readouterr().err == f"kapi up: The data directory {long} can't be used: {reason}. Name another with --data-dir.\n"
    assert not long.exists()


def test_a_failure_that_names_an_odd_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """A component tells its parent, also what is no UTF-8."""
    reader, writer = os.pipe()
    monkeypatch.setenv(READY_FD, str(writer))
    notify_failed("\udcff is missing.")
    assert os.read(reader, 100) == b"\xff is missing."
    os.close(reader)


# words --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--simulate up", "options follow the command: kapi up --simulate"), ("-v 4 up", "options follow the command: kapi up -v 4"),
        ("--port 7000", "options follow the command: kapi COMMAND --port 7000"),
        ("start", 'unknown command "start"; did you mean up?'), ("UP", 'unknown command "UP"; did you mean up?'),
        ("delete", 'unknown command "delete"; did you mean reset?'),
    ],
)  # fmt: skip
def test_words_in_another_order(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(line.split()) == 2
    assert capsys.readouterr().err == f"kapi: error: {said} (see kapi --help)\n"


def test_a_check_of_one_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["certs", "check", "ca", "--data-dir", str(tmp_path)])
    assert "check takes no name, such as ca: it lists all certificates" in capsys.readouterr().err
