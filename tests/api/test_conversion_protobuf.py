"""The metadata of custom resources in protobuf where a webhook converts them: lists and watches have what it makes of labels."""

from collections.abc import AsyncIterator

import pytest

from kapi import limits
from kapi.api.protobuf_events import messages
from kapi.apiserver.assembly import Server
from kapi.client.client import Client
from kapi.objects.meta import Object
from kapi.schema.protobuf_encoding import END
from tests import descriptors
from tests.api.asking import ask
from tests.api.converted import TWO, V1, answering, convert, reviews, served
from tests.api.customs import THINGS, controlled, thing
from tests.api.test_protobuf_responses import PARTIAL, PARTIALS, decoded, event, frames
from tests.api.webhook import Webhook
from tests.descriptors import META, without_zeros


def marked(obj: Object, wanted: str) -> Object:
    """The conversion says in a label which version it made."""
    out = convert(obj, wanted)
    return {**out, "metadata": {**out["metadata"], "labels": {**(out["metadata"].get("labels") or {}), "made": wanted.partition("/")[2]}}}


def refusing(request: Object) -> Object:
    return {"result": {"status": "Failed", "message": "not today"}}


@pytest.fixture
async def api(server: Server, client: Client, hook: Webhook) -> AsyncIterator[Client]:
    """Of things in version 1 only, which version 2 labels."""
    hook.answers["/convert"] = answering(marked)
    async with controlled(server):
        await served(client, hook)
        for name in "abc":
            await client.create(THINGS, thing(name, color=name))
        yield client


async def listed(api: Client, version: str = "v1") -> list[Object]:
    answer = await ask(api, "GET", TWO, accept=PARTIALS.replace("v=v1", f"v={version}"))
    assert answer.code == 200
    found: list[Object] = decoded(answer, META + "PartialObjectMetadata[]")["items"]
    return [one["metadata"] for one in found]


async def test_a_list(api: Client, hook: Webhook) -> None:
    assert [(meta["name"], meta["labels"]) for meta in await listed(api)] == [(name, {"made": "v2"}) for name in "abc"]
    assert reviews(hook) == [("example.com/v2", ["a", "b", "c"])]


async def test_a_list_longer_than_is_kept(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = await listed(api)
    assert (await ask(api, "GET", TWO, accept=PARTIALS)).body.endswith(END)
    monkeypatch.setattr(limits, "CONVERSION_BATCH_BYTES", 1)
    for most in (0, 400):
        monkeypatch.setattr(limits, "CONVERSION_LIST_BYTES", most)
        assert await listed(api) == whole


async def test_a_webhook_that_changes_its_mind(api: Client, hook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONVERSION_LIST_BYTES", 0)

    def longer(obj: Object, wanted: str) -> Object:
        out = convert(obj, wanted)
        return {**out, "metadata": {**out["metadata"], "labels": {"made": "x" * len(hook.asked)}}}

    hook.answers["/convert"] = answering(longer)
    answer = await ask(api, "GET", TWO, accept=PARTIALS)  # which has begun when that is seen
    assert (answer.code, answer.body.endswith(END)) == (200, False), "the answer looks whole"


async def test_a_webhook_that_fails(api: Client, hook: Webhook) -> None:
    hook.answers["/convert"] = refusing
    answer = await ask(api, "GET", TWO, accept=PARTIALS)
    assert answer.code == 500
    assert answer.json["message"].endswith(f"conversion webhook for {V1}, Kind=Thing failed: not today")


async def test_a_watch(api: Client, hook: Webhook) -> None:
    since = (await ask(api, "GET", TWO)).json["metadata"]["resourceVersion"]
    await api.create(THINGS, thing("d", color="d"))
    (type_, body), *_ = await frames(api, TWO, 1, f"{PARTIAL};stream=watch", since)
    found = without_zeros(descriptors.read(body, META + "PartialObjectMetadata"))
    assert (type_, found["metadata"]["name"], found["metadata"]["labels"]) == ("ADDED", "d", {"made": "v2"})


async def test_a_watch_by_a_label_of_the_webhook(api: Client) -> None:
    """An object that leaves the selector is deleted with its last metadata at the revision of the change."""
    since = (await api.create(THINGS, thing("d", color="red")))["metadata"]["resourceVersion"]
    await api.patch(THINGS, "d", {"spec": {"color": "blue"}}, namespace="default")
    await api.delete(THINGS, "d", namespace="default")
    watch = f"{TWO}?watch=1&timeoutSeconds=1&labelSelector=made%3Dv2&resourceVersion={since}"
    watched = [event(message) for message in messages((await ask(api, "GET", watch, accept=PARTIAL)).body)]
    assert [type_ for type_, _ in watched] == ["MODIFIED", "DELETED"]
    for _, body in watched:
        assert without_zeros(descriptors.read(body, META + "PartialObjectMetadata"))["metadata"]["labels"] == {"made": "v2"}
