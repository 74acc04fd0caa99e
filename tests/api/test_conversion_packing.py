"""Metadata in protobuf of custom resources that a webhook converts: what JSON says, though the webhook sets labels."""

from collections.abc import AsyncIterator
from itertools import count

import pytest

from kapi import limits
from kapi.api.eventframes import messages
from kapi.apiserver.assembly import Server
from kapi.client.client import Client
from kapi.objects.meta import Object
from tests import descriptors
from tests.api.asking import ask
from tests.api.converted import TWO, answering, convert, served
from tests.api.customs import THINGS, controlled, thing
from tests.api.test_packing import PARTIAL, PARTIALS, PROTOBUF, event, unpacked
from tests.api.webhook import Webhook
from tests.descriptors import META, without_zeros

LISTED = META + "PartialObjectMetadata[]"


@pytest.fixture
async def api(server: Server, client: Client, hook: Webhook) -> AsyncIterator[Client]:
    """A client of a server of things, which the webhook labels."""
    async with controlled(server):
        hook.answers["/convert"] = answering(labelled)
        await served(client, hook)
        yield client


def labelled(obj: Object, wanted: str) -> Object:
    return {**convert(obj, wanted), "metadata": {**obj["metadata"], "labels": {"is": wanted.replace("/", ".")}}}


def in_json(accept: str) -> str:
    return accept.replace(PROTOBUF, "application/json")


async def test_a_list(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(30):
        await api.create(THINGS, thing(f"t{i:02}", color=f"c{i}"))
    for most in (limits.CONVERSION_LIST_BYTES, 4000):  # then too long to be kept
        monkeypatch.setattr(limits, "CONVERSION_LIST_BYTES", most)
        monkeypatch.setattr(limits, "CONVERSION_BATCH_BYTES", 2000)
        plain = (await ask(api, "GET", TWO, accept=in_json(PARTIALS))).json
        found = unpacked(await ask(api, "GET", TWO, accept=PARTIALS), LISTED)
        assert [item["metadata"] for item in found["items"]] == [without_zeros(item["metadata"]) for item in plain["items"]]
        assert {item["metadata"]["labels"]["is"] for item in found["items"]} == {"example.com.v2"}


async def test_a_long_list_that_is_converted_in_two_ways(api: Client, hook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has been said to be of another length than it is: it is cut off, and never looks whole."""
    monkeypatch.setattr(limits, "CONVERSION_LIST_BYTES", 0)
    await api.create(THINGS, thing())
    asked = count()
    hook.answers["/convert"] = answering(lambda obj, wanted: {
        **convert(obj, wanted), "metadata": {**obj["metadata"], "annotations": {"a": "x" * 1000 * next(asked)}},
    })  # fmt: skip
    cut = await ask(api, "GET", TWO, accept=PARTIALS)
    assert (next(asked), cut.body) == (2, b"")


async def test_a_list_that_fails(api: Client, hook: Webhook) -> None:
    await api.create(THINGS, thing())
    hook.answers["/convert"] = lambda request: {"result": {"status": "Failure", "message": "no"}}
    refused = await ask(api, "GET", TWO, accept=f"{PARTIALS},application/json")
    assert refused.said == (500, "", "conversion webhook for example.com/v1, Kind=Thing failed: no")


async def test_a_watch(api: Client) -> None:
    since = (await api.create(THINGS, thing(color="red")))["metadata"]["resourceVersion"]
    await api.patch(THINGS, "t", {"spec": {"color": "blue"}}, namespace="default")
    await api.delete(THINGS, "t", namespace="default")
    watch = f"{TWO}?watch=1&timeoutSeconds=1&labelSelector=is%3Dexample.com.v2&resourceVersion="
    packed = (await ask(api, "GET", watch + since, accept=PARTIAL)).body
    found = [event(message) for message in messages(packed)]
    assert [type_ for type_, _ in found] == ["MODIFIED", "DELETED"]
    for _, body in found:
        metadata = descriptors.read(body, META + "PartialObjectMetadata")["metadata"]
        assert without_zeros(metadata)["labels"] == {"is": "example.com.v2"}
