"""kopf: an operator for kinds that are built in. It keeps its state in annotations, holds objects with finalizers, and posts events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import kopf
import pytest

from tests.e2e.cluster import IMAGE, Kubectl

pytestmark = pytest.mark.slow

FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"


class Operator:
    """An operator in this process, and the story of what its handlers saw."""

    def __init__(self, namespace: str) -> None:
        self.namespace, self.story = namespace, asyncio.Queue[tuple[Any, ...]]()
        self.registry = kopf.OperatorRegistry()
        self.settings = kopf.OperatorSettings()
        self.settings.posting.enabled = True
        self.settings.watching.server_timeout = 30
        self.settings.persistence.consistency_timeout = 2

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        stop, ready = asyncio.Event(), asyncio.Event()
        kopf.on.login(registry=self.registry)(kopf.login_with_kubeconfig)
        operator = kopf.operator(
            registry=self.registry, settings=self.settings, namespaces=[self.namespace], standalone=True, stop_flag=stop, ready_flag=ready,
        )  # fmt: skip
        task = asyncio.create_task(operator)
        await asyncio.wait_for(ready.wait(), 10)
        yield
        stop.set()
        await asyncio.wait_for(task, 10)

    async def next(self) -> tuple[Any, ...]:
        return await asyncio.wait_for(self.story.get(), 10)


@pytest.fixture
def operator(kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch) -> Operator:
    monkeypatch.setenv("KUBECONFIG", str(kubectl.cluster.kubeconfig))
    return Operator(kubectl.namespace)


async def run(kubectl: Kubectl, *arguments: str) -> str:
    """A command beside the operator's loop."""
    return await asyncio.to_thread(kubectl, *arguments)


async def test_the_life_of_a_config_map(kubectl: Kubectl, operator: Operator) -> None:
    maps: Any = {"registry": operator.registry, "labels": {"kept": "yes"}}

    @kopf.on.create("configmaps", **maps)
    async def created(name: str, body: kopf.Body, **_: Any) -> dict[str, str]:
        kopf.info(body, reason="Seen", message="by the operator")
        await operator.story.put(("created", name))
        return {"made": "yes"}

    @kopf.on.update("configmaps", field="data", **maps)
    async def updated(old: Any, new: Any, **_: Any) -> None:
        await operator.story.put(("updated", dict(old), dict(new)))

    @kopf.on.delete("configmaps", **maps)
    async def deleted(name: str, **_: Any) -> None:
        await operator.story.put(("deleted", name))

    async with operator.running():
        kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"kept": "yes"}}, "data": {"k": "1"}})
        assert await operator.next() == ("created", "a")
        await run(kubectl, "wait", "--for=jsonpath={.metadata.finalizers[0]}=" + FINALIZER, "configmap/a", "--timeout=10s")
        await run(kubectl, "patch", "configmap", "a", "--type=merge", "-p", '{"data":{"k":"2"}}')
        assert await operator.next() == ("updated", {"k": "1"}, {"k": "2"})
        await run(kubectl, "delete", "configmap", "a", "--timeout=20s")
        assert await operator.next() == ("deleted", "a")
        await run(kubectl, "wait", "--for=create", "events", "--field-selector=reason=Seen", "--timeout=10s")
    assert kubectl("get", "configmap", "a", "--ignore-not-found") == ""


async def test_an_operator_that_makes_children(kubectl: Kubectl, operator: Operator) -> None:
    """A Service for every Deployment, owned by it; a daemon and an event handler beside."""
    @kopf.on.resume("deployments", registry=operator.registry)
    @kopf.on.create("deployments", registry=operator.registry)
    async def created(body: kopf.Body, **_: Any) -> None:
        child = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
        kopf.adopt(child, owner=body)
        kopf.label(child, {"from": "kopf"})
        await asyncio.to_thread(kubectl.apply, child)
        await operator.story.put(("created",))

    @kopf.on.field("deployments", field="status.availableReplicas", registry=operator.registry)
    async def available(new: Any, **_: Any) -> None:
        if new == 2:
            await operator.story.put(("available", new))

    kubectl("create", "deployment", "web", f"--image={IMAGE}", "--replicas=2", "--", "sleep", "3600")
    async with operator.running():
        assert {await operator.next(), await operator.next()} == {("created",), ("available", 2)}
        owner = kubectl.json("get", "service", "web")["metadata"]["ownerReferences"][0]
        assert (owner["kind"], owner["controller"]) == ("Deployment", True)
        await run(kubectl, "delete", "deployment", "web", "--timeout=20s")
        await run(kubectl, "wait", "--for=delete", "service/web", "--timeout=20s")
