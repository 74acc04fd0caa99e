"""Custom resources over the whole application: what their objects go through."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from kapi.apiserver.assembly import Server
from kapi.client.client import Client
from kapi.objects.meta import Object
from kapi.objects.resource import CUSTOM_RESOURCE_DEFINITIONS as CRDS
from kapi.objects.resource import Resource
from tests.api.asking import TABLE, ask
from tests.api.customs import PATH, SPEC, SUBRESOURCES, THINGS, controlled, define, definition, refusal, thing, turn_of_schema, version


@pytest.fixture
async def api(server: Server, client: Client) -> AsyncIterator[Client]:
    """A client of a server that looks after its definitions."""
    async with controlled(server):
        yield client


async def test_pruned_defaulted_and_counted(api: Client) -> None:
    await define(api, definition(version(subresources=SUBRESOURCES)))
    made = await ask(api, "POST", PATH, thing(color="red", ports=[{"p": 1, "x": 2}], more=1))
    assert made.headers["warning"] == '299 - "unknown field \\"spec.ports[0].x\\""'
    assert made.json["spec"] == {"color": "red", "ports": [{"p": 1}], "size": 1}
    assert made.json["metadata"]["generation"] == 1
    changed = await api.patch(THINGS, "t", {"spec": {"size": 2}, "status": {"size": 9}}, namespace="default")
    assert changed["metadata"]["generation"] == 2
    assert "status" not in changed
    patch = {"metadata": {"labels": {"a": "b"}}, "status": {"size": 2}}
    said = await api.patch(THINGS, "t", patch, namespace="default", subresource="status")
    assert said["status"] == {"size": 2}
    assert "labels" not in said["metadata"]
    assert said["metadata"]["generation"] == 2


async def test_a_status_with_a_default(api: Client) -> None:
    """As that of a GatewayClass: there from the beginning, though nobody may set it with the rest, and again once it is taken away."""
    kept = version(subresources={"status": {}})
    condition = {"type": "Accepted", "status": "Unknown", "lastTransitionTime": "1970-01-01T00:00:00Z"}
    kept["schema"]["openAPIV3Schema"]["properties"]["status"] = {
        "type": "object", "default": {"conditions": [condition]}, "x-kubernetes-preserve-unknown-fields": True,
    }  # fmt: skip
    await define(api, definition(kept))
    made = await api.create(THINGS, {**thing(), "status": {"mine": 1}})
    assert made["status"] == {"conditions": [condition]}
    assert all("f:status" not in entry["fieldsV1"] for entry in made["metadata"]["managedFields"])
    assert (await api.patch(THINGS, "t", {"spec": {"size": 5}}, namespace="default"))["status"] == {"conditions": [condition]}
    found = await api.patch(THINGS, "t", {"status": {"conditions": []}}, namespace="default", subresource="status")
    assert found["status"] == {"conditions": []}
    gone = await api.patch(THINGS, "t", {"status": None}, namespace="default", subresource="status")
    assert gone["status"] == {"conditions": [condition]}


async def test_strict_requests(api: Client) -> None:
    await define(api, definition())
    code, text = await refusal(api.create(THINGS, thing(b=1, a=1), fieldValidation="Strict"))
    why = 'strict decoding error: unknown field "spec.a", unknown field "spec.b"'
    assert (code, text) == (400, f'Thing in version "v1" cannot be handled as a Thing: {why}')
    twice = b'{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"name":"t"},"spec":{"size":1,"size":2}}'
    assert 'duplicate field "spec.size"' in (await ask(api, "POST", PATH + "?fieldValidation=Strict", twice)).json["message"]


async def test_objects_of_another_kind_or_version(api: Client) -> None:
    await define(api, definition())
    assert (await refusal(api.create(THINGS, {**thing(), "apiVersion": "example.com/v2"})))[1] == (
        "the API version in the data (example.com/v2) does not match the expected API version (example.com/v1)"
    )
    assert (await refusal(api.create(THINGS, {**thing(), "kind": "Other"})))[1] == (
        'Thing.example.com "t" is invalid: kind: Invalid value: "Other": must be Thing'
    )
    packed = await ask(api, "POST", PATH, b"k8s\0", content_type="application/vnd.kubernetes.protobuf")
    assert (packed.code, "does not implement the protobuf marshalling interface" in packed.json["message"]) == (400, True)
    kindless = {key: value for key, value in thing().items() if key != "kind"}
    assert "Object 'Kind' is missing in" in (await refusal(api.create(THINGS, kindless)))[1]


async def test_four_kinds_of_patches(api: Client) -> None:
    await define(api, definition())
    await api.create(THINGS, thing(color="red"))
    where = {"namespace": "default"}
    assert (await api.patch(THINGS, "t", [{"op": "add", "path": "/spec/size", "value": 5}], kind="json", **where))["spec"]["size"] == 5
    applied = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": {"ports": [{"p": 2, "name": "x"}]}}
    await api.patch(THINGS, "t", applied, kind="apply", fieldManager="one", **where)
    applied["spec"] = {"ports": [{"p": 3}]}
    both = await api.patch(THINGS, "t", applied, kind="apply", fieldManager="two", **where)
    assert both["spec"]["ports"] == [{"p": 2, "name": "x"}, {"p": 3}]
    applied["spec"] = {"nothing": 1}
    why = await refusal(api.patch(THINGS, "t", applied, kind="apply", fieldManager="a", **where))
    assert ".spec.nothing: field not declared in schema" in why[1]
    media = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    said = f"the body of the request was in an unknown format - accepted media types include: {media}"
    assert await refusal(api.patch(THINGS, "t", {}, kind="strategic", **where)) == (415, said)


async def test_scale(api: Client) -> None:
    paths = {**SUBRESOURCES["scale"], "labelSelectorPath": ".status.selector"}
    kept = version(subresources={"status": {}, "scale": paths})
    kept["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["selector"] = {"type": "string"}
    await define(api, definition(kept))
    await api.create(THINGS, thing(size=3))
    await api.patch(THINGS, "t", {"status": {"size": 2, "selector": "a=b"}}, namespace="default", subresource="status")
    found = await api.get(THINGS, "t", "default", subresource="scale")
    assert (found["spec"], found["status"]) == ({"replicas": 3}, {"replicas": 2, "selector": "a=b"})
    shown = (await ask(api, "GET", f"{PATH}/t/scale", accept=TABLE)).json
    assert [(c["type"], c["description"]) for c in shown["columnDefinitions"][1:3]] == [
        ("integer", "Number of desired replicas"), ("integer", "Number of actual replicas"),
    ]  # fmt: skip
    assert (shown["columnDefinitions"][3]["type"], shown["rows"][0]["cells"][:3]) == ("date", ["t", 3, 2])
    await api.patch(THINGS, "t", {"spec": {"replicas": 7}}, namespace="default", subresource="scale")
    assert (await api.get(THINGS, "t", "default"))["spec"]["size"] == 7


async def test_a_new_schema_holds_at_once(api: Client) -> None:
    await define(api, definition(version(spec={"type": "object", "properties": {"size": {"type": "integer"}, "old": {"type": "string"}}})))
    await api.create(THINGS, thing(size=1, old="x"))
    async with aclosing(api.watch(THINGS, version="0")) as events:  # type: ignore[type-var]
        assert [(await anext(events))[0] for _ in range(2)] == ["ADDED", "BOOKMARK"]
        new = version(spec={"type": "object", "properties": {"size": {"type": "integer"}, "new": {"type": "string", "default": "y"}}})
        await api.patch(CRDS, "things.example.com", {"spec": {"versions": [new]}})
        with pytest.raises(StopAsyncIteration):
            await anext(events)
    assert (await api.get(THINGS, "t", "default"))["spec"] == {"size": 1, "new": "y"}
    assert [item["spec"] for item in (await api.list(THINGS))["items"]] == [{"size": 1, "new": "y"}]
    await api.patch(THINGS, "t", {"spec": {"new": "z"}}, namespace="default")
    assert (await api.get(THINGS, "t", "default"))["spec"] == {"size": 1, "new": "z"}


async def test_what_did_not_change_may_stay_wrong(api: Client) -> None:
    await define(api, definition())
    await api.create(THINGS, thing(color="red", size=5))
    stricter: Object = {**SPEC, "properties": {**SPEC["properties"], "color": {"type": "string", "enum": ["blue"]}}}
    await api.patch(CRDS, "things.example.com", {"spec": {"versions": [version(spec=stricter)]}})
    await turn_of_schema(api)
    assert (await api.patch(THINGS, "t", {"spec": {"size": 6}}, namespace="default"))["spec"] == {"color": "red", "size": 6}
    assert (await refusal(api.create(THINGS, thing("u", color="red"))))[0] == 422


async def test_a_rule_that_an_unchanged_part_breaks(api: Client) -> None:
    await define(api, definition())
    await api.create(THINGS, thing(size=500))
    rule = {"rule": "self < 100", "message": "too big"}
    size = {"type": "integer", "x-kubernetes-validations": [rule]}
    ruled: Object = {"type": "object", "properties": {"size": size, "color": {"type": "string"}}}
    await api.patch(CRDS, "things.example.com", {"spec": {"versions": [version(spec=ruled)]}})
    await turn_of_schema(api)
    kept = await ask(api, "PATCH", PATH + "/t", {"spec": {"color": "red"}}, content_type="application/merge-patch+json")
    assert (kept.code, kept.headers["warning"]) == (200, '299 - "spec.size: Invalid value: 500: too big"')
    assert (await refusal(api.patch(THINGS, "t", {"spec": {"size": 600}}, namespace="default"))) == (
        422, 'Thing.example.com "t" is invalid: spec.size: Invalid value: 600: too big',
    )  # fmt: skip


async def test_versions_without_conversion(api: Client) -> None:
    narrow: Object = {"type": "object", "properties": {"size": {"type": "integer"}}}
    old = version("v1", storage=False, spec=narrow, deprecated=True)
    await define(api, definition(old, version("v2")))
    second = Resource("example.com", "v2", "things", "Thing", True)
    await api.create(second, {**thing(color="red", size=2), "apiVersion": "example.com/v2"})
    seen = await ask(api, "GET", PATH + "/t")
    assert (seen.json["apiVersion"], seen.json["spec"]) == ("example.com/v1", {"size": 2})
    assert seen.headers["warning"] == '299 - "example.com/v1 Thing is deprecated; use example.com/v2 Thing"'
    await api.patch(THINGS, "t", {"spec": {"size": 3}}, namespace="default")
    assert (await api.get(second, "t", "default"))["spec"] == {"size": 3}


async def test_columns(api: Client) -> None:
    columns = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Ports", "type": "string", "jsonPath": ".spec.ports[*].p", "priority": 1, "description": "Which."},
        {"name": "Named", "type": "string", "jsonPath": ".spec.ports[?(@.name=='x')].p"},
        {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    await define(api, definition(version(additionalPrinterColumns=columns)))
    await api.create(THINGS, thing(ports=[{"p": 1}, {"p": 2, "name": "x"}]))
    table = (await ask(api, "GET", PATH, accept=TABLE)).json
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Size", "Ports", "Named", "Since"]
    assert table["columnDefinitions"][1]["description"] == "Custom resource definition column (in JSONPath format): .spec.size"
    assert table["rows"][0]["cells"][:4] == ["t", 1, "1", "2"]
    assert table["rows"][0]["cells"][4].endswith("s")


async def test_fields_to_select_by(api: Client) -> None:
    await define(api, definition(version(selectableFields=[{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.size"}])))
    await api.create(THINGS, thing("a", color="red"))
    await api.create(THINGS, thing("b", color="blue"))
    assert [item["metadata"]["name"] for item in (await api.list(THINGS, fields="spec.color=red,spec.size=1"))["items"]] == ["a"]
    assert await refusal(api.list(THINGS, fields="spec.other=1")) == (400, "field label not supported: spec.other")


async def test_fields_of_older_objects(api: Client) -> None:
    """What can be selected by may change, and what is read of an object too."""
    await define(api, definition(version(spec={"type": "object", "properties": {"a": {"type": "string"}}})))
    await api.create(THINGS, thing(a="x"))
    both: Object = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string", "default": "y"}}}
    new = version(spec=both, selectableFields=[{"jsonPath": ".spec.a"}, {"jsonPath": ".spec.b"}])
    await api.patch(CRDS, "things.example.com", {"spec": {"versions": [new]}})
    await turn_of_schema(api)
    assert [item["metadata"]["name"] for item in (await api.list(THINGS, fields="spec.a=x,spec.b=y"))["items"]] == ["t"]


async def test_many_objects_at_once(api: Client) -> None:
    await define(api, definition())
    for name in ("a", "b"):
        await api.create(THINGS, {**thing(name), "metadata": {"name": name, "namespace": "default", "labels": {"n": name}}})
    listed = await api.list(THINGS)
    assert (listed["kind"], listed["metadata"]["continue"]) == ("ThingList", "")
    assert {(item["apiVersion"], item["kind"]) for item in listed["items"]} == {("example.com/v1", "Thing")}
    await ask(api, "DELETE", PATH + "?labelSelector=n=a")
    assert [item["metadata"]["name"] for item in (await api.list(THINGS))["items"]] == ["b"]


async def test_finalizers_without_a_domain_are_warned_of(api: Client) -> None:
    await define(api, definition())
    made = await ask(api, "POST", PATH, {**thing(), "metadata": {"name": "t", "finalizers": ["mine"]}})
    assert made.code == 201
    assert "prefer a domain-qualified finalizer name including a path" in made.headers["warning"]
