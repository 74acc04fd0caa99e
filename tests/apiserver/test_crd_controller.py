"""How definitions of custom resources come to life and end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from kapi.api.app import App
from kapi.apiserver import assembly, crd_controller
from kapi.apiserver.assembly import Server
from kapi.apiserver.settings import Settings
from kapi.client.client import Client
from kapi.client.local import LocalTransport
from kapi.objects.meta import Object
from kapi.objects.resource import CUSTOM_RESOURCE_DEFINITIONS as CRDS
from kapi.objects.resource import Resource
from tests.api.asking import ask
from tests.api.customs import PATH, SUBRESOURCES, THINGS, controlled, define, definition, refusal, thing, turn_of_schema, until, version
from tests.conftest import ADMIN

APIS = Resource("apiregistration.k8s.io", "v1", "apiservices", "APIService", False)


@pytest.fixture
async def api(server: Server, client: Client) -> AsyncIterator[Client]:
    """A client of a server that looks after its definitions."""
    async with controlled(server):
        yield client


async def test_a_definition_is_established(api: Client) -> None:
    await define(api, definition(shortNames=["th"], categories=["all"]))
    found = (await api.get(CRDS, "things.example.com"))["status"]
    names = {"plural": "things", "singular": "thing", "shortNames": ["th"], "kind": "Thing", "listKind": "ThingList", "categories": ["all"]}
    assert found["acceptedNames"] == names
    said = [(c["type"], c["status"], c["reason"], c["message"]) for c in found["conditions"]]
    assert said == [
        ("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
        ("Established", "True", "InitialNamesAccepted", "the initial names have been accepted"),
    ]
    assert found["storedVersions"] == ["v1"]


async def test_what_failed_is_tried_again(app: App, api: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(crd_controller, "RETRY", 0.01)
    update, left = app.rest.update, iter((OSError("the disk is full"),))

    async def failing(call: Any, change: Any, **more: Any) -> Any:
        if call.subresource == "status" and (why := next(left, None)):
            raise why
        return await update(call, change, **more)

    monkeypatch.setattr(app.rest, "update", failing)
    await define(api, definition())
    assert "the disk is full" in caplog.text
    caplog.clear()
    left = iter((OSError("no space left"),))
    async with aclosing(api.watch(CRDS, fields="metadata.name=things.example.com")) as events:  # type: ignore[type-var]
        await api.delete(CRDS, "things.example.com")
        async for kind, _ in events:
            if kind == "DELETED":
                break
    assert "no space left" in caplog.text


async def test_names_that_are_taken(api: Client) -> None:
    await define(api, definition(shortNames=["th"]))
    await api.create(CRDS, definition(plural="others", kind="Thing", shortNames=["th", "ot"]))
    said = await until(api, "others.example.com", "NamesAccepted", "False")
    assert (said["reason"], said["message"]) == ("ListKindConflict", '"ThingList" is already in use')
    refused = await until(api, "others.example.com", "Established", "False")
    assert (refused["reason"], refused["message"]) == ("NotAccepted", "not all names are accepted")
    found = (await api.get(CRDS, "others.example.com"))["status"]["acceptedNames"]
    assert found == {"plural": "others", "kind": ""}
    assert (await ask(api, "GET", "/apis/example.com/v1/others")).code == 404
    await api.delete(CRDS, "things.example.com")
    await until(api, "others.example.com", "Established")


async def test_a_served_version_is_an_api_service_and_discovered(api: Client) -> None:
    assert (await ask(api, "GET", "/apis/example.com")).code == 404
    await define(api, definition(version(subresources=SUBRESOURCES), version("v2", storage=False), shortNames=["th"]))
    group = (await ask(api, "GET", "/apis/example.com")).json
    assert [entry["version"] for entry in group["versions"]] == ["v2", "v1"]
    rows = (await ask(api, "GET", "/apis/example.com/v1")).json["resources"]
    assert [row["name"] for row in rows] == ["things", "things/status", "things/scale"]
    assert rows[0]["verbs"] == ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]
    async with aclosing(api.watch(APIS, version="0", fields="metadata.name=v1.example.com")) as events:  # type: ignore[type-var]
        _, found = await anext(events)
    assert found["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "true"}
    assert (found["spec"]["groupPriorityMinimum"], found["spec"]["versionPriority"]) == (1000, 100)


async def test_its_api_service_stays_as_it_is_made(api: Client) -> None:
    await define(api, definition())
    async with aclosing(api.watch(APIS, version="0", fields="metadata.name=v1.example.com")) as events:  # type: ignore[type-var]
        _, made = await anext(events)
        await api.patch(APIS, "v1.example.com", {"spec": {"versionPriority": 7}})
        while (await anext(events))[1]["spec"]["versionPriority"] != 7:
            continue
        while (await anext(events))[1]["spec"] != made["spec"]:
            continue
        await api.delete(APIS, "v1.example.com")
        while (await anext(events))[0] != "DELETED":
            continue
        assert (await anext(events))[0] == "ADDED"


async def test_who_takes_its_api_service_over_keeps_it(api: Client) -> None:
    await define(api, definition())
    async with aclosing(api.watch(APIS, version="0", fields="metadata.name=v1.example.com")) as events:  # type: ignore[type-var]
        await anext(events)
    labels = {"kube-aggregator.kubernetes.io/automanaged": None}
    await api.patch(APIS, "v1.example.com", {"metadata": {"labels": labels}, "spec": {"versionPriority": 7}})
    await define(api, definition(plural="others", kind="Other"))
    assert (await api.get(APIS, "v1.example.com"))["spec"]["versionPriority"] == 7


async def test_the_end_of_a_definition(api: Client) -> None:
    await define(api, definition())
    await api.create(THINGS, thing())
    await api.create(THINGS, thing("held", finalizers=["a.b/c"]))
    async with aclosing(api.watch(THINGS, version="0", bookmarks=False)) as events:  # type: ignore[type-var]
        assert {(await anext(events))[1]["metadata"]["name"] for _ in range(2)} == {"t", "held"}
        await api.delete(CRDS, "things.example.com")
        assert [(kind, obj["metadata"]["name"]) for kind, obj in [await anext(events), await anext(events)]] == [
            ("MODIFIED", "held"), ("DELETED", "t"),
        ]  # fmt: skip
        said = await until(api, "things.example.com", "Terminating", reason="InstanceDeletionInProgress")
        assert said["message"] == "CustomResource deletion is in progress"
        assert await refusal(api.create(THINGS, thing("new"))) == (
            405, "create not allowed while custom resource definition is terminating",
        )  # fmt: skip
        rows = (await ask(api, "GET", "/apis/example.com/v1")).json["resources"]
        assert rows[0]["verbs"] == ["delete", "deletecollection", "get", "list", "watch"]
        await api.patch(THINGS, "held", {"metadata": {"finalizers": None}}, namespace="default")
        rest = [event async for event in events]
    assert [(kind, obj["metadata"]["name"]) for kind, obj in rest] == [("DELETED", "held")]
    assert (await ask(api, "GET", PATH)).code == 404
    await define(api, definition())
    assert (await api.list(THINGS))["items"] == []


async def test_a_definition_does_not_take_a_built_in_kind_s_place(api: Client) -> None:
    wanted = definition(plural="leases", kind="Lease", group="coordination.k8s.io")
    wanted["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved"}
    leases = Resource("coordination.k8s.io", "v1", "leases", "Lease", True)
    await api.create(leases, {"metadata": {"name": "mine", "namespace": "default"}, "spec": {"holderIdentity": "me"}})
    await define(api, wanted)
    await api.delete(CRDS, "leases.coordination.k8s.io")
    await define(api, definition())
    assert (await api.get(leases, "mine", "default"))["spec"] == {"holderIdentity": "me"}


async def test_a_definition_outlives_its_server(app: App, api: Client, pki: Any) -> None:
    await define(api, definition(version(selectableFields=[{"jsonPath": ".spec.color"}])))
    await api.create(THINGS, thing(color="red"))
    again = await assembly.assemble(Settings(data_dir=pki.parent, storage="memory:"), pki, app.rest.store)
    other = Client(LocalTransport(again.app, ADMIN), agent="test")
    found = await other.list(THINGS, fields="spec.color=red")
    assert [item["metadata"]["name"] for item in found["items"]] == ["t"]
    await other.close()


async def test_protected_groups_need_approval(api: Client) -> None:
    wanted = definition(group="things.k8s.io")
    wanted["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, a test"}
    await api.create(CRDS, wanted)
    said = await until(api, "things.things.k8s.io", "KubernetesAPIApprovalPolicyConformant", "False")
    assert (said["reason"], said["message"]) == ("UnapprovedAnnotation", 'not approved: "unapproved, a test"')


async def test_defaults_have_to_fit(api: Client) -> None:
    bad: Object = {
        "type": "object", "default": {"a": 1, "b": 2},
        "properties": {"a": {"type": "string"}, "n": {"type": "integer", "default": "x"}, "ok": {"type": "integer", "default": 1}},
    }  # fmt: skip
    _, text = await refusal(api.create(CRDS, definition(version(spec=bad))))
    at = "spec.validation.openAPIV3Schema.properties[spec]"
    assert f'{at}.default: Invalid value: {{"a":1,"b":2}}: must not have unknown fields' in text
    assert f'{at}.default.a: Invalid value: "integer": a in body must be of type string: "integer"' in text
    assert f'{at}.properties[n].default: Invalid value: "string":  in body must be of type integer: "string"' in text
    assert "properties[ok]" not in text


async def test_two_servers_on_one_store(app: App, api: Client, pki: Any) -> None:
    beside = await assembly.assemble(Settings(data_dir=pki.parent, storage="memory:"), pki, app.rest.store)
    other = Client(LocalTransport(beside.app, ADMIN), agent="test")
    task = asyncio.create_task(beside.crds.run())
    await define(api, definition())
    await until(other, "things.example.com", "Established")
    await turn_of_schema(other)
    made = await other.create(THINGS, thing(size=2))
    assert (await api.get(THINGS, "t", "default"))["metadata"]["uid"] == made["metadata"]["uid"]
    await other.delete(CRDS, "things.example.com")
    async with aclosing(api.watch(CRDS, version="0", fields="metadata.name=things.example.com")) as events:  # type: ignore[type-var]
        async for kind, _ in events:
            if kind == "DELETED":
                break
    task.cancel()
    await other.close()
