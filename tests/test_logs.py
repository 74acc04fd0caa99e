"""What a component's log holds: lines that nobody can forge, without secrets, not too many of them, in files that do not grow for ever."""

import json
import logging
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kapi import limits, logs
from kapi.settings.logs import Settings as LogSettings

JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQifQ.c2lnbmF0dXJl"
LINE = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) [a-z]+ [\w.]+ "(?:[^"\\]|\\.)*"( \w+=.*)?')
log = logging.getLogger("kapi.test")


def record(message: str = "Something", level: int = logging.INFO, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("kapi.test", level, __file__, 1, message, (), None)
    made.__dict__.update(extra)
    return made


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., list[str]]:
    """Log in the given way, and the lines that were written but the first and the last."""

    def run(work: Callable[[], object], **settings: Any) -> list[str]:
        file = tmp_path / "x.log"
        file.unlink(missing_ok=True)
        with logs.component("test", LogSettings(log_file=str(file), **settings), "v1"):
            work()
        return file.read_text().splitlines()[1:-1]

    return run


def test_a_line_of_text() -> None:
    named = logs.fields(user="admin", code=200, seconds=1.5, names=["a", "b"], none=None)
    said = logs.Text("apiserver").format(record("Slow request", **named))
    assert LINE.fullmatch(said)
    assert said.endswith('Z INFO apiserver kapi.test "Slow request" user="admin" code=200 seconds=1.5 names=["a","b"] none=null')


def test_a_line_of_json() -> None:
    made = record("Slow request", logs.DEBUG, **logs.fields(user="admin", path=Path("/x"), msg="not this"))
    line = json.loads(logs.Json("apiserver").format(made))
    assert line.pop("ts") == pytest.approx(made.created * 1000, abs=1)
    assert line == {
        "user": "admin", "path": "/x", "level": "debug", "v": 4, "component": "apiserver", "logger": "kapi.test", "msg": "Slow request",
    }  # fmt: skip


@pytest.mark.parametrize(
    "bad", ["a\nb", "a\r2027-01-15T08:00:00.000Z INFO", "\x1b[31m", "\x00", "\x7f\x9b31m", "\u2028", "\u202e", '" user="admin']
)
@pytest.mark.parametrize("formatter", [logs.Text("test"), logs.Json("test")])
def test_nobody_forges_a_line(bad: str, formatter: logging.Formatter) -> None:
    try:
        raise ValueError(bad)
    except ValueError:
        trace = sys.exc_info()
    for made in (record(bad), record(**logs.fields(user=bad, more={bad: [bad]})), record("x %s", args=(bad,))):
        said = formatter.format(made)
        assert said.isprintable(), said
        if isinstance(formatter, logs.Json):
            json.loads(said)
        else:
            assert LINE.fullmatch(said)
            assert said.count(' user="') <= 1
    first, *others = formatter.format(record(exc_info=trace)).split("\n")
    assert LINE.fullmatch(first) or isinstance(formatter, logs.Json)
    assert all(line.startswith("    ") and line.isprintable() for line in others)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer abc.def-123", "abc.def-123"),
        ("authorization: basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.c2VjcmV0", "c2VjcmV0"),
        ("https://h/hook?access_token=s3cret&x=y", "s3cret"),
        ("https://user:pa55@host/x", "pa55"),
        (f"the token {JWT} has expired", "c2lnbmF0dXJl"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----", "MIIabc"),
    ],
)
def test_credentials_are_left_out(text: str, secret: str) -> None:
    try:
        raise ValueError(text)
    except ValueError:
        trace = sys.exc_info()
    for formatter in (logs.Text("test"), logs.Json("test")):
        for made in (record(text), record(**logs.fields(error=ValueError(text), more=[{"x": text}])), record(exc_info=trace)):
            said = formatter.format(made)
            assert secret not in said
            assert "[redacted]" in said


def test_what_is_no_credential_stays() -> None:
    text = 'secrets "token" is forbidden: the bearer may not; https://h:6443/a@b secret "x" not found'
    assert json.dumps(text) in logs.Text("test").format(record(text))


def test_a_value_is_cut() -> None:
    said = logs.Text("test").format(record(**logs.fields(user="x" * 100_000)))
    assert len(said) < limits.LOG_VALUE_CHARS + 200
    assert said.endswith('x… (100000 characters)"')


def test_how_much_is_said(written: Callable[..., list[str]]) -> None:
    def work() -> None:
        for level in (logging.WARNING, logging.INFO, logs.VERBOSE, logs.DEBUG, logs.REQUESTS):
            log.log(level, "said")
        logging.getLogger("websockets").debug("a frame with a token")

    counts = {v: len(written(work, v=v)) for v in range(-1, 11)}
    assert counts == {-1: 2, 0: 2, 1: 2, 2: 3, 3: 3, 4: 4, 5: 4, 6: 5, 7: 5, 8: 5, 9: 5, 10: 5}


def test_first_and_last_lines(tmp_path: Path) -> None:
    file = tmp_path / "x.log"
    before = list(logging.root.handlers), logging.root.level, logging.getLogger("kapi").level
    with pytest.raises(ExceptionGroup), logs.component("test", LogSettings(log_file=str(file), v=2), "v1.36.2"):
        raise ExceptionGroup("outer", [ExceptionGroup("inner", [RuntimeError("no more")])])
    first, last = file.read_text().splitlines()
    assert f'"Starting" version="v1.36.2" pid={os.getpid()} python=' in first
    assert first.endswith(f'settings={{"v":2,"log_file":"{file}"}}')
    assert last.endswith('CRITICAL test kapi.test "Stopped" reason="RuntimeError: no more"')
    assert (list(logging.root.handlers), logging.root.level, logging.getLogger("kapi").level) == before
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_line_that_comes_again_is_counted(written: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two webhooks that fail 260 times each within two minutes: a line a minute for each."""
    now = [1_800_000_000.0]
    monkeypatch.setattr("time.time", lambda: now[0])

    def work() -> None:
        for step in range(520):
            now[0] += 0.25
            log.warning("Failed", extra=logs.once(step % 2, hook=step % 2))

    lines = [line.partition('"')[2] for line in written(work)]
    counted = "suppressed=119"
    assert lines == ['Failed" hook=0', 'Failed" hook=1', *(f'Failed" hook={hook} {counted}' for _ in "ab" for hook in (0, 1))]


def test_one_place_cannot_fill_a_log(written: Callable[..., list[str]]) -> None:
    def work() -> None:
        for step in range(100_000):
            log.warning("Invalid request %d", step)
        log.warning("Something else")

    lines = written(work)
    assert len(lines) == limits.LOG_LINES_A_MINUTE + 1
    assert lines[-1].endswith('"Something else"')


def test_what_is_counted_is_bounded() -> None:
    repeats = logs.Repeats()
    for key in range(10 * limits.LOG_KEYS):
        assert repeats.suppressed(record(once=key)) == 0
    assert len(repeats._seen) == limits.LOG_KEYS


def test_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_FILE_BYTES", 1000)
    output = logs.Output(tmp_path / "x.log")
    lines = [b"%098d\n" % n for n in range(50)]
    for line in lines:
        output.write(line)
    output.close()
    files = [tmp_path / name for name in ("x.log.2", "x.log.1", "x.log")]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert all(f.stat().st_size <= 1000 and stat.S_IMODE(f.stat().st_mode) == 0o600 for f in files)
    assert b"".join(f.read_bytes() for f in files) == b"".join(lines[20:])


CRASHES = """
import sys
from kapi import limits, logs
from kapi.settings.logs import Settings
limits.LOG_FILE_BYTES = 2000
import logging
with logs.component("test", Settings(log_file=sys.argv[1]), "v1"):
    for n in range(20):
        logging.getLogger("kapi.x").warning("Number %d", n, extra=logs.fields(text="x" * 200))
    print("from standard output", flush=True)
1 / 0
"""


def test_a_crash_is_in_the_file_that_is_current(tmp_path: Path) -> None:
    """As `kapi up` starts it: both outputs go to the log that the component rotates."""
    file = tmp_path / "x.log"
    with open(file, "ab") as out:
        ended = subprocess.run([sys.executable, "-c", CRASHES, str(file)], stdout=out, stderr=out, check=False)
    assert ended.returncode == 1
    assert (tmp_path / "x.log.2").exists()
    said = file.read_text()
    assert "from standard output\n" in said
    assert said.endswith("ZeroDivisionError: division by zero\n")


def test_other_outputs_stay_where_they_are(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", CRASHES, str(tmp_path / "x.log")], capture_output=True, check=False, text=True)
    assert ended.stdout == "from standard output\n"
    assert ended.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_a_full_disk_costs_lines_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = logs.Output(tmp_path / "x.log")
    handler = logs.Handler(output, logs.Text("test"))
    with monkeypatch.context() as full:
        full.setattr(output, "_descriptor", os.open("/dev/full", os.O_WRONLY))
        handler.handle(record("Lost"))
        handler.handle(record("Lost, too"))
        os.close(output._descriptor)
    handler.handle(record("Written"))
    handler.handle(record("And this"))
    handler.close()
    lines = (tmp_path / "x.log").read_text().splitlines()
    assert [line.partition('"')[2] for line in lines] == ['Written" lost=2', 'And this"']


def test_a_line_cut_short_by_a_full_disk_stays_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, write, room = logs.Output(tmp_path / "x.log"), os.write, [13]

    def into_a_full_disk(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = write(descriptor, data[: room[0]])
        room[0] -= written
        return written

    output.write(b"first\n")
    with monkeypatch.context() as full:
        full.setattr(os, "write", into_a_full_disk)
        output.write(b"second\n")
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                output.write(b"0123456789\n")
    output.write(b"third\n")
    output.write(b"fourth\n")
    output.close()
    assert (tmp_path / "x.log").read_text() == "first\nsecond\n012345\nthird\nfourth\n"


def test_the_log_of_another_program_is_rotated_before_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_FILE_BYTES", 10)
    file = tmp_path / "containerd.log"
    logs.rotate_if_large(file)
    assert list(tmp_path.iterdir()) == []
    file.write_text("x" * 10)
    logs.rotate_if_large(file)
    assert list(tmp_path.iterdir()) == [file]
    file.write_text("x" * 11)
    logs.rotate_if_large(file)
    assert list(tmp_path.iterdir()) == [tmp_path / "containerd.log.1"]


def test_standard_error_is_left_to_the_reason_when_nothing_started(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no"), logs.component("test", LogSettings(), "v1"):
        raise ValueError("no")
    assert capfd.readouterr().err == ""
    with suppress(ValueError), logs.component("test", LogSettings(), "v1"):
        log.info("Serving")
        raise ValueError("no")
    lines = capfd.readouterr().err.splitlines()
    assert [re.findall('"[A-Z][a-z]+"', line)[0] for line in lines] == ['"Starting"', '"Serving"', '"Stopped"']
