"""Contexts in the user's kubeconfig: each cluster has its own, and takes away no other."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from kapi.cli import advice, contexts, datadir
from kapi.cli.processes import Process
from tests.e2e.cluster import free_port


@pytest.mark.parametrize(
    ("directory", "name"),
    [("demo", "kapi-demo"), ("kapi-demo", "kapi-demo"), ("my cluster!", "kapi-my-cluster"), ("kapi", "kapi-kapi"), ("ü", "kapi-cluster")],
)
def test_names_follow_from_directories(directory: str, name: str) -> None:
    assert contexts.name(Path("/srv", directory)) == name


def test_the_default_cluster_is_kapi() -> None:
    assert contexts.name(advice.standard_directory()) == "kapi"


@pytest.fixture
def directories(tmp_path: Path) -> Iterator[list[Path]]:
    """Of clusters that are up, to be taken down."""
    made: list[Path] = []
    yield made
    for directory in made:
        assert kapi("down", directory).returncode == 0


def kapi(name: str, directory: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "kapi", name, "--data-dir", str(directory), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def up(directory: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return kapi("up", directory, "--simulate", "--port", str(free_port()), *options)


def listed() -> list[str]:
    """The current context, and all of them; each has a cluster and a user of its name."""
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    assert [[e["name"] for e in config[s]] for s in ("clusters", "users")] == [[e["name"] for e in config["contexts"]]] * 2
    return [config["current-context"], *sorted(e["name"] for e in config["contexts"])]


@pytest.mark.slow
def test_clusters_side_by_side(tmp_path: Path, directories: list[Path]) -> None:
    one, two, same = tmp_path / "one", tmp_path / "two", tmp_path / "other" / "one"
    directories += [one, two]
    assert up(one).returncode == up(two).returncode == 0
    assert listed() == ["kapi-two", "kapi-one", "kapi-two"]
    refused = up(same)
    assert "The context kapi-one in your kubeconfig is already that of https://127.0.0.1:" in refused.stderr
    assert refused.stderr.endswith(". Choose another with --context NAME, or none with --no-kubeconfig.\n")
    assert not same.exists(), "nothing was started"
    directories.append(same)
    assert up(same, "--context", "mine").returncode == 0
    assert listed() == ["mine", "kapi-one", "kapi-two", "mine"]
    assert kapi("down", same).returncode == 0
    assert listed() == ["kapi-two", "kapi-one", "kapi-two"]
    assert "kubectl --context mine " in up(same).stdout, "it is remembered"
    assert listed()[0] == "mine"
    assert yaml.safe_load(kapi("kubeconfig", same).stdout)["current-context"] == "mine"


@pytest.mark.slow
def test_it_is_taken_out_of_the_file_it_was_put_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Path(os.environ["KUBECONFIG"])
    assert up(tmp_path / "data").returncode == 0
    assert first.exists()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "another"))
    assert kapi("down", tmp_path / "data").returncode == 0
    assert not first.exists()
    known = datadir.read(tmp_path / "data")
    assert known
    assert known.kubeconfig == str(first.resolve())


@pytest.mark.slow
@pytest.mark.parametrize("command", ["down", "reset"])
def test_a_cluster_whose_directory_was_deleted_is_stopped_and_forgotten(tmp_path: Path, directories: list[Path], command: str) -> None:
    directories.append(directory := tmp_path / "data")
    assert up(directory, "--context", "mine").returncode == 0
    shutil.rmtree(directory)
    done = kapi(command, directory)
    assert done.returncode == 0, done.stderr
    assert Process("simulated", directory).pid == 0
    assert f"Stopping what ran from {directory}, which is gone" in done.stdout
    assert f"The context mine of {directory}, which is gone, was taken out of your kubeconfig." in done.stdout
    assert not Path(os.environ["KUBECONFIG"]).exists()
    nothing = "No cluster is running from" if command == "down" else "There is nothing at"
    assert kapi(command, directory).stdout == f"{nothing} {directory}.\n"


@pytest.mark.slow
def test_down_says_what_was_left_to_do(tmp_path: Path, directories: list[Path]) -> None:
    directories.append(directory := tmp_path / "data")
    nothing = f"No cluster is running from {directory}.\n"
    assert up(directory).returncode == 0
    Process("simulated", directory).signal(signal.SIGKILL)
    assert kapi("down", directory).stdout == f"{nothing} ! Its context kapi-data was taken out of your kubeconfig.\n"
    assert kapi("down", directory).stdout == nothing
    (directory / "run" / "starting").touch()
    assert kapi("down", directory).stdout.startswith(f"{nothing} ✓ Removing what it left on this machine (")
    assert kapi("down", directory).stdout == nothing


@pytest.mark.slow
def test_a_file_others_could_read_is_closed_and_it_is_said(tmp_path: Path, directories: list[Path]) -> None:
    path = Path(os.environ["KUBECONFIG"])
    path.write_text("{apiVersion: v1, kind: Config, preferences: {colors: true}}")
    path.chmod(0o644)
    directories.append(tmp_path / "data")
    output = up(tmp_path / "data").stdout
    assert f" ! Others could read {path}: now it has the keys of your cluster and is yours alone (mode 0600).\n" in output
    assert path.stat().st_mode & 0o777 == 0o600
