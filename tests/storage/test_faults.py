"""The rows of the fault matrix that are the database's: what a person sees of each, what runs on, what is lost, and how to go on."""

import contextlib
import itertools
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.attacks.victim import Victim
from tests.e2e.cluster import free_port
from tests.e2e.conftest import processes_of
from tests.storage.conftest import MATRIX, Fault
from tests.storage.served import MAPS, command, create, names, serving

pytestmark = pytest.mark.slow
OBJECTS = {f"m{number}" for number in range(30)}


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories of clusters: killed, stopped, an older copy of it, and another one."""
    base = tmp_path_factory.mktemp("clusters")
    port = free_port()
    made = {name: base / name for name in ("killed", "stopped", "older", "other")}
    with serving(made["killed"], port) as server:
        for name in sorted(OBJECTS - {"m29"}):
            assert create(server, name, name * 300)[0] == 201
    with serving(made["killed"], port, signal.SIGTERM):
        pass
    shutil.copytree(made["killed"], made["older"])
    with serving(made["killed"], port) as server:
        assert create(server, "m29", "last")[0] == 201
    shutil.copytree(made["killed"], made["stopped"])
    with serving(made["stopped"], port, signal.SIGTERM):
        pass
    with serving(made["other"], port) as server:
        assert create(server, "theirs")[0] == 201
    return made


Damage = Callable[[Path, dict[str, Path]], None]


def emptied(path: Path, clusters: dict[str, Path]) -> None:
    os.truncate(path, 0)


def removed(path: Path, clusters: dict[str, Path]) -> None:
    path.unlink()


def cut(path: Path, clusters: dict[str, Path]) -> None:
    os.truncate(path, path.stat().st_size // 2)


def text(path: Path, clusters: dict[str, Path]) -> None:
    path.write_text("Dear diary, " * 1000)


def foreign(path: Path, clusters: dict[str, Path]) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE people (name)")


def of_another(path: Path, clusters: dict[str, Path]) -> None:
    shutil.copy(clusters["other"] / path.name, path)


def older(path: Path, clusters: dict[str, Path]) -> None:
    shutil.copy(clusters["older"] / path.name, path)


def noise(path: Path, clusters: dict[str, Path]) -> None:
    data = bytearray(path.read_bytes())
    data[8192:12288] = os.urandom(4096)
    path.write_bytes(data)


def row(path: Path, clusters: dict[str, Path]) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE log SET body = x'7b' WHERE key = '/core/configmaps/default/m7'")


def bits(path: Path, clusters: dict[str, Path]) -> None:
    data = bytearray(path.read_bytes())
    for place in range(40, len(data), 997_001):
        data[place] ^= 1
    path.write_bytes(data)


CASES = [
    ("kapi.db is empty", "stopped", "kapi.db", emptied, OBJECTS, "the file is empty"),
    ("kapi.db is empty, the journal is there", "killed", "kapi.db", emptied, OBJECTS, "the file is empty"),
    ("kapi.db is gone", "stopped", "kapi.db", removed, OBJECTS, "the file is missing, though there was a cluster"),
    ("kapi.db is cut in half", "stopped", "kapi.db", cut, OBJECTS, "malformed"),
    ("kapi.db is a text", "stopped", "kapi.db", text, OBJECTS, "file is not a database"),
    ("kapi.db is another program's", "stopped", "kapi.db", foreign, OBJECTS, "a database of another program"),
    ("kapi.db is another cluster's", "stopped", "kapi.db", of_another, OBJECTS, "the database of another cluster"),
    ("kapi.db is an older copy", "stopped", "kapi.db", older, {"m29"}, "was acknowledged"),
    ("a page of kapi.db is noise", "stopped", "kapi.db", noise, OBJECTS, ""),
    ("a row is damaged", "stopped", "kapi.db", row, {"m7"}, "object /core/configmaps/default/m7 (revision "),
    ("the journal is gone", "killed", "kapi.db-wal", removed, {"m29"}, "kapi.db-wal is missing or damaged"),
    ("the journal is empty", "killed", "kapi.db-wal", emptied, {"m29"}, "kapi.db-wal is missing or damaged"),
    ("the journal is cut", "killed", "kapi.db-wal", cut, {"m29"}, "kapi.db-wal is missing or damaged"),
    ("the journal is another cluster's", "killed", "kapi.db-wal", of_another, {"m29"}, ""),
    ("a bit of the journal is wrong", "killed", "kapi.db-wal", bits, {"m29"}, "kapi.db-wal is missing or damaged"),
]


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.glob("kapi.db*") if path.is_file() and path.suffix != ".db-shm"}


@pytest.mark.parametrize(("fault", "kind", "name", "damage", "may_go", "why"), CASES, ids=[case[0] for case in CASES])
def test_damaged(
    clusters: dict[str, Path], tmp_path: Path, fault: str, kind: str, name: str, damage: Damage, may_go: set[str], why: str
) -> None:  # fmt: skip
    """Refused in one sentence that names the way on; after it all that was not damaged is there."""
    directory = tmp_path / "data"
    shutil.copytree(clusters[kind], directory)
    damage(directory / name, clusters)
    before = contents(directory)
    port = free_port()
    refused = command("apiserver", "--data-dir", str(directory), "--port", str(port), "--bind-address", "127.0.0.1")
    said = "".join(line for line in refused.stderr.splitlines(keepends=True) if not re.match(r"\d{4}-\d\d-\d\dT", line))
    assert (refused.returncode, said.count("\n")) == (1, 1), said
    assert said.startswith(f"kapi apiserver: The data in {directory}/kapi.db cannot be opened: ")
    assert why in said
    assert f"`kapi doctor --repair --data-dir {directory}`" in said
    assert contents(directory) == before
    assert processes_of(directory) == []
    mended = command("doctor", "--repair", "--simulate", "--data-dir", str(directory), "--port", str(port))
    assert "Repaired: " in mended.stderr
    assert "Traceback" not in mended.stderr
    (aside,) = (directory / "kapi.db.set-aside").iterdir()
    for file, data in before.items():
        if file.endswith(("kapi.db", "-wal")):
            assert (aside / Path(file).name).read_bytes() == data
    with serving(directory, port) as server:
        found = names(server)
        assert create(server, "next")[0] == 201
    assert OBJECTS - may_go <= found <= OBJECTS | {"theirs"}
    MATRIX.append(Fault(fault, said.partition("cannot be opened: ")[2].partition(". ")[0], len(OBJECTS - found), "kapi doctor --repair"))


@pytest.mark.parametrize("what", ["directory", "link", "pipe", "unreadable format"])
def test_what_only_its_owner_can_mend(clusters: dict[str, Path], tmp_path: Path, what: str) -> None:
    directory = tmp_path / "data"
    shutil.copytree(clusters["stopped"], directory)
    path = directory / "kapi.db"
    if what == "unreadable format":
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA user_version=99")
    else:
        path.rename(directory / "moved")
        {"directory": Path.mkdir, "link": lambda path: path.symlink_to(directory / "moved"), "pipe": os.mkfifo}[what](path)
    for arguments in (("apiserver", "--port", str(free_port())), ("doctor", "--repair")):
        refused = command(*arguments, "--data-dir", str(directory))
        said = [line for line in refused.stderr.splitlines() if line.startswith("kapi ")]  # the others are the log's
        assert (refused.returncode, len(said), "Traceback" in refused.stderr) == (1, 1, False), refused.stderr
    MATRIX.append(Fault(f"kapi.db is of an unknown kind: {what}", said[0].partition("cannot be opened: ")[2], 0, "as it says"))


def test_a_first_start_that_was_killed(tmp_path: Path) -> None:
    """At any moment: the next start makes the cluster."""
    port = free_port()
    options = ("apiserver", "--data-dir", str(tmp_path), "--port", str(port), "--bind-address", "127.0.0.1")
    for name in ("kapi.db.lock", "kapi.db.new", "kapi.db"):
        child = subprocess.Popen([sys.executable, "-m", "kapi", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while child.poll() is None and not (tmp_path / name).exists():
            os.sched_yield()
        child.kill()
        child.wait()
    with serving(tmp_path, port) as server:
        assert create(server, "first")[0] == 201
    MATRIX.append(Fault("killed while the database is made", "nothing: the next start makes it", 0, "kapi up"))


# --- the disk


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@needs_root
def test_a_full_disk(disk: Path) -> None:
    """Writes are refused, reads and health go on to say so; with space writes are taken again. Nothing acknowledged is lost."""
    port = free_port()
    acknowledged: set[str] = set()
    with serving(disk, port) as server:
        status = 201
        while status == 201:
            name = f"m{len(acknowledged)}"
            status, answer = server.ask("POST", MAPS, {"metadata": {"name": name}, "data": {"text": "x" * 300_000}})
            if status == 201:
                acknowledged.add(name)
        assert (status, answer["reason"], answer["message"]) == (500, "InternalError", "storage: database or disk is full")
        assert names(server) == acknowledged
        assert server.ask("GET", "/readyz/etcd")[0] == 500
        assert server.ask("DELETE", f"{MAPS}/m0")[0] in (200, 500)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert create(server, "late")[0] == 201
        assert server.ask("GET", "/readyz/etcd")[0] == 200
        acknowledged |= {"late"}
        there = names(server)
        assert acknowledged - {"m0"} <= there
    with serving(disk, port) as server:
        assert names(server) == there
    MATRIX.append(Fault("disk full while running", answer["message"], 0, "free some space"))


@needs_root
def test_no_space_to_start(disk: Path, clusters: dict[str, Path]) -> None:
    shutil.copytree(clusters["stopped"], disk / "data")
    with contextlib.suppress(OSError), open(disk / "fill", "wb", buffering=0) as fill:
        while True:
            fill.write(b"x" * 4096)
    refused = command("apiserver", "--data-dir", str(disk / "data"), "--port", str(free_port()))
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
    (disk / "fill").unlink()
    with serving(disk / "data", free_port()) as server:
        assert names(server) == OBJECTS
    MATRIX.append(Fault("disk full at start", refused.stderr.strip().partition(": ")[2], 0, "free some space"))


@needs_root
def test_a_read_only_disk(disk: Path, clusters: dict[str, Path]) -> None:
    shutil.copytree(clusters["stopped"], disk / "data")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    refused = command("apiserver", "--data-dir", str(disk / "data"), "--port", str(free_port()))
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
    assert "ead-only file system" in refused.stderr
    found = command("doctor", "--simulate", "--data-dir", str(disk / "data"))
    assert f"✗ mount: {disk} is mounted read-only; " in found.stdout
    assert f"✗ data directory: {disk}/data cannot be written: its file system is read-only; " in found.stdout
    assert f"✓ database: {disk}/data/kapi.db is whole" in found.stdout
    MATRIX.append(Fault("read-only disk", refused.stderr.strip().partition(": ")[2], 0, "mount -o remount,rw"))


STRANGER = """
import asyncio, os, sys
from pathlib import Path
from kapi import storage
from kapi.cli.checks import Scope, cluster, database

directory = Path(sys.argv[1])
database.database(Scope(directory))
os.setuid(65534)
print(cluster.directory(Scope(directory)).found)
print(database.database(Scope(directory)).found)
try:
    asyncio.run(storage.open(str(directory / "kapi.db")).start())
except storage.Unusable as why:
    print(why)
"""
"""What another user sees of a cluster; Python is loaded before, which may lie where others cannot read it."""


@needs_root
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_the_files_of_another_user(clusters: dict[str, Path], tmp_path: Path, mode: int) -> None:
    directory = tmp_path / "data"
    shutil.copytree(clusters["stopped"], directory)
    for path in (directory, *directory.glob("kapi.db*")):
        path.chmod(mode | 0o111 if path == directory else mode)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    before = contents(directory)
    seen = subprocess.run([sys.executable, "-c", STRANGER, str(directory)], capture_output=True, text=True, check=False)
    assert (seen.returncode, seen.stderr) == (0, "")
    first, second, third = seen.stdout.splitlines()
    assert first == f"{directory} belongs to root, not to nobody"
    assert second == (f"{directory}/kapi.db is whole" if mode == 0o644 else f"{directory}/kapi.db cannot be read by user 65534")
    assert third.startswith(
        f"the data in {directory}/kapi.db cannot be opened: Permission denied ({directory}/kapi.db.lock belongs to user 0, "
    )
    assert contents(directory) == before
    MATRIX.append(Fault("files of another user", third.partition("cannot be opened: ")[2], 0, "run it as that user"))


def test_two_servers_on_one_directory(clusters: dict[str, Path], tmp_path: Path) -> None:
    directory = tmp_path / "data"
    shutil.copytree(clusters["stopped"], directory)
    with serving(directory, free_port()) as server:
        second = command("apiserver", "--data-dir", str(directory), "--port", str(free_port()))
        assert second.stderr == f"kapi apiserver: The data in {directory} is in use by another server.\n"
        assert create(server, "still")[0] == 201
    MATRIX.append(Fault("two servers on one directory", second.stderr.strip().partition(": ")[2], 0, "kapi status"))


def test_files_removed_under_a_running_server(clusters: dict[str, Path], tmp_path: Path) -> None:
    """Within a second it acknowledges nothing more that would be gone with it."""
    directory = tmp_path / "data"
    shutil.copytree(clusters["stopped"], directory)
    with serving(directory, free_port()) as server:
        (directory / "kapi.db").unlink()
        late = time.monotonic() + 5
        numbers = itertools.count()
        status = 201
        while status == 201 and time.monotonic() < late:
            status, answer = _created(server, f"lost{next(numbers)}")
        assert (status, answer["message"].partition(";")[0]) == (500, "storage: kapi.db or its journal was removed or replaced")
        assert names(server) >= OBJECTS
        assert server.ask("GET", "/livez/etcd")[0] == 500
    MATRIX.append(Fault("kapi.db removed while running", answer["message"], 0, "restore a backup"))


def _created(server: Victim, name: str) -> tuple[int, dict[str, str]]:
    return server.ask("POST", MAPS, {"metadata": {"name": name}})
