"""Custom objects nested as deeply as stock takes them: written in every way, read in every form."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from kapi.apiserver.assembly import Server
from kapi.client.client import Client
from kapi.objects.meta import Object
from tests.api.asking import PARTIAL, TABLE, ask
from tests.api.customs import PATH, THINGS, define, definition, version

ANY = {"x-kubernetes-preserve-unknown-fields": True, "type": "object"}


@pytest.fixture
async def api(server: Server, client: Client) -> AsyncIterator[Client]:
    task = asyncio.create_task(server.crds.run())
    await define(client, definition(version(spec=ANY)))
    yield client
    task.cancel()


def deep(levels: int, inside: str = "1") -> bytes:
    return b"[" * levels + inside.encode() + b"]" * levels


def thing(spec: bytes, revision: bytes = b"") -> bytes:
    meta = b'"name":"t","resourceVersion":"%s"' % revision if revision else b'"name":"t"'
    return b'{"apiVersion":"example.com/v1","kind":"Thing","metadata":{%s},"spec":{"a":%s}}' % (meta, spec)


def revision(body: bytes) -> bytes:
    found = re.search(rb'"resourceVersion":"(\d+)"', body)
    assert found
    return found[1]


@pytest.mark.parametrize("levels", [300, 9000])
async def test_written_and_read(api: Client, levels: int) -> None:
    found = await ask(api, "POST", PATH, thing(deep(levels, ' {"k" : 1.0}')))
    assert found.code == 201
    kept = deep(levels, '{"k":1}')
    assert kept in (await ask(api, "GET", f"{PATH}/t")).body.replace(b"\t", b"")
    assert kept in (await ask(api, "GET", PATH)).body.replace(b"\t", b"")
    assert kept in b"".join((await ask(api, "GET", f"{PATH}/t?pretty=true")).body.split())
    assert (await ask(api, "GET", f"{PATH}/t", accept=TABLE)).json["rows"][0]["cells"][0] == "t"
    assert (await ask(api, "GET", f"{PATH}/t", accept=PARTIAL)).json["metadata"]["name"] == "t"
    assert (await ask(api, "GET", f"{PATH}/t", accept="application/yaml")).code == 406
    watched = await ask(api, "GET", f"{PATH}?watch=1&timeoutSeconds=1", accept="application/yaml")
    assert b"type: ERROR" in watched.body
    assert b"code: 406" in watched.body
    async with aclosing(api.watch(THINGS, version="0")) as events:  # type: ignore[type-var]
        async for _, obj in events:
            assert obj["metadata"]["name"] == "t"
            break


@pytest.mark.parametrize("levels", [300, 9000])
async def test_changed(api: Client, levels: int) -> None:
    made = await ask(api, "POST", PATH, thing(deep(levels)))
    assert made.code == 201
    same = await ask(api, "PUT", f"{PATH}/t", thing(deep(levels), revision(made.body)))
    assert (same.code, revision(same.body)) == (200, revision(made.body))
    put = await ask(api, "PUT", f"{PATH}/t", thing(deep(levels, "2"), revision(same.body)))
    assert (put.code, b'"generation":2' in put.body) == (200, True)
    merge = {"content_type": "application/merge-patch+json"}
    assert deep(levels, "2") in (await ask(api, "PATCH", f"{PATH}/t", b'{"spec":{"b":1}}', **merge)).body.replace(b"\t", b"")
    patch = b'{"spec":{"a":%s}}' % deep(levels, "3")
    assert deep(levels, "3") in (await ask(api, "PATCH", f"{PATH}/t", patch, **merge)).body.replace(b"\t", b"")
    operations = b'[{"op":"copy","from":"/spec/a","path":"/spec/c"},{"op":"add","path":"/spec/a","value":%s}]' % deep(levels, "4")
    patched = await ask(api, "PATCH", f"{PATH}/t", operations, content_type="application/json-patch+json")
    assert deep(levels, "3") in patched.body.replace(b"\t", b"")
    assert deep(levels, "4") in patched.body.replace(b"\t", b"")
    applied = await ask(
        api, "PATCH", f"{PATH}/t?fieldManager=m&force=true", thing(deep(levels, "5")), content_type="application/apply-patch+yaml"
    )
    assert applied.code == 200
    assert deep(levels, "5") in applied.body.replace(b"\t", b"")
    assert (await ask(api, "DELETE", f"{PATH}/t")).code == 200


@pytest.mark.parametrize("media", ["application/merge-patch+json", "application/json-patch+json", ""])
async def test_too_deep(api: Client, media: str) -> None:
    assert (await ask(api, "POST", PATH, thing(b"1"))).code == 201
    value = deep(10_001)
    if media:
        raw = b'{"spec":%s}' % value if "merge" in media else b'[{"op":"add","path":"/spec/a","value":%s}]' % value
        code, _, message = (await ask(api, "PATCH", f"{PATH}/t", raw, content_type=media)).said
        assert (code, message) == (400, "error decoding patch: invalid character '[' exceeded max depth")
    else:
        code, _, message = (await ask(api, "POST", PATH, thing(value))).said
        told = "couldn't get version/kind; json parse error: invalid character '[' exceeded max depth"
        assert (code, told in message) == (400, True)


@pytest.mark.parametrize("levels", [190, 300, 9000])
@pytest.mark.parametrize("key", [{"type": "string"}, {"type": "string", "default": "a"}])
async def test_a_deep_key_of_a_list(server: Server, client: Client, levels: int, key: Object) -> None:
    """What should be a text and is not is refused, however deep."""
    task = asyncio.create_task(server.crds.run())
    item = {"type": "object", "required": [] if "default" in key else ["k"], "properties": {"k": key}}
    listed = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": item}
    await define(client, definition(version(spec={"type": "object", "properties": {"a": listed}})))
    for value in (deep(levels), b'[{"k":%s}]' % deep(levels), b'[{"k":{"a":%s}}]' % deep(levels)):
        applied = await ask(client, "PATCH", f"{PATH}/t?fieldManager=m", thing(value), content_type="application/apply-patch+yaml")
        assert applied.code == 500, applied.body  # as stock says of what its typed merge refuses
        assert b"see the server's log" not in applied.body
        assert (await ask(client, "POST", PATH, thing(value))).code in (400, 422)
    task.cancel()
