"""A database that was damaged is refused in one sentence, looked through without being changed, and mended without losing what is whole."""

import contextlib
import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kapi import storage
from kapi.storage import opening, pages, repair
from kapi.storage.lock import Lock, LockRecord
from tests.storage.conftest import put
from tests.storage.damaged import ALL, States, at_random, cut, make, opened, states


@pytest.fixture(params=["stopped", "killed"])
async def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, States]:
    """The path of a database, and what is in it."""
    kept = await make(tmp_path / "data", killed=request.param == "killed")
    return tmp_path / "data" / "kapi.db", kept


@pytest.fixture
async def stopped(tmp_path: Path) -> tuple[Path, States]:
    kept = await make(tmp_path / "data", killed=False)
    return tmp_path / "data" / "kapi.db", kept


def files(directory: Path) -> dict[str, bytes]:
    """All but the index of the journal, which SQLite makes anew."""
    return {str(file): file.read_bytes() for file in directory.rglob("*") if file.is_file() and not file.name.endswith("-shm")}


def names(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir())


async def refusal(path: Path) -> str:
    """The one sentence of a start; looking through the database finds it too, and neither changes a file."""
    before = files(path.parent)
    with pytest.raises(storage.Unusable) as why:
        await opened(path)
    output = str(why.value)
    assert "\n" not in output
    assert "Traceback" not in output
    assert files(path.parent) == before
    assert repair.problems(path)
    assert files(path.parent) == before
    return output


async def repaired(path: Path, before: States) -> tuple[repair.Report, States]:
    """What a repair did, and what the server has after it; revisions go on."""
    report = repair.repair(path)
    assert repair.problems(path) == []
    store = await opened(path)
    try:
        found = states(store)
        newest = max([revision for revision, _ in before.values()], default=0)
        assert store.revision > newest
        assert (await put(store, "next")).revision > newest
        with pytest.raises(Exception, match="too old resource version"):
            await store.watch(ALL, newest).next(0)
    finally:
        await store.close()
    return report, found


async def test_one_that_is_whole_has_no_problems(cluster: tuple[Path, States]) -> None:
    path, kept = cluster
    before = files(path.parent)
    assert repair.problems(path) == []
    assert files(path.parent) == before
    store = await opened(path)
    assert states(store) == kept
    await store.close()


async def test_an_empty_file_is_never_a_new_cluster(cluster: tuple[Path, States]) -> None:
    path, kept = cluster
    killed = opening.has_wal(path)
    cut(path, 0)
    output = await refusal(path)
    assert output == (
        f"the data in {path} cannot be opened: the file is empty: what was in it is lost. Restore a backup, or run "
        f"`kapi doctor --repair --data-dir {path.parent}`, which goes on with what is left."
    )
    _, found = await repaired(path, kept)
    assert found == (kept if killed else {}), "what is in the journal is still there"


async def test_a_file_that_is_gone(stopped: tuple[Path, States]) -> None:
    path, kept = stopped
    path.unlink()
    assert "the file is missing, though there was a cluster" in await refusal(path)
    report, found = await repaired(path, kept)
    assert found == {}
    assert (report.objects, report.newest, report.acknowledged) == (0, 0, 215)


async def test_a_first_start_that_was_interrupted_is_no_cluster(tmp_path: Path) -> None:
    """The lock is taken, the new database half made: the next start makes it anew."""
    path = tmp_path / "kapi.db"
    Lock(path).close()
    (tmp_path / "kapi.db.new").write_bytes(b"SQLite format 3\0half")
    (tmp_path / "kapi.db.new-wal").write_bytes(b"")
    assert repair.problems(path) == []
    store = await opened(path)
    await put(store, "a")
    await store.close()
    assert names(tmp_path) == ["kapi.db", "kapi.db.lock"]


async def test_a_database_is_made_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fail)
        with pytest.raises(storage.Unusable, match="No space left on device"):
            await opened(tmp_path / "kapi.db")
    assert names(tmp_path) == ["kapi.db.lock"]
    await (await opened(tmp_path / "kapi.db")).close()


def other_database(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE log (revision INTEGER)")


def text_file(path: Path) -> None:
    path.write_text("Dear diary, " * 1000)


@pytest.mark.parametrize(("swap", "why"), [(other_database, "a database of another program"), (text_file, "file is not a database")])
async def test_another_file_in_its_place(stopped: tuple[Path, States], swap: Callable[[Path], None], why: str) -> None:
    path, kept = stopped
    swap(path)
    swapped = path.read_bytes()
    assert why in await refusal(path)
    report, found = await repaired(path, kept)
    assert found == {}
    assert (report.directory / "kapi.db").read_bytes() == swapped


async def test_the_database_of_another_cluster(stopped: tuple[Path, States], tmp_path: Path) -> None:
    path, _ = stopped
    other = await make(tmp_path / "other", killed=False)
    shutil.copy(tmp_path / "other" / "kapi.db", path)
    assert "it is the database of another cluster" in await refusal(path)
    assert (await repaired(path, other))[1] == other


async def test_an_older_copy(stopped: tuple[Path, States]) -> None:
    """It would go back in time: clients have seen later revisions."""
    path, kept = stopped
    backup = path.read_bytes()
    store = await opened(path)
    late = await put(store, "late")
    await store.close()
    path.write_bytes(backup)
    assert f"it ends at revision {late.revision - 1}, and {late.revision} was acknowledged" in await refusal(path)
    report, found = await repaired(path, {**kept, late.key: (late.revision, late.body)})
    assert found == kept
    assert (report.newest, report.acknowledged) == (late.revision - 1, late.revision)


async def test_a_journal_that_is_gone(tmp_path: Path) -> None:
    await make(tmp_path / "data", killed=True)
    (tmp_path / "data" / "kapi.db-wal").unlink()
    assert "kapi.db-wal is missing or damaged" in await refusal(tmp_path / "data" / "kapi.db")


async def test_the_journal_of_another_database(stopped: tuple[Path, States], tmp_path: Path) -> None:
    path, kept = stopped
    await make(tmp_path / "other", killed=True)
    shutil.copy(tmp_path / "other" / "kapi.db-wal", path.parent)
    await refusal(path)
    assert (await repaired(path, kept))[1] == kept


async def test_a_journal_written_back_by_another_program(tmp_path: Path) -> None:
    """Nothing is lost then, and nothing is said."""
    kept = await make(tmp_path / "data", killed=True)
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "kapi.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store = await opened(tmp_path / "data" / "kapi.db")
    assert states(store) == kept
    await store.close()


async def test_a_lock_file_that_is_gone(cluster: tuple[Path, States]) -> None:
    path, kept = cluster
    path.with_name("kapi.db.lock").unlink()
    store = await opened(path)
    assert states(store) == kept
    await store.close()
    assert Lock(path).record.revision == 215


@pytest.mark.parametrize("name", ["kapi.db", "kapi.db-wal", "kapi.db.lock"])
@pytest.mark.parametrize("what", ["directory", "link", "pipe"])
async def test_what_is_no_file(stopped: tuple[Path, States], name: str, what: str) -> None:
    path, _ = stopped
    file = path.with_name(name)
    moved = path.with_name("moved")
    if file.exists():
        file.rename(moved)
    if what == "link":
        file.symlink_to(moved)
    elif what == "pipe":
        os.mkfifo(file)
    else:
        file.mkdir()
    with pytest.raises(storage.Unusable, match="cannot be opened: ") as start:
        await opened(path)
    with pytest.raises(storage.Unusable, match="cannot be opened: ") as mend:
        repair.repair(path)
    assert str(file) in str(start.value)
    assert str(file) in str(mend.value)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("body = 'nonsense'", "its body is no bytes"),
        ("body = x'00ff80'", "its body is not JSON of an object"),
        ("body = x'5b5d'", "its body is not JSON of an object"),
        ("body = x'7b226d65746164617461223a7b7d7d'", "its checksum is wrong"),
        ("body = x'7b226d65746164617461223a5b5d7d'", "its body does not begin with its metadata"),
        ("body = NULL", "its checksum is wrong"),
        ("created = 4000", "its revision of creation is none"),
        ("created = 'long ago'", "its revision of creation is none"),
        ("deadline = 'soon'", "its deadline is no time"),
        ("deadline = 7.5", "its checksum is wrong"),
        ("checksum = NULL", "its checksum is wrong"),
        ("revision = 5000", "its checksum is wrong"),
        ("key = '/core/configmaps/default/c7'", "its checksum is wrong"),
    ],
)
async def test_a_damaged_row_is_named_and_set_aside(stopped: tuple[Path, States], change: str, why: str) -> None:
    path, kept = stopped
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"UPDATE log SET {change} WHERE key = '{ALL}default/c8'")
        ((revision, key),) = db.execute("SELECT revision, key FROM log WHERE created = 9 OR revision IN (9, 5000)").fetchall()
    output = await refusal(path)
    assert f"object {key} (revision {revision}) is damaged: {why}. Restore a backup, or run `kapi doctor --repair" in output
    report, found = await repaired(path, kept)
    assert [(damage.key, damage.why) for damage in report.damaged] == [(f"object {key}", why)]
    assert (report.directory / report.damaged[0].file).exists()
    assert found == {key: state for key, state in kept.items() if key != f"{ALL}default/c8"}


@pytest.mark.parametrize("key", ["x'2f636f7265ff'", "'nonsense'", "''", "17"])
async def test_a_key_that_is_none(stopped: tuple[Path, States], key: str) -> None:
    path, kept = stopped
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"UPDATE log SET key = CAST({key} AS TEXT) WHERE key = '{ALL}default/c8'")
    assert "(revision 9) is damaged: its key is n" in await refusal(path)
    report, found = await repaired(path, kept)
    assert len(report.damaged) == 1
    assert found == {name: state for name, state in kept.items() if name != f"{ALL}default/c8"}


async def test_an_older_state_that_is_whole_is_taken(stopped: tuple[Path, States]) -> None:
    path, kept = stopped
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE log SET body = x'00' WHERE revision = (SELECT max(revision) FROM log WHERE key = ?)", (f"{ALL}default/c80",))
    report, found = await repaired(path, kept)
    (damage,) = report.damaged
    assert damage.older == found[f"{ALL}default/c80"][0] == kept[f"{ALL}default/c80"][0] - 40
    assert {**found, f"{ALL}default/c80": kept[f"{ALL}default/c80"]} == kept


async def test_an_object_the_server_does_not_understand(stopped: tuple[Path, States]) -> None:
    """Whole, but not to be loaded: it is named and set aside as well."""
    path, kept = stopped

    def describe(key: str, obj: dict[str, Any]) -> object:
        return obj["data"]["text"][40_000] if key.endswith("/c8") else None

    assert repair.problems(path, describe) == [
        f"object {ALL}default/c8 is damaged: it is not understood (IndexError: string index out of range)"
    ]
    report = repair.repair(path, describe)
    assert [damage.key for damage in report.damaged] == [f"object {ALL}default/c8"]
    assert report.objects == len(kept) - 1


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", ["kapi.db", "kapi.db-wal"])
async def test_cut_anywhere(tmp_path: Path, name: str, share: float) -> None:
    kept = await make(tmp_path / "data", killed=name.endswith("-wal"))
    file = tmp_path / "data" / name
    cut(file, int(file.stat().st_size * share))
    await refusal(tmp_path / "data" / "kapi.db")
    report, found = await repaired(tmp_path / "data" / "kapi.db", kept)
    assert report.newest < report.acknowledged or report.unreadable or found == kept
    for key, (revision, body) in found.items():
        if key in kept and revision == kept[key][0]:
            assert body == kept[key][1]


@pytest.mark.parametrize("seed", range(40))
async def test_damage_at_random(tmp_path: Path, seed: int) -> None:
    """Nothing wrong is ever served; a repair keeps every object that is whole and says what is not."""
    chance = random.Random(seed)
    kept = await make(tmp_path / "data", killed=seed % 2 == 0)
    path = tmp_path / "data" / "kapi.db"
    done = at_random(path.parent, chance)
    try:
        store = await opened(path)
    except storage.Unusable:
        assert repair.problems(path)
    else:
        assert states(store) == kept, done
        await store.close()
        return
    report, found = await repaired(path, kept)
    differing = {key for key in kept if found.get(key) != kept[key]}
    named = {damage.key.removeprefix("object ") for damage in report.damaged}
    assert not differing or named or report.unreadable or report.newest < report.acknowledged, done
    assert not report.unreadable or len(differing - named) <= 5 or "cut" in done, done


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (os, "link", 1), (opening, "sync_directory", 1), (opening, "sync_directory", 2), (Lock, "write", 1), (pages, "read_cells", 1),
        (json, "dump", 1), (Path, "unlink", 1), (Path, "unlink", 4), (os, "fsync", 3), (Path, "replace", 1), (opening, "sync_directory", 3),
        (Lock, "write", 2),
    ],
)  # fmt: skip
async def test_a_repair_that_was_interrupted(
    stopped: tuple[Path, States], monkeypatch: pytest.MonkeyPatch, owner: object, name: str, call: int
) -> None:
    """At any step: the server does not start, and the next repair begins anew from the originals."""
    path, kept = stopped
    cut(path, path.stat().st_size - 5000)
    original = path.read_bytes()
    shutil.copytree(path.parent, path.parent.with_name("copy"))
    _, wanted = await repaired(path.parent.with_name("copy") / "kapi.db", kept)
    left = [call]
    real = getattr(owner, name)

    def killed(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    with monkeypatch.context() as broken:
        broken.setattr(owner, name, killed)
        with pytest.raises(KeyboardInterrupt):
            repair.repair(path)
    assert await refusal(path)
    report, found = await repaired(path, kept)
    assert (report.directory / "kapi.db").read_bytes() == original
    assert found == wanted


async def test_a_repair_whose_originals_are_gone_begins_with_what_is_there(stopped: tuple[Path, States]) -> None:
    path, kept = stopped
    lock = Lock(path)
    lock.write(lock.record._replace(repair="20260101T000000Z"))
    lock.close()
    assert "a repair of it was interrupted. Go on with it: `kapi doctor --repair" in await refusal(path)
    assert (await repaired(path, kept))[1] == kept


async def test_a_repair_needs_space(stopped: tuple[Path, States], monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = stopped
    cut(path, 5000)
    before = files(path.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1 << 30, 1 << 30, 1 << 20))
    with pytest.raises(storage.Unusable, match=r"needs 16 MB of free space beside it, there are 1\.$"):
        repair.repair(path)
    assert files(path.parent) == before


async def test_a_repair_while_a_server_runs_is_refused(stopped: tuple[Path, States]) -> None:
    path, kept = stopped
    store = await opened(path)
    for look in (repair.problems, repair.repair):
        with pytest.raises(storage.Unusable, match="in use by another server"):
            look(path)
    assert states(store) == kept
    await store.close()


async def test_what_is_set_aside_is_private(stopped: tuple[Path, States]) -> None:
    path, _ = stopped
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE log SET body = 'nonsense' WHERE revision = 9")
    report = repair.repair(path)
    aside = [report.directory.parent, *report.directory.parent.rglob("*"), path, path.with_name("kapi.db.lock")]
    assert {oct(file.stat().st_mode & 0o077) for file in aside} == {"0o0"}


# --- other formats


async def old_format(path: Path) -> None:
    """The file as kapi wrote it before rows had checksums."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript("ALTER TABLE log DROP COLUMN checksum; DROP TABLE identity; PRAGMA application_id=0; PRAGMA user_version=1;")
    path.with_name("kapi.db.lock").write_bytes(b"")


async def test_format_1_is_taken_over(stopped: tuple[Path, States]) -> None:
    path, kept = stopped
    await old_format(path)
    assert repair.problems(path) == []
    for _ in range(2):
        store = await opened(path)
        assert states(store) == kept
        assert store.revision == 215
        await store.close()
    assert Lock(path).record.database


async def test_a_damaged_row_of_format_1(stopped: tuple[Path, States]) -> None:
    path, kept = stopped
    await old_format(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE log SET body = x'00' WHERE revision = 9")
    assert f"object {ALL}default/c8 (revision 9) is damaged: its body is not JSON" in await refusal(path)
    _, found = await repaired(path, kept)
    assert found == {key: state for key, state in kept.items() if not key.endswith("/c8")}


async def test_a_newer_format_is_left_alone(stopped: tuple[Path, States]) -> None:
    path, _ = stopped
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=3")
    output = await refusal(path)
    assert output.endswith("it was written by a newer kapi (format 3, this one knows 2).")
    before = files(path.parent)
    with pytest.raises(storage.Unusable, match="newer kapi"):
        repair.repair(path)
    assert files(path.parent) == before


def test_the_lock_file_of_an_older_kapi_says_nothing(tmp_path: Path) -> None:
    for text in (b"", b"junk", b"\xff" * 500, b"{}", b'{"database": 5, "repair": ""}'):
        (tmp_path / "kapi.db.lock").write_bytes(text)
        lock = Lock(tmp_path / "kapi.db")
        assert lock.record == LockRecord("")
        lock.close()


async def test_a_repair_counts_no_row_of_the_tables_themselves(stopped: tuple[Path, States]) -> None:
    """The first pages describe tables; where history has forgotten its first revisions, none of these rows is a damaged object."""
    path, before = stopped
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DELETE FROM log WHERE revision <= 3")
        db.execute("UPDATE log SET checksum = 1 WHERE revision = (SELECT max(revision) FROM log)")
    report = repair.repair(path)
    assert [damage.key for damage in report.damaged if "configmaps" not in damage.key] == []
    assert report.objects >= len(before) - 4


async def test_a_journal_of_another_program(stopped: tuple[Path, States]) -> None:
    path, before = stopped
    path.with_name("kapi.db-journal").write_bytes(b"left" * 100)
    output = await refusal(path)
    assert "another program left kapi.db-journal, which would undo what is in it. Restore a backup, or run `kapi doctor" in output
    report, after = await repaired(path, before)
    assert after == before
    assert (report.directory / "kapi.db-journal").exists()
    assert not path.with_name("kapi.db-journal").exists()
