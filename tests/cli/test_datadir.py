"""Data directories: how one is made and known, and who may use what is in it."""

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kapi.cli import commands as cli
from kapi.cli import datadir, layout, locks
from kapi.process import Failure
from tests.cli import data_directories
from tests.e2e.cluster import free_port
from tests.e2e.conftest import processes_of


def modes(directory: Path) -> set[tuple[str, int]]:
    """(type, mode) of everything in a directory, and of itself."""
    paths = (directory, *directory.rglob("*"))
    return {("d" if p.is_dir() else "f", stat.S_IMODE(p.lstat().st_mode)) for p in paths}


def test_a_cluster_s_files_are_for_its_user_only(tmp_path: Path) -> None:
    """Whatever the umask of whoever starts it."""
    data = tmp_path / "data"
    command = [sys.executable, "-m", "kapi", "up", "--simulate", "--no-kubeconfig", "--data-dir", str(data), "--port", str(free_port())]
    try:
        subprocess.run(command, check=True, capture_output=True, umask=0)
        assert (data / "kapi.db-wal").exists()
        assert modes(data) == {("d", 0o700), ("f", 0o600)}
    finally:
        assert cli.main(["down", "--data-dir", str(data)]) == 0


def test_the_default_place_is_private_too(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root's default place is the machine's")
    home = {**os.environ, "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "kapi", "up", "--simulate", "--no-kubeconfig", "--port", str(free_port())]
    subprocess.run(command, check=True, capture_output=True, env=home)
    subprocess.run([sys.executable, "-m", "kapi", "down"], check=True, capture_output=True, env=home)
    assert modes(tmp_path / ".local" / "share" / "kapi") == {("d", 0o700), ("f", 0o600)}


@pytest.mark.parametrize("command", ["apiserver", "simulated"])
def test_a_server_alone_makes_a_private_directory(command: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    arguments = [sys.executable, "-m", "kapi", command, "--data-dir", str(data), "--port", str(free_port())]
    reader, writer = os.pipe()
    with subprocess.Popen(arguments, pass_fds=(writer,), env={**os.environ, "KAPI_READY_FD": str(writer)}, umask=0) as server:
        os.close(writer)
        assert os.read(reader, 100) == b"ready"
        os.close(reader)
        assert modes(data) == {("d", 0o700), ("f", 0o600)}
        assert datadir.read(data)
        server.terminate()
        assert server.wait(20) == 0


def test_every_file_of_a_cluster_is_in_the_table(cluster: Path) -> None:
    """A file of kapi's that is not would keep `kapi reset` from deleting the cluster."""
    with layout.open_directory(cluster) as top:
        assert layout.unknown_entries(top) == []


def test_open_permissions_are_mended_and_it_is_said(cluster: Path) -> None:
    for path in (cluster, cluster / "kapi.db", cluster / "log", cluster / "pki" / "ca.crt", cluster / "tokens.csv"):
        path.chmod(0o777)
    (cluster / "pki" / "ca.key").chmod(0)
    (output,) = datadir.prepare(cluster)
    start = f"Permissions in {cluster} were mended, only you may use what is there: "
    assert output == f"{start}kapi.db, log, pki/ca.crt and 3 more."
    assert {stat.S_IMODE(path.stat().st_mode) for path in (cluster, cluster / "log")} == {0o700}
    assert {stat.S_IMODE((cluster / name).stat().st_mode) for name in ("kapi.db", "pki/ca.crt", "pki/ca.key", "tokens.csv")} == {0o600}
    assert datadir.prepare(cluster) == []


def test_a_link_is_not_followed_when_permissions_are_mended(cluster: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o644)
    (cluster / "kapi.db").unlink()
    (cluster / "kapi.db").symlink_to(outside)
    datadir.prepare(cluster)
    assert stat.S_IMODE(outside.stat().st_mode) == 0o644


def test_an_interrupt_before_it_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was created for it goes again."""

    def interrupted(directory: Path) -> None:
        assert directory.is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr(locks, "exclusive", interrupted)
    with pytest.raises(KeyboardInterrupt), datadir.locked(tmp_path / "a" / "b", "up"):
        pass
    assert os.listdir(tmp_path) == []


def test_an_empty_directory_becomes_one(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert datadir.prepare(tmp_path) == [f"Permissions in {tmp_path} were mended, only you may use what is there: {tmp_path}."]
    known = datadir.read(tmp_path)
    assert known
    datadir.update_identity(tmp_path, context="mine", kubeconfig="/home/me/.kube/config")
    again = datadir.read(tmp_path)
    assert again
    assert (again.uid, again.context, again.kubeconfig) == (known.uid, "mine", "/home/me/.kube/config")


@pytest.mark.parametrize("command", ["up", "apiserver", "simulated"])
@pytest.mark.parametrize("names", [["notes.txt"], [".git"], ["kubelet/main.go"], ["pki/ca.crt", "thesis"], ["log"]])
def test_a_foreign_directory_is_refused(command: str, names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    for name in names:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text("mine")
    before = data_directories.snapshot(tmp_path)
    options = ["--simulate", "--no-kubeconfig"] if command == "up" else []
    assert cli.main([command, "--data-dir", str(data), "--port", str(free_port()), *options]) == 1
    output = capsys.readouterr().err
    assert output.startswith(f"kapi {command}: {data} is not a data directory of kapi: it has no kapi.json and holds ")
    assert output.endswith(". Name a new or empty one with --data-dir.\n")
    assert data_directories.snapshot(tmp_path) == before
    assert processes_of(data) == []


def test_a_cluster_of_an_older_commit_is_adopted(cluster: Path) -> None:
    (cluster / "kapi.json").unlink()
    assert datadir.prepare(cluster) == [f"The cluster in {cluster} was made by an earlier kapi: it now has an identity (kapi.json)."]
    assert datadir.read(cluster)


def test_an_older_cluster_with_something_foreign_is_not(cluster: Path) -> None:
    (cluster / "kapi.json").unlink()
    (cluster / "notes.txt").write_text("mine")
    with pytest.raises(Failure, match=r"it has no kapi\.json and holds notes\.txt"):
        datadir.prepare(cluster)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", '{"uid": 5}', '{"format": 1}', '{"uid": "u", "format": "1"}', '{"uid": "u", "context": 1}', "\0" * 9000]
)
def test_what_is_no_identity(text: str, tmp_path: Path) -> None:
    (tmp_path / "kapi.json").write_text(text)
    assert datadir.read(tmp_path) is None


def test_an_identity_of_a_newer_kapi(cluster: Path) -> None:
    (cluster / "kapi.json").write_text(json.dumps({"uid": "u", "format": 2}))
    with pytest.raises(Failure, match="was made by a newer kapi"):
        datadir.prepare(cluster)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_a_file_of_another_user_is_refused(cluster: Path) -> None:
    os.chown(cluster / "kapi.db", 65534, -1)
    with pytest.raises(Failure, match=r"kapi\.db belongs to nobody, not to root\. Give it back: chown root .*kapi\.db$"):
        datadir.prepare(cluster)


def test_a_home_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(Failure, match="can't be a data directory"):
        datadir.prepare(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_is_a_cluster_of_its_own(cluster: Path, tmp_path: Path) -> None:
    datadir.prepare(cluster)
    datadir.update_identity(cluster, context="kapi-mine", kubeconfig="/somewhere/config")
    shutil.copytree(cluster, tmp_path / "copy", symlinks=True)
    assert datadir.prepare(tmp_path / "copy") == [f"{tmp_path}/copy is a copy of {cluster}: it is a cluster of its own now."]
    original, copy = datadir.read(cluster), datadir.read(tmp_path / "copy")
    assert original
    assert copy
    assert (original.context, copy.context, copy.kubeconfig) == ("kapi-mine", "", "")
    assert original.uid != copy.uid
    assert datadir.prepare(tmp_path / "copy") == []


def test_a_directory_that_was_moved_is_the_same_cluster(cluster: Path, tmp_path: Path) -> None:
    datadir.prepare(cluster)
    before = datadir.read(cluster)
    cluster.rename(tmp_path / "moved")
    assert datadir.prepare(tmp_path / "moved") == []
    after = datadir.read(tmp_path / "moved")
    assert before
    assert after
    assert (after.uid, after.directory) == (before.uid, str(tmp_path / "moved"))


def test_what_may_be_done_about_a_directory_that_cannot_be_used(cluster: Path, tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", str(cluster / "x"))
    assert str(datadir.unusable(cluster, full)).endswith(f"No space left on device ({cluster}/x). Make room on its disk and try again.")
    assert str(datadir.unusable(tmp_path, full)).endswith("Name another with --data-dir.")


def test_options_that_are_too_many_are_not_kept(cluster: Path) -> None:
    datadir.record_options(cluster, ["--context", "a b"])
    assert datadir.start_command(cluster).endswith(f" up --context 'a b' --data-dir {cluster}")
    datadir.record_options(cluster, ["--context", "x" * 2000])
    assert "--context" not in datadir.start_command(cluster)
