"""What a webhook's answer cannot do: move the object elsewhere, make it another, or cost more than an answer is worth."""

import asyncio
import base64

import orjson
import pytest

from kapi import limits
from kapi.apiserver.assembly import Server
from kapi.client.client import Client
from kapi.objects import errors
from kapi.objects.meta import Object
from kapi.objects.resource import CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES
from tests.api import customs
from tests.api.asking import MAPS, ask, config_map
from tests.api.test_webhooks import MUTATING, ON_MAPS, VALIDATING, register, webhook
from tests.api.webhook import Webhook, add, http, patching

APPLY = {"content_type": "application/apply-patch+yaml"}
INTERNAL = "Internal error occurred: "
SCHEME = 'in scheme "pkg/api/legacyscheme/scheme.go:30"'


async def patched(client: Client, hook: Webhook, *operations: Object, rules: Object = ON_MAPS) -> None:
    """From now on these operations are made on every ConfigMap (or what `rules` say)."""
    hook.answers["/m"] = patching(*operations)
    await register(client, MUTATING, webhook("m", hook.client("/m"), rules=[rules]))


def replace(path: str, value: object) -> Object:
    return {"op": "replace", "path": path, "value": value}


# another object -------------------------------------------------------------------------------------------------------------------------

MOVED = (400, "BadRequest", "the namespace of the provided object does not match the namespace sent on the request")


async def test_the_namespace_stays(client: Client, hook: Webhook) -> None:
    await client.create(CONFIG_MAPS, config_map("there"))
    await client.create(NAMESPACES, {"metadata": {"name": "other"}})
    await patched(client, hook, add("/metadata/namespace", "other"))
    assert (await ask(client, "POST", MAPS, config_map("a"))).said == MOVED
    assert (await ask(client, "PUT", f"{MAPS}/there", config_map("there"))).said == MOVED
    assert (await ask(client, "PATCH", f"{MAPS}/there", {"data": {}}, content_type="application/merge-patch+json")).said == MOVED
    assert (await ask(client, "PATCH", f"{MAPS}/new?fieldManager=m", config_map("new"), **APPLY)).said == MOVED
    for namespace, names in (("default", ["there"]), ("other", [])):
        found = await client.list(CONFIG_MAPS, namespace)
        assert [item["metadata"]["name"] for item in found["items"]] == names


async def test_a_namespace_that_was_taken_away_is_put_back(client: Client, hook: Webhook) -> None:
    await patched(client, hook, {"op": "remove", "path": "/metadata/namespace"})
    made = await ask(client, "POST", MAPS, config_map("a"))
    assert (made.code, made.json["metadata"]["namespace"]) == (201, "default")


async def test_what_is_in_no_namespace_gets_none(client: Client, hook: Webhook) -> None:
    rules = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["persistentvolumes"]}
    await patched(client, hook, add("/metadata/namespace", "default"), rules=rules)
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
    made = await ask(client, "POST", "/api/v1/persistentvolumes", {"metadata": {"name": "v"}, "spec": spec})
    assert made.code == 201
    assert "namespace" not in made.json["metadata"]


async def test_the_name_on_the_url_stays(client: Client, hook: Webhook) -> None:
    await client.create(CONFIG_MAPS, config_map("there"))
    await patched(client, hook, replace("/metadata/name", "b"))
    changed = await ask(client, "PUT", f"{MAPS}/there", config_map("there"))
    assert changed.said[:2] == (422, "Invalid")
    assert 'metadata.name: Invalid value: "b": field is immutable' in changed.json["message"]
    applied = await ask(client, "PATCH", f"{MAPS}/a?fieldManager=m", config_map("a"), **APPLY)
    assert applied.said == (400, "BadRequest", "the name of the object (b) does not match the name on the URL (a)")
    posted = await ask(client, "POST", MAPS, config_map("a"))  # no URL says what its name is
    assert (posted.code, posted.json["metadata"]["name"]) == (201, "b")


async def test_uid_and_times_are_the_servers(client: Client, hook: Webhook) -> None:
    there = await client.create(CONFIG_MAPS, config_map("there"))
    await patched(client, hook, add("/metadata/uid", "mine"), add("/metadata/creationTimestamp", "2001-01-01T00:00:00Z"))
    made = await ask(client, "POST", MAPS, config_map("a"))
    assert made.code == 201
    assert made.json["metadata"]["uid"] != "mine"
    assert made.json["metadata"]["creationTimestamp"] > "2001-01-01T00:00:00Z"
    changed = await ask(client, "PUT", f"{MAPS}/there", config_map("there"))
    assert changed.said[:2] == (422, "Invalid")
    assert 'metadata.uid: Invalid value: "mine": field is immutable' in changed.json["message"]
    assert (await client.get(CONFIG_MAPS, "there", "default")) == there


async def test_another_resource_version_is_a_conflict(client: Client, hook: Webhook) -> None:
    await client.create(CONFIG_MAPS, config_map("there"))
    await patched(client, hook, add("/metadata/resourceVersion", "1"))
    changed = await ask(client, "PUT", f"{MAPS}/there", config_map("there", {"k": "v"}))
    assert changed.said[:2] == (409, "Conflict")
    assert "the object has been modified" in changed.json["message"]
    made = await ask(client, "POST", MAPS, config_map("a"))
    assert made.said == (500, "", "resourceVersion should not be set on objects to be created")


@pytest.mark.parametrize(
    ("operations", "said"),
    [
        ([replace("/kind", "Secret")], (500, "", "converting (v1.Secret) to (core.ConfigMap): unknown conversion")),
        (
            [replace("/kind", "Deployment"), replace("/apiVersion", "apps/v1")],
            (500, "", "converting (v1.Deployment) to (core.ConfigMap): unknown conversion"),
        ),
        (
            [replace("/kind", "Nonsense")],
            (500, "InternalError", f'{INTERNAL}no kind "Nonsense" is registered for version "v1" {SCHEME}'),
        ),
        (
            [{"op": "remove", "path": "/metadata"}],
            (422, "Invalid", 'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required'),
        ),
    ],
)
async def test_the_kind_stays(client: Client, hook: Webhook, operations: list[Object], said: tuple[int, str, str]) -> None:
    await patched(client, hook, *operations)
    assert (await ask(client, "POST", MAPS, config_map("a"))).said == said
    assert (await client.list(CONFIG_MAPS, "default"))["items"] == []


async def test_the_kind_of_a_custom_object_stays(server: Server, client: Client, hook: Webhook) -> None:
    controller = asyncio.create_task(server.crds.run())
    await customs.define(client, customs.definition())
    rules = {"operations": ["*"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["things"]}
    await patched(client, hook, replace("/kind", "Other"), replace("/apiVersion", "example.com/v2"), rules=rules)
    made = await ask(client, "POST", "/apis/example.com/v1/namespaces/default/things", customs.thing(size=1))
    assert made.said[:2] == (422, "Invalid")
    assert 'kind: Invalid value: "Other": must be Thing' in made.json["message"]
    assert 'apiVersion: Invalid value: "example.com/v2": must be example.com/v1' in made.json["message"]
    controller.cancel()


# what it may cost -----------------------------------------------------------------------------------------------------------------------

CALL = f'{INTERNAL}failed calling webhook "v.example.com": failed to call webhook: '


def _review(**response: object) -> bytes:
    return http(200, orjson.dumps({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response}))


HEADS = b"".join(b"X-%d: %s\r\n" % (i, b"x" * 4000) for i in range(300))
DEAR = [
    (b"HTTP/1.1 200 OK\r\n" + HEADS + b"\r\n", f"server response headers exceeded {limits.PEER_HEAD_BYTES} bytes; aborted"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 21), f"server response headers exceeded {limits.PEER_HEAD_BYTES} bytes; aborted"),
    (b"HTTP/1.1 100 Continue\r\n\r\n" * 50_000, f"server response headers exceeded {limits.PEER_HEAD_BYTES} bytes; aborted"),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + HEADS + b"\r\n",
        f"server response headers exceeded {limits.PEER_HEAD_BYTES} bytes; aborted",
    ),
    (http(200, b" " * (limits.WEBHOOK_ANSWER_BYTES + 1)), "http: response body too large"),
    (http(200, b"[" + b"{}," * limits.WEBHOOK_ANSWER_VALUES + b"{}]"), f"JSON of more than {limits.WEBHOOK_ANSWER_VALUES} values"),
]


@pytest.mark.parametrize(("raw", "why"), DEAR, ids=["heads", "one head", "1xx", "trailers", "body", "values"])
async def test_an_answer_that_costs_too_much_is_none(client: Client, hook: Webhook, raw: bytes, why: str) -> None:
    hook.raw["/v"] = raw
    await register(client, VALIDATING, webhook("v", hook.client("/v")))
    said = (await ask(client, "POST", MAPS, config_map("a"))).said
    assert said[:2] == (500, "InternalError")
    assert said[2].startswith(CALL)
    assert said[2].endswith(why)
    await client.delete(VALIDATING, "test")
    await register(client, VALIDATING, webhook("v", hook.client("/v"), failurePolicy="Ignore"))
    assert (await ask(client, "POST", MAPS, config_map("a"))).code == 201


async def test_answers_together_are_bounded_and_give_back_what_they_took(client: Client, hook: Webhook) -> None:
    """Five webhooks answer at once, each nearly as much as it may: for the last there is nothing left."""
    all_at_once = asyncio.Barrier(5)

    async def much(request: Object) -> Object:
        await all_at_once.wait()
        return {"allowed": True, "warnings": ["x" * (limits.WEBHOOK_ANSWER_BYTES - 1000)]}

    hook.answers["/v"] = much
    hooks = [webhook(f"v{i}", {**hook.client("/v"), "url": hook.client("/v")["url"]}) for i in range(5)]
    await register(client, VALIDATING, *hooks)
    said = (await ask(client, "POST", MAPS, config_map("a"))).said
    assert said[2].endswith("http: response body too large")
    await client.delete(VALIDATING, "test")
    await register(client, VALIDATING, hooks[0])
    all_at_once = asyncio.Barrier(1)
    assert (await ask(client, "POST", MAPS, config_map("a"))).code == 201


async def test_a_patch_of_too_many_values(client: Client, hook: Webhook) -> None:
    patch = base64.b64encode(b"[" + b"{}," * limits.WEBHOOK_ANSWER_VALUES + b"{}]").decode()
    hook.answers["/m"] = lambda request: {"allowed": True, "patchType": "JSONPatch", "patch": patch}
    await register(client, MUTATING, webhook("m", hook.client("/m")))
    said = (await ask(client, "POST", MAPS, config_map("a"))).said
    assert said[2].endswith(f"received undecodable patch in webhook response: JSON of more than {limits.WEBHOOK_ANSWER_VALUES} values")


async def test_an_answer_may_begin_with_100_continue(client: Client, hook: Webhook) -> None:
    hook.raw["/v"] = b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" + _review(uid="x")
    await register(client, VALIDATING, webhook("v", hook.client("/v")))
    assert 'got "x"' in (await ask(client, "POST", MAPS, config_map("a"))).said[2], "the second answer is the one that counts"


async def test_long_texts_are_cut(client: Client, hook: Webhook) -> None:
    hook.answers["/v"] = lambda request: {"allowed": False, "status": {"message": "x" * 1_000_000, "code": 999}}
    await register(client, VALIDATING, webhook("v", hook.client("/v")))
    code, _, text = (await ask(client, "POST", MAPS, config_map("a"))).said
    assert code == 500
    assert len(text) < limits.PEER_TEXT_BYTES + 100


# where it is ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client_config", "why"),
    [
        ({"caBundle": base64.b64encode(b"no PEM").decode()}, "unable to load root certificates: unable to parse bytes as PEM block"),
        ({"caBundle": base64.b64encode(b"\xff\xfe").decode()}, "unable to load root certificates: unable to parse bytes as PEM block"),
        ({"url": "https://127.0.0.1:99999/"}, "dial tcp: address 99999: invalid port"),
    ],
)
async def test_what_no_client_can_be_made_of(client: Client, hook: Webhook, client_config: Object, why: str) -> None:
    await register(client, VALIDATING, webhook("v", {**hook.client("/v"), **client_config}))
    said = (await ask(client, "POST", MAPS, config_map("a"))).said
    assert said[2] == f'{INTERNAL}failed calling webhook "v.example.com": could not get REST client: {why}'


@pytest.mark.parametrize("host", ["x" * 70 + ".example", "ü" * 70])
async def test_a_host_that_cannot_be(client: Client, hook: Webhook, host: str) -> None:
    await register(client, VALIDATING, webhook("v", {"url": f"https://{host}/"}))
    assert (await ask(client, "POST", MAPS, config_map("a"))).said[2].endswith("no such host")


async def test_paths_are_sent_as_go_sends_them(client: Client, hook: Webhook) -> None:
    hook.raw["/a%20b%C3%BC/c"] = http(503, b"")
    await register(client, VALIDATING, webhook("v", {**hook.client(""), "url": hook.client("/a b%C3%BC//x/../c/")["url"]}))
    assert "currently unable" in (await ask(client, "POST", MAPS, config_map("a"))).said[2]


@pytest.mark.parametrize("bad", ["\x00", "\t", "\r\n", "\x7f", "%zz", " "])
async def test_urls_are_read_as_go_reads_them(client: Client, bad: str) -> None:
    with pytest.raises(errors.Invalid) as refused:
        await register(client, VALIDATING, webhook("v", {"url": f"https://h{bad}/"}))
    assert refused.value.details
    (cause,) = refused.value.details["causes"]
    assert cause["reason"] == "FieldValueRequired"
    assert "Required value: url must be a valid URL: parse " in cause["message"]
    if bad < " ":
        assert "net/url: invalid control character in URL; desired format: https://host[/path]" in cause["message"]
    crd = customs.definition()
    crd["spec"]["conversion"] = {
        "strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": {"url": f"https://h{bad}/"}},
    }  # fmt: skip
    with pytest.raises(errors.Invalid, match="url must be a valid URL: parse"):
        await client.create(CUSTOM_RESOURCE_DEFINITIONS, crd)
