"""Custom resources in versions that a webhook converts: everything a client can do, in either version."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import aclosing
from copy import deepcopy
from typing import Any

import orjson
import pytest
import yaml

from kapi import limits
from kapi.apiserver.assembly import Server
from kapi.client.client import Client
from kapi.objects.meta import Object
from kapi.objects.resource import CUSTOM_RESOURCE_DEFINITIONS as CRDS
from tests.api.asking import PARTIAL, TABLE, ask
from tests.api.converted import (
    ONE,
    SECOND,
    TWO,
    V1,
    V2,
    answering,
    convert,
    converting,
    new_version,
    old_version,
    reviews,
    second,
    served,
    stored,
)
from tests.api.customs import THINGS, controlled, define, definition, refusal, thing, turn_of_schema, until
from tests.api.test_watches import watched
from tests.api.webhook import Webhook

APPLY = {"content_type": "application/apply-patch+yaml"}
MERGE = {"content_type": "application/merge-patch+json"}


@pytest.fixture
async def api(server: Server, client: Client) -> AsyncIterator[Client]:
    """A client of a server that looks after its definitions."""
    async with controlled(server):
        yield client


async def test_what_a_webhook_is_asked(api: Client, hook: Webhook) -> None:
    await served(api, hook)
    made = await api.create(THINGS, thing(color="red"))
    assert hook.asked == []
    assert (await api.get(SECOND, "t", "default"))["spec"] == {"shade": "red", "count": 1}
    (target, review), = hook.asked
    assert target == "/convert?timeout=30s"
    assert (review["kind"], review["apiVersion"]) == ("ConversionReview", "apiextensions.k8s.io/v1")
    assert review["request"]["desiredAPIVersion"] == V2
    assert review["request"]["objects"] == [made]
    assert review["response"] == {"uid": "", "convertedObjects": None, "result": {"metadata": {}}}


async def test_the_older_review(api: Client, hook: Webhook) -> None:
    await served(api, hook, reviews=("v0", "v1beta1", "v1"))
    await api.create(THINGS, thing(color="red"))
    assert (await api.get(SECOND, "t", "default"))["spec"]["shade"] == "red"
    assert hook.asked[0][1]["apiVersion"] == "apiextensions.k8s.io/v1beta1"


async def test_reading_in_both_versions(api: Client, hook: Webhook) -> None:
    await served(api, hook)
    for name in "ab":
        await api.create(THINGS, thing(name, color=name))
    got = await ask(api, "GET", f"{TWO}/a")
    assert (got.json["apiVersion"], got.json["spec"]) == (V2, {"shade": "a", "count": 1})
    hook.asked.clear()
    listed = (await ask(api, "GET", TWO)).json
    assert (listed["kind"], listed["apiVersion"]) == ("ThingList", V2)
    assert [(item["apiVersion"], item["spec"]["shade"]) for item in listed["items"]] == [(V2, "a"), (V2, "b")]
    assert reviews(hook) == [(V2, ["a", "b"])]
    table = (await ask(api, "GET", TWO, accept=TABLE)).json
    assert [row["cells"][0] for row in table["rows"]] == ["a", "b"]
    partial = (await ask(api, "GET", TWO, accept=PARTIAL)).json
    assert [item["metadata"]["name"] for item in partial["items"]] == ["a", "b"]
    text = (await ask(api, "GET", TWO, accept="application/yaml")).body.decode()
    assert "shade: a" in text
    hook.asked.clear()
    assert [item["spec"]["color"] for item in (await ask(api, "GET", ONE)).json["items"]] == ["a", "b"]
    assert hook.asked == []


async def test_writing_in_the_version_that_is_not_stored(server: Server, api: Client, hook: Webhook) -> None:
    await served(api, hook)
    made = await ask(api, "POST", TWO, second(shade="red"))
    assert (made.code, made.json["apiVersion"], made.json["spec"]) == (201, V2, {"shade": "red", "count": 1})
    assert (stored(server)["apiVersion"], stored(server)["spec"]) == (V1, {"color": "red", "size": 1})
    assert reviews(hook) == [(V1, ["t"]), (V2, ["t"])]
    body = {**made.json, "spec": {"shade": "blue", "count": 3}}
    put = await ask(api, "PUT", f"{TWO}/t", body)
    assert (put.code, put.json["spec"], put.json["metadata"]["generation"]) == (200, {"shade": "blue", "count": 3}, 2)
    patched = await ask(api, "PATCH", f"{TWO}/t", {"spec": {"count": 4}}, **MERGE)
    assert (patched.code, patched.json["spec"]) == (200, {"shade": "blue", "count": 4})
    assert (await api.get(THINGS, "t", "default"))["spec"] == {"color": "blue", "size": 4}
    nothing = await ask(api, "PATCH", f"{TWO}/t", {"spec": {"count": 4}}, **MERGE)
    assert nothing.json["metadata"]["resourceVersion"] == patched.json["metadata"]["resourceVersion"]


async def test_each_version_has_its_rules(api: Client, hook: Webhook) -> None:
    await served(api, hook)
    refused = await ask(api, "POST", TWO, second(count=-1))
    assert (refused.code, "spec.count in body should be greater than or equal to 0" in refused.json["message"]) == (422, True)
    assert hook.asked == []
    warned = await ask(api, "POST", TWO, second(color="red"))
    assert (warned.code, warned.headers["warning"]) == (201, '299 - "unknown field \\"spec.color\\""')


async def test_subresources(server: Server, api: Client, hook: Webhook) -> None:
    await served(api, hook)
    await api.create(THINGS, thing(color="red", size=2))
    status = await ask(api, "PATCH", f"{TWO}/t/status", {"status": {"size": 2}}, **MERGE)
    assert (status.code, status.json["apiVersion"], status.json["status"]) == (200, V2, {"size": 2})
    for path in (ONE, TWO):
        assert (await ask(api, "GET", f"{path}/t/scale")).json["spec"] == {"replicas": 2}
    scaled = await ask(api, "PATCH", f"{TWO}/t/scale", {"spec": {"replicas": 5}}, **MERGE)
    assert (scaled.code, scaled.json["spec"]) == (200, {"replicas": 5})
    assert stored(server)["spec"]["size"] == 5
    assert (await ask(api, "GET", f"{TWO}/t/status")).json["spec"]["count"] == 5


async def test_deleting(server: Server, api: Client, hook: Webhook) -> None:
    await served(api, hook)
    await api.create(THINGS, thing("a", ["example.com/f"], color="red"))
    await api.create(THINGS, thing("b", color="red"))
    kept = await ask(api, "DELETE", f"{TWO}/a")
    assert (kept.code, kept.json["apiVersion"], kept.json["spec"]["shade"]) == (200, V2, "red")
    gone = await ask(api, "PATCH", f"{TWO}/a", {"metadata": {"finalizers": None}}, **MERGE)
    assert (gone.code, gone.json["spec"]["shade"]) == (200, "red")
    all_ = await ask(api, "DELETE", TWO)
    assert [(item["apiVersion"], item["metadata"]["name"]) for item in all_.json["items"]] == [(V2, "b")]
    assert server.app.rest.store.count("/example.com/things/") == 0


async def test_a_dry_run(server: Server, api: Client, hook: Webhook) -> None:
    await served(api, hook)
    made = await ask(api, "POST", f"{TWO}?dryRun=All", second(shade="red"))
    assert (made.code, made.json["apiVersion"], made.json["spec"]) == (201, V2, {"shade": "red", "count": 1})
    await api.create(THINGS, thing(color="red"))
    put = await ask(api, "PATCH", f"{TWO}/t?dryRun=All", {"spec": {"shade": "blue"}}, **MERGE)
    assert put.json["spec"]["shade"] == "blue"
    assert stored(server)["spec"]["color"] == "red"
    assert (await ask(api, "DELETE", f"{TWO}/t?dryRun=All")).code == 200
    hook.answers["/convert"] = answering(lambda obj, wanted: {**convert(obj, wanted), "kind": "Other"})
    assert (await ask(api, "POST", f"{TWO}?dryRun=All", second("b"))).code == 500


async def test_a_watch(api: Client, hook: Webhook) -> None:
    await served(api, hook)
    since = (await api.create(THINGS, thing("a", color="red")))["metadata"]["resourceVersion"]
    async with watched(api, SECOND, version="0", bookmarks=False) as one, watched(api, SECOND, version=since, labels="mark=yes") as marked:
        type_, obj = await one.next()
        assert (type_, obj["apiVersion"], obj["spec"]["shade"]) == ("ADDED", V2, "red")
        hook.asked.clear()
        await api.patch(THINGS, "a", {"metadata": {"labels": {"mark": "yes"}}, "spec": {"color": "blue"}}, namespace="default")
        for seen, wanted in ((one, "MODIFIED"), (marked, "ADDED")):
            type_, obj = await seen.next()
            assert (type_, obj["spec"]["shade"]) == (wanted, "blue")
        await api.patch(THINGS, "a", {"metadata": {"labels": None}}, namespace="default")
        assert [await one.brief(), await marked.brief()] == ["MODIFIED a", "DELETED a"]
        await api.delete(THINGS, "a", namespace="default")
        type_, obj = await one.next()
        assert (type_, obj["apiVersion"], obj["spec"]["shade"]) == ("DELETED", V2, "blue")
        asked = [obj["metadata"]["resourceVersion"] for _, review in hook.asked for obj in review["request"]["objects"]]
    assert len(asked) == len(set(asked)), "each state is converted once for all watchers"


async def test_a_watch_that_cannot_convert(api: Client, hook: Webhook) -> None:
    await served(api, hook)
    await api.create(THINGS, thing("a", color="red"))
    async with watched(api, SECOND, version="0", bookmarks=False) as seen:
        await seen.next()
        hook.answers["/convert"] = lambda request: {"result": {"status": "Failure", "message": "no"}}
        await api.patch(THINGS, "a", {"spec": {"color": "blue"}}, namespace="default")
        with pytest.raises(Exception, match=f"Internal error occurred: conversion webhook for {V1}, Kind=Thing failed: no"):
            await seen.next()


async def test_selecting(api: Client, hook: Webhook) -> None:
    """By the fields of the version, and by labels as the webhook leaves them."""
    old, new = old_version(selectableFields=[{"jsonPath": ".spec.color"}]), new_version(selectableFields=[{"jsonPath": ".spec.shade"}])

    def marked(obj: Object, wanted: str) -> Object:
        out = convert(obj, wanted)
        return {**out, "metadata": {**out["metadata"], "labels": {"seen": out["spec"].get("shade", "none")}}}

    hook.answers["/convert"] = answering(marked)
    await served(api, hook, old, new)
    for name in ("red", "blue", "green"):
        await api.create(THINGS, thing(name, color=name))
    assert [i["metadata"]["name"] for i in (await api.list(SECOND, fields="spec.shade=red"))["items"]] == ["red"]
    assert [i["metadata"]["name"] for i in (await api.list(SECOND, labels="seen=blue"))["items"]] == ["blue"]
    assert [i["metadata"]["name"] for i in (await api.list(SECOND, fields="metadata.name=green"))["items"]] == ["green"]
    assert await refusal(api.list(SECOND, fields="spec.color=red")) == (400, "field label not supported: spec.color")
    assert [i["metadata"]["name"] for i in (await api.list(THINGS, fields="spec.color=red"))["items"]] == ["red"]
    assert await refusal(api.list(THINGS, fields="spec.shade=red")) == (400, "field label not supported: spec.shade")
    async with watched(api, THINGS, version="0", bookmarks=False, fields="spec.color=red") as seen, watched(
        api, SECOND, version="0", bookmarks=False, fields="spec.shade=red"
    ) as second_seen:
        assert [await seen.brief(), await second_seen.brief()] == ["ADDED red"] * 2
        await api.patch(THINGS, "blue", {"spec": {"color": "red"}}, namespace="default")
        assert [await seen.brief(), await second_seen.brief()] == ["ADDED blue"] * 2
        await api.patch(THINGS, "blue", {"spec": {"color": "blue"}}, namespace="default")
        assert [await seen.brief(), await second_seen.brief()] == ["DELETED blue"] * 2
    page = await ask(api, "GET", f"{TWO}?labelSelector=seen!=blue&limit=1")
    assert [i["metadata"]["name"] for i in page.json["items"]] == ["green"]
    more = await ask(api, "GET", f"{TWO}?labelSelector=seen!=blue&limit=1&continue={page.json['metadata']['continue']}")
    assert [i["metadata"]["name"] for i in more.json["items"]] == ["red"]


async def test_an_apply_in_each_version(api: Client, hook: Webhook) -> None:
    await served(api, hook)
    first = await ask(api, "PATCH", f"{ONE}/t?fieldManager=one", thing(color="red"), **APPLY)
    assert first.code == 201
    other = await ask(api, "PATCH", f"{TWO}/t?fieldManager=two", second(count=7), **APPLY)
    assert (other.code, other.json["spec"]) == (200, {"shade": "red", "count": 7})
    owned = {entry["manager"]: entry["apiVersion"] for entry in other.json["metadata"]["managedFields"]}
    assert owned == {"one": V1, "two": V2}
    conflict = await ask(api, "PATCH", f"{TWO}/t?fieldManager=two", second(count=7, shade="blue"), **APPLY)
    assert (conflict.code, conflict.json["message"]) == (409, 'Apply failed with 1 conflict: conflict with "one": .spec.color')
    forced = await ask(api, "PATCH", f"{TWO}/t?fieldManager=two&force=true", second(count=7, shade="blue"), **APPLY)
    owned = {entry["manager"]: entry["fieldsV1"] for entry in forced.json["metadata"]["managedFields"]}
    assert owned == {"two": {"f:spec": {"f:count": {}, "f:shade": {}}}}
    again = await ask(api, "PATCH", f"{ONE}/t?fieldManager=two", thing(size=7), **APPLY)
    assert (again.code, again.json["spec"]) == (200, {"size": 7}), "what it applied in the other version is removed"


async def test_an_update_takes_fields_of_the_other_version(api: Client, hook: Webhook) -> None:
    await served(api, hook)
    await ask(api, "PATCH", f"{ONE}/t?fieldManager=one", thing(color="red", note="n"), **APPLY)
    changed = await ask(api, "PATCH", f"{TWO}/t?fieldManager=editor", {"spec": {"shade": "blue"}}, **MERGE)
    owned = {entry["manager"]: entry["fieldsV1"] for entry in changed.json["metadata"]["managedFields"]}
    assert owned == {"one": {"f:spec": {"f:note": {}}}, "editor": {"f:spec": {"f:shade": {}}}}


async def test_changing_the_stored_version(server: Server, api: Client, hook: Webhook) -> None:
    await served(api, hook)
    await api.create(THINGS, thing("a", color="red"))
    await api.patch(CRDS, "things.example.com", {"spec": {"versions": [old_version(storage=False), new_version(storage=True)]}})
    await turn_of_schema(api)
    definition = await api.get(CRDS, "things.example.com")
    assert definition["status"]["storedVersions"] == ["v1", "v2"]
    await ask(api, "POST", TWO, second("b", shade="blue"))
    assert [stored(server, name)["apiVersion"] for name in "ab"] == [V1, V2]
    hook.asked.clear()
    assert [i["spec"]["shade"] for i in (await ask(api, "GET", TWO)).json["items"]] == ["red", "blue"]
    assert reviews(hook) == [(V2, ["a"])]
    assert [i["spec"]["color"] for i in (await ask(api, "GET", ONE)).json["items"]] == ["red", "blue"]
    before = (await api.get(THINGS, "a", "default"))["metadata"]["resourceVersion"]
    after = await api.patch(THINGS, "a", {}, namespace="default")
    assert (stored(server, "a")["apiVersion"], stored(server, "a")["spec"]) == (V2, {"shade": "red", "count": 1})
    assert int(after["metadata"]["resourceVersion"]) > int(before)
    again = await api.patch(THINGS, "a", {}, namespace="default")
    assert again["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]


async def test_a_version_that_is_stored_and_no_longer_served(server: Server, api: Client, hook: Webhook) -> None:
    await served(api, hook)
    await api.create(THINGS, thing("a", color="red"))
    both = [old_version(storage=False, served=False), new_version(storage=True)]
    await api.patch(CRDS, "things.example.com", {"spec": {"versions": both}})
    await turn_of_schema(api)
    assert (await ask(api, "GET", f"{ONE}/a")).code == 404
    assert (await ask(api, "GET", f"{TWO}/a")).json["spec"]["shade"] == "red"
    versions = {"spec": {"versions": [new_version(storage=True)]}}
    code, text = await refusal(api.patch(CRDS, "things.example.com", versions))
    assert (code, "v1 was previously a storage version" in text) == (422, True)
    await api.patch(CRDS, "things.example.com", {"status": {"storedVersions": ["v2"]}}, subresource="status")
    await api.patch(CRDS, "things.example.com", versions)
    await define(api, definition(plural="more", kind="More"))
    invalid = f"request to convert CR from an invalid group/version: {V1}"
    for path in (f"{TWO}/a", TWO):
        assert (await ask(api, "GET", path)).said == (500, "", invalid)


FAILED = f"conversion webhook for {V1}, Kind=Thing"
MATRIX: dict[str, tuple[Any, str]] = {
    "failure": (lambda request: {"result": {"status": "Failed", "message": "not today"}}, f"{FAILED} failed: not today"),
    "no status": (lambda request: {"convertedObjects": []}, f"{FAILED} failed: response.result.status was '', not 'Success'"),
    "wrong uid": (
        lambda request: {**answering()(request), "uid": "x"},  # type: ignore[dict-item]
        f'{FAILED} failed: expected response.uid="UID", got "x"',
    ),
    "fewer": (lambda request: {"result": {"status": "Success"}, "convertedObjects": []}, f"{FAILED} returned 0 objects, expected 1"),
    "name": (
        answering(lambda obj, wanted: {**convert(obj, wanted), "metadata": {**obj["metadata"], "name": "x"}}),
        f"{FAILED} returned invalid object: must have the same name: t != x",
    ),
    "namespace": (
        answering(lambda obj, wanted: {**convert(obj, wanted), "metadata": {**obj["metadata"], "namespace": ""}}),
        f"{FAILED} returned invalid object: must have the same namespace: default != ",
    ),
    "other uid": (
        answering(lambda obj, wanted: {**convert(obj, wanted), "metadata": {**obj["metadata"], "uid": "x"}}),
        f"{FAILED} returned invalid object: must have the same UID: MINE != x",
    ),
    "version": (
        answering(lambda obj, wanted: {**obj}),
        f"{FAILED} returned invalid object at index 0: invalid groupVersion (expected {V2}, received {V1})",
    ),
    "kind": (
        answering(lambda obj, wanted: {**convert(obj, wanted), "kind": "Other"}),
        f"{FAILED} returned invalid object at index 0: invalid kind (expected Thing, received Other)",
    ),
    "no metadata": (
        answering(lambda obj, wanted: {key: value for key, value in convert(obj, wanted).items() if key != "metadata"}),
        f"{FAILED} returned invalid object: must have the same name: t != ",
    ),
    "labels": (
        answering(lambda obj, wanted: {**convert(obj, wanted), "metadata": {**obj["metadata"], "labels": {"a": 1}}}),
        f"{FAILED} returned invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object",
    ),
    "bad label": (
        answering(lambda obj, wanted: {**convert(obj, wanted), "metadata": {**obj["metadata"], "labels": {"a": "!"}}}),
        f'{FAILED} returned invalid metadata: metadata.labels: Invalid value: "!": a valid label must be',
    ),
}


@pytest.mark.parametrize("case", MATRIX)
async def test_answers_that_are_refused(api: Client, hook: Webhook, case: str) -> None:
    answer, expected = MATRIX[case]
    await served(api, hook)
    made = await api.create(THINGS, thing(color="red"))
    hook.answers["/convert"] = answer
    for path in (f"{TWO}/t", TWO):
        code, reason, message = (await ask(api, "GET", path)).said
        uid = hook.asked[-1][1]["request"]["uid"]
        assert (code, reason) == (500, "")
        assert message.startswith(expected.replace("UID,", f"{uid},").replace('"UID"', f'"{uid}"').replace("MINE", made["metadata"]["uid"]))


async def test_metadata_is_put_back(api: Client, hook: Webhook) -> None:
    def change(obj: Object, wanted: str) -> Object:
        meta = {**obj["metadata"], "labels": {"new": "1"}, "annotations": None, "finalizers": ["a/b"], "generation": 99}
        return {**convert(obj, wanted), "metadata": meta}

    hook.answers["/convert"] = answering(change)
    await served(api, hook)
    made = await api.create(THINGS, thing(color="red"))
    got = (await api.get(SECOND, "t", "default"))["metadata"]
    assert got == {**made["metadata"], "labels": {"new": "1"}}



async def test_a_certificate_authority_that_is_none(api: Client, hook: Webhook) -> None:
    """A definition waits for one; what is established keeps a good one."""
    wanted = converting(hook)
    client = wanted["spec"]["conversion"]["webhook"]["clientConfig"]
    good, client["caBundle"] = client["caBundle"], "Cg=="
    await api.create(CRDS, wanted)
    told = await until(api, "things.example.com", "Established", "False", "InvalidCABundle")
    assert told["message"] == "The conversion webhook CABundle is invalid"
    mended = {"spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": good}}}}}
    await api.patch(CRDS, "things.example.com", mended)
    await until(api, "things.example.com", "Established")
    mended["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"] = "Cg=="
    assert await refusal(api.patch(CRDS, "things.example.com", mended)) == (
        422, 'CustomResourceDefinition.apiextensions.k8s.io "things.example.com" is invalid: spec.conversion.webhookClientConfig.caBundle: '
        "Invalid value: []byte{0xa}: unable to load root certificates: unable to parse bytes as PEM block",
    )  # fmt: skip


async def test_objects_of_another_schema(api: Client, hook: Webhook) -> None:
    """They are read again by the schema of the version they are in; no default of the other version is filled in."""
    await served(api, hook)
    await api.create(THINGS, thing("old", color="red"))
    colored, shaded = deepcopy(old_version()), deepcopy(new_version())
    properties = colored["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    other = shaded["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    properties["note"]["default"] = "n"
    other["more"] = {"type": "string", "default": "m"}
    await api.patch(CRDS, "things.example.com", {"spec": {"versions": [colored, shaded]}})
    await turn_of_schema(api)
    assert (await api.get(THINGS, "old", "default"))["spec"] == {"color": "red", "size": 1, "note": "n"}
    for _ in range(2):
        assert (await api.get(SECOND, "old", "default"))["spec"] == {"shade": "red", "count": 1, "note": "n"}
        assert (await ask(api, "GET", f"{TWO}?labelSelector=!x")).json["items"][0]["spec"] == {"shade": "red", "count": 1, "note": "n"}
    hook.asked.clear()
    await ask(api, "GET", TWO)
    assert hook.asked[0][1]["request"]["objects"][0]["spec"]["note"] == "n"
    assert (await ask(api, "GET", ONE)).json["items"][0]["spec"]["note"] == "n"
    async with watched(api, SECOND, version="0", bookmarks=False) as seen:
        assert (await seen.next())[1]["spec"]["note"] == "n"


@pytest.mark.slow
async def test_a_watch_ends_in_time(api: Client, hook: Webhook) -> None:
    """Also while a webhook is asked that does not answer."""
    await served(api, hook)
    since = (await api.create(THINGS, thing("a", color="red")))["metadata"]["resourceVersion"]
    asked, never = asyncio.Event(), asyncio.Event()

    async def wait(request: Object) -> Object:
        asked.set()
        await never.wait()
        return {}

    hook.answers["/convert"] = wait
    await api.patch(THINGS, "a", {"spec": {"color": "blue"}}, namespace="default")
    async with asyncio.timeout(10):
        stream = await api.stream("GET", TWO, watch=True, resourceVersion=since, timeoutSeconds=1)
        assert [chunk async for chunk in stream if chunk] == []
    assert asked.is_set()
    never.set()


@pytest.fixture
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists are long from a few objects on."""
    monkeypatch.setattr(limits, "CONVERSION_BATCH_BYTES", 2000)
    monkeypatch.setattr(limits, "CONVERSION_LIST_BYTES", 4000)


@pytest.mark.usefixtures("few_at_a_time")
async def test_a_list_that_begins_before_its_end_is_converted(api: Client, hook: Webhook) -> None:
    await served(api, hook)
    for i in range(30):
        await api.create(THINGS, thing(f"t{i:02}", color=f"c{i}"))
    wanted = [f"c{i}" for i in range(30)]
    assert [i["spec"]["shade"] for i in (await ask(api, "GET", TWO)).json["items"]] == wanted
    assert len(reviews(hook)) > 5
    assert [i["spec"]["shade"] for i in (await ask(api, "GET", f"{TWO}?pretty=true")).json["items"]] == wanted
    text = (await ask(api, "GET", TWO, accept="application/yaml")).body
    assert [i["spec"]["shade"] for i in yaml.safe_load(text)["items"]] == wanted
    packed = await ask(api, "GET", TWO, accept_encoding="gzip")
    body = gzip.decompress(packed.body) if packed.headers.get("content-encoding") == "gzip" else packed.body
    assert [i["spec"]["shade"] for i in orjson.loads(body)["items"]] == wanted
    assert [row["cells"][0] for row in (await ask(api, "GET", TWO, accept=TABLE)).json["rows"]] == [f"t{i:02}" for i in range(30)]
    found = await ask(api, "GET", f"{TWO}?labelSelector=!x")
    assert [i["spec"]["shade"] for i in found.json["items"]] == wanted


@pytest.mark.usefixtures("few_at_a_time")
async def test_a_list_that_fails(api: Client, hook: Webhook) -> None:
    """At its beginning it is an error; later on the answer is cut off, and never looks whole."""
    await served(api, hook)
    for i in range(30):
        await api.create(THINGS, thing(f"t{i:02}", color=f"c{i}"))
    bad = "t01"
    hook.answers["/convert"] = answering(lambda obj, wanted: obj if obj["metadata"]["name"] == bad else convert(obj, wanted))
    assert (await ask(api, "GET", TWO)).code == 500
    bad = "t25"
    cut = await ask(api, "GET", TWO)
    with pytest.raises(ValueError, match="unexpected end of data"):
        orjson.loads(cut.body)


async def test_a_definition_ends_without_its_webhook(server: Server, api: Client, hook: Webhook) -> None:
    await served(api, hook)
    await api.create(THINGS, thing("a", color="red"))
    await api.patch(CRDS, "things.example.com", {"spec": {"versions": [old_version(storage=False), new_version(storage=True)]}})
    await turn_of_schema(api)
    hook.answers["/convert"] = lambda request: {"result": {"status": "Failure"}}
    await api.delete(CRDS, "things.example.com")
    async with asyncio.timeout(5), aclosing(api.watch(CRDS, version="0", fields="metadata.name=things.example.com")) as events:  # type: ignore[type-var]
        async for kind, _ in events:
            if kind == "DELETED":
                break
    assert server.app.rest.store.count("/example.com/things/") == 0


async def test_nothing_is_created_after_the_end_of_a_definition(server: Server, api: Client, hook: Webhook) -> None:
    """Though the request came before, and waited for the webhook meanwhile."""
    await served(api, hook)
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: Object) -> Object:
        asked.set()
        await go_on.wait()
        return answering()(request)  # type: ignore[return-value]

    hook.answers["/convert"] = slow
    late = asyncio.create_task(ask(api, "POST", TWO, second("late", shade="red")))
    await asked.wait()
    async with asyncio.timeout(5), aclosing(api.watch(CRDS, version="0", fields="metadata.name=things.example.com")) as events:  # type: ignore[type-var]
        assert (await anext(events))[0] == "ADDED"
        await api.patch(CRDS, "things.example.com", {"spec": {"versions": [old_version(), new_version(deprecated=True)]}})
        await api.delete(CRDS, "things.example.com")
        async for kind, _ in events:
            if kind == "DELETED":
                break
    go_on.set()
    assert (await late).said == (405, "MethodNotAllowed", "create not allowed while custom resource definition is terminating")
    assert server.app.rest.store.count("/example.com/things/") == 0
