"""StorageVersionMigrations against a real API server: what is stored afterwards, and what is said of it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kapi.apiserver import assembly
from kapi.apiserver.assembly import Server
from kapi.apiserver.settings import Settings
from kapi.client import Client
from kapi.controllers import storage_migration
from kapi.objects.meta import Object
from kapi.objects.resource import CONFIG_MAPS, STORAGE_VERSION_MIGRATIONS, Resource
from kapi.objects.resource import CUSTOM_RESOURCE_DEFINITIONS as CRDS
from tests.api.converted import SECOND, answering, new_version, old_version, served
from tests.api.customs import THINGS, controlled, refusal, thing, turn_of_schema
from tests.api.webhook import Webhook, serving
from tests.controllers.test_on_server import running, until

NAME = "storage-version-migrator-controller"


@pytest.fixture
async def server(pki: Path) -> AsyncIterator[Server]:
    """A server with the API, which is off by default, and definitions that are looked after."""
    config = {"storagemigration.k8s.io/v1beta1": True}
    made = await assembly.assemble(Settings(data_dir=pki.parent, storage="memory:", runtime_config=config), pki)
    async with controlled(made):
        yield made
    await made.app.rest.store.close()


@pytest.fixture
async def hook(tmp_path: Path, server: Server) -> AsyncIterator[Webhook]:
    async with serving(tmp_path, server) as made:
        yield made


def migration(resource: str, group: str = "") -> Object:
    return {"metadata": {"name": "m"}, "spec": {"resource": {"group": group, "resource": resource}}}


async def ended(client: Client) -> dict[str, Any]:
    """The conditions of the migration once it is over: type -> (status, reason, message)."""

    def over(kind: str, obj: Object) -> bool:
        return any(c["type"] in ("Succeeded", "Failed") for c in (obj.get("status") or {}).get("conditions") or ())

    await until(client, STORAGE_VERSION_MIGRATIONS, over)
    status = (await client.get(STORAGE_VERSION_MIGRATIONS, "m"))["status"]
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in status["conditions"]}


def versions(server: Server) -> list[str]:
    return [entry.obj["apiVersion"] for entry in server.app.rest.store.list("/example.com/things/").entries]


async def to_second(client: Client, hook: Webhook) -> None:
    """Things in the first version, of which the second one is stored from now on."""
    await served(client, hook)
    for name in "abc":
        await client.create(THINGS, thing(name, color="red"))
    await client.patch(CRDS, "things.example.com", {"spec": {"versions": [old_version(storage=False), new_version(storage=True)]}})
    await turn_of_schema(client)


async def test_all_objects_are_written_anew(server: Server, hook: Webhook) -> None:
    async with running(server.app) as client:
        await to_second(client, hook)
        await client.create(SECOND, {**thing("d", shade="blue"), "apiVersion": "example.com/v2"})
        assert versions(server) == ["example.com/v1"] * 3 + ["example.com/v2"]
        newest = await client.get(SECOND, "d", "default")
        made = await client.create(STORAGE_VERSION_MIGRATIONS, migration("things", "example.com"))
        assert await ended(client) == {
            "Running": ("False", "StorageVersionMigrationInProgress", ""),
            "Succeeded": ("True", "StorageVersionMigrationSucceeded", ""),
        }
        assert versions(server) == ["example.com/v2"] * 4
        assert await client.get(SECOND, "d", "default") == newest
        found = await client.get(STORAGE_VERSION_MIGRATIONS, "m")
        assert int(found["status"]["resourceVersion"]) >= int(made["metadata"]["resourceVersion"])
        managers = [entry["manager"] for entry in (await client.get(SECOND, "a", "default"))["metadata"]["managedFields"]]
        assert NAME not in managers


async def test_pages_that_expire(server: Server, hook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins anew: what was written anew already is not written again."""
    monkeypatch.setattr(storage_migration, "PAGE", 1)
    store, rewrite = server.app.rest.store, storage_migration.StorageVersionMigrations._rewrite
    rewritten = []

    async def slow(self: storage_migration.StorageVersionMigrations, resource: Resource, obj: Object) -> None:
        await rewrite(self, resource, obj)
        rewritten.append(obj["metadata"]["name"])
        if len(rewritten) == 1:
            store.compact(store.revision)

    monkeypatch.setattr(storage_migration.StorageVersionMigrations, "_rewrite", slow)
    async with running(server.app) as client:
        await to_second(client, hook)
        await client.create(STORAGE_VERSION_MIGRATIONS, migration("things", "example.com"))
        assert (await ended(client))["Succeeded"][0] == "True"
    assert (versions(server), rewritten) == (["example.com/v2"] * 3, ["a", "b", "c"])


async def test_an_object_that_cannot_be_converted(server: Server, hook: Webhook) -> None:
    async with running(server.app) as client:
        await to_second(client, hook)
        hook.answers["/convert"] = answering(lambda obj, wanted: obj)
        await client.create(STORAGE_VERSION_MIGRATIONS, migration("things", "example.com"))
        status, reason, message = (await ended(client))["Failed"]
        assert (status, reason) == ("True", "StorageVersionMigrationFailed")
        assert message.startswith("migration encountered unhandled error: conversion webhook for example.com/v1, Kind=Thing returned inv")


async def test_a_built_in_kind(server: Server) -> None:
    async with running(server.app) as client:
        made = await client.create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "default"}})
        await client.create(STORAGE_VERSION_MIGRATIONS, migration("configmaps"))
        assert (await ended(client))["Succeeded"][0] == "True"
        assert await client.get(CONFIG_MAPS, "a", "default") == made


async def test_what_is_refused(server: Server) -> None:
    async with running(server.app) as client:
        code, text = await refusal(client.create(STORAGE_VERSION_MIGRATIONS, migration("")))
        assert (code, "spec.resource.resource: Required value: resource is required to be set" in text) == (422, True)
        made = await client.create(STORAGE_VERSION_MIGRATIONS, migration("nothing", "example.com"))
        changed = {**made, "spec": {"resource": {"resource": "pods"}}}
        code, text = await refusal(client.update(STORAGE_VERSION_MIGRATIONS, changed))
        assert (code, text.endswith("field is immutable")) == (422, True)
        both = [{"type": kind, "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
                for kind in ("Succeeded", "Failed")]  # fmt: skip
        patch = {"status": {"conditions": both, "resourceVersion": "01"}}
        code, text = await refusal(client.patch(STORAGE_VERSION_MIGRATIONS, "m", patch, subresource="status"))
        assert code == 422
        assert "Both success and failed conditions cannot be true at the same time" in text
        assert "status.resourceVersion: Invalid value" in text


async def test_it_is_off_by_default(pki: Path) -> None:
    made = await assembly.assemble(Settings(data_dir=pki.parent, storage="memory:"), pki)
    try:
        assert made.app.catalogue.get("storagemigration.k8s.io", "v1beta1", "storageversionmigrations") is None
        async with running(made.app) as client:
            await asyncio.sleep(0)
            assert (await refusal(client.list(STORAGE_VERSION_MIGRATIONS)))[0] == 404
    finally:
        await made.app.rest.store.close()
