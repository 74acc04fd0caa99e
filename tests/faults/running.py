"""Rows: file systems, users and kubeconfigs that do not let kapi do what it wants; and clusters with containers."""

import json
import os
import shutil
import signal
import ssl
import subprocess
from functools import partial

from tests.e2e.conftest import left_of
from tests.faults.harness import SOMEBODY, Harness, Outcome, ask, get
from tests.faults.rows import row

# file systems -------------------------------------------------------------------------------------------------------------------------


@row("disk full", "while the cluster runs")
def _(harness: Harness) -> Outcome:
    disk = harness.disk("96m")
    kept = harness.with_data()
    harness.up()
    token = (harness.data / "tokens.csv").read_text().partition(",")[0]
    context = ssl.create_default_context(cafile=str(harness.data / "pki" / "ca.crt"))
    path, acknowledged, refused = "/api/v1/namespaces/default/configmaps", [], list[bytes]()
    with harness.full(disk, 256 << 10):
        for number in range(12):
            body = json.dumps({"metadata": {"name": f"m{number}"}, "data": {"x": "y" * 200_000}})
            status, answer = ask(harness.port, context, token, path, body)
            acknowledged += [number] if status == 201 else []
            refused += [answer] if status == 500 else []
    assert refused, "the disk was not full"
    harness.down()
    harness.up()
    lost = kept.lost(harness.port) + [f"m{n}" for n in acknowledged if get(harness.port, context, token, f"{path}/m{n}") != 200]
    return Outcome(json.loads(refused[0])["message"], [], lost, "room on the disk, then the same request")


@row("read-only file system", "up")
def _(harness: Harness) -> Outcome:
    disk = harness.disk()
    kept = harness.with_data()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    result = harness.kapi("up")
    left = harness.left()
    assert result.code == 1
    assert "Read-only file system" in result.sentence
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    harness.up()
    return Outcome(result.sentence, left, kept.lost(harness.port), harness.typed("up"))


@row("read-only file system", "up in a new directory")
def _(harness: Harness) -> Outcome:
    disk = harness.disk()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    result = harness.kapi("up")
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    return Outcome(result.sentence, harness.left(), goes_on="kapi up --data-dir PATH")


@row("data directory deleted by hand", "while the cluster runs")
def _(harness: Harness) -> Outcome:
    harness.up()
    shutil.rmtree(harness.data)
    refused = harness.kapi("up")
    assert refused.code == 1, "it would be a second cluster"
    assert "simulated" in harness.kapi("status").out
    harness.kapi("down")
    left = harness.left()
    harness.up()
    return Outcome(refused.sentence, left, goes_on=harness.typed("down"))


# users --------------------------------------------------------------------------------------------------------------------------------


def _own(harness: Harness) -> None:
    """The row's directory is somebody's."""
    os.chown(harness.directory, SOMEBODY, SOMEBODY)


@row("no root", "up with containers")
def _(harness: Harness) -> Outcome:
    _own(harness)
    result = harness.as_somebody("up", "--real", "--no-kubeconfig", "--port", str(harness.port))
    assert result.code == 1
    assert not harness.data.exists()
    return Outcome(result.sentence, harness.left(), goes_on=result.sentence.rpartition(": ")[2])


@row("no root", "up --simulate, status, down, reset")
def _(harness: Harness) -> Outcome:
    _own(harness)
    result = harness.as_somebody("up")
    assert result.code == 0, result
    readable = subprocess.run(["find", str(harness.data), "-perm", "/077"], capture_output=True, text=True, check=True).stdout
    assert readable == ""
    (harness.data / "pki").chmod(0o500)
    for name in ("status", "down", "reset"):
        assert harness.as_somebody(name).code == 0, name
    assert not harness.data.exists()
    return Outcome(next(line for line in result.out.splitlines() if line.startswith("The cluster is up.")), harness.left())


def _of_root(harness: Harness, command: str) -> Outcome:
    kept = harness.with_data()
    harness.directory.chmod(0o755)
    harness.up("--no-kubeconfig")
    result = harness.as_somebody(command)
    assert result.code == 1, result
    return Outcome(result.sentence, [], kept.lost(harness.port), result.sentence.rpartition(": ")[2])


for _command in ("up", "down", "status", "reset", "token", "kubeconfig", "apiserver"):
    row("another user's cluster", _command)(partial(_of_root, command=_command))


@row("another user's cluster", "root on somebody's")
def _(harness: Harness) -> Outcome:
    _own(harness)
    assert harness.as_somebody("up", "--no-kubeconfig").code == 0
    result = harness.kapi("down")
    assert result.code == 1, result
    assert harness.as_somebody("down").code == 0
    return Outcome(result.sentence, harness.left(), goes_on=result.sentence.rpartition(": ")[2])


# the user's kubeconfig ----------------------------------------------------------------------------------------------------------------

KUBECONFIGS = {
    "is not YAML": "a: [", "is a list": "- 1", "has other things for entries": "contexts: [1]",
    "holds another cluster's context of the name": "clusters: [{name: kapi-data, cluster: {server: 'https://example.com'}}]",
}  # fmt: skip


def _kubeconfig(harness: Harness, text: str, command: str) -> Outcome:
    kept, path = harness.with_data(), harness.directory / "kubeconfig"
    if command == "up":
        path.write_text(text)
        result = harness.kapi("up")
        assert result.code == 1, result
        left = harness.left()
        assert path.read_text() == text
        harness.up("--no-kubeconfig")
        return Outcome(result.sentence, left, kept.lost(harness.port), f"{harness.typed('up')} --no-kubeconfig, or --context NAME")
    harness.up()
    lost = kept.lost(harness.port)
    path.write_text(text)
    result = harness.kapi(command)
    assert result.code == 0, "the cluster goes down all the same"
    assert path.read_text() == text
    assert harness.data.exists() == (command != "reset")
    note = next((line.removeprefix(" ! ") for line in result.out.splitlines() if "can't be taken out" in line), result.out.splitlines()[-1])
    return Outcome(note, harness.left(), lost, "edit the kubeconfig")


for _when, _text in KUBECONFIGS.items():
    row("kubeconfig", f"{_when}: up")(partial(_kubeconfig, text=_text, command="up"))
row("kubeconfig", "is not YAML: down")(partial(_kubeconfig, text="a: [", command="down"))
row("kubeconfig", "is not YAML: reset")(partial(_kubeconfig, text="a: [", command="reset"))


@row("kubeconfig", "is locked by another program")
def _(harness: Harness) -> Outcome:
    kept = harness.with_data()
    (harness.directory / "kubeconfig.lock").touch()
    result = harness.kapi("up")
    left = harness.left()
    assert result.code == 1
    (harness.directory / "kubeconfig.lock").unlink()
    harness.up()
    return Outcome(result.sentence, left, kept.lost(harness.port), harness.typed("up"))


# containers ---------------------------------------------------------------------------------------------------------------------------


@row("SIGKILL of up", "with containers, while the API server comes up", containers=True)
def _(harness: Harness) -> Outcome:
    harness.killed("up", "subprocess.Popen", "'control'", options=("--real", "--no-kubeconfig", "--port", str(harness.port)))
    status = harness.kapi("status").out.splitlines()
    assert {line.split()[0] for line in status} >= {"apiserver", "containerd"}
    harness.down()
    left = left_of(harness.data)
    return Outcome(next(line for line in status if "interrupted" in line), left, goes_on=harness.typed("down"))


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
def _(harness: Harness) -> Outcome:
    for step in UP.values():
        harness.killed("up", *step, options=("--real", "--no-kubeconfig", "--port", str(harness.port)))
    shown = harness.kapi("status").out.splitlines()
    harness.down()
    return Outcome(next(line for line in shown if "interrupted" in line), left_of(harness.data), goes_on=harness.typed("down"))


@row("SIGKILL of down", f"with containers, again and again: before {', '.join(DOWN)}", containers=True)
def _(harness: Harness) -> Outcome:
    _with_pod(harness)
    for step in DOWN.values():
        harness.killed("down", *step)
    result = harness.kapi("down")
    return Outcome(result.out.splitlines()[-1], [*harness.left(), *left_of(harness.data)], goes_on=harness.typed("down"))


def _with_pod(harness: Harness) -> None:
    """A cluster with containers comes up, and a pod in it."""
    result = harness.kapi("up", "--real", "--no-kubeconfig", "--port", str(harness.port))
    assert result.code == 0, result
    kubectl = ["kubectl", "--kubeconfig", str(harness.data / "pki" / "admin.conf")]
    assert harness.run(*kubectl, "run", "web", "--image=localhost/kapi/busybox:1", "--", "sleep", "1000").code == 0
    assert harness.run(*kubectl, "wait", "--for=condition=Ready", "pod/web", "--timeout=30s").code == 0


@row("SIGKILL of everything", "with containers", containers=True)
def _(harness: Harness) -> Outcome:
    _with_pod(harness)
    for line in harness.kapi("status").out.splitlines():
        if " pid " in line:
            os.kill(int(line.split()[2]), signal.SIGKILL)
    status = harness.kapi("status")
    assert "but 1 of its pods still run" in status.out
    harness.down()
    return Outcome(status.out.strip(), left_of(harness.data), goes_on=harness.typed("down"))
