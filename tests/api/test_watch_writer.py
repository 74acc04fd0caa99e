"""Watchers that come and go, and block in the middle of a line: each is told every step once and in order, up to where it stops."""

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from kapi import limits
from kapi.api import options, unsent
from kapi.api.app import App
from kapi.api.request import Request
from kapi.api.watching import Watching
from kapi.http import server
from kapi.storage.store import Store
from tests.api.asking import PARTIAL
from tests.moments import turn

Step = tuple[str, str, int]
KEY = "/core/configmaps/default/"
LARGE = 100_000


class Transport:
    """Takes notes of what a watch does to its connection."""

    def __init__(self) -> None:
        self.high: int | None = None
        self.aborted = asyncio.Event()

    def set_write_buffer_limits(self, high: int | None = None) -> None:
        self.high = high

    def is_closing(self) -> bool:
        return self.aborted.is_set()

    def abort(self) -> None:
        self.aborted.set()


class Reader:
    """A client; with `chance` it is so slow after a piece that it has to be waited for until `go_on`."""

    def __init__(
        self, app: App, chance: random.Random | None = None, *, since: int = 0, selector: str = "", at_once: bool = True, accept: str = ""
    ) -> None:
        self.since, self.selector = since, selector
        self.steps: list[Step] = []
        """Those of which the whole line has come."""
        self._rest = b""
        self.transport = Transport()
        self._chance = chance
        self.free = asyncio.Event()
        self.free.set()
        kind = app.catalogue.get("", "v1", "configmaps")
        assert kind is not None
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"accept", accept.encode())], "query_string": b"",
                 "extensions": {server.CONNECTION: SimpleNamespace(transport=self.transport)}}  # fmt: skip
        query = options.Query(watch="1", resourceVersion=str(since), labelSelector=selector)
        how = options.list_options(query, kind)
        watching = Watching(Request(scope, _never, _never), app.rest, kind, "default", how, lambda n: None, whole=not at_once)
        self.task = asyncio.create_task(watching.run(self.send, self.at_once if at_once else None))

    def at_once(self, piece: bytes) -> bool:
        if not self.free.is_set():
            return False
        self.take(piece)
        return True

    async def send(self, piece: bytes) -> None:
        await self.free.wait()
        self.take(piece)

    def take(self, piece: bytes) -> None:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for event in map(orjson.loads, lines):
            about = event["object"]["metadata"]
            self.steps.append((event["type"], about["name"], int(about["resourceVersion"])))
        if piece and self._chance is not None and self._chance.random() < 0.3:
            self.free.clear()

    def go_on(self) -> None:
        self.free.set()

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


async def _never(*message: Any) -> Any:
    raise AssertionError


class Story:
    """What happened to config maps of one namespace, and what somebody who selects by a label saw of it."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        self._store, self._chance = store, chance
        self._labels: dict[str, str] = {}
        self.all: list[Step] = []
        self.red: list[Step] = []

    async def go_on(self) -> None:
        chance = self._chance
        name = f"m{chance.randrange(6)}"
        color = chance.choice(["red", "blue"])
        was = self._labels.get(name)
        if was is not None and chance.random() < 0.3:
            entry = await self._store.commit(KEY + name, None, expect=None)
            del self._labels[name]
            type_, color = "DELETED", ""
        else:
            size = chance.choice([10, 10, 3000, LARGE])
            body = b'{"metadata":{"name":"%s"},"data":{"k":"%s"}}' % (name.encode(), b"v" * size)
            entry = await self._store.commit(KEY + name, body, expect=None, labels={"color": color})
            self._labels[name] = color
            type_ = "MODIFIED" if was else "ADDED"
        self.all.append((type_, name, entry.revision))
        if color == "red":
            self.red.append(("MODIFIED" if was == "red" else "ADDED", name, entry.revision))
        elif was == "red":
            self.red.append(("DELETED", name, entry.revision))

    def seen(self, reader: Reader) -> list[Step]:
        return [step for step in (self.red if reader.selector else self.all) if step[2] > reader.since]


@pytest.mark.parametrize("seed", range(8))
async def test_watchers_that_come_go_and_block(app: App, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No step is lost, doubled or out of order, whoever else is slow or leaves, and with room for one large event at a time."""
    monkeypatch.setattr(limits, "WATCHES_UNSENT_BYTES", unsent.BUFFERED)
    chance = random.Random(seed)
    story = Story(app.rest.store, chance)
    begin = app.rest.store.revision
    readers: list[Reader] = []
    for _ in range(120):
        await story.go_on()
        if chance.random() < 0.25:
            since = chance.randint(begin, app.rest.store.revision)
            selector = chance.choice(["", "", "color=red"])
            at_once, accept = chance.random() < 0.7, chance.choice(["", PARTIAL])
            readers.append(Reader(app, chance, since=since, selector=selector, at_once=at_once, accept=accept))
        for reader in readers:
            if chance.random() < 0.4:
                reader.go_on()
        if readers and chance.random() < 0.1:
            gone = readers.pop(chance.randrange(len(readers)))
            await gone.end()
            assert gone.steps == story.seen(gone)[: len(gone.steps)]
        for _ in range(chance.randrange(4)):
            await turn()
    async with asyncio.timeout(20):
        for reader in readers:
            while len(reader.steps) < len(story.seen(reader)):
                for other in readers:
                    other.go_on()
                await turn()
            assert reader.steps == story.seen(reader)
    for reader in readers:
        await reader.end()
    assert unsent.of_loop().bytes == 0


async def _wrote(store: Store, name: str, size: int) -> None:
    await store.commit(KEY + name, b'{"metadata":{"name":"%s"},"data":{"k":"%s"}}' % (name.encode(), b"v" * size), expect=None)


async def test_lines_are_whole_where_pieces_are_messages(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a large one that is made beside the event loop."""
    store = app.rest.store
    reader = Reader(app, since=store.revision, at_once=False, accept="application/yaml")
    pieces: list[bytes] = []
    monkeypatch.setattr(reader, "take", pieces.append)
    for name in ("a", "b"):
        await _wrote(store, name, 3 * LARGE)
    async with asyncio.timeout(20):
        while len([piece for piece in pieces if piece]) < 2:
            await turn()
    await reader.end()
    assert [(piece[:4], piece[-13:]) for piece in pieces if piece] == [(b"---\n", b"\ntype: ADDED\n")] * 2


async def test_a_large_event_waits_for_room(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """While stalled clients hold too much, small events go out as ever and large ones wait."""
    monkeypatch.setattr(limits, "WATCHES_UNSENT_BYTES", unsent.BUFFERED)
    store = app.rest.store
    stalled, other = (Reader(app, since=store.revision) for _ in range(2))
    await turn()
    stalled.free.clear()
    await _wrote(store, "a", 10)
    while len(other.steps) < 1 or not unsent.of_loop().full:
        await turn()
    await _wrote(store, "b", LARGE)
    await _wrote(store, "c", 10)
    for _ in range(20):
        await turn()
    assert [name for _, name, _ in other.steps] == ["a"]
    stalled.go_on()
    async with asyncio.timeout(5):
        while len(other.steps) < 3 or len(stalled.steps) < 3:
            await turn()
    assert [name for _, name, _ in other.steps] == [name for _, name, _ in stalled.steps] == ["a", "b", "c"]
    assert not stalled.transport.is_closing()
    await stalled.end()
    await other.end()


async def test_a_stalled_client_is_cut_off(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that has been so for longest makes room; a watch that ends leaves the connection as it was."""
    monkeypatch.setattr(limits, "WATCHES_UNSENT_BYTES", unsent.BUFFERED * 2)
    monkeypatch.setattr(limits, "WATCH_STALLED_SECONDS", 0.01)
    store = app.rest.store
    first, second, other = (Reader(app, since=store.revision) for _ in range(3))
    await turn()
    for reader in (first, second):
        reader.free.clear()
    await _wrote(store, "a", LARGE)
    async with asyncio.timeout(5):
        await first.transport.aborted.wait()
    assert not any(reader.transport.is_closing() for reader in (second, other))
    async with asyncio.timeout(5):
        while len(other.steps) < 1:
            await turn()
    assert other.transport.high == unsent.HIGH_WATER
    for reader in (first, second, other):
        await reader.end()
    assert other.transport.high is None
    assert unsent.of_loop().bytes == 0


async def test_a_start_that_ends_when_there_is_room_lets_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WATCHES_UNSENT_BYTES", unsent.BUFFERED)
    sent: list[bytes] = []
    gate = asyncio.Event()

    async def send(piece: bytes) -> None:
        sent.append(piece)
        await gate.wait()

    starts = [unsent.Start(send, unsent.Connection(Transport())) for _ in range(3)]  # type: ignore[arg-type]
    tasks = [asyncio.create_task(start.send(b"%d" % number)) for number, start in enumerate(starts)]
    await turn()
    assert sent == [b"0"]
    unsent.of_loop().leave(starts[0])  # now there is room for one, which is gone before it can use that
    tasks[1].cancel()
    await asyncio.gather(tasks[1], return_exceptions=True)
    starts[1].leave()
    gate.set()
    async with asyncio.timeout(5):
        await asyncio.gather(tasks[0], tasks[2])
    assert sent == [b"0", b"2"]
    assert unsent.of_loop().bytes == 0
