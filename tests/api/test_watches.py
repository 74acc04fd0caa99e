"""Watches: from where they start, what they say, how they end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import orjson
import pytest

from kapi.api import watching
from kapi.api.app import App
from kapi.client.client import Client
from kapi.objects import errors
from kapi.objects.resource import CONFIG_MAPS, PODS, Resource
from kapi.registry import catalogue
from kapi.registry.kind import Kind
from tests.api.asking import MAPS, PARTIAL, TABLE, ask, config_map, pod

STANDARD = list(catalogue.standard())


class Seen:
    """The events of one watch, awaited one by one."""

    def __init__(self, events: AsyncIterator[tuple[str, Any]]) -> None:
        self._events = events

    async def next(self) -> tuple[str, Any]:
        return await asyncio.wait_for(anext(self._events), 2)

    async def brief(self) -> str:
        """'ADDED m0'."""
        type_, obj = await self.next()
        return f"{type_} {obj['metadata'].get('name', '')}".strip()


@asynccontextmanager
async def watched(client: Client, resource: Resource = CONFIG_MAPS, **how: Any) -> AsyncIterator[Seen]:
    async with aclosing(client.watch(resource, "default", **how)) as events:  # type: ignore[type-var]
        yield Seen(events)


async def lines(client: Client, path: str, count: int, accept: str = "") -> list[Any]:
    """The first events of a watch, as they are sent."""
    how: dict[str, Any] = {"watch": None if "/watch/" in path else True, "resourceVersion": "0", "allowWatchBookmarks": "/none/" in path}
    stream = await client.stream("GET", path, accept=accept, **how)
    raw = b""
    try:
        async with asyncio.timeout(2):
            async for chunk in stream:
                raw += chunk
                if raw.count(b"\n") >= count:
                    break
    finally:
        await stream.close()
    return [orjson.loads(line) for line in raw.splitlines()]


async def now(client: Client) -> str:
    """Today's revision."""
    return str((await client.list(CONFIG_MAPS, "default"))["metadata"]["resourceVersion"])


async def test_from_a_revision(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("old"))
    since = await now(client)
    made = await client.create(CONFIG_MAPS, config_map("a"))
    async with watched(client, version=since) as seen:
        assert await seen.next() == ("ADDED", made)
        changed = await client.update(CONFIG_MAPS, config_map("a", {"k": "v"}))
        assert await seen.next() == ("MODIFIED", changed)
        await client.delete(CONFIG_MAPS, "a", namespace="default")
        type_, last = await seen.next()
    assert (type_, last["data"]) == ("DELETED", {"k": "v"})
    assert int(last["metadata"]["resourceVersion"]) > int(changed["metadata"]["resourceVersion"]), "the revision of the deletion"


@pytest.mark.parametrize("version", ["", "0"])
async def test_what_is_there_comes_first(client: Client, version: str) -> None:
    for name in ("b", "a"):
        await client.create(CONFIG_MAPS, config_map(name))
    async with watched(client, version=version) as seen:
        assert [await seen.brief(), await seen.brief()] == ["ADDED a", "ADDED b"]
        _, mark = await seen.next()
        assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        await client.create(CONFIG_MAPS, config_map("c"))
        assert await seen.brief() == "ADDED c"


async def test_initial_events_end_with_a_bookmark(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a"))
    how: dict[str, Any] = {"sendInitialEvents": True, "resourceVersionMatch": "NotOlderThan"}
    async with watched(client, **how) as seen:
        assert await seen.brief() == "ADDED a"
        type_, mark = await seen.next()
        assert (type_, mark["kind"]) == ("BOOKMARK", "ConfigMap")
        assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert mark["metadata"]["resourceVersion"] == await now(client)


async def test_a_quiet_watch_is_told_how_far_it_has_come(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_BOOKMARK_SECONDS", 0.01)
    async with watched(client, version=await now(client)) as seen:
        await client.create(CONFIG_MAPS, config_map("elsewhere") | {"metadata": {"name": "elsewhere", "namespace": "kube-system"}})
        type_, mark = await seen.next()
        while int(mark["metadata"]["resourceVersion"]) < int(await now(client)):
            type_, mark = await seen.next()
        assert type_ == "BOOKMARK"
        assert set(mark) == {"kind", "apiVersion", "metadata"}


@pytest.mark.slow
async def test_the_time_runs_out_without_bookmarks_nobody_asked_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_BOOKMARK_SECONDS", 0.01)
    answer = await ask(client, "GET", f"{MAPS}?watch=true&resourceVersion={await now(client)}&timeoutSeconds=1")
    assert (answer.code, answer.body) == (200, b"")


async def test_labels_crossing_a_selector(client: Client) -> None:
    since = await now(client)
    async with watched(client, version=since, labels="color=red") as seen:
        await client.create(CONFIG_MAPS, config_map("a", labels={"color": "blue"}))
        await client.update(CONFIG_MAPS, config_map("a", labels={"color": "red"}))
        assert await seen.brief() == "ADDED a"
        await client.update(CONFIG_MAPS, config_map("a", {"k": "v"}, labels={"color": "red"}))
        assert await seen.brief() == "MODIFIED a"
        left = await client.update(CONFIG_MAPS, config_map("a", {"k": "w"}, labels={"color": "blue"}))
        type_, obj = await seen.next()
        assert (type_, obj["metadata"]["labels"], obj["data"]) == ("DELETED", {"color": "red"}, {"k": "v"})
        assert obj["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"]
        await client.delete(CONFIG_MAPS, "a", namespace="default")
        await client.create(CONFIG_MAPS, config_map("b", labels={"color": "red"}))
        assert await seen.brief() == "ADDED b", "nothing is said of one that did not match"
        await client.delete(CONFIG_MAPS, "b", namespace="default")
        assert await seen.brief() == "DELETED b"


async def test_fields_crossing_a_selector(api: Client) -> None:
    async with watched(api, PODS, version=await now(api), fields="spec.nodeName=n1") as seen:
        await api.create(PODS, pod("a"))
        await api.create(PODS, pod("b", node="n2"))
        await api.post("/api/v1/namespaces/default/pods/a/binding", {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}})
        assert await seen.brief() == "ADDED a"
        await api.delete(PODS, "a", namespace="default", grace=0)
        assert await seen.brief() == "DELETED a"


async def test_an_old_name_of_a_field(api: Client) -> None:
    async with watched(api, PODS, version=await now(api), fields="spec.host=n1") as seen:
        for name, node in (("a", "n2"), ("b", "n1")):
            await api.create(PODS, pod(name, node=node))
        assert await seen.brief() == "ADDED b"


@pytest.mark.parametrize("kind", [kind for kind in STANDARD if "watch" in kind.verbs], ids=lambda kind: kind.resource.plural)
async def test_initial_events_of_every_kind_and_form_end(api: Client, kind: Kind) -> None:
    resource = kind.resource
    how: dict[str, Any] = {"watch": True, "sendInitialEvents": True, "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": True}
    marks = []
    for accept in ("", TABLE, PARTIAL):
        stream = await api.stream("GET", resource.path(), accept=accept, fieldSelector="metadata.name=none", **how)
        async with asyncio.timeout(2):
            marks.append(orjson.loads(await anext(aiter(stream))))
        await stream.close()
    assert {mark["type"] for mark in marks} == {"BOOKMARK"}
    plain, table, partial = (mark["object"] for mark in marks)
    meta = plain["metadata"]
    assert meta["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert set(meta) == {"annotations", "resourceVersion"}
    assert (plain["kind"], plain["apiVersion"]) == (resource.kind, resource.api_version)
    assert (partial["kind"], set(partial["metadata"])) == ("PartialObjectMetadata", set(meta))
    [row] = table["rows"]
    assert len(row["cells"]) >= len(table["columnDefinitions"]) > 0, "stock's IPAddresses have a cell more than columns"
    assert row["object"]["metadata"].get("annotations") == meta["annotations"]
    assert set(table["metadata"]) == {"resourceVersion"}


async def test_a_bookmark_is_an_object_as_go_writes_it(api: Client) -> None:
    event = (await lines(api, "/api/v1/namespaces/none/services", 1))[0]
    assert event["object"]["spec"] == {}
    assert event["object"]["status"] == {"loadBalancer": {}}


async def test_one_name(client: Client) -> None:
    async with watched(client, version=await now(client), fields="metadata.name=b") as seen:
        for name in ("a", "b"):
            await client.create(CONFIG_MAPS, config_map(name))
        assert await seen.brief() == "ADDED b"


async def test_the_old_way_to_watch_one(client: Client) -> None:
    path = "/api/v1/watch/namespaces/default/configmaps/b"
    for name in ("a", "b"):
        await client.create(CONFIG_MAPS, config_map(name))
    assert [e["object"]["metadata"]["name"] for e in await lines(client, path, 1)] == ["b"]


async def test_a_revision_that_is_forgotten(app: App, client: Client) -> None:
    since = await now(client)
    for name in ("a", "b"):
        await client.create(CONFIG_MAPS, config_map(name))
    app.rest.store.compact(app.rest.store.revision)
    async with watched(client, version=since) as seen:
        with pytest.raises(errors.Gone, match="too old resource version: ") as refused:
            await seen.next()
    assert (refused.value.code, refused.value.reason) == (410, "Expired")


async def test_a_watch_that_falls_behind_is_told(app: App, client: Client) -> None:
    async with watched(client, version=await now(client)) as seen:
        await client.create(CONFIG_MAPS, config_map("a"))
        assert await seen.brief() == "ADDED a"
        for i in range(80):
            await client.create(CONFIG_MAPS, config_map(f"m{i}"))
        app.rest.store.compact(app.rest.store.revision)
        told: list[str] = []
        try:
            while True:
                told += [await seen.brief()]
        except errors.Gone:
            assert told == [f"ADDED m{i}" for i in range(len(told))], "nothing is left out before"
    assert len(told) < 80


async def test_many_watchers_see_the_same(client: Client) -> None:
    since = await now(client)

    async def follow() -> list[str]:
        async with watched(client, version=since) as seen:
            return [await seen.brief() for _ in range(30)]

    followers = [asyncio.create_task(follow()) for _ in range(10)]
    for i in range(10):
        await client.create(CONFIG_MAPS, config_map(f"m{i}"))
        await client.update(CONFIG_MAPS, config_map(f"m{i}", {"k": "v"}))
        await client.delete(CONFIG_MAPS, f"m{i}", namespace="default")
    expected = [f"{type_} m{i}" for i in range(10) for type_ in ("ADDED", "MODIFIED", "DELETED")]
    assert await asyncio.gather(*followers) == [expected] * 10


async def test_as_tables(client: Client) -> None:
    for name in ("a", "b"):
        await client.create(CONFIG_MAPS, config_map(name))
    first, second = (event["object"] for event in await lines(client, MAPS, 2, TABLE))
    assert [c["name"] for c in first["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert not second["columnDefinitions"], "columns are described once"
    assert second["rows"][0]["cells"][:2] == ["b", 0]


async def test_as_metadata_only(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a", {"k": "v"}))
    obj = (await lines(client, MAPS, 1, PARTIAL))[0]["object"]
    assert (obj["kind"], obj["apiVersion"], obj["metadata"]["name"]) == ("PartialObjectMetadata", "meta.k8s.io/v1", "a")
    assert "data" not in obj


async def test_the_future(client: Client) -> None:
    answer = await ask(client, "GET", f"{MAPS}?watch=true&resourceVersion=x")
    assert answer.said[:2] == (400, "BadRequest")


async def test_one_named_object_is_got_not_watched(client: Client) -> None:
    """As stock's RequestInfo has it: watch counts where there is no name in the path."""
    await client.create(CONFIG_MAPS, config_map("a"))
    assert (await ask(client, "GET", f"{MAPS}/a?watch=1")).json["kind"] == "ConfigMap"
