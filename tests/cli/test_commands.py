"""The command line: every command explains itself and says in one sentence what is missing."""

import io
from pathlib import Path

import pytest

from kapi.cli import datadir
from kapi.cli.commands import COMMANDS, main
from kubelet import __main__ as kubelet
from tests.e2e.cluster import free_port


@pytest.fixture(autouse=True)
def _nobody_s_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
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


@pytest.mark.parametrize(("name", "actions"), [("image", ["load"]), ("certs", ["check", "replace"])])
def test_help_says_what_each_action_is(name: str, actions: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([name, "--help"])
    shown = capsys.readouterr().out.split()
    assert [action for action in actions if f"{action}:" not in shown] == []


def test_a_command_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["statsu"]) == 2
    assert capsys.readouterr().err == 'kapi: error: unknown command "statsu"; did you mean status? (see kapi --help)\n'


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence a failing command says."""
    assert main(list(arguments)) == 1
    error = capsys.readouterr().err.strip()
    assert "\n" not in error, error
    return error


@pytest.mark.parametrize("name", ["kubeconfig", "token"])
def test_no_cluster_there(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "There is no cluster in " in output(capsys, name, "--data-dir", str(tmp_path))


def test_nothing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--data-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().out == f"No cluster is running from {tmp_path}. Start one with: kapi up --data-dir {tmp_path}\n"


def test_images_go_into_a_containerd(tmp_path: Path, cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file.tar").touch()
    load = ("image", "load", str(tmp_path / "file.tar"), "--data-dir")
    assert "is simulated: its pods only pretend to run, and need no images." in output(capsys, *load, str(cluster))
    datadir.record_options(cluster, [])
    assert f"is down. Start it with: kapi up --data-dir {cluster}" in output(capsys, *load, str(cluster))
    assert "There is no cluster in " in output(capsys, *load, str(tmp_path / "none"))


def test_a_deletion_is_confirmed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    (tmp_path / "data").mkdir()
    datadir.prepare(tmp_path / "data")
    assert "--yes" in output(capsys, "reset", "--data-dir", str(tmp_path / "data"))
    assert (tmp_path / "data").exists()


def test_advice_is_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each names an option that it has."""
    directory = str(tmp_path)
    assert f"There is no kubeconfig {tmp_path}/controller-manager.conf: name " in output(capsys, "control", "--pki", directory)
    port = str(free_port())
    served = output(capsys, "apiserver", "--data-dir", directory, "--storage", "memory:", "--bind-address", "192.0.2.1", "--port", port)
    assert served.endswith("This machine has no address 192.0.2.1. Name another with --bind-address.")


def test_the_kubelet_needs_a_kubeconfig(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kubeconfig").write_text("[]")
    assert kubelet.main([]) == 1
    wanted = f"kubelet: There is no usable kubeconfig: {tmp_path}/kubeconfig is no kubeconfig. Name one with --kubeconfig.\n"
    assert capsys.readouterr().err == wanted


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no context named"), ("[]", "is no kubeconfig"), ("a: [", "is not YAML"), ("\0", "is not YAML"),
        ("contexts: 3", "no context named"),
        ("current-context: c\ncontexts: [{name: c, context: {cluster: d}}]\nclusters: [{name: d, cluster: {server: x}}]", "must be a URL"),
        (
            "current-context: c\ncontexts: [{name: c, context: {cluster: d}}]\n"
            "clusters: [{name: d, cluster: {server: 'https://127.0.0.1:1', certificate-authority-data: '!'}}]", "is not base64",
        ),
        (
            "current-context: c\ncontexts: [{name: c, context: {cluster: d}}]\n"
            "clusters: [{name: d, cluster: {server: 'https://127.0.0.1:1', certificate-authority-data: YQ==}}]", "certificates for",
        ),
    ],
)  # fmt: skip
def test_components_need_a_kubeconfig(text: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken").write_text(text)
    for name in ("controllers", "scheduler"):
        error = output(capsys, name, "--kubeconfig", str(tmp_path / "broken"))
        assert error.startswith(f"kapi {name}: There is no usable kubeconfig")
        assert why in error
