"""Rows: what goes wrong while `kapi up` and `kapi down` are at work."""

import socket
import subprocess
import sys
from functools import partial

from tests.faults.harness import Harness, Outcome
from tests.faults.rows import row

# disk full ----------------------------------------------------------------------------------------------------------------------------


def _full(harness: Harness, left: int) -> Outcome:
    disk = harness.disk()
    with harness.full(disk, left):
        result = harness.kapi("up")
        outcome = Outcome(result.sentence, harness.left(), goes_on=harness.typed("up"))
        assert result.code == 1
        assert "No space left on device" in outcome.sees or "full" in outcome.sees
    harness.up()
    return outcome


row("disk full", "a new cluster, nothing free")(partial(_full, left=0))
row("disk full", "a new cluster, while keys are made")(partial(_full, left=24 << 10))
row("disk full", "a new cluster, while the database is made")(partial(_full, left=240 << 10))


@row("disk full", "up of a cluster that has data")
def _(harness: Harness) -> Outcome:
    disk = harness.disk()
    kept = harness.with_data()
    with harness.full(disk):
        result = harness.kapi("up")
        left = harness.left()
        assert result.code == 1, result
    harness.up()
    return Outcome(result.sentence, left, kept.lost(harness.port), harness.typed("up"))


@row("disk full", "the user's kubeconfig")
def _(harness: Harness) -> Outcome:
    disk = harness.disk("1m")
    harness.data = harness.directory / "data"
    harness.environment["KUBECONFIG"] = str(disk / "config")
    with harness.full(disk):
        result = harness.kapi("up")
        left = harness.left()
    harness.up()
    return Outcome(result.sentence, left, goes_on=harness.typed("up"))


@row("disk full", "down and reset")
def _(harness: Harness) -> Outcome:
    disk = harness.disk()
    kept = harness.with_data()
    harness.up()
    lost = kept.lost(harness.port)
    with harness.full(disk):
        result = harness.kapi("down")
        left = harness.left()
        assert harness.kapi("reset").code == 0
    assert not harness.data.exists()
    return Outcome(result.out.splitlines()[-1], left, lost, harness.typed("reset"))


# the port -----------------------------------------------------------------------------------------------------------------------------


@row("port taken", "up")
def _(harness: Harness) -> Outcome:
    kept = harness.with_data()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", harness.port))
        taken.listen()
        result = harness.kapi("up")
        left = harness.left()
    assert result.sentence == f"Port {harness.port} can't be used: Address already in use. Choose another with --port."
    harness.up()
    return Outcome(result.sentence, left, kept.lost(harness.port), harness.typed("up").replace(str(harness.port), "N"))


# SIGKILL ------------------------------------------------------------------------------------------------------------------------------

UP = {
    "before the directory is made": ("os.mkdir", "/data'", 1),
    "before it has its identity": ("os.rename", "kapi.json", 1),
    "before the start is noted": ("open", "run/starting", 1),
    "between the CA's key and its certificate": ("os.rename", "ca.crt", 1),
    "before the last kubeconfig": ("os.rename", "proxy.conf", 1),
    "before the process has its lock": ("open", "simulated.lock", 1),
    "before the process is started": ("subprocess.Popen", "simulated", 1),
    "before the nodes are looked for": ("socket.connect", "127.0.0.1", 1),
    "before the context is written": ("os.link", ".lock", 1),
    "while the kubeconfig is locked": ("os.rename", "/kubeconfig", 1),
    "before the kubeconfig is unlocked": ("os.remove", "kubeconfig.lock'", 1),
    "before the start is complete": ("os.remove", "run/starting", 1),
}
"""Steps of `kapi up`: (audit event, part of its arguments, which of them)."""


def _up_killed(harness: Harness, step: tuple[str, str, int], then: str) -> Outcome:
    harness.killed("up", *step)
    return _after_kill(harness, then)


@row("SIGKILL of up", "while the process comes up")
def _(harness: Harness) -> Outcome:
    command = [sys.executable, "-m", "kapi", "up", *harness.options("up")]
    with subprocess.Popen(command, env=harness.environment, stdout=subprocess.PIPE, text=True) as up:
        while not any("kapi simulated" in line for line in harness.left()):
            assert up.poll() is None, "it ended"
        up.kill()
    return _after_kill(harness, "down")


def _after_kill(harness: Harness, then: str) -> Outcome:
    status = harness.kapi("status")
    assert "Traceback" not in status.err
    running = harness.left()
    shown = status.out.strip().splitlines()
    assert bool(running) == ("simulated" in shown[0]), "status knows what runs"
    if then == "down":
        harness.down()
    harness.up()
    assert "was interrupted" not in harness.kapi("status").out
    harness.down()
    return Outcome(next((line for line in shown if "interrupted" in line), shown[0]), goes_on=harness.typed(then))


for _number, (_when, _step) in enumerate(UP.items()):
    row("SIGKILL of up", _when)(partial(_up_killed, step=_step, then=("up", "down")[_number % 2]))

DOWN = {
    "before anything": ("fcntl.flock", "", 1),
    "while processes are looked for": ("os.listdir", "'/proc'", 2),
    "before the process is told to end": ("signal.pidfd_send_signal", "", 1),
    "after the process was told to end": ("os.listdir", "'/proc'", 5),
    "before the kubeconfig is locked": ("os.link", ".lock", 1),
    "while the kubeconfig is locked": ("os.remove", "/kubeconfig'", 1),
    "before the kubeconfig is unlocked": ("os.remove", "kubeconfig.lock'", 1),
}


def _down_killed(harness: Harness, step: tuple[str, str, int]) -> Outcome:
    kept = harness.with_data()
    harness.up()
    harness.killed("down", *step)
    result = harness.kapi("down")
    assert result.code == 0, result
    left = harness.left()
    assert "kapi" not in (harness.directory / "kubeconfig").read_text() if (harness.directory / "kubeconfig").exists() else True
    harness.up()
    return Outcome(result.out.splitlines()[-1], left, kept.lost(harness.port), harness.typed("down"))


for _when, _step in DOWN.items():
    row("SIGKILL of down", _when)(partial(_down_killed, step=_step))

RESET = {
    "while keys are deleted": ("os.remove", "scheduler.key", 1),
    "before the database goes": ("os.remove", "'kapi.db'", 1),
    "before the identity goes": ("os.remove", "'kapi.json'", 1),
}


def _reset_killed(harness: Harness, step: tuple[str, str, int]) -> Outcome:
    harness.with_data()
    harness.killed("reset", *step)
    result = harness.kapi("reset")
    assert result.code == 0, result
    assert not harness.data.exists()
    return Outcome(result.out.splitlines()[-1], harness.left(), goes_on=harness.typed("reset"))


for _when, _step in RESET.items():
    row("SIGKILL of reset", _when)(partial(_reset_killed, step=_step))


# two at once --------------------------------------------------------------------------------------------------------------------------


def _both(harness: Harness, first: str, second: str) -> list[tuple[int, str]]:
    """Both commands at the same time: (exit status, what it said)."""
    commands = [[sys.executable, "-m", "kapi", name, *harness.options(name)] for name in (first, second)]
    processes = [subprocess.Popen(c, env=harness.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for c in commands]
    result = [p.communicate(timeout=60) for p in processes]
    return [(p.returncode, (err or out).strip()) for p, (out, err) in zip(processes, result, strict=True)]


@row("two at once", "up and up")
def _(harness: Harness) -> Outcome:
    kept = harness.with_data()
    (_, won), (code, sentence) = sorted(_both(harness, "up", "up"))
    assert "The cluster is up." in won
    assert code == 1
    lost = kept.lost(harness.port)
    harness.down()
    return Outcome(sentence.removeprefix("kapi up: "), harness.left(), lost, harness.typed("status"))


@row("two at once", "up and up, of a new directory")
def _(harness: Harness) -> Outcome:
    (_, won), (code, sentence) = sorted(_both(harness, "up", "up"))
    assert "The cluster is up." in won
    assert code == 1
    harness.down()
    return Outcome(sentence.removeprefix("kapi up: "), harness.left(), goes_on=harness.typed("status"))


@row("two at once", "down and down")
def _(harness: Harness) -> Outcome:
    kept = harness.with_data()
    harness.up()
    (_, won), (_, sentence) = sorted(_both(harness, "down", "down"))
    assert "The cluster is down." in won
    left = harness.left()
    harness.up()
    return Outcome(sentence.splitlines()[-1].removeprefix("kapi down: "), left, kept.lost(harness.port), harness.typed("down"))


@row("two at once", "up and reset")
def _(harness: Harness) -> Outcome:
    """Either the cluster is up, or it is gone as a whole: never something between."""
    harness.with_data()
    outcome = _both(harness, "up", "reset")
    refusals = [result.partition(": ")[2] for code, result in outcome if code]  # none where one was done before the other began
    sentence = refusals[0] if refusals else outcome[1][1].splitlines()[-1]
    status = harness.kapi("status")
    assert harness.data.exists() == (status.code == 0)
    harness.kapi("reset")
    return Outcome(sentence, harness.left(), goes_on=harness.typed("up"))
