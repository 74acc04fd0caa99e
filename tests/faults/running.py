"""Rows: file systems, users and kubeconfigs that do not let kapi do what it wants; and clusters with containers."""

import json
import os
import shutil
import signal
import ssl
import subprocess
from functools import partial

from tests.e2e.conftest import left_of
from tests.faults.harness import SOMEBODY, Bench, Outcome, ask, get
from tests.faults.rows import row

# file systems -------------------------------------------------------------------------------------------------------------------------


@row("disk full", "while the cluster runs")
def _(bench: Bench) -> Outcome:
    disk = bench.disk("96m")
    kept = bench.with_data()
    bench.up()
    token = (bench.data / "tokens.csv").read_text().partition(",")[0]
    context = ssl.create_default_context(cafile=str(bench.data / "pki" / "ca.crt"))
    path, acknowledged, refused = "/api/v1/namespaces/default/configmaps", [], list[bytes]()
    with bench.full(disk, 256 << 10):
        for number in range(12):
            body = json.dumps({"metadata": {"name": f"m{number}"}, "data": {"x": "y" * 200_000}})
            status, answer = ask(bench.port, context, token, path, body)
            acknowledged += [number] if status == 201 else []
            refused += [answer] if status == 500 else []
    assert refused, "the disk was not full"
    bench.down()
    bench.up()
    lost = kept.lost(bench.port) + [f"m{n}" for n in acknowledged if get(bench.port, context, token, f"{path}/m{n}") != 200]
    return Outcome(json.loads(refused[0])["message"], [], lost, "room on the disk, then the same request")


@row("read-only file system", "up")
def _(bench: Bench) -> Outcome:
    disk = bench.disk()
    kept = bench.with_data()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    said = bench.kapi("up")
    left = bench.left()
    assert said.code == 1
    assert "Read-only file system" in said.sentence
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    bench.up()
    return Outcome(said.sentence, left, kept.lost(bench.port), bench.typed("up"))


@row("read-only file system", "up in a new directory")
def _(bench: Bench) -> Outcome:
    disk = bench.disk()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    said = bench.kapi("up")
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    return Outcome(said.sentence, bench.left(), goes_on="kapi up --data-dir PATH")


@row("data directory deleted by hand", "while the cluster runs")
def _(bench: Bench) -> Outcome:
    bench.up()
    shutil.rmtree(bench.data)
    refused = bench.kapi("up")
    assert refused.code == 1, "it would be a second cluster"
    assert "simulated" in bench.kapi("status").out
    bench.kapi("down")
    left = bench.left()
    bench.up()
    return Outcome(refused.sentence, left, goes_on=bench.typed("down"))


# users --------------------------------------------------------------------------------------------------------------------------------


def _own(bench: Bench) -> None:
    """The row's directory is somebody's."""
    os.chown(bench.directory, SOMEBODY, SOMEBODY)


@row("no root", "up with containers")
def _(bench: Bench) -> Outcome:
    _own(bench)
    said = bench.as_somebody("up", "--real", "--no-kubeconfig", "--port", str(bench.port))
    assert said.code == 1
    assert not bench.data.exists()
    return Outcome(said.sentence, bench.left(), goes_on=said.sentence.rpartition(": ")[2])


@row("no root", "up --simulate, status, down, reset")
def _(bench: Bench) -> Outcome:
    _own(bench)
    said = bench.as_somebody("up")
    assert said.code == 0, said
    readable = subprocess.run(["find", str(bench.data), "-perm", "/077"], capture_output=True, text=True, check=True).stdout
    assert readable == ""
    (bench.data / "pki").chmod(0o500)
    for name in ("status", "down", "reset"):
        assert bench.as_somebody(name).code == 0, name
    assert not bench.data.exists()
    return Outcome(next(line for line in said.out.splitlines() if line.startswith("The cluster is up.")), bench.left())


def _of_root(bench: Bench, command: str) -> Outcome:
    kept = bench.with_data()
    bench.directory.chmod(0o755)
    bench.up("--no-kubeconfig")
    said = bench.as_somebody(command)
    assert said.code == 1, said
    return Outcome(said.sentence, [], kept.lost(bench.port), said.sentence.rpartition(": ")[2])


for _command in ("up", "down", "status", "reset", "token", "kubeconfig", "apiserver"):
    row("another user's cluster", _command)(partial(_of_root, command=_command))


@row("another user's cluster", "root on somebody's")
def _(bench: Bench) -> Outcome:
    _own(bench)
    assert bench.as_somebody("up", "--no-kubeconfig").code == 0
    said = bench.kapi("down")
    assert said.code == 1, said
    assert bench.as_somebody("down").code == 0
    return Outcome(said.sentence, bench.left(), goes_on=said.sentence.rpartition(": ")[2])


# the user's kubeconfig ----------------------------------------------------------------------------------------------------------------

KUBECONFIGS = {
    "is not YAML": "a: [", "is a list": "- 1", "has other things for entries": "contexts: [1]",
    "holds another cluster's context of the name": "clusters: [{name: kapi-data, cluster: {server: 'https://example.com'}}]",
}  # fmt: skip


def _kubeconfig(bench: Bench, text: str, command: str) -> Outcome:
    kept, path = bench.with_data(), bench.directory / "kubeconfig"
    if command == "up":
        path.write_text(text)
        said = bench.kapi("up")
        assert said.code == 1, said
        left = bench.left()
        assert path.read_text() == text
        bench.up("--no-kubeconfig")
        return Outcome(said.sentence, left, kept.lost(bench.port), f"{bench.typed('up')} --no-kubeconfig, or --context NAME")
    bench.up()
    lost = kept.lost(bench.port)
    path.write_text(text)
    said = bench.kapi(command)
    assert said.code == 0, "the cluster goes down all the same"
    assert path.read_text() == text
    assert bench.data.exists() == (command != "reset")
    note = next((line.removeprefix(" ! ") for line in said.out.splitlines() if "can't be taken out" in line), said.out.splitlines()[-1])
    return Outcome(note, bench.left(), lost, "edit the kubeconfig")


for _when, _text in KUBECONFIGS.items():
    row("kubeconfig", f"{_when}: up")(partial(_kubeconfig, text=_text, command="up"))
row("kubeconfig", "is not YAML: down")(partial(_kubeconfig, text="a: [", command="down"))
row("kubeconfig", "is not YAML: reset")(partial(_kubeconfig, text="a: [", command="reset"))


@row("kubeconfig", "is locked by another program")
def _(bench: Bench) -> Outcome:
    kept = bench.with_data()
    (bench.directory / "kubeconfig.lock").touch()
    said = bench.kapi("up")
    left = bench.left()
    assert said.code == 1
    (bench.directory / "kubeconfig.lock").unlink()
    bench.up()
    return Outcome(said.sentence, left, kept.lost(bench.port), bench.typed("up"))


# containers ---------------------------------------------------------------------------------------------------------------------------


@row("SIGKILL of up", "with containers, while the API server comes up", containers=True)
def _(bench: Bench) -> Outcome:
    bench.killed("up", "subprocess.Popen", "'control'", options=("--real", "--no-kubeconfig", "--port", str(bench.port)))
    status = bench.kapi("status").out.splitlines()
    assert {line.split()[0] for line in status} >= {"apiserver", "containerd"}
    bench.down()
    left = left_of(bench.data)
    return Outcome(next(line for line in status if "interrupted" in line), left, goes_on=bench.typed("down"))


UP = {
    "containerd is started": ("subprocess.Popen", "config.toml", 1), "the API server is started": ("subprocess.Popen", "'apiserver'", 1),
    "the others are started": ("subprocess.Popen", "'control'", 1), "the kubelet is started": ("subprocess.Popen", "'kubelet'", 1),
    "the start is complete": ("os.remove", "run/starting", 2),
}  # fmt: skip
DOWN = {
    "the kubelet is told to end": ("signal.pidfd_send_signal", "", 1), "the others are told to end": ("signal.pidfd_send_signal", "", 2),
    "pods are removed": ("import", "kubelet.cri.client", 1), "the API server is told to end": ("signal.pidfd_send_signal", "", 1),
    "containerd is told to end": ("signal.pidfd_send_signal", "", 2), "the network goes": ("subprocess.Popen", "'delete'", 1),
}  # fmt: skip
"""Steps with containers, one after the other: each command begins where the one before was killed."""


@row("SIGKILL of up", f"with containers, again and again: before {', '.join(UP)}", containers=True)
def _(bench: Bench) -> Outcome:
    for step in UP.values():
        bench.killed("up", *step, options=("--real", "--no-kubeconfig", "--port", str(bench.port)))
    shown = bench.kapi("status").out.splitlines()
    bench.down()
    return Outcome(next(line for line in shown if "interrupted" in line), left_of(bench.data), goes_on=bench.typed("down"))


@row("SIGKILL of down", f"with containers, again and again: before {', '.join(DOWN)}", containers=True)
def _(bench: Bench) -> Outcome:
    _with_pod(bench)
    for step in DOWN.values():
        bench.killed("down", *step)
    said = bench.kapi("down")
    return Outcome(said.out.splitlines()[-1], [*bench.left(), *left_of(bench.data)], goes_on=bench.typed("down"))


def _with_pod(bench: Bench) -> None:
    """A cluster with containers comes up, and a pod in it."""
    said = bench.kapi("up", "--real", "--no-kubeconfig", "--port", str(bench.port))
    assert said.code == 0, said
    kubectl = ["kubectl", "--kubeconfig", str(bench.data / "pki" / "admin.conf")]
    assert bench.run(*kubectl, "run", "web", "--image=localhost/kapi/busybox:1", "--", "sleep", "1000").code == 0
    assert bench.run(*kubectl, "wait", "--for=condition=Ready", "pod/web", "--timeout=30s").code == 0


@row("SIGKILL of everything", "with containers", containers=True)
def _(bench: Bench) -> Outcome:
    _with_pod(bench)
    for line in bench.kapi("status").out.splitlines():
        if " pid " in line:
            os.kill(int(line.split()[2]), signal.SIGKILL)
    status = bench.kapi("status")
    assert "but 1 of its pods still run" in status.out
    bench.down()
    return Outcome(status.out.strip(), left_of(bench.data), goes_on=bench.typed("down"))
