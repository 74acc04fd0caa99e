"""What APIServices make this server serve: who answers for which group version, in which order all are told of, and what discovery and
OpenAPI of the others say.

Level-based: `look` compares the APIServices with what is registered. The documents of a server are fetched when its APIServices change and
once a minute (stock's period), with a back-off while that fails; only a few at a time, and read beside the event loop one after the other.
What a group version said last is forgotten when its server does not answer (its discovery is stale), but for OpenAPI. Source: kube-
aggregator's discovery manager and OpenAPI controllers (v1.36).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from kapi import limits, logs
from kapi.api import fetching
from kapi.api.aggregation import Aggregation, Backend, NoClient
from kapi.api.fetching import Fetched
from kapi.api.relay import NoAnswer
from kapi.apiserver.availability import CHECKER
from kapi.apiserver.changes import changed
from kapi.documents import remote
from kapi.objects import conditions, errors, offload
from kapi.objects.meta import Object
from kapi.objects.user import User
from kapi.registry.catalogue import CUSTOM, Catalogue, GroupVersion, Priority, Remote
from kapi.storage.entry import Entry
from kapi.storage.store import Store

log = logging.getLogger(__name__)

READER = User("system:aggregator")
"""Who gets OpenAPI documents."""
REFRESH = 60.0
"""Seconds until the documents of a server are fetched again."""
FIRST_RETRY, LONGEST_OPENAPI_RETRY = 0.5, 3600.0
"""Seconds until what failed is tried again: doubled with each failure, at most REFRESH (discovery) or the other (OpenAPI)."""


class Registered(NamedTuple):
    """An APIService."""

    revision: int
    where: GroupVersion
    priority: Priority
    backend: Backend | None
    available: bool


class _Source:
    """A server whose documents are fetched."""

    def __init__(self) -> None:
        self.versions: dict[GroupVersion, bool] = {}
        """What it serves, and whether that is available."""
        self.due = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.discovered: tuple[str, dict[GroupVersion, bytes]] = ("", {})
        """ETag and contents of its aggregated discovery."""
        self.etag = ""
        """Of its OpenAPI 2 document."""
        self.openapi_failures = 0
        self.openapi_after = 0.0
        """When its OpenAPI is asked for again, by the loop's clock."""


class Aggregator:
    """The standing work on APIServices of one API server."""

    def __init__(self, store: Store, catalogue: Catalogue, aggregation: Aggregation) -> None:
        self.store, self.catalogue, self.aggregation = store, catalogue, aggregation
        self.apis = catalogue.by_kind("apiregistration.k8s.io/v1", "APIService")
        self._registered: dict[str, Registered] = {}
        self._first: dict[GroupVersion, Priority] = {}
        """The priorities of what was there from the beginning: it keeps its place when its APIService is deleted."""
        self._remotes: dict[GroupVersion, Remote] = {}
        self._sources: dict[Backend, _Source] = {}
        self._fetches = asyncio.Semaphore(limits.AGGREGATED_FETCHES)
        self._reading = asyncio.Lock()

    async def keep(self) -> None:
        """Until cancelled."""
        if not self.apis:
            return
        try:
            while True:
                since = self.store.revision
                self.look()
                await changed(self.store, since, (self.apis.collection,))
        finally:
            tasks = [source.task for source in self._sources.values() if source.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def look(self) -> None:
        """Take in what changed of the APIServices."""
        assert self.apis is not None
        entries = {entry.key: entry for entry in self.store.list(self.apis.collection).entries}
        for key in self._registered.keys() - entries.keys():
            del self._registered[key]
        for key, entry in entries.items():
            known = self._registered.get(key)
            if known is None or known.revision != entry.revision:
                self._registered[key] = _read(entry)
        listed = list(self._registered.values())
        self._first = self._first or {one.where: one.priority for one in listed}
        own = self.apis.resource.group, self.apis.resource.version  # answered here: else no APIService could be mended any more
        remote_ones = {one.where: one for one in listed if one.backend is not None and one.where != own}
        self.aggregation.replace(
            {where: one.backend for where, one in remote_ones.items() if one.backend is not None},
            frozenset(where for where, one in remote_ones.items() if one.available),
        )
        self._remotes = {where: self._remotes.get(where, Remote()) for where in remote_ones}
        self._see_to_sources(remote_ones.values())
        self._publish()

    def _publish(self) -> None:
        special = {one.where: one.priority for one in self._registered.values() if one.priority != CUSTOM or one.where in self._first}
        self.catalogue.register({**self._first, **special}, self._remotes)

    def _see_to_sources(self, listed: Iterable[Registered]) -> None:
        """A task for each server that is named, none for the others; awake when what is said of it changed."""
        wanted: dict[Backend, dict[GroupVersion, bool]] = {}
        for one in listed:
            if one.backend is not None:
                wanted.setdefault(one.backend, {})[one.where] = one.available
        for backend in self._sources.keys() - wanted.keys():
            task = self._sources.pop(backend).task
            if task is not None:
                task.cancel()
        for backend, versions in wanted.items():
            source = self._sources.get(backend)
            if source is None:
                source = self._sources[backend] = _Source()
                source.task = asyncio.create_task(self._follow(backend, source))
            if versions != source.versions:
                source.versions, source.openapi_after, source.discovered, source.etag = versions, 0.0, ("", {}), ""
                source.due.set()

    # documents ----------------------------------------------------------------------------------------------------------------------

    async def _follow(self, backend: Backend, source: _Source) -> None:
        """Keep what is told of a server's group versions up to date."""
        failures = 0
        while True:
            source.due.clear()
            try:
                failures = 0 if await self._refresh(backend, source) else failures + 1
            except Exception:
                key = f"{backend.namespace}/{backend.name}"
                log.exception("What a server says of its APIs could not be taken in, trying again", extra=logs.once(key, service=key))
                failures += 1
            try:
                async with asyncio.timeout(min(FIRST_RETRY * 2 ** min(failures - 1, 30), REFRESH) if failures else REFRESH):
                    await source.due.wait()
            except TimeoutError:
                continue

    async def _refresh(self, backend: Backend, source: _Source) -> bool:
        """Whether all that is available was answered for."""
        well = True
        resources: dict[GroupVersion, bytes] | None = None
        asked = False
        for where, available in list(source.versions.items()):
            try:
                if available:
                    if not asked:
                        resources, asked = await self._discovered(backend, source), True
                    found = await self._legacy(backend, where) if resources is None else resources.get(where, b"[]")
                    self._tell(where, resources=found, stale=False)
                else:
                    self._tell(where, resources=b"[]", stale=True)
            except (NoAnswer, NoClient, remote.Junk, errors.StatusError) as why:
                well = False
                self._complain(where, "discovery", why)
                self._tell(where, resources=b"[]", stale=True)
        if any(source.versions.values()):
            await self._refresh_openapi(backend, source)
        return well

    def _complain(self, where: GroupVersion, what: str, why: Exception) -> None:
        key = f"{what} {where}"
        log.warning("A document of an aggregated API cannot be had", extra=logs.once(key, what=what, api="/".join(where), error=str(why)))

    def _tell(self, where: GroupVersion, **parts: Any) -> None:
        """Publish what a group version says, as long as that is not too much of all together."""
        old = self._remotes.get(where)
        if old is None:
            return
        new = old._replace(**parts)
        rest = sum(other.size for pair, other in self._remotes.items() if pair != where)
        if rest + new.size > limits.AGGREGATED_BYTES:
            new = Remote(new.resources, new.stale, new.documents)
        if rest + new.size > limits.AGGREGATED_BYTES:
            new = Remote()
        self._remotes[where] = new
        self._publish()

    async def _get(self, backend: Backend, path: str, user: User, accept: str, etag: str = "", *, openapi: bool = False) -> Fetched:
        """Raises NoAnswer, NoClient, StatusError."""
        most = limits.AGGREGATED_OPENAPI_BYTES if openapi else limits.AGGREGATED_DISCOVERY_BYTES
        seconds = limits.AGGREGATED_OPENAPI_SECONDS if openapi else limits.AGGREGATED_FETCH_SECONDS
        async with self._fetches:
            return await fetching.fetch(await self.aggregation.peer(backend, user), path, accept, most, seconds, etag)

    async def _read(self, function: Callable[..., Any], *args: Any) -> Any:
        """Raises Junk."""
        async with self._reading:
            return await offload.run(function, *args)

    async def _discovered(self, backend: Backend, source: _Source) -> dict[GroupVersion, bytes] | None:
        """What aggregated discovery says; None where a server does not have it. Raises NoAnswer, NoClient, Junk, StatusError."""
        etag, before = source.discovered
        answer = await self._get(backend, "/apis", CHECKER, remote.ACCEPT, etag)
        if answer.status == 304 and etag:
            return before
        if answer.status == 503:
            raise NoAnswer(f"service {backend.namespace}/{backend.name}:{backend.port} returned non-success response code: 503")
        if answer.status != 200 or not remote.is_aggregated(answer.headers.get(b"content-type", b"").decode("latin-1")):
            return None
        found = {where: raw for where, raw in (await self._read(remote.aggregated, answer.body)).items() if where in source.versions}
        source.discovered = answer.headers.get(b"etag", b"").decode("latin-1"), found
        return found

    async def _legacy(self, backend: Backend, where: GroupVersion) -> bytes:
        """What the document of one group version says. Raises NoAnswer, NoClient, Junk, StatusError."""
        path = f"/apis/{where[0]}/{where[1]}"
        answer = await self._get(backend, path, CHECKER, "application/json")
        if answer.status != 200:
            raise NoAnswer(f"failed to download legacy discovery for {path}: {answer.status}")
        found: bytes = await self._read(remote.legacy, answer.body)
        return found

    async def _refresh_openapi(self, backend: Backend, source: _Source) -> None:
        now = asyncio.get_running_loop().time()
        if now < source.openapi_after:
            return
        try:
            await self._index(backend, source)
            await self._version2(backend, source)
            source.openapi_failures = 0
        except (NoAnswer, NoClient, remote.Junk, errors.StatusError) as why:
            source.openapi_failures += 1
            source.openapi_after = now + min(REFRESH * 2 ** min(source.openapi_failures - 1, 30), LONGEST_OPENAPI_RETRY)
            self._complain(next(iter(source.versions)), "OpenAPI", why)

    async def _index(self, backend: Backend, source: _Source) -> None:
        answer = await self._get(backend, "/openapi/v3", READER, "application/json")
        if answer.status == 200:
            for where in list(source.versions):
                self._tell(where, documents=await self._read(remote.index, answer.body, *where))

    async def _version2(self, backend: Backend, source: _Source) -> None:
        answer = await self._get(backend, "/openapi/v2", READER, "application/json", source.etag, openapi=True)
        if answer.status != 200:  # 304: as before; 404: there is none
            return
        for where in list(source.versions):
            paths, definitions, digest = await self._read(remote.openapi2, answer.body, *where)
            self._tell(where, paths=paths, definitions=definitions, digest=digest)
        source.etag = answer.headers.get(b"etag", b"").decode("latin-1")


def _read(entry: Entry) -> Registered:
    spec: Object = entry.obj["spec"]
    where = spec.get("group") or "", spec["version"]
    priority = Priority(spec.get("groupPriorityMinimum") or 0, spec.get("versionPriority") or 0)
    found = conditions.find((entry.obj.get("status") or {}).get("conditions") or (), "Available")
    available = found is not None and found["status"] == "True"
    backend = Backend.of(spec) if spec.get("service") and where[0] else None
    return Registered(entry.revision, where, priority, backend, available)
