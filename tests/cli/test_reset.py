"""`kapi reset --yes` on directories of many kinds: it deletes clusters of kapi's, and never anything that is not its own."""

import fcntl
import json
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kapi.cli import commands as cli
from kapi.cli import datadir, deletion, layout
from kapi.process import Failure
from tests.cli import data_directories
from tests.cli.data_directories import snapshot

root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and other owners need root")


class Place:
    """Where a kind of directory is made; `named` is what the user types. Mounts go with the test."""

    def __init__(self, tmp: Path, monkeypatch: pytest.MonkeyPatch, undo: ExitStack) -> None:
        self.tmp, self.data, self.named = tmp, tmp / "data", str(tmp / "data")
        self.monkeypatch, self.undo = monkeypatch, undo

    def mount(self, path: Path, *options: str) -> None:
        subprocess.run(["mount", *options, str(path)], check=True)
        self.undo.callback(subprocess.run, ["umount", str(path)], check=True)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with ExitStack() as undo:
        yield Place(tmp_path, monkeypatch, undo)


# what is refused ----------------------------------------------------------------------------------------------------------------------


def somebody_s_files(place: Place) -> None:
    place.data.mkdir()
    (place.data / "thesis.tex").write_text("years of work")


def git_checkout(place: Place) -> None:
    subprocess.run(["git", "init", "--quiet", str(place.data)], check=True)
    for name in ("log", "run", "kubelet", "pki"):
        (place.data / name).mkdir()
        (place.data / name / "main.go").write_text("package main")


def empty(place: Place) -> None:
    place.data.mkdir()


def home(place: Place) -> None:
    data_directories.cluster(place.data)
    place.monkeypatch.setenv("HOME", str(place.data))


def mount_point(place: Place) -> None:
    data_directories.cluster(place.tmp / "source")
    place.data.mkdir()
    place.mount(place.data, "--bind", str(place.tmp / "source"))


def mount_below(place: Place) -> None:
    data_directories.cluster(place.data)
    (place.tmp / "disk").mkdir()
    (place.tmp / "disk" / "precious").write_text("x")
    (place.data / "pod-logs").mkdir()
    place.mount(place.data / "pod-logs", "--bind", str(place.tmp / "disk"))


def read_only(place: Place) -> None:
    data_directories.cluster(place.tmp / "disk" / "data")
    place.mount(place.tmp / "disk", "--bind", str(place.tmp / "disk"))
    subprocess.run(["mount", "-o", "remount,bind,ro", str(place.tmp / "disk")], check=True)
    place.named = str(place.tmp / "disk" / "data")


def link(place: Place) -> None:
    data_directories.cluster(place.tmp / "elsewhere")
    place.data.symlink_to(place.tmp / "elsewhere")


def link_with_a_slash(place: Place) -> None:
    link(place)
    place.named += "/"


def file(place: Place) -> None:
    place.data.write_text("not a directory")


def foreign_file(place: Place) -> None:
    (data_directories.cluster(place.data) / "notes.txt").write_text("mine")


def foreign_file_deep(place: Place) -> None:
    (data_directories.cluster(place.data) / "pki" / "company-ca.key").write_text("mine")


def backup(place: Place) -> None:
    shutil.copy(data_directories.cluster(place.data) / "kapi.db", place.data / "kapi.db.bak")


def registry_hosts(place: Place) -> None:
    path = data_directories.cluster(place.data) / "containerd" / "certs.d" / "registry.example"
    path.mkdir(parents=True)
    (path / "hosts.toml").write_text('server = "https://registry.example"')


def seccomp_profiles(place: Place) -> None:
    (data_directories.cluster(place.data) / "kubelet" / "seccomp").mkdir()
    (place.data / "kubelet" / "seccomp" / "strict.json").write_text("{}")


def link_out_of_it(place: Place) -> None:
    """A directory of kapi's that was moved to another disk."""
    data_directories.cluster(place.data)
    (place.data / "kubelet").rename(place.tmp / "disk")
    (place.data / "kubelet").symlink_to(place.tmp / "disk")


def link_for_a_file(place: Place) -> None:
    (data_directories.cluster(place.data) / "kapi.db").rename(place.tmp / "kapi.db")
    (place.data / "kapi.db").symlink_to(place.tmp / "kapi.db")


def borrowed_identity(place: Place) -> None:
    """Somebody's directory with a link to the identity of a cluster."""
    data_directories.cluster(place.tmp / "other")
    place.data.mkdir()
    (place.data / "kapi.json").symlink_to(place.tmp / "other" / "kapi.json")


def fifo_for_a_file(place: Place) -> None:
    (data_directories.cluster(place.data) / "tokens.csv").unlink()
    os.mkfifo(place.data / "tokens.csv")


def directory_for_a_file(place: Place) -> None:
    (data_directories.cluster(place.data) / "tokens.csv").unlink()
    (place.data / "tokens.csv").mkdir()
    (place.data / "tokens.csv" / "mine").write_text("x")


def cluster_in_a_cluster(place: Place) -> None:
    data_directories.cluster(place.data)
    data_directories.cluster(place.data / "second")


def another_owner(place: Place) -> None:
    for path in (data_directories.cluster(place.data), *place.data.rglob("*")):
        os.chown(path, 65534, 65534)


def home_of_who_called_sudo(place: Place) -> None:
    data_directories.cluster(place.data)
    place.monkeypatch.setenv("SUDO_UID", "4242")
    known = pwd.getpwuid
    entry = pwd.struct_passwd(("me", "x", 4242, 4242, "", str(place.data), "/bin/sh"))
    place.monkeypatch.setattr(pwd, "getpwuid", lambda uid: entry if uid == 4242 else known(uid))


def at_work(place: Place) -> None:
    """Another command has it."""
    descriptor = os.open(data_directories.cluster(place.data), os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    place.undo.callback(os.close, descriptor)


def nested_identity_and_foreign(place: Place) -> None:
    """JSON that no parser goes down to."""
    (data_directories.cluster(place.data) / "kapi.json").write_text("[" * 60_000)
    (place.data / "notes.txt").write_text("mine")


def newer(place: Place) -> None:
    (data_directories.cluster(place.data) / "kapi.json").write_text(json.dumps({"uid": "u", "format": 99}))


def broken_identity_and_foreign(place: Place) -> None:
    (data_directories.cluster(place.data) / "kapi.json").write_text("")
    (place.data / "notes.txt").write_text("mine")


def only_looks_like_it(place: Place) -> None:
    """The names of an older cluster without its database."""
    (data_directories.cluster(place.data) / "kapi.json").unlink()
    (place.data / "kapi.db").unlink()


REFUSED: list[tuple[Callable[[Place], None], str]] = [
    (somebody_s_files, "is not a data directory of kapi: it has no kapi.json."),
    (git_checkout, "is not a data directory of kapi: it has no kapi.json."),
    (empty, "is not a data directory of kapi: it is empty."),
    (home, "is a home directory."),
    (link, "is a link to "),
    (link_with_a_slash, "is a link to "),
    (file, "is not a directory."),
    (foreign_file, "holds what is not kapi's: notes.txt."),
    (foreign_file_deep, "holds what is not kapi's: pki/company-ca.key."),
    (backup, "holds what is not kapi's: kapi.db.bak."),
    (registry_hosts, "holds what is not kapi's: containerd/certs.d/registry.example."),
    (seccomp_profiles, "holds what is not kapi's: kubelet/seccomp."),
    (link_out_of_it, "holds what is not kapi's: kubelet."),
    (link_for_a_file, "holds what is not kapi's: kapi.db."),
    (borrowed_identity, "holds what is not kapi's: kapi.json."),
    (fifo_for_a_file, "holds what is not kapi's: tokens.csv."),
    (directory_for_a_file, "holds what is not kapi's: tokens.csv."),
    (cluster_in_a_cluster, "holds what is not kapi's: second."),
    (newer, "was made by a newer kapi"),
    (home_of_who_called_sudo, "is a home directory."),
    (at_work, " is at work on "),
    (nested_identity_and_foreign, "is not a data directory of kapi: it has a broken kapi.json."),
    (broken_identity_and_foreign, "is not a data directory of kapi: it has a broken kapi.json."),
    (only_looks_like_it, "is not a data directory of kapi: it has no kapi.json."),
]
REFUSED_AS_ROOT: list[tuple[Callable[[Place], None], str]] = [
    (mount_point, "is a mount point."),
    (mount_below, "has something mounted at "),
    (read_only, "can't be deleted: Read-only file system"),
    (another_owner, "belongs to nobody, not to root. Go on as nobody: sudo -u nobody "),
]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [*REFUSED, *(pytest.param(*case, marks=root) for case in REFUSED_AS_ROOT)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_it_is_refused_and_stays(
    make: Callable[[Place], None], sentence: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    make(place)
    before = snapshot(place.tmp)
    assert cli.main(["reset", "--yes", "--data-dir", place.named]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert sentence in output.err
    assert snapshot(place.tmp) == before


@pytest.mark.parametrize("path", ["/", "/..", "/tmp/.."])
def test_the_root_is_refused(path: str) -> None:
    """Not by the whole command: a fault in it would be the end of this machine."""
    with pytest.raises(Failure, match="is the root directory"):
        datadir.check_removable(Path(path))


# what is deleted ----------------------------------------------------------------------------------------------------------------------


def plain(place: Place) -> None:
    data_directories.cluster(place.data)


def relative(place: Place) -> None:
    data_directories.cluster(place.data)
    place.monkeypatch.chdir(place.tmp)
    place.named = "data"


def current(place: Place) -> None:
    data_directories.cluster(place.data)
    place.monkeypatch.chdir(place.data)
    place.named = "."


def trailing_slash(place: Place) -> None:
    data_directories.cluster(place.data)
    place.named += "/"


def roundabout(place: Place) -> None:
    data_directories.cluster(place.data)
    place.named = f"{place.data}/../data/pki/.."


def below_a_link(place: Place) -> None:
    data_directories.cluster(place.data)
    (place.tmp / "way").symlink_to(place.tmp)
    place.named = str(place.tmp / "way" / "data")


def of_an_older_commit(place: Place) -> None:
    (data_directories.cluster(place.data) / "kapi.json").unlink()
    (place.data / "run" / "simulated.pid").write_text('{"pid": 1, "started": "0"}')
    for path in (place.data, place.data / "log", place.data / "run"):
        path.chmod(0o755)


def links_in_volumes(place: Place) -> None:
    volume = data_directories.cluster(place.data) / "kubelet" / "pods" / "uid" / "volumes"
    (volume / "out").symlink_to(place.tmp / "kept")
    (volume / "up").symlink_to("../../../../..")
    (volume / "hard").hardlink_to(place.tmp / "kept" / "precious")


def hard_links_of_others(place: Place) -> None:
    """Of a file that somebody lets others read: it has another name, and stays as it is."""
    log = data_directories.cluster(place.data) / "log" / "simulated.log"
    log.unlink()
    (place.tmp / "kept" / "precious").chmod(0o644)
    log.hardlink_to(place.tmp / "kept" / "precious")


def loops_and_pipes_in_volumes(place: Place) -> None:
    volume = data_directories.cluster(place.data) / "kubelet" / "pods" / "uid" / "volumes"
    (volume / "loop").symlink_to("loop")
    (volume / "dangling").symlink_to("/nonexistent/x")
    os.mkfifo(volume / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        place.monkeypatch.chdir(volume)
        listener.bind("socket")


def no_permissions(place: Place) -> None:
    data_directories.cluster(place.data)
    for path in (place.data / "kubelet" / "pods" / "uid", place.data / "pki", place.data / "kapi.db"):
        path.chmod(0o500)


def odd_names(place: Place) -> None:
    volume = os.fsencode(data_directories.cluster(place.data) / "kubelet" / "pods" / "uid")
    for name in (b"new\nline", b" ", b"-rf", b"\xff\xfe", b"*", b"..."):
        os.mkdir(os.path.join(volume, name))


def half_deleted(place: Place) -> None:
    data_directories.cluster(place.data)
    for name in ("kapi.db", "tokens.csv"):
        (place.data / name).unlink()
    shutil.rmtree(place.data / "pki")


def half_written(place: Place) -> None:
    (data_directories.cluster(place.data) / "pki" / ".ca.key.a1b2c3d4").write_text("")


def broken_identity(place: Place) -> None:
    (data_directories.cluster(place.data) / "kapi.json").write_text('{"uid": ')


DELETED = [
    plain, relative, current, trailing_slash, roundabout, below_a_link, of_an_older_commit, links_in_volumes, no_permissions, odd_names,
    half_deleted, half_written, broken_identity, hard_links_of_others, loops_and_pipes_in_volumes,
]  # fmt: skip


@pytest.mark.parametrize("make", DELETED, ids=lambda make: make.__name__)
def test_it_is_deleted_and_nothing_else(make: Callable[[Place], None], place: Place) -> None:
    (place.tmp / "kept").mkdir()
    (place.tmp / "kept" / "precious").write_text("x")
    make(place)
    before = {path: what for path, what in snapshot(place.tmp).items() if f"{path}/".startswith(f"{place.data}/") is False}
    assert cli.main(["reset", "--yes", "--data-dir", place.named]) == 0
    assert not place.data.exists()
    assert snapshot(place.tmp) == before


def test_where_nothing_is_nothing_is_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reset", "--yes", "--data-dir", str(tmp_path / "none")]) == 0
    assert capsys.readouterr().out == f"There is nothing at {tmp_path}/none.\n"


def test_a_tree_deeper_than_any_stack(tmp_path: Path) -> None:
    """A pod can make directories in directories without end."""
    data = data_directories.cluster(tmp_path / "data")
    with layout.open_directory(data / "kubelet" / "pods") as here:
        descriptor = os.dup(here)
    for _ in range(3000):
        os.mkdir("d", dir_fd=descriptor)
        inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    deletion.delete(data)
    assert not data.exists()


@root
def test_a_mount_that_comes_meanwhile_is_not_entered(place: Place) -> None:
    """A bind mount has the device number of its source: only the mount's own number tells."""
    data_directories.cluster(place.data)
    (place.tmp / "kept").mkdir()
    (place.tmp / "kept" / "precious").write_text("x")
    inside = place.data / "kubelet" / "pods" / "uid" / "volumes"
    place.mount(inside, "--bind", str(place.tmp / "kept"))
    with pytest.raises(OSError, match="something is mounted there"):
        deletion.delete(place.data)
    assert (place.tmp / "kept" / "precious").read_text() == "x"
    assert (place.data / "kapi.json").exists(), "it is still known as kapi's"


@root
def test_what_cannot_be_deleted_is_said(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = cluster / "pki" / "admin.key"
    subprocess.run(["chattr", "+i", str(key)], check=True)
    try:
        assert cli.main(["reset", "--yes", "--data-dir", str(cluster)]) == 1
        again = f"kapi reset --data-dir {cluster}"
        sentence = f"{key} can't be deleted: Operation not permitted. Mend that and go on with: {again}"
        assert capsys.readouterr().err == f"kapi reset: {sentence}\n"
        assert key.exists()
    finally:
        subprocess.run(["chattr", "-i", str(key)], check=True)
    assert cli.main(["reset", "--yes", "--data-dir", str(cluster)]) == 0
    assert not cluster.exists()
