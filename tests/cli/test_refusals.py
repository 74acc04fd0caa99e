"""What `kapi up` refuses: one sentence, exit status 1, nothing started and nothing left."""

import os
import socket
from pathlib import Path

import pytest

from kapi.cli import cleanup, processes
from kapi.cli import commands as cli
from kapi.process import Failure
from tests.e2e.cluster import free_port
from tests.e2e.conftest import processes_of


def refusal(capsys: pytest.CaptureFixture[str], directory: Path, *options: str, port: int = 0) -> str:
    """What `kapi up` says on its way out; no process of it is left."""
    arguments = ["up", "--no-kubeconfig", "--data-dir", str(directory), "--port", str(port or free_port()), *options]
    assert cli.main(arguments) == 1
    assert processes_of(directory) == []
    output = capsys.readouterr().err
    assert output.startswith("kapi up: ")
    assert output.count("\n") == 1
    return output.removeprefix("kapi up: ").rstrip("\n")


def test_a_port_in_use(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        output = refusal(capsys, tmp_path / "new", "--simulate", port=port)
    assert output == f"Port {port} can't be used: Address already in use. Choose another with --port."
    assert not (tmp_path / "new").exists()


def test_a_host_name_that_is_no_node_name(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "My_Host")
    with pytest.raises(SystemExit, match="2"):
        cli.main(["up", "--data-dir", str(tmp_path)])
    output = capsys.readouterr().err
    assert output == "kapi up: error: the host's name 'my_host' can't be a node's: give one with --node-name (see kapi up --help)\n"


def test_containers_without_root(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = os.getuid() or 1000
    os.chown(tmp_path, user, -1)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    port = free_port()
    output = refusal(capsys, tmp_path, port=port)
    _, sudo, simulated = output.split(": ")
    options = f"up --port {port} --no-kubeconfig"
    assert sudo.removesuffix(", or without containers").startswith("sudo ")
    assert f"{options} --data-dir {tmp_path}" in sudo
    assert simulated == f"kapi up --simulate --port {port} --no-kubeconfig --data-dir {tmp_path}"


def test_programs_that_are_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(cli, "find_system_programs", lambda: None)
    output = refusal(capsys, tmp_path / "data")
    missing = ("busybox-static", "catatonit", "conntrack", "containerd", "iproute2", "nftables", "runc")
    assert output == f"Missing: {', '.join(missing)}. Install with: apt-get install --no-install-recommends {' '.join(missing)}"


def test_several_nodes_with_containers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    port = free_port()
    complete = f"kapi up --simulate --nodes 2 --port {port} --no-kubeconfig --data-dir {tmp_path}"
    assert refusal(capsys, tmp_path, "--nodes", "2", port=port) == f"More than one node on one machine needs --simulate: {complete}"


def test_a_file_where_the_directory_should_be(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    output = refusal(capsys, tmp_path / "file", "--simulate")
    assert output == f"The data directory {tmp_path}/file can't be used: File exists. Name another with --data-dir."


def test_a_key_that_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "ca.key").write_text("nonsense")
    output = refusal(capsys, tmp_path, "--simulate")
    unusable = f"The keys in {tmp_path}/pki can't be used: ca.key is no private key."
    assert output.startswith(f"{unusable} Restore it from a backup, or replace it (")
    assert output.endswith(f") with: kapi certs replace ca --data-dir {tmp_path}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "why"), [(b"", "has no token of a member of system:masters"), (b"junk", ", line 1: must have at least 3 columns")]
)
def test_a_token_file_that_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "tokens.csv").write_bytes(content)
    output = refusal(capsys, tmp_path, "--simulate")
    assert output.startswith(f"Token file '{tmp_path}/tokens.csv'")
    assert why in output
    assert output.endswith("; mend it, or delete it and the next start makes one with a new token.")
    assert cli.main(["token", "--data-dir", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"kapi token: {output}\n")
    assert (tmp_path / "tokens.csv").read_bytes() == content


@pytest.mark.slow
def test_a_database_that_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "kapi.db").write_bytes(b"nonsense" * 1000)
    output = refusal(capsys, tmp_path, "--simulate")
    way = f"Restore a backup, or run `kapi doctor --repair --data-dir {tmp_path}`, which sets aside what is damaged."
    assert output == f"The data in {tmp_path}/kapi.db cannot be opened: file is not a database. {way}"


@pytest.mark.slow
def test_a_process_that_dies_early_leaves_its_last_words(tmp_path: Path) -> None:
    starting = processes.Process("control", tmp_path).start(processes.python("nosuchmodule"))
    with pytest.raises(Failure, match=r"^control ended while starting: .*No module named nosuchmodule\. Its log: .*/log/control\.log$"):
        starting.wait()
    assert starting.process.pids == []


def test_every_directory_has_its_own_names() -> None:
    plain, one, other = (cleanup.machine_names(path) for path in (cleanup.DEFAULT, Path("/a"), Path("/b")))
    assert plain == cleanup.MachineNames("/kapi", "kapi0", "kapi")
    for name in ("cgroup", "bridge", "table"):
        assert len({getattr(marks, name) for marks in (plain, one, other)}) == 3
    assert len(one.bridge) <= 15


def test_a_cluster_that_had_no_containers_has_nothing_to_clean(tmp_path: Path) -> None:
    assert not cleanup.has_marker(tmp_path)
    cleanup.set_marker(tmp_path)
    assert cleanup.has_marker(tmp_path) is (os.geteuid() == 0)
