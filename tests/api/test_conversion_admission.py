"""Admission registered for one version of a kind, and requests on another: a webhook converts what is shown, and what was changed."""

from collections.abc import AsyncIterator

import pytest

from kapi.apiserver.assembly import Server
from kapi.client.client import Client
from kapi.objects.meta import Object
from tests.api.asking import ask
from tests.api.converted import ONE, TWO, V1, V2, answering, convert, reviews, second, served
from tests.api.customs import THINGS, controlled, thing
from tests.api.test_policies import bind, mutation, policy
from tests.api.test_webhooks import MUTATING, VALIDATING, register, webhook
from tests.api.webhook import Webhook, add, allow, patching

ON_SECOND: Object = {"operations": ["CREATE", "UPDATE"], "apiGroups": ["example.com"], "apiVersions": ["v2"], "resources": ["things"]}
MERGE = {"content_type": "application/merge-patch+json"}


@pytest.fixture
async def api(server: Server, client: Client) -> AsyncIterator[Client]:
    """A client of a server that looks after its definitions."""
    async with controlled(server):
        yield client


async def test_a_webhook_sees_and_changes_its_own_version(api: Client, hook: Webhook) -> None:
    await served(api, hook)
    hook.answers["/m"] = patching(add("/spec/shade", "green"))
    hook.answers["/v"] = allow
    await register(api, MUTATING, webhook("m", hook.client("/m"), rules=[ON_SECOND], matchPolicy="Equivalent"))
    await register(api, VALIDATING, webhook("v", hook.client("/v"), rules=[ON_SECOND], matchPolicy="Equivalent"))
    made = await ask(api, "POST", ONE, thing(color="red"))
    assert (made.code, made.json["apiVersion"], made.json["spec"]) == (201, V1, {"color": "green", "size": 1})
    seen = {target.partition("?")[0]: review["request"] for target, review in hook.asked if review["kind"] == "AdmissionReview"}
    assert (seen["/m"]["object"]["apiVersion"], seen["/m"]["object"]["spec"]["shade"]) == (V2, "red")
    assert seen["/m"]["kind"]["version"] == "v2"
    assert seen["/m"]["requestKind"]["version"] == "v1"
    assert seen["/v"]["object"]["spec"] == {"shade": "green", "count": 1}
    changed = await ask(api, "PATCH", f"{ONE}/t", {"spec": {"size": 2}}, **MERGE)
    assert changed.json["spec"] == {"color": "green", "size": 2}
    assert hook.asked[-1][1]["request"]["oldObject"]["spec"] == {"shade": "green", "count": 1}


async def test_nothing_is_converted_for_the_same_version(api: Client, hook: Webhook) -> None:
    await served(api, hook)
    hook.answers["/v"] = allow
    rule = {**ON_SECOND, "apiVersions": ["v1"]}
    await register(api, VALIDATING, webhook("v", hook.client("/v"), rules=[rule], matchPolicy="Equivalent"))
    await ask(api, "POST", ONE, thing(color="red"))
    assert reviews(hook) == []


async def test_conditions_and_policies(api: Client, hook: Webhook) -> None:
    await served(api, hook)
    rules: Object = {"resourceRules": [ON_SECOND], "matchPolicy": "Equivalent"}
    await policy(api, "object.spec.shade != 'black'", matchConstraints=rules)
    await bind(api)
    refused = await ask(api, "POST", ONE, thing(color="black"))
    assert (refused.code, "failed expression: object.spec.shade != 'black'" in refused.json["message"]) == (422, True)
    patch = '[JSONPatch{op: "add", path: "/spec/note", value: object.spec.shade}]'
    await mutation(api, patch, matchConstraints=rules)
    made = await ask(api, "POST", ONE, thing(color="red"))
    assert (made.code, made.json["spec"]) == (201, {"color": "red", "size": 1, "note": "red"})
    condition = [{"name": "blue", "expression": "object.spec.shade == 'blue'"}]
    hook.answers["/v"] = allow
    await register(
        api, VALIDATING, webhook("v", hook.client("/v"), rules=[ON_SECOND], matchPolicy="Equivalent", matchConditions=condition)
    )
    for name, color in ("a", "blue"), ("b", "white"):
        await api.create(THINGS, thing(name, color=color))
    assert [review["request"]["name"] for target, review in hook.asked if target.startswith("/v")] == ["a"]


async def test_a_conversion_that_fails(api: Client, hook: Webhook) -> None:
    await served(api, hook)
    await register(api, VALIDATING, webhook("v", hook.client("/v"), rules=[ON_SECOND], matchPolicy="Equivalent"))
    hook.answers["/convert"] = answering(lambda obj, wanted: {**convert(obj, wanted), "kind": "Other"})
    code, reason, message = (await ask(api, "POST", ONE, thing(color="red"))).said
    assert (code, reason) == (500, "InternalError")
    assert message.startswith(f"Internal error occurred: conversion webhook for {V1}, Kind=Thing returned invalid object")


async def test_scale_needs_no_conversion(api: Client, hook: Webhook) -> None:
    await served(api, hook)
    rule = {**ON_SECOND, "resources": ["things/scale"]}
    hook.answers["/m"] = patching({"op": "replace", "path": "/spec/replicas", "value": 9})
    await register(api, MUTATING, webhook("m", hook.client("/m"), rules=[rule], matchPolicy="Equivalent"))
    await ask(api, "POST", TWO, second(shade="red", count=2))
    scaled = await ask(api, "PATCH", f"{ONE}/t/scale", {"spec": {"replicas": 5}}, **MERGE)
    assert (scaled.code, scaled.json["spec"]) == (200, {"replicas": 9})
