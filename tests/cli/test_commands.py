"""The command line: every command explains itself and says in one sentence what is missing."""

import io
from pathlib import Path

import pytest

from kapi.__main__ import COMMANDS, main
from kapi.cli import datadir


@pytest.fixture(autouse=True)
def _nobody_s_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    shown = capsys.readouterr().out
    assert {command.name for command in COMMANDS} <= set(shown.split())
    assert "kapi up" in shown


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert f"kapi {name}" in shown


def test_a_command_that_does_not_exist() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["launch"])
    assert ended.value.code == 2


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence a failing command says."""
    assert main(list(arguments)) == 1
    error = capsys.readouterr().err.strip()
    assert "\n" not in error, error
    return error


@pytest.mark.parametrize("name", ["kubeconfig", "token"])
def test_no_cluster_there(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "There is no cluster in " in said(capsys, name, "--data-dir", str(tmp_path))


def test_nothing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--data-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().out == f"No cluster is running from {tmp_path}. Start one with: kapi up --data-dir {tmp_path}\n"


def test_images_go_into_a_containerd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no containerd of its own" in said(capsys, "image", "load", "file.tar", "--data-dir", str(tmp_path))


def test_a_deletion_is_confirmed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    (tmp_path / "data").mkdir()
    datadir.prepare(tmp_path / "data")
    assert "--yes" in said(capsys, "reset", "--data-dir", str(tmp_path / "data"))
    assert (tmp_path / "data").exists()


def test_components_need_a_kubeconfig(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("controllers", "scheduler"):
        error = said(capsys, name, "--kubeconfig", str(tmp_path / "nothing"))
        assert error.startswith(f"kapi {name}: There is no usable kubeconfig")
