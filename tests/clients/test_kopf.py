"""kopf: an operator for kinds that are built in. It keeps its state in annotations, holds objects with finalizers, and posts events."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import kopf
import pytest

from certs import making
from certs.spec import CertificateSpec
from tests.e2e.cluster import IMAGE, Failed, Kubectl
from tests.moments import sockets_closed

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
        async with sockets_closed():
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


def certificate(directory: Path) -> dict[str, Any]:
    """Files of a certificate for this machine, and of its CA, as kopf's server takes them."""
    ca_key, key, now = making.new_key(), making.new_key(), time.time()
    ca = making.authority(CertificateSpec("ca", "kopf", issuer=""), ca_key, now)
    wish = CertificateSpec("hook", "hook", usages=("server",), hosts=("127.0.0.1", "localhost"))
    made = {"cafile": ca, "certfile": making.certificate(wish, key, ca, ca_key, now), "pkeyfile": key}
    for name, content in made.items():
        (directory / name).write_bytes(content)
    return {name: directory / name for name in made}


async def test_admission_handlers(kubectl: Kubectl, operator: Operator, tmp_path: Path, unused_tcp_port: int) -> None:
    """kopf registers its own webhooks, is called, changes what is written, warns and refuses."""
    maps: Any = {"registry": operator.registry, "labels": {"admitted": kopf.PRESENT}}
    operator.settings.admission.managed = "tests.kopf.dev"
    operator.settings.admission.server = kopf.WebhookServer(addr="127.0.0.1", port=unused_tcp_port, **certificate(tmp_path))

    @kopf.on.mutate("configmaps", operations=["CREATE"], **maps)
    def completed(patch: kopf.Patch, warnings: list[str], **_: Any) -> None:
        patch.setdefault("data", {})["completed"] = "yes"
        warnings.append("was completed")

    @kopf.on.validate("configmaps", **maps)
    def checked(body: kopf.Body, **more: Any) -> None:
        if (body.get("data") or {}).get("bad"):
            raise kopf.AdmissionError(f"nothing bad on {more['operation']}", code=499)

    def config_map(**data: str) -> dict[str, Any]:
        about = {"name": "a", "labels": {"admitted": "x"}}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": data}

    async with operator.running():
        for kind in ("mutatingwebhookconfiguration", "validatingwebhookconfiguration"):
            for event in ("create", "jsonpath={.webhooks[0].name}"):
                await run(kubectl, "wait", f"--for={event}", f"{kind}/tests.kopf.dev", "--timeout=10s")
        await asyncio.to_thread(kubectl.apply, config_map(good="1"))
        assert kubectl.json("get", "configmap", "a")["data"] == {"good": "1", "completed": "yes"}
        with pytest.raises(Failed, match="denied the request: nothing bad on UPDATE"):
            await asyncio.to_thread(kubectl.apply, config_map(bad="1"))
    await run(kubectl, "delete", "mutatingwebhookconfiguration,validatingwebhookconfiguration", "tests.kopf.dev")
