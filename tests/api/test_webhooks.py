"""Admission webhooks: an API server that calls real HTTPS servers, and what its clients are told."""

import asyncio
from typing import Any

import orjson
import pytest

from kapi.api.app import App
from kapi.client.client import Client
from kapi.objects import errors
from kapi.objects.meta import Object
from kapi.objects.resource import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, SERVICES, Resource
from kapi.registry import encoding
from tests.api.asking import MAPS, ask, config_map, deployment
from tests.api.webhook import Webhook, add, allow, deny, http, patching

GROUP = "admissionregistration.k8s.io"
MUTATING = Resource(GROUP, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False)
VALIDATING = Resource(GROUP, "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False)
ON_MAPS: Object = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}


def webhook(name: str, client: Object, **more: Any) -> Object:
    fixed = {"name": f"{name}.example.com", "clientConfig": client, "sideEffects": "None", "admissionReviewVersions": ["v1"]}
    return {**fixed, "rules": [ON_MAPS], **more}


async def register(client: Client, kind: Resource, *hooks: Object, name: str = "test") -> None:
    await client.create(kind, {"metadata": {"name": name}, "webhooks": list(hooks)})


async def made(client: Client, name: str = "a", **more: Any) -> Object:
    return await client.create(CONFIG_MAPS, config_map(name, **more))


async def refused(client: Client, name: str = "a") -> errors.StatusError:
    with pytest.raises(errors.StatusError) as caught:
        await made(client, name)
    return caught.value


async def test_what_a_webhook_is_shown(client: Client, hook: Webhook) -> None:
    hook.answers["/v"] = allow
    await register(client, VALIDATING, webhook("v", hook.client("/v")))
    await made(client, "a", data={"k": "v"})
    await ask(client, "PUT", f"{MAPS}/a?fieldManager=m", config_map("a", {"k": "w"}))
    await client.delete(CONFIG_MAPS, "a", namespace="default")
    (target, create), (_, update), (_, delete) = hook.asked
    assert target == "/v?timeout=10s"
    assert (create["kind"], create["apiVersion"]) == ("AdmissionReview", "admission.k8s.io/v1")
    request = create["request"]
    version = {"group": "", "version": "v1"}
    assert request["kind"] == request["requestKind"] == {**version, "kind": "ConfigMap"}
    assert request["resource"] == request["requestResource"] == {**version, "resource": "configmaps"}
    assert (request["name"], request["namespace"], request["operation"], request["dryRun"]) == ("a", "default", "CREATE", False)
    assert request["object"]["metadata"]["uid"]
    assert request["object"]["kind"] == "ConfigMap"
    assert request["oldObject"] is None
    assert request["options"]["kind"] == "CreateOptions"
    assert request["userInfo"]["username"]
    assert update["request"]["oldObject"]["data"] == {"k": "v"}
    assert update["request"]["options"] == {"kind": "UpdateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "m"}
    assert delete["request"]["object"] is None
    assert delete["request"]["oldObject"]["data"] == {"k": "w"}
    assert hook.connections == 1, "connections are kept"


@pytest.mark.parametrize(
    ("status", "code", "reason", "message"),
    [
        ({}, 400, "", 'admission webhook "v.example.com" denied the request without explanation'),
        ({"message": "no"}, 400, "", 'admission webhook "v.example.com" denied the request: no'),
        ({"message": "x", "code": 403, "reason": "Forbidden"}, 403, "Forbidden", 'admission webhook "v.example.com" denied the request: x'),
        ({"reason": "Odd", "code": 200}, 400, "Odd", 'admission webhook "v.example.com" denied the request: Odd'),
    ],
)
async def test_a_no(client: Client, hook: Webhook, status: Object, code: int, reason: str, message: str) -> None:
    hook.answers["/v"] = deny(**status)
    await register(client, VALIDATING, webhook("v", hook.client("/v")))
    answer = await ask(client, "POST", MAPS, config_map("a"))
    assert answer.said == (code, reason, message)
    with pytest.raises(errors.NotFound):
        await client.get(CONFIG_MAPS, "a", "default")


async def test_a_no_to_one_of_a_collection(client: Client, hook: Webhook) -> None:
    for number in range(40):
        await made(client, f"m{number:02}")
    hook.answers["/v"] = lambda request: {"allowed": request["name"] != "m20", "status": {"message": "kept", "code": 409, "reason": "Held"}}
    await register(client, VALIDATING, webhook("v", hook.client("/v"), rules=[{**ON_MAPS, "operations": ["DELETE"]}]))
    answer = await ask(client, "DELETE", MAPS)
    assert answer.said == (409, "Held", 'admission webhook "v.example.com" denied the request: kept')
    left = [item["metadata"]["name"] for item in (await client.list(CONFIG_MAPS, "default"))["items"]]
    assert "m20" in left
    assert "m39" in left, "what had not been begun stays"


async def test_patches_are_applied_in_turn(client: Client, hook: Webhook) -> None:
    hook.answers["/1"] = patching(add("/data", {"one": "1"}), add("/odd", 1))
    hook.answers["/2"] = patching(add("/data/two", "2"), {"op": "replace", "path": "/data/one", "value": "11"})
    await register(client, MUTATING, webhook("one", hook.client("/1")), webhook("two", hook.client("/2")))
    assert (await made(client))["data"] == {"one": "11", "two": "2"}
    assert "uid" not in hook.asked[0][1]["request"]["object"]["metadata"]


async def test_a_patch_that_does_not_apply(client: Client, hook: Webhook) -> None:
    hook.answers["/m"] = patching(add("/metadata/labels/x", "y"))
    await register(client, MUTATING, webhook("m", hook.client("/m")))
    error = await refused(client)
    why = 'add operation does not apply: doc is missing path: "/metadata/labels/x": missing value'
    assert (error.code, error.message) == (500, f"Internal error occurred: {why}")


async def test_deletions_are_not_changed(client: Client, hook: Webhook) -> None:
    hook.answers["/m"] = patching(add("/data", {}))
    await made(client)
    await register(client, MUTATING, webhook("m", hook.client("/m")))
    with pytest.raises(errors.InternalError, match="attempted to modify the object, which is not supported for this operation"):
        await client.delete(CONFIG_MAPS, "a", namespace="default")


async def test_those_who_wish_see_later_changes(client: Client, hook: Webhook) -> None:
    hook.answers["/1"], hook.answers["/2"] = allow, patching(add("/data", {"a": "b"}))
    await register(client, MUTATING, webhook("one", hook.client("/1"), reinvocationPolicy="IfNeeded"), webhook("two", hook.client("/2")))
    await made(client)
    assert [target[:2] for target, _ in hook.asked] == ["/1", "/2", "/1"]
    assert hook.asked[2][1]["request"]["object"]["data"] == {"a": "b"}


async def test_warnings_and_dry_runs(client: Client, hook: Webhook) -> None:
    hook.answers["/v"] = lambda request: {"allowed": True, "warnings": ["careful"], "auditAnnotations": {"k": "v"}}
    await register(client, VALIDATING, webhook("v", hook.client("/v"), sideEffects="NoneOnDryRun"))
    answer = await ask(client, "POST", f"{MAPS}?dryRun=All", config_map("a"))
    assert answer.headers["warning"] == '299 - "careful"'
    assert hook.asked[0][1]["request"]["dryRun"] is True


async def test_selectors_and_rules_choose(client: Client, hook: Webhook) -> None:
    hook.answers["/v"] = deny("no")
    labels = {"matchLabels": {"watch": "yes"}}
    ours = {**ON_MAPS, "operations": ["UPDATE"]}
    await register(client, VALIDATING, webhook("o", hook.client("/v"), objectSelector=labels), name="by-object")
    await register(client, VALIDATING, webhook("n", hook.client("/v"), namespaceSelector=labels), name="by-namespace")
    await register(client, VALIDATING, webhook("u", hook.client("/v"), rules=[ours]), name="by-operation")
    await register(client, VALIDATING, webhook("c", hook.client("/v"), rules=[{**ON_MAPS, "scope": "Cluster"}]), name="by-scope")
    await made(client)
    assert hook.asked == []
    labelled = config_map("b", labels={"watch": "yes"})
    assert 'webhook "o.example.com" denied' in (await ask(client, "POST", MAPS, labelled)).json["message"]
    await client.patch(NAMESPACES, "default", {"metadata": {"labels": {"watch": "yes"}}})
    assert 'webhook "n.example.com" denied' in (await ask(client, "POST", MAPS, config_map("c"))).json["message"]


async def test_nobody_is_asked_about_webhooks(client: Client, hook: Webhook) -> None:
    everything = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
    await register(client, VALIDATING, webhook("v", hook.client("/v"), rules=[everything]))
    await register(client, MUTATING, webhook("m", hook.client("/m"), rules=[everything]))
    await client.delete(VALIDATING, "test")
    await client.delete(MUTATING, "test")
    assert hook.asked == []


async def test_a_scale_is_seen_as_one(client: Client, hook: Webhook) -> None:
    await client.create(DEPLOYMENTS, deployment("web", 1))
    hook.answers["/m"] = patching(add("/spec/replicas", 7))
    scales = {"operations": ["UPDATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments/scale"]}
    await register(client, MUTATING, webhook("m", hook.client("/m"), rules=[scales]))
    path = "/apis/apps/v1/namespaces/default/deployments/web"
    answer = await ask(client, "PATCH", f"{path}/scale", {"spec": {"replicas": 3}}, content_type="application/merge-patch+json")
    assert answer.json["spec"] == {"replicas": 7}
    request = hook.asked[0][1]["request"]
    assert request["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert (request["resource"]["resource"], request["subResource"]) == ("deployments", "scale")
    assert (request["object"]["spec"], request["oldObject"]["spec"]) == ({"replicas": 3}, {"replicas": 1})


AUTOSCALER: Object = {
    "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h", "namespace": "default"},
    "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
}  # fmt: skip


@pytest.mark.parametrize(("policy", "asked"), [("Equivalent", 1), ("Exact", 0)])
async def test_other_versions_of_a_resource(client: Client, hook: Webhook, policy: str, asked: int) -> None:
    hook.answers["/m"] = patching(add("/spec/targetCPUUtilizationPercentage", 42))
    v1 = {"operations": ["CREATE"], "apiGroups": ["autoscaling"], "apiVersions": ["v1"], "resources": ["horizontalpodautoscalers"]}
    await register(client, MUTATING, webhook("m", hook.client("/m"), rules=[v1], matchPolicy=policy))
    answer = await ask(client, "POST", "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", AUTOSCALER)
    assert (answer.code, len(hook.asked)) == (201, asked)
    if asked:
        request = hook.asked[0][1]["request"]
        assert (request["kind"]["version"], request["requestKind"]["version"]) == ("v1", "v2")
        assert request["object"]["apiVersion"] == "autoscaling/v1"
        assert answer.json["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 42


# failures -------------------------------------------------------------------------------------------------------------------------------

SPOILT = [
    (http(500, b"broken"), 'failed to call webhook: an error on the server ("broken") has prevented the request from succeeding'),
    (http(404, b""), "failed to call webhook: the server could not find the requested resource"),
    (http(200, b"nonsense"), "failed to call webhook: couldn't get version/kind; json parse error: invalid character 'o' in literal null"),
    (
        http(200, b'{"kind":"AdmissionReview","response":{"allowed":"yes"}}'),
        "failed to call webhook: json: cannot unmarshal string into Go struct field AdmissionResponse.response.allowed of type bool",
    ),
    (
        http(200, b'{"kind":"AdmissionReview","response":{"status":{"code":"no"}}}'),
        "failed to call webhook: json: cannot unmarshal string into Go struct field Status.response.status.code of type int32",
    ),
    (http(200, b'{"kind":"AdmissionReview"}'), "received invalid webhook response: webhook response was absent"),
    (
        http(200, b'{"kind":"AdmissionReview","response":{"uid":"x"}}'),
        'received invalid webhook response: expected response.uid="UID", got "x"',
    ),
]


@pytest.mark.parametrize(("raw", "why"), SPOILT)
async def test_answers_that_are_none(client: Client, hook: Webhook, raw: bytes, why: str) -> None:
    hook.raw["/v"] = raw
    await register(client, VALIDATING, webhook("v", hook.client("/v")))
    error = await refused(client)
    uid = hook.asked[0][1]["request"]["uid"]
    expected = f'Internal error occurred: failed calling webhook "v.example.com": {why.replace("UID", uid)}'
    assert (error.code, error.reason) == (500, "InternalError")
    assert error.message.startswith(expected)
    assert error.details == {"causes": [{"message": error.message.removeprefix("Internal error occurred: ")}]}


async def test_nobody_listens(client: Client, hook: Webhook, unused_tcp_port: int) -> None:
    url = f"https://127.0.0.1:{unused_tcp_port}"
    await register(client, VALIDATING, webhook("v", {"url": url}))
    error = await refused(client)
    post = f'Post "{url}/?timeout=10s": dial tcp 127.0.0.1:{unused_tcp_port}: connect: connection refused'
    assert error.message == f'Internal error occurred: failed calling webhook "v.example.com": failed to call webhook: {post}'
    await client.delete(VALIDATING, "test")
    await register(client, VALIDATING, webhook("v", {"url": url}, failurePolicy="Ignore"))
    await made(client)


async def test_a_stranger_answers(client: Client, hook: Webhook) -> None:
    stranger = {"url": hook.client("/v")["url"]}
    await register(client, VALIDATING, webhook("v", stranger))
    assert (await refused(client)).message.endswith(": tls: failed to verify certificate: x509: certificate signed by unknown authority")


async def test_an_answer_that_does_not_come(client: Client, hook: Webhook) -> None:
    never = asyncio.Event()

    async def wait(request: Object) -> Object:
        await never.wait()
        return {"allowed": True}

    hook.answers["/v"] = wait
    await register(client, VALIDATING, webhook("v", hook.client("/v"), timeoutSeconds=1))
    error = await refused(client)
    assert error.message.endswith('/v?timeout=1s": context deadline exceeded')
    never.set()


async def test_a_webhook_behind_a_service(app: App, client: Client, hook: Webhook) -> None:
    hook.answers["/deep/path"] = deny("no")
    config = {**hook.client(""), "service": {"name": "hook", "namespace": "default", "path": "/deep/path", "port": 8443}}
    del config["url"]
    await register(client, VALIDATING, webhook("v", config))
    head = 'Internal error occurred: failed calling webhook "v.example.com": failed to call webhook: '
    post = 'Post "https://hook.default.svc:8443/deep/path?timeout=10s": '
    assert (await refused(client)).message == f'{head}{post}service "hook" not found'
    await client.create(SERVICES, {"metadata": {"name": "hook", "namespace": "default"}, "spec": {"ports": [{"port": 8443}]}})
    assert (await refused(client)).message == f'{head}{post}no endpoints available for service "hook"'
    slice_ = _slice(hook.port)
    await app.rest.store.commit("/discovery.k8s.io/endpointslices/default/hook-1", encoding.body(slice_), expect=0, labels={}, fields={})
    assert (await refused(client)).message == 'admission webhook "v.example.com" denied the request: no'


def _slice(port: int) -> Object:
    """Endpoints on this machine, which the API would refuse."""
    meta = {"name": "hook-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "hook"}}
    endpoints = [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}]
    return {"metadata": meta, "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "", "port": port}]}


async def test_connecting(client: Client, hook: Webhook) -> None:
    hook.answers["/v"] = deny("not in here")
    exec_ = {"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/exec"]}
    await register(client, VALIDATING, webhook("v", hook.client("/v"), rules=[exec_]))
    path = "/api/v1/namespaces/default/pods/p/exec?container=c&command=ls&command=-l&stdout=true"
    assert (await ask(client, "POST", path)).said == (400, "", 'admission webhook "v.example.com" denied the request: not in here')
    request = hook.asked[0][1]["request"]
    assert request["kind"] == {"group": "", "version": "v1", "kind": "PodExecOptions"}
    shown = {"kind": "PodExecOptions", "apiVersion": "v1", "container": "c", "command": ["ls", "-l"], "stdout": True}
    assert (request["object"], request["oldObject"], request["options"]) == (shown, None, None)


async def test_all_validating_webhooks_are_asked_at_once(client: Client, hook: Webhook) -> None:
    both = asyncio.Barrier(2)

    async def together(request: Object) -> Object:
        await both.wait()
        return {"allowed": True}

    hook.answers["/1"] = hook.answers["/2"] = together
    await register(client, VALIDATING, webhook("one", hook.client("/1")), webhook("two", hook.client("/2")))
    await made(client)
    assert orjson.dumps(sorted(target for target, _ in hook.asked)) == b'["/1?timeout=10s","/2?timeout=10s"]'


async def test_nothing_is_created_in_a_namespace_that_has_gone_meanwhile(client: Client, hook: Webhook, app: App) -> None:
    """Its end waits for nobody who asks a webhook."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: Object) -> Object:
        asked.set()
        await go_on.wait()
        return {"allowed": True}

    hook.answers["/v"] = slow
    await register(client, VALIDATING, webhook("v", hook.client("/v")))
    await client.create(NAMESPACES, {"metadata": {"name": "n"}})
    late = asyncio.create_task(ask(client, "POST", "/api/v1/namespaces/n/configmaps", {"metadata": {"name": "late"}}))
    await asked.wait()
    ending = await client.delete(NAMESPACES, "n")
    await ask(client, "PUT", "/api/v1/namespaces/n/finalize", {**ending, "spec": {"finalizers": []}})
    go_on.set()
    assert (await late).said == (404, "NotFound", 'namespaces "n" not found')
    assert app.rest.store.count("/core/configmaps/n/") == 0
