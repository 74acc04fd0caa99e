"""CustomResourceDefinitions for tests, and waiting for what the server says of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from kapi.apiserver.assembly import Server
from kapi.client.client import Client
from kapi.objects import errors
from kapi.objects.meta import Object
from kapi.objects.resource import CUSTOM_RESOURCE_DEFINITIONS as CRDS
from kapi.objects.resource import Resource

THINGS = Resource("example.com", "v1", "things", "Thing", True)
PATH = "/apis/example.com/v1/namespaces/default/things"
SUBRESOURCES = {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}}
SPEC: Object = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 0, "default": 1},
        "color": {"type": "string", "enum": ["red", "blue"]},
        "ports": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["p"],
            "items": {"type": "object", "required": ["p"], "properties": {"p": {"type": "integer"}, "name": {"type": "string"}}},
        },
    },
}  # fmt: skip


def version(name: str = "v1", spec: Object = SPEC, **more: Any) -> Object:
    """One version of a definition."""
    properties = {"spec": spec, "status": {"type": "object", "properties": {"size": {"type": "integer"}}}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": properties}}
    return {"name": name, "served": True, "storage": True, "schema": schema, **more}


def definition(*versions: Object, plural: str = "things", kind: str = "Thing", group: str = "example.com", **names: Any) -> Object:
    """A definition of things."""
    spec = {"group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": kind, **names}, "versions": versions or (version(),)}
    return {"metadata": {"name": f"{plural}.{group}"}, "spec": {**spec, "versions": list(spec["versions"])}}


def thing(name: str = "t", finalizers: list[str] | None = None, **spec: Any) -> Object:
    meta: Object = {"name": name, "namespace": "default", **({"finalizers": finalizers} if finalizers else {})}
    return {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": meta, "spec": spec}


async def until(client: Client, name: str, condition: str, value: str = "True", reason: str = "") -> Object:
    """The condition of a definition once it is as wanted."""
    async with aclosing(client.watch(CRDS, version="0", fields=f"metadata.name={name}")) as events:  # type: ignore[type-var]
        async for _, obj in events:
            for found in (obj.get("status") or {}).get("conditions") or ():
                if found["type"] == condition and found["status"] == value and reason in ("", found["reason"]):
                    out: Object = found
                    return out
    raise AssertionError("the watch ended")


async def define(client: Client, wanted: Object) -> Object:
    """Create a definition, and wait until its kinds are served."""
    made: Object = await client.create(CRDS, wanted)
    await until(client, wanted["metadata"]["name"], "Established")
    return made


@asynccontextmanager
async def controlled(server: Server) -> AsyncIterator[None]:
    """Within, the server looks after its definitions."""
    task = asyncio.create_task(server.crds.run())
    yield
    task.cancel()


async def refusal(asked: Any) -> tuple[int, str]:
    """(code, message) of a request that fails."""
    with pytest.raises(errors.StatusError) as found:
        await asked
    return found.value.code, found.value.message


async def turn_of_schema(api: Client) -> None:
    """The server has seen every definition."""
    await define(api, definition(plural="others", kind="Other"))
