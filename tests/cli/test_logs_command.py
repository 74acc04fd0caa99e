"""`kapi logs`: what is printed of which files, what follows, and what is said when there is nothing."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kapi import limits
from kapi.cli import locks, logs
from kapi.cli.commands import main
from kapi.cli.processes import Process
from kapi.logs import Output
from kubelet import inotify

Printed = Callable[..., str]


@pytest.fixture
def printed(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Printed:
    """What `kapi logs` prints."""

    def run(*arguments: str, status: int = 0) -> str:
        assert main(["logs", "--data-dir", str(tmp_path), *arguments]) == status
        out, error = capfdbinary.readouterr()
        return (error if status else out).decode()

    return run


def write(directory: Path, name: str, text: str) -> Path:
    path = directory / "log" / f"{name}.log"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_the_whole_of_it_with_what_was_rotated(tmp_path: Path, printed: Printed) -> None:
    path = write(tmp_path, "apiserver", "3\n")
    path.with_name("apiserver.log.1").write_text("2\n")
    path.with_name("apiserver.log.2").write_text("1\n")
    write(tmp_path, "control", "other\n")
    assert printed("apiserver") == "1\n2\n3\n"
    assert printed("apiserver", "--tail", "2") == "2\n3\n"
    assert printed("apiserver", "--tail", "0") == ""


def test_the_only_one_needs_no_name(tmp_path: Path, printed: Printed) -> None:
    write(tmp_path, "simulated", "1\n")
    assert printed() == "1\n"
    (tmp_path / "containerd").mkdir()
    (tmp_path / "containerd" / "containerd.log").write_text('time="2026-01-02T03:04:05.123456789Z" level=info msg=x\n')
    assert printed("containerd").startswith("time=")
    assert printed(status=1) == "kapi logs: Say whose log. There is: simulated, containerd.\n"


def test_none_of_that_name(tmp_path: Path, printed: Printed) -> None:
    write(tmp_path, "apiserver", "1\n")
    write(tmp_path, "control", "1\n")
    assert printed("kubelet", status=1) == f"kapi logs: There is no log of 'kubelet' in {tmp_path}. There is: apiserver, control.\n"
    assert printed(status=1) == "kapi logs: Say whose log. There is: apiserver, control.\n"


def test_no_cluster(tmp_path: Path, printed: Printed) -> None:
    output = f"kapi logs: There is no log in {tmp_path}: no cluster was started there. Name another with --data-dir.\n"
    assert printed("apiserver", status=1) == output


def test_not_running(tmp_path: Path, printed: Printed) -> None:
    write(tmp_path, "apiserver", "1\n")
    assert printed("apiserver", "-f", status=1) == "kapi logs: apiserver does not run; nothing is to be followed.\n"


def test_since(tmp_path: Path, printed: Printed) -> None:
    def text(seconds: float, message: str) -> str:
        return f'{time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - seconds))}.000Z INFO x "{message}"\n'

    write(tmp_path, "apiserver", text(4000, "old") + "    of the old\n" + text(3000, "new") + "    of the new\n" + text(1, "newest"))
    assert [line.split()[-1] for line in printed("apiserver", "--since", "1h5m").splitlines()] == ['"new"', "new", '"newest"']
    assert printed("apiserver", "--since", "500ms") == ""
    lines = [{"ts": (time.time() - seconds) * 1000, "msg": seconds} for seconds in (100, 10)]
    write(tmp_path, "apiserver", "".join(json.dumps(line) + "\n" for line in lines))
    assert json.loads(printed("apiserver", "--since", "30s"))["msg"] == 10
    write(tmp_path, "apiserver", text(100, "old").replace("Z INFO", "456789Z INFO").replace("20", 'time="20', 1))
    assert printed("apiserver", "--since", "30s") == ""
    assert len(printed("apiserver", "--since", "3m").splitlines()) == 1


@pytest.mark.parametrize("line", ["--since=yesterday", "--since=-5s", "--since=s", "--tail=-2", "--tail=x", "../apiserver", "nobody"])
def test_what_is_none(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["logs", "--data-dir", str(tmp_path), line])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("kapi logs: error: argument ")


def test_a_line_that_is_not_whole_yet(tmp_path: Path) -> None:
    path = write(tmp_path, "x", "1\nhal")
    log = logs.Log(path)
    assert [*log.read()] == [b"1\n"]
    with path.open("a") as file:
        file.write("f\n")
    assert [*log.read()] == [b"half\n"]
    log.close()


def test_no_line_is_missed_or_doubled_by_rotations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_FILE_BYTES", 500)
    path = write(tmp_path, "x", "")
    output, log = Output(path), logs.Log(path)
    lines = [b"%032d\n" % n for n in range(1000)]
    seen: list[bytes] = []
    for n, line in enumerate(lines):
        output.write(line)
        if n % 7 == 0 or n % 31 == 0:
            seen += log.read()
    seen += log.read()
    assert seen == lines
    output.close()
    log.close()


def test_what_is_deleted_and_made_anew_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "x", "1\n")
    log = logs.Log(path)
    assert [*log.read()] == [b"1\n"]
    path.unlink()
    assert [*log.read()] == []
    path.write_text("2\n")
    assert [*log.read()] == [b"2\n"]
    log.close()


def test_somebody_else_s_cluster(tmp_path: Path, printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> list[str]:
        raise PermissionError(13, "Permission denied")

    write(tmp_path, "apiserver", "1\n")
    monkeypatch.setattr(os, "listdir", refused)
    assert printed(status=1) == f"kapi logs: The logs in {tmp_path} can't be read: Permission denied.\n"


def test_a_log_that_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").symlink_to("log")
    assert main(["scheduler", "--log-file", str(tmp_path / "log")]) == 1
    why = "Too many levels of symbolic links"
    assert capfd.readouterr().err == f"kapi scheduler: The log {tmp_path}/log can't be written: {why}. Name another with --log-file.\n"


@contextmanager
def holding_lock(lock: Path) -> Iterator[None]:
    """As the process does that the lock is of."""
    descriptor = locks.acquire(lock)
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def following(directory: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "kapi", "logs", "control", "-f", "--data-dir", str(directory), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_following(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines come as they are written, through rotations; ctrl-C ends it without a word."""
    monkeypatch.setattr(limits, "LOG_FILE_BYTES", 200)
    path = write(tmp_path, "control", "old\nlast\n")
    with holding_lock(Process("control", tmp_path).lock_file), following(tmp_path, "--tail", "1") as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "last\n"
        output = Output(path)
        for n in range(30):
            output.write(b"%040d\n" % n)
            assert process.stdout.readline() == f"{n:040d}\n"
        output.close()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 130


async def test_following_without_inotify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user may have no more of them than the kernel allows."""

    def refused(directory: Path) -> None:
        raise OSError(24, "Too many open files")

    come: asyncio.Queue[bytes] = asyncio.Queue()
    monkeypatch.setattr(inotify, "watching", refused)
    monkeypatch.setattr(logs, "_POLL", 0.01)
    monkeypatch.setattr(logs, "_print", lambda lines: [*map(come.put_nowait, lines)])
    path = write(tmp_path, "x", "1\n")
    log = logs.Log(path)
    task = asyncio.create_task(logs._follow(log))
    assert await come.get() == b"1\n"
    with path.open("a") as file:
        file.write("2\n")
    assert await come.get() == b"2\n"
    task.cancel()
    log.close()


@pytest.mark.slow
def test_nobody_reads_on(tmp_path: Path) -> None:
    write(tmp_path, "control", "line\n" * 100_000)
    command = [sys.executable, "-m", "kapi", "logs", "control", "--data-dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
