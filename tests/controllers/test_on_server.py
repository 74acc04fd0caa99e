"""The controllers all together against a real API server in this process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import pytest

from kapi import controllers
from kapi.api.app import App
from kapi.client import Client
from kapi.client.local import LocalTransport
from kapi.objects import meta
from kapi.objects.meta import Object
from kapi.objects.resource import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, PODS, REPLICA_SETS, SERVICE_ACCOUNTS, Resource
from kapi.objects.user import MASTERS, User
from tests.controllers.test_deployment import deployment


@asynccontextmanager
async def running(app: App) -> AsyncIterator[Client]:
    """All controllers as an administrator; gives a client beside them."""
    user = User("system:kube-controller-manager", (MASTERS,))
    client = Client(LocalTransport(app, user), agent=controllers.AGENT)
    task = asyncio.create_task(controllers.run(client, controllers.Settings(cluster_ca="CA")))
    beside = Client(LocalTransport(app, user), agent="test")
    try:
        yield beside
    finally:
        task.cancel()
        await asyncio.wait([task])
        await client.close()
        await beside.close()


async def gone(client: Client, where: Resource, name: str) -> None:
    """Wait until no object of that name is left."""
    await until(client, where, lambda kind, o: kind == "DELETED" and meta.name(o) == name, lambda items: name not in map(meta.name, items))


async def until(
    client: Client,
    where: Resource,
    wanted: Callable[[str, Object], bool],
    already: Callable[[list[Object]], bool] = lambda items: False,
    namespace: str | None = None,
) -> None:
    """Wait until an object is, or comes to be, as wanted (or all of them are `already`)."""
    listed = await client.list(where, namespace)
    if already(listed["items"]) or any(wanted("ADDED", obj) for obj in listed["items"]):
        return
    async with asyncio.timeout(20), aclosing(client.watch(where, namespace, version=listed["metadata"]["resourceVersion"])) as events:  # type: ignore[type-var]
        async for kind, obj in events:
            if wanted(kind, obj):
                return
    raise AssertionError("the watch ended")


@pytest.mark.slow
async def test_deployment_from_first_pod_to_last(app: App) -> None:
    async with running(app) as client:
        await client.create(DEPLOYMENTS, deployment(50))
        await until(client, DEPLOYMENTS, lambda kind, o: (o.get("status") or {}).get("replicas") == 50)
        pods = (await client.list(PODS, "default"))["items"]
        assert len(pods) == 50
        await client.delete(DEPLOYMENTS, "web", namespace="default", propagation="Foreground")
        await gone(client, DEPLOYMENTS, "web")
        assert (await client.list(PODS, "default"))["items"] == []
        assert (await client.list(REPLICA_SETS, "default"))["items"] == []


@pytest.mark.slow
async def test_a_namespace_from_first_to_last(app: App) -> None:
    async with running(app) as client:
        await client.create(NAMESPACES, {"metadata": {"name": "a"}})
        await until(client, SERVICE_ACCOUNTS, lambda kind, o: meta.name(o) == "default", namespace="a")
        await until(client, CONFIG_MAPS, lambda kind, o: o["data"].get("ca.crt") == "CA", namespace="a")
        await client.create(CONFIG_MAPS, {"metadata": {"name": "mine"}}, namespace="a")
        await client.delete(NAMESPACES, "a")
        await gone(client, NAMESPACES, "a")
        assert (await client.list(CONFIG_MAPS, "a"))["items"] == []
