"""Everything our tables say is served is served: every kind is listed, watched and printed, every subresource and verb has a handler."""

import asyncio

import orjson
import pytest

from kapi.api.app import HANDLERS, App
from kapi.client.client import Client
from kapi.objects.meta import Object
from kapi.registry import catalogue, table
from kapi.registry.kind import Kind
from kapi.registry.strategy import Strategy
from kapi.schema import decode
from tests.api.asking import TABLE, ask

ALL = catalogue.standard({"api/all": True})
SERVED = [*catalogue.standard()]
METHODS = {"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE", "deletecollection": "DELETE"}
MORE_CELLS = ("ipaddresses",)
"""Stock's rows of these have an age that no column names."""


def called(kind: Kind) -> str:
    return f"{kind.resource.plural}.{kind.resource.group}/{kind.resource.version}"


def path(kind: Kind, name: str = "", subresource: str = "") -> str:
    return kind.resource.path("default" if kind.resource.namespaced else None, name, subresource)


@pytest.mark.parametrize("kind", [*ALL], ids=called)
def test_every_kind_is_whole(kind: Kind) -> None:
    assert kind.schema.type == "object"
    assert kind.singular == kind.resource.kind.lower()
    if kind.stored:
        assert type(kind.strategy) is not Strategy or kind.resource.version != "v1", "no rules of its own"
        assert kind.strategy.columns[0].name == "Name" or kind.resource.kind == "Event"
        assert {"get", "list", "create", "update", "patch", "delete", "watch"} <= set(kind.verbs)
        assert kind.schema.fields["metadata"].type == "object"
    for name in kind.strategy.fields:
        assert isinstance(kind.strategy.fields[name](blank(kind)), str), name


def blank(kind: Kind) -> Object:
    """An object of which nothing was said, decoded and defaulted."""
    raw = orjson.dumps({"kind": kind.resource.kind, "apiVersion": kind.resource.api_version, "metadata": {"name": "x"}})
    obj, warnings = decode.decode(raw, "json", kind.schema, api_version=kind.resource.api_version, kind=kind.resource.kind)
    assert warnings == []
    kind.strategy.default(obj)
    return obj


@pytest.mark.parametrize("kind", [*ALL], ids=called)
def test_defaults_stay(kind: Kind) -> None:
    """Defaulting what has its defaults changes nothing, and a row has a cell for every column."""
    obj = blank(kind)
    again = orjson.loads(orjson.dumps(obj))
    kind.strategy.default(again)
    assert again == obj
    if kind.stored:
        (row,) = table.table(kind, [obj], {}, "None")["rows"]
        assert len(row["cells"]) == len(kind.strategy.columns) + (kind.resource.plural in MORE_CELLS)


@pytest.mark.parametrize("kind", SERVED, ids=called)
def test_every_verb_has_a_handler(kind: Kind) -> None:
    wanted = [("", verb) for verb in kind.verbs]
    wanted += [(sub, verb) for sub, verbs in kind.subresources.items() for verb in verbs]
    assert [pair for pair in wanted if pair not in HANDLERS] == []


async def test_an_empty_server_answers_every_read(client: Client) -> None:
    for kind in (kind for kind in SERVED if "list" in kind.verbs):
        listed = await ask(client, "GET", path(kind))
        assert (listed.code, listed.json["kind"]) == (200, kind.resource.kind + "List"), called(kind)
        shown = await ask(client, "GET", path(kind), accept=TABLE)
        assert [c["name"] for c in shown.json["columnDefinitions"]] == [c.name for c in kind.strategy.columns]
        group = f".{kind.resource.group}" if kind.resource.group else ""
        missing = (404, "NotFound", f'{kind.resource.plural}{group} "nothing" not found')
        if not kind.stored:  # componentstatuses: stock's own words
            missing = (500, "", "Component not found: nothing")
        assert (await ask(client, "GET", path(kind, "nothing"))).said == missing


async def test_an_empty_server_lets_watch_everything(app: App, client: Client) -> None:
    now = str(app.rest.store.revision)
    watched = [kind for kind in SERVED if "watch" in kind.verbs]
    targets = [f"{path(kind)}?watch=1&resourceVersion={now}&timeoutSeconds=1" for kind in watched]
    streams = [await client.transport.open("GET", target, {}, b"", 2) for target in targets]
    assert [stream.status for stream in streams] == [200] * len(watched)
    await asyncio.gather(*(stream.close() for stream in streams))


@pytest.mark.parametrize("kind", SERVED, ids=called)
async def test_what_is_not_offered_is_not_allowed(client: Client, kind: Kind) -> None:
    refused = (405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    for verb, method in METHODS.items():
        if verb not in kind.verbs:
            target = path(kind, "" if verb in ("create", "deletecollection") else "x")
            assert (await ask(client, method, target, b"{}")).said == refused, (called(kind), verb)
    for sub, verbs in kind.subresources.items():
        for verb, method in METHODS.items():
            if verb not in verbs and verb != "deletecollection":
                assert (await ask(client, method, path(kind, "x", sub), b"{}")).said == refused, (called(kind), sub, verb)
    assert (await ask(client, "GET", path(kind, "x", "nothing"))).code == 404
