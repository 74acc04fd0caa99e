"""`make soak`: checks that every watcher receives every change once and in order, while the server is killed and restarted.

Writers create, update and delete ConfigMaps; watchers watch all of them, a namespace, a label or one name. Some disconnect for so long that
their revision is compacted (410). Received changes are compared in conformance.ledger. It starts an API server of its own; `--clients`,
`--events` and `--kills` set the size.
"""

import asyncio
import contextlib
import itertools
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from conformance.ledger import Change, Ledger, Segment, View
from kapi.client import config
from kapi.client.client import Client
from kapi.objects import errors
from kapi.objects.meta import Object
from kapi.objects.resource import CONFIG_MAPS, NAMESPACES
from kapi.settings import Parser, add_arguments, parse
from kapi.settings.types import Count, NonNegative

EXAMPLES = ("python -m conformance.soak --clients 20 --events 2000 --kills 1",)
NAMESPACE_COUNT, OBJECTS, WRITERS = 10, 400, 16
PARTS = "abcdefgh"
WRITTEN_BYTES = 50_000_000
"""Total bytes of events: more than the server keeps as history, so that it has to compact."""
TIMEOUT_SECONDS = 60.0
"""Seconds until watchers must have received the last change, and a server must have started."""


@dataclass(frozen=True)
class Settings:
    """The size of the run."""

    clients: Count = 200
    """Watchers."""
    events: Count = 50_000
    """Writes."""
    kills: NonNegative = 3
    """How often the server is ended on the way: by SIGKILL, every third time by SIGTERM."""
    quiet: bool = False
    """Print nothing but the verdict."""


class Server:
    """An API server that can be stopped and restarted, with its data and log in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._data = directory, directory / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "kapi", "apiserver", "--data-dir", str(self._data), "--port", str(self._port)]
        with (self._directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen([*command, "--bind-address", "127.0.0.1"], stdout=log, stderr=log)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process:
            self._process.send_signal(how)
            self._process.wait(TIMEOUT_SECONDS)

    async def client(self) -> Client:
        """The administrator's client, once the server is ready."""
        path = self._data / "pki" / "admin.conf"
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await until(path.exists)
            client = config.connect(config.from_kubeconfig(path), agent="soak")
            await ready(client)
        return client


async def until(true: Callable[[], bool]) -> None:
    """Poll until the condition holds; there is no event for it."""
    while not true():  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def ready(client: Client) -> None:
    """Wait until the server responds."""
    while True:
        with contextlib.suppress(OSError):
            if (await client.raw("GET", "/readyz", retries=0))[0] == 200:
                return
        await asyncio.sleep(0.1)


@dataclass
class Run:
    """State shared by all tasks of the run."""

    client: Client
    settings: Settings
    ledger: Ledger = field(default_factory=Ledger)
    written: int = 0
    finished: bool = False
    reconnects: int = 0
    expired: int = 0

    def part_done(self) -> float:
        return self.written / self.settings.events


class Watcher:
    """A client that lists, watches, and resumes; its view of the objects is compared at the end."""

    def __init__(self, run: Run, number: int, view: View, *, sleeps: bool) -> None:
        self.run, self.name, self.view = run, f"watcher {number}", view
        self.segments: list[Segment] = []
        self.view_of_objects: dict[tuple[str, str], str] = {}
        self._sleeps_at = 0.1 + 0.2 * random.random() if sleeps else 2.0
        self._known = False

    @property
    def last(self) -> int:
        return self.segments[-1].until if self.segments else 0

    async def watch(self) -> None:
        """Run until cancelled."""
        while True:
            try:
                if not self._known:
                    await self._list()
                await self._follow()
            except OSError:
                self.run.reconnects += 1
                await asyncio.sleep(0.1 + 0.2 * random.random())
            except errors.Expired:
                self.run.expired += 1
                self._known = False
            except errors.StatusError as error:
                self.run.ledger.fault(f"{self.name} {self.view}: {error.code} {error.message}")
                await asyncio.sleep(1)

    def _query(self) -> Object:
        return {
            "labelSelector": f"part={self.view.part}" if self.view.part else "",
            "fieldSelector": f"metadata.name={self.view.name}" if self.view.name else "",
        }  # fmt: skip

    async def _list(self) -> None:
        listed = await self.run.client.send("GET", CONFIG_MAPS.path(self.view.namespace), **self._query())
        revision = int(listed["metadata"]["resourceVersion"])
        if revision < self.last:
            self.run.ledger.fault(f"{self.name}: a list of {revision} after {self.last}")
        self.view_of_objects = {_key(item): item["metadata"]["resourceVersion"] for item in listed["items"]}
        self.segments.append(Segment(revision))
        self._known = True

    async def _follow(self) -> None:
        query = {"watch": True, "allowWatchBookmarks": True, "resourceVersion": str(self.last), **self._query()}
        stream = await self.run.client.stream("GET", CONFIG_MAPS.path(self.view.namespace), **query)
        rest = b""
        try:
            async for chunk in stream:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._record_event(orjson.loads(line))
                if self.run.part_done() > self._sleeps_at:
                    break
        finally:
            await stream.close()
        await self._sleep()

    async def _sleep(self) -> None:
        """Disconnect for a while, if it is due, until most writes are done."""
        if self.run.part_done() > self._sleeps_at:
            self._sleeps_at = 2.0
            await until(lambda: self.run.finished or self.run.part_done() >= 0.9)

    def _record_event(self, event: Object) -> None:
        type_, obj = event["type"], event["object"]
        if type_ == "ERROR":
            raise errors.from_status(obj)
        revision, segment = int(obj["metadata"]["resourceVersion"]), self.segments[-1]
        if revision < segment.until or (revision == segment.until and type_ != "BOOKMARK"):
            self.run.ledger.fault(f"{self.name} {self.view}: {type_} of {revision} after {segment.until}")
        if type_ == "BOOKMARK":
            segment.until = revision
            return
        key = _key(obj)
        change = Change(type_, *key)
        if (type_ == "ADDED") == (key in self.view_of_objects) or not self.view.shows(change):
            self.run.ledger.fault(f"{self.name} {self.view}: {change} at {revision} where {self.view_of_objects.get(key)} was known")
        if type_ == "DELETED":
            self.view_of_objects.pop(key, None)
        else:
            self.view_of_objects[key] = str(revision)
        segment.add(revision, change)
        self.run.ledger.record(revision, change)


def _key(obj: Object) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


class Writer:
    """Changes its own objects and records the acknowledged writes."""

    def __init__(self, run: Run, number: int) -> None:
        self.run = run
        self._random = random.Random(number)
        self._exists: dict[tuple[str, str], bool] = dict.fromkeys(objects()[number::WRITERS], False)
        self._load = "x" * (WRITTEN_BYTES // run.settings.events)

    async def write(self) -> None:
        keys = [*self._exists]
        while self.run.written < self.run.settings.events:
            self.run.written += 1
            key = self._random.choice(keys)
            try:
                await self._change(*key)
            except (OSError, errors.StatusError) as error:
                if isinstance(error, errors.StatusError):
                    self.run.ledger.fault(f"a write of {key}: {error.code} {error.message}")
                await self._read_back(*key)

    async def _change(self, namespace: str, name: str) -> None:
        client, ledger = self.run.client, self.run.ledger
        if not self._exists[namespace, name]:
            meta = {"name": name, "namespace": namespace, "labels": {"part": name[0]}}
            created = await client.create(CONFIG_MAPS, {"metadata": meta, "data": {"load": self._load}})
            type_ = "ADDED"
        elif self._random.random() < 0.1:
            await client.delete(CONFIG_MAPS, name, namespace=namespace)
            ledger.deletes += 1
            self._exists[namespace, name] = False
            return
        else:
            created = await client.patch(CONFIG_MAPS, name, {"data": {"n": str(self.run.written)}}, namespace=namespace)
            type_ = "MODIFIED"
        self._exists[namespace, name] = True
        ledger.acknowledged[int(created["metadata"]["resourceVersion"])] = Change(type_, namespace, name)

    async def _read_back(self, namespace: str, name: str) -> None:
        """Check whether the object exists, because the response to a write was lost."""
        await ready(self.run.client)
        try:
            await self.run.client.get(CONFIG_MAPS, name, namespace)
            self._exists[namespace, name] = True
        except errors.NotFound:
            self._exists[namespace, name] = False
        except OSError:
            await self._read_back(namespace, name)


def objects() -> list[tuple[str, str]]:
    """(namespace, name) of all objects."""
    return [(f"soak-{n % NAMESPACE_COUNT}", f"{PARTS[n // NAMESPACE_COUNT % len(PARTS)]}-{n}") for n in range(OBJECTS)]


def views(count: int) -> list[View]:
    """One of ten watches everything, the others a namespace, a label, or one name."""
    names = itertools.cycle(objects())
    spaces, parts = itertools.cycle(f"soak-{n}" for n in range(NAMESPACE_COUNT)), itertools.cycle(PARTS)
    out = []
    for n in range(count):
        namespace, name = next(names)
        kinds = (View(), View(next(spaces)), View(part=next(parts)), View(namespace, name=name), View(next(spaces), part=next(parts)))
        out.append(kinds[0 if n % 10 == 0 else 1 + n % 4])
    return out


async def soak(server: Server, settings: Settings) -> Run:
    """The complete run; faults are in the ledger."""
    server.start()
    client = await server.client()
    run = Run(client, settings)
    for n in range(NAMESPACE_COUNT):
        await client.create(NAMESPACES, {"metadata": {"name": f"soak-{n}"}})
    watchers = [Watcher(run, n, view, sleeps=n % 10 in (3, 5)) for n, view in enumerate(views(settings.clients))]
    watching = [asyncio.create_task(watcher.watch()) for watcher in watchers]
    helping = [asyncio.create_task(_end_servers(server, run)), asyncio.create_task(_print_progress(run))]
    async with asyncio.TaskGroup() as group:
        for n in range(WRITERS):
            group.create_task(Writer(run, n).write())
    await helping[0]
    await ready(client)
    run.finished = True
    await _caught_up(run, watchers)
    for task in (*watching, *helping):
        task.cancel()
    await asyncio.gather(*watching, *helping, return_exceptions=True)
    run.ledger.check([(watcher.name, watcher.view, watcher.segments) for watcher in watchers])
    await client.close()
    return run


async def _end_servers(server: Server, run: Run) -> None:
    """Stop and restart the server at intervals."""
    for n in range(1, run.settings.kills + 1):
        part = n / (run.settings.kills + 1)
        await until(lambda part=part: run.part_done() >= part)  # type: ignore[misc]
        how = signal.SIGTERM if n % 3 == 0 else signal.SIGKILL
        await asyncio.to_thread(server.stop, how)
        _print(run, f"{how.name}")
        server.start()
        await ready(run.client)


async def _caught_up(run: Run, watchers: list[Watcher]) -> None:
    """Wait until every watcher's view equals the server's."""
    listed = await run.client.list(CONFIG_MAPS)
    there = {_key(item): item["metadata"]["resourceVersion"] for item in listed["items"] if _key(item)[0].startswith("soak-")}
    for watcher in watchers:
        wanted = {key: version for key, version in there.items() if watcher.view.shows(Change("", *key))}
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while (seen := {key: v for key, v in watcher.view_of_objects.items() if key[0].startswith("soak-")}) != wanted:
            if time.monotonic() > deadline:
                differ = sorted(set(seen.items()) ^ set(wanted.items()))[:3]
                run.ledger.fault(f"{watcher.name} {watcher.view} has another picture in the end: {differ}")
                break
            await asyncio.sleep(0.1)


async def _print_progress(run: Run) -> None:
    while True:
        await asyncio.sleep(10)
        _print(run)


def _print(run: Run, what: str = "") -> None:
    if not run.settings.quiet:
        numbers = f"{run.written:>7} writes  {run.ledger.delivered:>9} seen  {run.reconnects:>4} reconnects  {run.expired:>3} expired"
        print(f" … {numbers}  {len(run.ledger.faults)} faults  {what}", flush=True)


def verdict(run: Run, seconds: float) -> str:
    ledger = run.ledger
    seen = f"{ledger.delivered} events seen, {run.expired} times too old"
    how = f"{run.settings.clients} watchers, {run.written} writes, {run.settings.kills} kills, {seen}, {seconds:.0f} s"
    if ledger.faults:
        return "\n".join([f" ✗ {len(ledger.faults)} faults: {how}", *(f"   {text}" for text in ledger.faults[:20])])
    return f" ✓ every change seen once and in order: {how}"


def parser() -> Parser:
    out = Parser("python -m conformance.soak", __doc__ or "", EXAMPLES)
    add_arguments(out, Settings)
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    settings = parse(parser(), Settings, arguments)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kapi-soak-") as directory:
        server = Server(Path(directory))
        try:
            run = asyncio.run(soak(server, settings))
        finally:
            server.stop(signal.SIGKILL)
    print(verdict(run, time.monotonic() - started))
    return 1 if run.ledger.faults else 0


if __name__ == "__main__":
    sys.exit(main())
