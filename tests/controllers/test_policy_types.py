"""What the status of ValidatingAdmissionPolicies says of their expressions."""

import asyncio
from typing import Any

from kapi.api.app import App
from kapi.apiserver.assembly import Server
from kapi.client import Client
from kapi.objects.meta import Object
from kapi.objects.resource import CUSTOM_RESOURCE_DEFINITIONS, VALIDATING_ADMISSION_POLICIES
from tests.controllers.test_on_server import running, until


def policy(*checks: Object, resources: str = "deployments", group: str = "apps", **more: Any) -> Object:
    rule = {"operations": ["*"], "apiGroups": [group], "apiVersions": ["v1"], "resources": [resources]}
    return {"metadata": {"name": "p"}, "spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": list(checks), **more}}


async def warnings(client: Client, made: Object) -> list[Object]:
    await client.create(VALIDATING_ADMISSION_POLICIES, made)
    await until(client, VALIDATING_ADMISSION_POLICIES, lambda kind, obj: (obj.get("status") or {}).get("observedGeneration") == 1)
    found = await client.get(VALIDATING_ADMISSION_POLICIES, "p")
    listed: list[Object] = found["status"]["typeChecking"].get("expressionWarnings") or []
    return listed


async def test_a_built_in_kind(app: App) -> None:
    async with running(app) as client:
        assert await warnings(client, policy(
            {
                "expression": "object.spec.replicas > 1 && variables.names.all(n, n != '')",
                "messageExpression": "'of ' + object.spec.replicas",
            },
            {"expression": "object.replicas > 1"},
            variables=[{"name": "names", "expression": "object.spec.template.spec.containers.map(c, c.name)"}],
        )) == [
            {
                "fieldRef": "spec.validations[0].messageExpression",
                "warning": "apps/v1, Kind=Deployment: ERROR: <input>:1:7: found no matching overload for '_+_' applied to '(string, int)'\n"
                           " | 'of ' + object.spec.replicas\n | ......^\n",
            },
            {
                "fieldRef": "spec.validations[1].expression",
                "warning": "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^\n",
            },
        ]  # fmt: skip


async def test_a_custom_kind(server: Server) -> None:
    openapi: Object = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer"}}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": openapi}}
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    controller = asyncio.create_task(server.crds.run())
    async with running(server.app) as client:
        await client.create(CUSTOM_RESOURCE_DEFINITIONS, {"metadata": {"name": "things.example.com"}, "spec": spec})
        await until(client, CUSTOM_RESOURCE_DEFINITIONS, lambda kind, obj: len((obj.get("status") or {}).get("conditions") or ()) > 1)
        (told,) = await warnings(client, policy({"expression": "object.spec.n == 'a'"}, resources="things", group="example.com"))
        start = "example.com/v1, Kind=Thing: ERROR: <input>:1:15: found no matching overload for '_==_' applied to '(int, string)'"
        assert told["warning"].startswith(start)
    controller.cancel()
    await asyncio.wait([controller])


async def test_what_is_good(app: App) -> None:
    check = {"expression": "params.data.a == object.metadata.name"}
    async with running(app) as client:
        assert await warnings(client, policy(check, paramKind={"apiVersion": "v1", "kind": "ConfigMap"})) == []
