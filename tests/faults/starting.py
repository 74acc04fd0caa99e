"""Rows: what goes wrong while `kapi up` and `kapi down` are at work."""

import socket
import subprocess
import sys
from functools import partial

from tests.faults.harness import Bench, Outcome
from tests.faults.rows import row

# disk full ----------------------------------------------------------------------------------------------------------------------------


def _full(bench: Bench, left: int) -> Outcome:
    disk = bench.disk()
    with bench.full(disk, left):
        said = bench.kapi("up")
        outcome = Outcome(said.sentence, bench.left(), goes_on=bench.typed("up"))
        assert said.code == 1
        assert "No space left on device" in outcome.sees or "full" in outcome.sees
    bench.up()
    return outcome


row("disk full", "a new cluster, nothing free")(partial(_full, left=0))
row("disk full", "a new cluster, while keys are made")(partial(_full, left=24 << 10))
row("disk full", "a new cluster, while the database is made")(partial(_full, left=240 << 10))


@row("disk full", "up of a cluster that has data")
def _(bench: Bench) -> Outcome:
    disk = bench.disk()
    kept = bench.with_data()
    with bench.full(disk):
        said = bench.kapi("up")
        left = bench.left()
        assert said.code == 1, said
    bench.up()
    return Outcome(said.sentence, left, kept.lost(bench.port), bench.typed("up"))


@row("disk full", "the user's kubeconfig")
def _(bench: Bench) -> Outcome:
    disk = bench.disk("1m")
    bench.data = bench.directory / "data"
    bench.environment["KUBECONFIG"] = str(disk / "config")
    with bench.full(disk):
        said = bench.kapi("up")
        left = bench.left()
    bench.up()
    return Outcome(said.sentence, left, goes_on=bench.typed("up"))


@row("disk full", "down and reset")
def _(bench: Bench) -> Outcome:
    disk = bench.disk()
    kept = bench.with_data()
    bench.up()
    lost = kept.lost(bench.port)
    with bench.full(disk):
        said = bench.kapi("down")
        left = bench.left()
        assert bench.kapi("reset").code == 0
    assert not bench.data.exists()
    return Outcome(said.out.splitlines()[-1], left, lost, bench.typed("reset"))


# the port -----------------------------------------------------------------------------------------------------------------------------


@row("port taken", "up")
def _(bench: Bench) -> Outcome:
    kept = bench.with_data()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", bench.port))
        taken.listen()
        said = bench.kapi("up")
        left = bench.left()
    assert said.sentence == f"Port {bench.port} can't be used: Address already in use. Choose another with --port."
    bench.up()
    return Outcome(said.sentence, left, kept.lost(bench.port), bench.typed("up").replace(str(bench.port), "N"))


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


def _up_killed(bench: Bench, step: tuple[str, str, int], then: str) -> Outcome:
    bench.killed("up", *step)
    return _after_kill(bench, then)


@row("SIGKILL of up", "while the process comes up")
def _(bench: Bench) -> Outcome:
    command = [sys.executable, "-m", "kapi", "up", *bench.options("up")]
    with subprocess.Popen(command, env=bench.environment, stdout=subprocess.PIPE, text=True) as up:
        while not any("kapi simulated" in line for line in bench.left()):
            assert up.poll() is None, "it ended"
        up.kill()
    return _after_kill(bench, "down")


def _after_kill(bench: Bench, then: str) -> Outcome:
    status = bench.kapi("status")
    assert "Traceback" not in status.err
    running = bench.left()
    shown = status.out.strip().splitlines()
    assert bool(running) == ("simulated" in shown[0]), "status knows what runs"
    if then == "down":
        bench.down()
    bench.up()
    assert "was interrupted" not in bench.kapi("status").out
    bench.down()
    return Outcome(next((line for line in shown if "interrupted" in line), shown[0]), goes_on=bench.typed(then))


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


def _down_killed(bench: Bench, step: tuple[str, str, int]) -> Outcome:
    kept = bench.with_data()
    bench.up()
    bench.killed("down", *step)
    said = bench.kapi("down")
    assert said.code == 0, said
    left = bench.left()
    assert "kapi" not in (bench.directory / "kubeconfig").read_text() if (bench.directory / "kubeconfig").exists() else True
    bench.up()
    return Outcome(said.out.splitlines()[-1], left, kept.lost(bench.port), bench.typed("down"))


for _when, _step in DOWN.items():
    row("SIGKILL of down", _when)(partial(_down_killed, step=_step))

RESET = {
    "while keys are deleted": ("os.remove", "scheduler.key", 1),
    "before the database goes": ("os.remove", "'kapi.db'", 1),
    "before the identity goes": ("os.remove", "'kapi.json'", 1),
}


def _reset_killed(bench: Bench, step: tuple[str, str, int]) -> Outcome:
    bench.with_data()
    bench.killed("reset", *step)
    said = bench.kapi("reset")
    assert said.code == 0, said
    assert not bench.data.exists()
    return Outcome(said.out.splitlines()[-1], bench.left(), goes_on=bench.typed("reset"))


for _when, _step in RESET.items():
    row("SIGKILL of reset", _when)(partial(_reset_killed, step=_step))


# two at once --------------------------------------------------------------------------------------------------------------------------


def _both(bench: Bench, first: str, second: str) -> list[tuple[int, str]]:
    """Both commands at the same time: (exit status, what it said)."""
    commands = [[sys.executable, "-m", "kapi", name, *bench.options(name)] for name in (first, second)]
    processes = [subprocess.Popen(c, env=bench.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for c in commands]
    said = [p.communicate(timeout=60) for p in processes]
    return [(p.returncode, (err or out).strip()) for p, (out, err) in zip(processes, said, strict=True)]


@row("two at once", "up and up")
def _(bench: Bench) -> Outcome:
    kept = bench.with_data()
    (_, won), (code, sentence) = sorted(_both(bench, "up", "up"))
    assert "The cluster is up." in won
    assert code == 1
    lost = kept.lost(bench.port)
    bench.down()
    return Outcome(sentence.removeprefix("kapi up: "), bench.left(), lost, bench.typed("status"))


@row("two at once", "up and up, of a new directory")
def _(bench: Bench) -> Outcome:
    (_, won), (code, sentence) = sorted(_both(bench, "up", "up"))
    assert "The cluster is up." in won
    assert code == 1
    bench.down()
    return Outcome(sentence.removeprefix("kapi up: "), bench.left(), goes_on=bench.typed("status"))


@row("two at once", "down and down")
def _(bench: Bench) -> Outcome:
    kept = bench.with_data()
    bench.up()
    (_, won), (_, sentence) = sorted(_both(bench, "down", "down"))
    assert "The cluster is down." in won
    left = bench.left()
    bench.up()
    return Outcome(sentence.splitlines()[-1].removeprefix("kapi down: "), left, kept.lost(bench.port), bench.typed("down"))


@row("two at once", "up and reset")
def _(bench: Bench) -> Outcome:
    """Either the cluster is up, or it is gone as a whole: never something between."""
    bench.with_data()
    outcome = _both(bench, "up", "reset")
    sentence = next(said.partition(": ")[2] for code, said in outcome if code)
    status = bench.kapi("status")
    assert bench.data.exists() == (status.code == 0)
    bench.kapi("reset")
    return Outcome(sentence, bench.left(), goes_on=bench.typed("up"))
