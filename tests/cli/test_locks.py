"""Locks: who is at work on a data directory, found by what the kernel knows."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kapi.cli import commands as cli
from kapi.cli import locks
from kapi.cli.processes import Process
from kapi.process import Failure
from tests.e2e.cluster import free_port

SLEEPS = [sys.executable, "-c", "import time; time.sleep(1000)"]


@contextmanager
def started(directory: Path) -> Iterator["subprocess.Popen[bytes]"]:
    starting = Process("simulated", directory).start(SLEEPS, notifies=False)
    starting.wait()
    with starting.child as child:
        yield child
        child.kill()


def test_a_process_is_found_by_its_lock_alone(tmp_path: Path) -> None:
    """Its command line does not say it, no file has its pid, and even the lock's file may be gone."""
    process = Process("simulated", tmp_path)
    with started(tmp_path) as child:
        assert process.pid == child.pid
        shutil.rmtree(tmp_path / "run")
        assert process.pid == child.pid
        process.stop()
        assert process.pid == 0


def test_a_second_one_is_refused(tmp_path: Path) -> None:
    with started(tmp_path) as child, pytest.raises(Failure, match=rf"simulated \(pid {child.pid}\) runs in .* already"), started(tmp_path):
        raise AssertionError("two of them")


def test_it_is_found_by_its_command_line_when_its_lock_was_taken_away(tmp_path: Path) -> None:
    """As one that a kapi without locks has started."""
    words = ["-m", "kapi", "simulated", "--data-dir", str(tmp_path)]
    with subprocess.Popen([sys.executable, "-c", SLEEPS[2], *words]) as child:
        assert Process("simulated", tmp_path).pid == child.pid
        assert Process("apiserver", tmp_path).pid == 0
        assert Process("simulated", tmp_path / "other").pid == 0
        child.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
@pytest.mark.parametrize("here", ["not there", "there", "deleted"])
def test_a_process_of_another_mount_namespace_is_not_ours(tmp_path: Path, here: str) -> None:
    """A container's cluster: its directory only has the same path."""
    directory = tmp_path / "mount" / "data"
    directory.parent.mkdir()
    if here == "there":
        (directory / "run").mkdir(parents=True)
        (directory / "run" / "simulated.lock").touch()
    begin = "from pathlib import Path; from kapi.cli.processes import Process; import shutil, sys; d = Path(sys.argv[1])"
    start = f"s = Process('simulated', d).start([*{SLEEPS!r}, '-m', 'kapi', 'simulated', '--data-dir', str(d)], notifies=False)"
    end = "shutil.rmtree(d)" if here == "deleted" else ""
    script = f"{begin}\n{start}\n{end}\nprint(s.child.pid)"
    mount = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"', str(directory.parent)]
    command = [*mount, sys.executable, "-c", script, str(directory)]
    pid = int(subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": os.getcwd()}, text=True).stdout)
    try:
        assert locks.command_line(pid)[0], "it runs"
        assert Process("simulated", directory).pids == []
    finally:
        os.kill(pid, signal.SIGKILL)


def test_one_command_at_a_time(tmp_path: Path) -> None:
    script = "import sys, time; from pathlib import Path; from kapi.cli import locks\nwith locks.exclusive(Path(sys.argv[1])): "
    command = [sys.executable, "-c", f"{script}print(1, flush=True); time.sleep(1000)", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        sentence = rf"\(pid {other.pid}\) is at work on {tmp_path}\. Try again when it is done\."
        with pytest.raises(Failure, match=sentence), locks.exclusive(tmp_path):
            raise AssertionError("both had it")
        other.send_signal(signal.SIGKILL)
        other.wait()
        with locks.exclusive(tmp_path):
            assert locks.holders(tmp_path) == []


def test_the_lock_of_a_deleted_directory_is_not_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening the directory and locking it, somebody else deletes it and makes it anew."""
    directory = tmp_path / "data"
    directory.mkdir()
    real = os.open
    times: list[Path] = []

    def opening(path: Path, *more: int) -> int:
        descriptor = real(path, *more)
        if not times:
            directory.rmdir()
            directory.mkdir()
        times.append(path)
        return descriptor

    monkeypatch.setattr(os, "open", opening)
    with locks.exclusive(directory):
        assert len(times) == 2


@pytest.mark.slow
def test_a_server_started_by_hand_is_known_to_the_other_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    arguments = ["apiserver", "--data-dir", "data", "--port", str(free_port())]
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "kapi", *arguments]
    with subprocess.Popen(
        command, pass_fds=(writer,), env={**os.environ, "KAPI_READY_FD": str(writer), "PYTHONPATH": os.getcwd()}, cwd=tmp_path
    ) as server:  # fmt: skip
        os.close(writer)
        assert os.read(reader, 100) == b"ready"
        os.close(reader)
        assert cli.main(["status", "--data-dir", str(data)]) == 0
        (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith(f"apiserver    pid {server.pid}"))
        assert line.endswith("log: its standard error")
        assert cli.main(["logs", "--data-dir", str(data)]) == 1
        sentence = f"apiserver (pid {server.pid}) was started by itself: its log is its standard error."
        assert capsys.readouterr().err == f"kapi logs: {sentence}\n"
        assert cli.main(["image", "load", __file__, "--data-dir", str(data)]) == 1
        sentence = f"Only an API server runs in {data}: there is no container runtime that could load an image."
        assert capsys.readouterr().err == f"kapi image: {sentence}\n"
        up = ["up", "--simulate", "--no-kubeconfig", "--port", str(free_port()), "--data-dir", str(data)]
        assert cli.main(up) == 1
        stop = f"kapi down --data-dir {data}"
        assert capsys.readouterr().err == f"kapi up: A cluster is running from {data} (apiserver). Stop it with: {stop}\n"
        environment = {**os.environ, "PYTHONPATH": os.getcwd()}
        second = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert "is in use by another server" in second.stderr
        server.terminate()
        assert server.wait(20) == 0
