"""The scheduler under its own identity against the real API server, in one process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from kapi.api.app import App
from kapi.client import Client
from kapi.client.local import LocalTransport
from kapi.objects.meta import Object
from kapi.objects.resource import NODES, PODS, SERVICE_ACCOUNTS
from kapi.objects.user import User
from kapi.scheduler import Settings, run
from tests.scheduler.making import node, pod


@pytest.fixture
async def scheduled(app: App, client: Client) -> AsyncIterator[Client]:
    """The administrator's client of a server whose scheduler runs."""
    await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, namespace="default")
    identity = User("system:kube-scheduler", ("system:authenticated",))
    its = Client(LocalTransport(app, identity), agent="kube-scheduler")
    task = asyncio.create_task(run(its, Settings()))
    yield client
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await its.close()


def has(obj: Object, path: tuple[str, ...]) -> bool:
    value: object = obj
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return bool(value)


async def until(client: Client, name: str, path: tuple[str, ...]) -> Object:
    """The pod, once it has a value there."""
    obj = await client.get(PODS, name, "default")
    async with asyncio.timeout(10), aclosing(
        client.watch(PODS, "default", version=obj["metadata"]["resourceVersion"], fields=f"metadata.name={name}")  # type: ignore[type-var]
    ) as changes:
        while not has(obj, path):
            _, obj = await anext(changes)
    return obj


async def ready_node(client: Client, name: str, cpu: str) -> None:
    made = await client.create(NODES, node(name, cpu=cpu))
    await client.update(NODES, {**made, "spec": {**made["spec"], "taints": []}})


async def test_bound_refused_and_preempting(scheduled: Client) -> None:
    client = scheduled
    await client.create(PODS, pod("low", cpu="1"), namespace="default")
    waiting = await until(client, "low", ("status", "conditions"))
    assert waiting["status"]["conditions"][0]["message"] == "no nodes available to schedule pods"
    await ready_node(client, "a", "1")
    placed = await until(client, "low", ("spec", "nodeName"))
    assert placed["spec"]["nodeName"] == "a"
    await client.create(PODS, pod("vip", cpu="1", priorityClassName="system-node-critical"), namespace="default")
    nominated = await until(client, "vip", ("status", "nominatedNodeName"))
    assert nominated["status"]["nominatedNodeName"] == "a"
    victim = await until(client, "low", ("metadata", "deletionTimestamp"))
    assert {c["type"] for c in victim["status"]["conditions"]} >= {"DisruptionTarget"}
    await client.delete(PODS, "low", namespace="default", grace=0)
    assert (await until(client, "vip", ("spec", "nodeName")))["spec"]["nodeName"] == "a"
