"""Versions of a kind without a webhook: what is stored, what is served of it, and a change of the version that is stored."""

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from kapi.apiserver import assembly
from kapi.apiserver.assembly import Server
from kapi.apiserver.settings import Settings
from kapi.client.client import Client
from kapi.client.local import LocalTransport
from kapi.objects.meta import Object
from kapi.objects.resource import CUSTOM_RESOURCE_DEFINITIONS as CRDS
from tests.api.asking import ask
from tests.api.converted import ONE, SECOND, TWO, V1, V2, second, stored
from tests.api.customs import THINGS, controlled, define, definition, refusal, thing, turn_of_schema, version
from tests.api.test_watches import watched
from tests.conftest import ADMIN

NARROW: Object = {"type": "object", "properties": {"size": {"type": "integer", "default": 5}}}
WIDE: Object = {"type": "object", "properties": {"size": {"type": "integer"}, "color": {"type": "string", "default": "red"}}}


@pytest.fixture
async def api(server: Server, client: Client) -> AsyncIterator[Client]:
    """A client of a server that looks after its definitions."""
    async with controlled(server):
        yield client


async def store_second(api: Client) -> None:
    await api.patch(CRDS, "things.example.com", {"spec": {"versions": [version("v1", NARROW, storage=False), version("v2", WIDE)]}})
    await turn_of_schema(api)


async def test_what_is_stored_is_what_is_read(server: Server, api: Client) -> None:
    """The defaults are those of the version that is stored; what the other one does not know is left out, nothing is filled in."""
    await define(api, definition(version("v1", NARROW), version("v2", WIDE, storage=False)))
    made = await ask(api, "POST", TWO, second(size=1))
    assert made.json["spec"] == {"size": 1}, "the color has no place in what is stored"
    assert (stored(server)["apiVersion"], stored(server)["spec"]) == (V1, {"size": 1})
    await ask(api, "POST", TWO, second("u"))
    assert (await api.get(SECOND, "u", "default"))["spec"] == {"size": 5}
    assert (await api.get(THINGS, "u", "default"))["spec"] == {"size": 5}


async def test_a_change_of_the_stored_version(server: Server, api: Client) -> None:
    await define(api, definition(version("v1", NARROW), version("v2", WIDE, storage=False)))
    since = (await api.create(THINGS, thing("old", size=1)))["metadata"]["resourceVersion"]
    await store_second(api)
    assert (await api.get(CRDS, "things.example.com"))["status"]["storedVersions"] == ["v1", "v2"]
    await ask(api, "POST", TWO, second("new", color="blue"))
    assert [stored(server, name)["apiVersion"] for name in ("old", "new")] == [V1, V2]
    assert {i["metadata"]["name"]: i["spec"] for i in (await ask(api, "GET", TWO)).json["items"]} == {
        "old": {"size": 1}, "new": {"color": "blue"},
    }  # fmt: skip
    assert {i["apiVersion"] for i in (await ask(api, "GET", ONE)).json["items"]} == {V1}
    async with watched(api, SECOND, version=since) as seen:
        assert [obj["apiVersion"] for _, obj in [await seen.next()]] == [V2]
    await api.patch(SECOND, "old", {}, namespace="default")
    assert (stored(server, "old")["apiVersion"], stored(server, "old")["spec"]) == (V2, {"size": 1, "color": "red"})


async def test_versions_that_look_alike_are_not_parsed(server: Server, api: Client) -> None:
    await define(api, definition(version("v1", WIDE), version("v2", WIDE, storage=False)))
    await api.create(THINGS, thing(size=2))
    second_kind = server.app.catalogue.get("example.com", "v2", "things")
    assert second_kind is not None
    entry = server.app.rest.store.get("/example.com/things/default/t")
    assert entry is not None
    assert not second_kind.differs(entry.body)
    got = (await ask(api, "GET", f"{TWO}/t")).json
    assert (got["apiVersion"], got["spec"], list(got)[:2]) == (V2, {"size": 2, "color": "red"}, ["apiVersion", "kind"])


async def test_what_was_written_before_bodies_said_their_version(server: Server, api: Client) -> None:
    """A database of an older server: they are in the first of the stored versions."""
    await define(api, definition(version("v1", NARROW), version("v2", WIDE, storage=False)))
    meta = {"name": "t", "namespace": "default", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    body = orjson.dumps({"metadata": meta, "spec": {"size": 3}})
    await server.app.rest.store.commit("/example.com/things/default/t", body, expect=0, labels={}, fields={})
    for name, path in (V1, ONE), (V2, TWO):
        got = (await ask(api, "GET", f"{path}/t")).json
        assert (got["apiVersion"], got["spec"]) == (name, {"size": 3})
    await api.patch(THINGS, "t", {}, namespace="default")
    assert stored(server)["apiVersion"] == V1


async def test_what_was_written_so_in_a_later_version_is_pruned(server: Server, api: Client) -> None:
    """An older server wrote the second stored version too without saying so: the first shows nothing that it does not know."""
    await define(api, definition(version("v1", NARROW), version("v2", WIDE, storage=False)))
    await store_second(api)
    meta = {"name": "t", "namespace": "default", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    body = orjson.dumps({"metadata": meta, "spec": {"size": 3, "color": "blue"}})
    await server.app.rest.store.commit("/example.com/things/default/t", body, expect=0, labels={}, fields={})
    assert (await api.get(THINGS, "t", "default"))["spec"] == {"size": 3}
    assert [item["spec"] for item in (await ask(api, "GET", ONE)).json["items"]] == [{"size": 3}]
    assert (await api.get(SECOND, "t", "default"))["spec"] == {"size": 3, "color": "blue"}
    await api.patch(SECOND, "t", {}, namespace="default")
    assert stored(server)["spec"] == {"size": 3, "color": "blue"}


async def test_a_large_object_on_a_watch(api: Client) -> None:
    """It is written in slices of what is stored, which end before the mark."""
    text: Object = {"type": "object", "properties": {"text": {"type": "string"}}}
    await define(api, definition(version(spec=text)))
    since = (await api.create(THINGS, thing(text="a")))["metadata"]["resourceVersion"]
    async with watched(api, THINGS, version=since) as seen:
        for size in (100_000, 16 * 1024 * 7, 16 * 1024 * 8 - 64 * 8 - 300):
            changed = await api.patch(THINGS, "t", {"spec": {"text": "x" * size}}, namespace="default")
            assert (await seen.next())[1] == changed


async def test_stored_versions_stay_in_the_spec(api: Client) -> None:
    await define(api, definition(version("v1", NARROW), version("v2", WIDE, storage=False)))
    await store_second(api)
    code, text = await refusal(api.patch(CRDS, "things.example.com", {"spec": {"versions": [version("v2", WIDE)]}}))
    assert (code, "v1 was previously a storage version" in text) == (422, True)
    await api.patch(CRDS, "things.example.com", {"status": {"storedVersions": ["v2"]}}, subresource="status")
    await api.patch(CRDS, "things.example.com", {"spec": {"versions": [version("v2", WIDE)]}})


async def test_a_restart(pki: Path, tmp_path: Path) -> None:
    """What is in which version outlives the server."""
    settings = Settings(data_dir=pki.parent, storage=str(tmp_path / "kapi.db"))
    for again in (False, True):
        server = await assembly.assemble(settings, pki)
        api = Client(LocalTransport(server.app, ADMIN), agent="test")
        async with controlled(server):
            if not again:
                await define(api, definition(version("v1", NARROW), version("v2", WIDE, storage=False)))
                await api.create(THINGS, thing("a", size=1))
                await store_second(api)
                await ask(api, "POST", TWO, second("b", color="blue"))
            assert [stored(server, name)["apiVersion"] for name in "ab"] == [V1, V2]
            assert [i["spec"] for i in (await ask(api, "GET", TWO)).json["items"]] == [{"size": 1}, {"color": "blue"}]
        await server.app.rest.store.close()
