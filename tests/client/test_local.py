"""LocalTransport: an ASGI application asked without a socket."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from kapi.client import Client
from kapi.client.local import LocalTransport
from kapi.objects import errors
from kapi.objects.resource import PODS
from kapi.objects.user import User

Message = MutableMapping[str, Any]


async def app(scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
    """Echoes a request; streams for ever when asked to watch; forbids deletion."""
    if scope["method"] == "DELETE":
        body = orjson.dumps(errors.Forbidden("no").status())
        await send({"type": "http.response.start", "status": 403, "headers": []})
        await send({"type": "http.response.body", "body": body})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Who", scope["extensions"]["kapi.user"].name.encode())]})
    if b"watch=true" in scope["query_string"]:
        for number in range(3):
            line = orjson.dumps({"type": "ADDED", "object": {"metadata": {"name": str(number)}}}) + b"\n"
            await send({"type": "http.response.body", "body": line, "more_body": True})
        await receive()
        await receive()
        return
    sent = await receive()
    answer = {"path": scope["path"], "query": scope["query_string"].decode(), "body": sent["body"].decode()}
    await send({"type": "http.response.body", "body": orjson.dumps(answer)})


def client() -> Client:
    return Client(LocalTransport(app, User("system:admin")))


async def test_request() -> None:
    answered = await client().create(PODS, {"metadata": {"namespace": "default"}}, dryRun="All")
    assert answered == {"path": "/api/v1/namespaces/default/pods", "query": "dryRun=All", "body": '{"metadata":{"namespace":"default"}}'}
    _, headers, _ = await client().raw("GET", "/version")
    assert headers["x-who"] == "system:admin"


async def test_failure() -> None:
    with pytest.raises(errors.Forbidden):
        await client().delete(PODS, "web", namespace="default")


async def test_a_watch_ends_when_it_is_closed() -> None:
    before = len(asyncio.all_tasks())
    async with aclosing(client().watch(PODS)) as events:  # type: ignore[type-var]
        names = [(await anext(events))[1]["metadata"]["name"] for _ in range(3)]
    assert names == ["0", "1", "2"]
    assert len(asyncio.all_tasks()) == before
