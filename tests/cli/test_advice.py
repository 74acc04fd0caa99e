"""Advised commands can be pasted as they are."""

import shlex
import shutil
import sys
from pathlib import Path

import pytest

from kapi import settings
from kapi.cli import advice, cluster, datadir
from kapi.cli import commands as cli
from kapi.cli.cluster import Up


@pytest.fixture(autouse=True)
def _on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/opt/bin/{name}")


def test_the_directory_is_named_unless_it_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert advice.command("down", advice.standard_directory()) == "kapi down"
    assert advice.command("down", tmp_path) == f"kapi down --data-dir {tmp_path}"
    monkeypatch.setenv("KAPI_DATA_DIR", str(tmp_path))
    assert advice.command("down", tmp_path) == "kapi down"
    assert advice.command("down", advice.standard_directory()) == f"kapi down --data-dir {advice.standard_directory()}"


def test_a_directory_with_a_blank_is_quoted() -> None:
    assert shlex.split(advice.command("reset", Path("/srv/my cluster"))) == ["kapi", "reset", "--data-dir", "/srv/my cluster"]


def test_where_kapi_is_not_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert shlex.split(advice.command("down", tmp_path)) == [sys.executable, "-m", "kapi", "down", "--data-dir", str(tmp_path)]


@pytest.mark.parametrize(
    "options", [[], ["--simulate", "--nodes", "3"], ["--no-kubeconfig", "--port", "7000"], ["--context", "mine", "--foreground"]]
)
def test_up_is_said_as_it_was_typed(options: list[str], tmp_path: Path) -> None:
    typed = ["up", *options, "--data-dir", str(tmp_path)]
    parsed = settings.from_arguments(Up, cli.parser(cli.BY_NAME["up"]).parse_args(typed[1:]))
    output = shlex.split(advice.up(parsed))
    assert output[0] == "kapi"
    assert settings.from_arguments(Up, cli.parser(cli.BY_NAME["up"]).parse_args(output[2:])) == parsed


def test_sudo_forgets_path_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAPI_DATA_DIR", str(tmp_path))
    assert advice.up(Up(tmp_path, port=7000), for_root=True) == f"sudo /opt/bin/kapi up --port 7000 --data-dir {tmp_path}"
    assert advice.up(Up(advice.standard_directory()), for_root=True) == "sudo /opt/bin/kapi up"

    assert advice.sudo("down", Path("/var/lib/kapi")) == "sudo /opt/bin/kapi down"
    assert shlex.split(advice.sudo("down", tmp_path, user="#12345"))[:3] == ["sudo", "-u", "#12345"]


def test_who_cannot_run_containers_is_told_to_simulate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert datadir.start_command(tmp_path) == f"kapi up --simulate --data-dir {tmp_path}"


def test_what_comes_next(tmp_path: Path) -> None:
    assert cluster._next_command(Up(tmp_path, context="mine")).startswith("kubectl --context mine create deployment web ")
    alone = cluster._next_command(Up(tmp_path, kubeconfig=False))
    assert alone.startswith(f"kubectl --kubeconfig {tmp_path}/pki/admin.conf create deployment web ")
    elsewhere = Up(tmp_path, kubeconfig=False, container_runtime_endpoint="unix:///run/containerd/containerd.sock")
    assert cluster._next_command(elsewhere).endswith(" get nodes"), "our image is not in that runtime"
