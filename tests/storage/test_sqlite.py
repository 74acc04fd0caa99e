"""What a file adds to the contract: everything is there again, and a file that cannot be used says so."""

import asyncio
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from kapi import limits, logs, storage
from kapi.objects import time
from kapi.objects.errors import InternalError
from kapi.settings.logs import Settings as LogSettings
from kapi.storage import opening, sqlite
from kapi.storage.store import Store
from tests.moments import turn
from tests.storage.conftest import put

ALL = "/core/configmaps/"


async def opened(path: Path) -> Store:
    store = storage.open(str(path))
    store.describe = lambda key, obj: {"metadata.name": obj["metadata"]["name"]}
    await store.start()
    return store


async def test_a_restart_shows_the_same_state_and_history(tmp_path: Path) -> None:
    store = await opened(tmp_path / "log")
    await store.commit(ALL + "default/a", b'{"metadata":{"name":"a","labels":{"app":"x"}}}', expect=0, labels={"app": "x"})
    b = await put(store, "b")
    await put(store, "b", text="2")
    await store.commit(ALL + "default/b", None, expect=None)
    await store.close()
    store = await opened(tmp_path / "log")
    try:
        assert store.revision == 4
        (a,) = store.list(ALL, equals={"app": "x"}).entries
        assert (a.revision, a.created, a.fields, a.obj["metadata"]["resourceVersion"]) == (1, 1, {"metadata.name": "a"}, "1")
        assert [(e.type, e.revision) for e in await store.watch(ALL, b.revision).next(0)] == [("MODIFIED", 3), ("DELETED", 4)]
        assert (await put(store, "c")).revision == 5
    finally:
        await store.close()


async def test_what_was_forgotten_is_not_kept(tmp_path: Path) -> None:
    store = await opened(tmp_path / "log")
    for n in range(20):
        await put(store, "a", text=str(n))
    await store.commit(ALL + "default/a", None, expect=None)
    store.compact(store.revision)
    await put(store, "b")
    await store.commit(ALL + "default/b", None, expect=None)
    store.compact(store.revision)
    await put(store, "c")
    await store.close()
    store = await opened(tmp_path / "log")
    try:
        assert store.revision == 24
        assert [e.entry.key[-1] for e in await store.watch(ALL, 23).next(0)] == ["c"]
    finally:
        await store.close()
    assert len((tmp_path / "log").read_bytes()) <= 16384


async def test_a_deadline_survives_a_restart(tmp_path: Path) -> None:
    store = await opened(tmp_path / "log")
    await put(store, "a", ttl=0.02)
    await store.close()
    store = await opened(tmp_path / "log")
    events = await store.watch(ALL, 1).next(5)
    await store.close()
    assert [e.type for e in events] == ["DELETED"]


async def test_two_servers_on_one_file_are_refused(tmp_path: Path) -> None:
    store = await opened(tmp_path / "log")
    with pytest.raises(storage.Unusable, match=r"in use by another server\.$"):
        await opened(tmp_path / "log")
    await store.close()
    await (await opened(tmp_path / "log")).close()


async def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"not a database, but long enough to be looked at" * 20)
    with pytest.raises(storage.Unusable, match=r"cannot be opened: file is not a database\. Restore a backup, or run"):
        await opened(tmp_path / "log")


class Failing(sqlite3.Connection):
    """The disk fails while rows are read."""

    def execute(self, query: str, *arguments: object) -> sqlite3.Cursor:
        if query.startswith("SELECT revision, key"):
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(query, *arguments)  # type: ignore[arg-type]


async def test_a_disk_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is offered that would write: what is there may be whole."""
    store = await opened(tmp_path / "log")
    entry = await put(store, "a")
    await store.close()
    with monkeypatch.context() as broken:
        broken.setattr(opening, "open_reader", lambda path: sqlite3.connect(path, isolation_level=None, factory=Failing))
        with pytest.raises(storage.Unusable, match=r"cannot be opened: disk I/O error\.$"):
            await opened(tmp_path / "log")
    store = await opened(tmp_path / "log")
    assert store.get(entry.key)
    await store.close()


async def test_a_path_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(storage.Unusable, match="cannot be opened"):
        await opened(tmp_path / "file" / "log")


async def test_closing_keeps_what_is_under_way(tmp_path: Path) -> None:
    store = await opened(tmp_path / "log")
    commits = [asyncio.create_task(put(store, f"n{n}")) for n in range(10)]
    await turn()
    await store.close()
    assert len(await asyncio.gather(*commits)) == 10


async def test_after_a_disk_error_nothing_is_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written any more, not even when the disk seems well again: what is on it shows at the next start."""
    store = await opened(tmp_path / "log")
    before = await put(store, "a", text="1")

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", fail)
        with pytest.raises(InternalError, match=r"Input/output error; whether this was kept shows when the server is started again"):
            await put(store, "a", text="2")
    journal = (tmp_path / "log-wal").read_bytes()
    for name in ("a", "b"):
        with pytest.raises(InternalError, match=r"Input/output error; nothing is written until the server is started again"):
            await put(store, name)
    assert not store.healthy
    assert store.get(before.key) == before, "reads go on"
    await store.close()
    assert (tmp_path / "log-wal").read_bytes() == journal, "what may not be on the disk is not written back"
    store = await opened(tmp_path / "log")
    entry = store.get(before.key)
    assert entry
    assert entry.obj["data"]["text"] in ("1", "2")
    assert store.get(ALL + "default/b") is None
    assert (await put(store, "b")).revision > before.revision
    await store.close()


@pytest.mark.parametrize("name", ["log", "log-wal"])
@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_file_that_goes_while_it_is_in_use(tmp_path: Path, name: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is acknowledged that only a file without a name holds."""
    monkeypatch.setattr(sqlite, "CHECK_SECONDS", 0.0)
    store = await opened(tmp_path / "log")
    await put(store, "a")
    file = tmp_path / name
    data = file.read_bytes()
    file.unlink()
    if how == "replaced":
        file.write_bytes(data)
    with pytest.raises(InternalError, match="storage: "):
        await put(store, "b")
    assert not store.healthy
    assert store.get(ALL + "default/b") is None
    await store.close()


@pytest.mark.parametrize("step", [3600.0, -3600.0])
async def test_the_clock_may_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    """Order is the revisions' affair: nothing is lost, doubled or out of order, and what has a deadline goes in the end."""
    store = await opened(tmp_path / "log")
    watch = store.watch(ALL, 0)
    first = [await put(store, f"a{n}") for n in range(5)]
    seen = await watch.next(0)
    now = time.now
    monkeypatch.setattr(time, "now", lambda: now() + step)
    later = [await put(store, f"b{n}") for n in range(5)]
    seen += await watch.next(0)
    assert [event.revision for event in seen] == [entry.revision for entry in first + later]
    await store.close()
    store = await opened(tmp_path / "log")
    assert [entry.revision for entry in store.list(ALL).entries] == [entry.revision for entry in first + later]
    assert (await put(store, "c")).revision == later[-1].revision + 1
    await store.close()


async def test_the_wal_is_written_back_and_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WAL_BYTES", 200_000)
    store = await opened(tmp_path / "log")
    for n in range(20):
        await asyncio.gather(*(put(store, f"n{n}-{i}", text="x" * 2000) for i in range(20)))
    assert len((tmp_path / "log-wal").read_bytes()) < 1_000_000
    await store.close()
    store = await opened(tmp_path / "log")
    assert store.count(ALL) == 400
    await store.close()


async def test_a_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    backend = sqlite.SQLite(tmp_path / "log")
    store = Store(backend)
    await store.start()
    first = await put(store, "a")
    backend._db.execute("PRAGMA max_page_count=5")
    for _ in range(3):
        with pytest.raises(InternalError, match="database or disk is full"):
            await put(store, "b", text="x" * 50_000)
    assert store.get(ALL + "default/b") is None
    assert store.get(first.key) == first
    assert not store.healthy
    backend._db.execute("PRAGMA max_page_count=5000")
    assert (await put(store, "b", text="x" * 50_000)).revision > 1
    assert store.healthy
    await store.close()


async def test_what_is_forgotten_while_the_disk_is_full_goes_later(tmp_path: Path) -> None:
    backend = sqlite.SQLite(tmp_path / "log")
    store = Store(backend)
    await store.start()
    for n in range(10):
        await put(store, "a", text=str(n))
    store.compact(store.revision)
    backend._db.execute("PRAGMA max_page_count=5")
    with pytest.raises(InternalError):
        await put(store, "b", text="x" * 50_000)
    backend._db.execute("PRAGMA max_page_count=5000")
    await put(store, "b")
    assert backend._db.execute("SELECT count(*) FROM log").fetchone() == (2,)
    await store.close()


WRITER = """
import asyncio, sys
from kapi import limits, storage

async def main():
    store = storage.open(sys.argv[1])
    await store.start()
    async def write(name):
        n = 0
        while True:
            n += 1
            text = f"{name}-{n}-" * 100
            body = b'{"metadata":{"name":"%s"},"n":%d,"text":"%s"}' % (name.encode(), n, text.encode())
            entry = await store.commit(f"/core/configmaps/default/{name}", body, expect=None)
            sys.stdout.write(f"{name} {n} {entry.revision}\\n")
            sys.stdout.flush()
            if entry.revision % 50 == 0:
                store.compact(entry.revision - 20)
    await asyncio.gather(*(write(f"w{i}") for i in range(8)))

asyncio.run(main())
"""


@pytest.mark.slow
async def test_killed_in_the_middle_every_acknowledged_write_is_there(tmp_path: Path) -> None:
    last = 0
    for run in range(12):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
        assert child.stdout
        acknowledged = [child.stdout.readline() for _ in range(40 + 37 * run)]
        child.send_signal(signal.SIGKILL)
        acknowledged += [line for line in child.stdout if line.endswith("\n")]
        child.wait()
        child.stdout.close()
        store = await opened(tmp_path / "log")
        try:
            for line in acknowledged:
                name, n, revision = line.split()
                entry = store.get(f"{ALL}default/{name}")
                assert entry
                assert (entry.obj["n"], entry.revision) >= (int(n), int(revision))
                assert entry.obj["text"] == f"{name}-{entry.obj['n']}-" * 100
                last = max(last, int(revision))
            assert store.revision >= last
        finally:
            await store.close()


async def test_refused_commits_are_logged_and_so_is_their_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that is full for a while: why nothing is taken is said once, not for every commit."""
    caplog.set_level(logging.INFO)
    file = tmp_path / "x.log"
    with logs.component("test", LogSettings(log_file=str(file)), "v1"):
        store = await opened(tmp_path / "log")
        backend = store._backend
        assert isinstance(backend, sqlite.SQLite)
        await put(store, "a")
        (pages,) = backend._db.execute("PRAGMA page_count").fetchone()
        backend._db.execute(f"PRAGMA max_page_count={pages}")
        for n in range(520):
            with pytest.raises(InternalError, match="full"):
                await put(store, f"b{n}", text="x" * 100_000)
        backend._db.execute(f"PRAGMA max_page_count={1 << 30}")
        await put(store, "c")
        await store.close()
    output = [line.partition('"')[2] for line in file.read_text().splitlines()[1:-1]]
    assert len([line for line in output if line.startswith("Commits are refused")]) == 1
    assert output[0] == 'Commits are refused" reason="storage: database or disk is full" commits=1 key="/core/configmaps/default/b0"'
    assert output[-1] == 'Commits are taken again"'


async def test_a_disk_that_fails_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    store = await opened(tmp_path / "log")
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", fail)
        with pytest.raises(InternalError, match="Input/output error"):
            await put(store, "a")
    await store.close()
    (line,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert line.message == "The disk failed: nothing is written until a new start"
    assert vars(line)["fields"]["file"] == tmp_path / "log"
