"""Every example of every --help is run, as it stands there, on a machine of its own."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.machine import Machine, NoNamespace, machine
from tests.cli.programs import PROGRAMS, Program
from tests.e2e.conftest import processes_of

pytestmark = pytest.mark.slow
LIFE = (
    "kapi up --simulate --nodes 100", "kapi status", "kapi kubeconfig > admin.conf", "kapi token", "kapi version", "kapi certs check",
    "kapi logs --tail 20 --since 5m",
    "kapi down", "kapi certs replace ca", "kapi reset --yes",
)  # fmt: skip
"""One after the other."""
SERVER = "kapi apiserver --data-dir kapi-data --port 6443"
CLIENTS = (
    "kapi controllers --kubeconfig kapi-data/pki/controller-manager.conf", "kapi scheduler --kubeconfig kapi-data/pki/scheduler.conf",
    "kapi proxy --kubeconfig kapi-data/pki/proxy.conf", "kapi control --pki kapi-data/pki",
    "kubelet --kubeconfig kapi-data/pki/admin.conf --simulate --nodes 100 --node-name sim",
)  # fmt: skip
"""Beside that server, until they are ended."""
SERVERS = ("kapi apiserver --storage memory:", "kapi simulated --nodes 100")
"""Alone, until they are ended."""
SHELLS = {
    "bash": ("source <(kapi completion bash)", "complete -p kapi && complete -p kubelet"),
    "zsh": ("source <(kapi completion zsh)", "whence -w _kapi && whence -w _kubelet"),
    "fish": ("kapi completion fish | source", "complete -c kapi | grep simulate && complete -c kubelet | grep node-labels"),
}
DOCTOR = ("kapi doctor", "kapi doctor --simulate", "kapi doctor --repair")
"""They tell of the machine, whatever it is like."""
ENDING = ("kapi version --client -o json", "python -m conformance.soak --clients 20 --events 2000 --kills 1")
"""Alone, and end on their own."""
BENCH = "python -m bench --seconds 0.2 --objects 500"
FUZZ = "python -m conformance.fuzz --seconds 10 apis/node.k8s.io/v1"
FOLLOWED = "kapi logs apiserver -f"
CONTAINERS = (
    "kapi up", "kapi up --foreground", "kapi image load busybox.tar",
    "kapi image load unnamed.tar.gz --name example.com/team/web:1",
    "kubelet --kubeconfig kapi-data/pki/admin.conf --node-name n1 --pod-cidr 10.244.1.0/24",
    "kubelet --kubeconfig kapi-data/pki/admin.conf --container-runtime-endpoint unix:///run/containerd/containerd.sock",
)  # fmt: skip
"""Run by tests/e2e/test_examples.py."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with a server that runs."""
    with own_machine(tmp_path_factory.mktemp("served")) as made, made.serving(SERVER):
        yield made


@contextmanager
def own_machine(directory: Path) -> Iterator[Machine]:
    try:
        with machine(directory) as made:
            yield made
    except NoNamespace as why:
        pytest.skip(f"no machine for a test here: {why}")


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Machine]:
    with own_machine(tmp_path) as made:
        yield made


def test_every_example_is_run_somewhere() -> None:
    shells = [line for line, _ in SHELLS.values()]
    known = {*LIFE, SERVER, *CLIENTS, *SERVERS, *shells, *ENDING, *DOCTOR, BENCH, FUZZ, *CONTAINERS, FOLLOWED}
    assert {example for program in PROGRAMS for example in program.examples} == known


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)
def test_help_in_a_process_of_its_own(program: Program, tmp_path: Path) -> None:
    words = program.words[1:] if program.words[0] == "python" else ("-m", *program.words)
    done = subprocess.run(
        [sys.executable, *words, "--help"], capture_output=True, text=True, cwd=tmp_path, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    listed = done.stdout.partition("\nexamples:\n")[2].splitlines()
    assert listed == [f"  {example}" for example in program.examples]
    assert listed


def test_a_cluster_s_life(alone: Machine) -> None:
    printed = {}
    for line in LIFE:
        done = alone.run(line)
        assert (done.returncode, done.stderr) == (0, ""), (line, done.stdout, done.stderr)
        printed[line] = done.stdout
        assert "\033" not in done.stdout, "control sequences are for terminals"
    assert "server: https://127.0.0.1:6443" in (alone.directory / "admin.conf").read_text()
    assert printed["kapi status"].count("node ") == 100
    assert len(printed["kapi token"].strip()) == 32
    assert "Server Version: v1.36" in printed["kapi version"]
    assert "Storage: SQLite" in printed["kapi version"]
    assert printed["kapi certs check"].count("✓") == 9
    assert not (alone.directory / "cluster").exists()
    assert processes_of(alone.directory) == []


@pytest.mark.parametrize("line", CLIENTS)
def test_beside_a_server(line: str, served: Machine) -> None:
    if ("proxy" in line or "control " in line) and (os.geteuid() != 0 or shutil.which("nft", path=served.env["PATH"]) is None):
        pytest.skip("the proxy needs root and nft")
    with served.serving(line) as process:
        assert process.poll() is None
    assert process.returncode == 0, (served.directory / "server.log").read_text()


@pytest.mark.parametrize("line", SERVERS)
def test_servers(line: str, alone: Machine) -> None:
    with alone.serving(line) as process:
        assert process.poll() is None
    assert process.returncode == 0, (alone.directory / "server.log").read_text()


@pytest.mark.parametrize("line", ENDING)
def test_commands_that_end(line: str, alone: Machine) -> None:
    done = alone.run(line)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("line", DOCTOR)
def test_what_tells_of_the_machine(line: str, alone: Machine) -> None:
    done = alone.run(line)
    assert done.returncode in (0, 1)
    assert done.stderr == "" or done.stderr.startswith("There is nothing to repair in ")
    assert "Traceback" not in done.stdout


def test_bench(alone: Machine) -> None:
    """Its table is whole; whether targets are met depends on what else the machine does."""
    done = alone.run(BENCH)
    assert (done.returncode, done.stderr) == (0, "")
    assert "restart with 500 objects to ready" in done.stdout


def test_fuzz(alone: Machine) -> None:
    done = alone.run(FUZZ)
    if importlib.util.find_spec("schemathesis") is None:
        assert done.returncode == 1
        assert done.stderr == "conformance.fuzz: schemathesis is missing. Install it with: pip install 'kapi[fuzz]'\n"
    else:
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_completion(shell: str, alone: Machine) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    line, shows = SHELLS[shell]
    before = "autoload -U compinit && compinit -D; " if shell == "zsh" else ""
    (alone.directory / "script").write_text(f"{before}{line}\n{shows}\n")
    done = alone.run(f"{shell} script")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("kapi vers", "version"), ("kapi up --sim", "--simulate"), ("kapi certs rep", "replace"), ("kapi version -o js", "json"),
        ("kapi up --no-kube", "--no-kubeconfig"), ("kubelet --node-lab", "--node-labels"),
        ("kapi apiserver --token-auth-file tok", "tokens"),
    ],
)  # fmt: skip
def test_bash_completes(words: str, wanted: str, alone: Machine) -> None:
    (alone.directory / "tokens").touch()
    program, line = words.split()[0], f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))"
    done = alone.run(f"source <(kapi completion bash); {line}; _{program}; echo ${{COMPREPLY[@]}}")
    assert (done.stdout, done.stderr) == (f"{wanted}\n", "")


COMPLETED = [
    ("kapi vers", "version"), ("kapi up --sim", "--simulate"), ("kapi certs rep", "replace"), ("kapi up --no-kube", "--no-kubeconfig"),
    ("kubelet --node-lab", "--node-labels"), ("kapi image lo", "load"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "wanted"), COMPLETED)
def test_fish_completes(words: str, wanted: str, alone: Machine) -> None:
    _needs("fish")
    (alone.directory / "script").write_text(f"kapi completion fish | source\ncomplete -C '{words}'\n")
    done = alone.run("fish script")
    assert (done.stdout.split()[:1], done.stderr) == ([wanted], "")  # a description follows where there is one


ZSH = """
zmodload zsh/zpty
zpty typed zsh -f -i
zpty -w typed "PROMPT=; autoload -U compinit; compinit -D; source <(kapi completion zsh); echo REA""DY"
zpty -r typed shown '*READY*'
zpty -w -n typed "$1"$'\\t'
zpty -r typed shown "*$2*"
zpty -d typed
print -r -- $shown
"""
"""Types $1 and a tabulator into an interactive shell, and waits until it shows $2."""


@pytest.mark.parametrize(("words", "wanted"), COMPLETED)
def test_zsh_completes(words: str, wanted: str, alone: Machine) -> None:
    _needs("zsh")
    (alone.directory / "script").write_text(ZSH)
    done = alone.run(f"zsh script '{words}' '{words.rpartition(' ')[0]} {wanted}'")
    assert wanted in done.stdout, done.stderr


def _needs(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
