"""kr8s: objects that know their verbs, synchronous and not."""

import asyncio
from collections.abc import Iterator
from typing import Any

import kr8s
import kr8s.asyncio
import kr8s.asyncio.objects
import pytest
from kr8s._async_utils import as_sync_func
from kr8s.objects import ConfigMap, Deployment, Pod

from tests.e2e.cluster import IMAGE, Kubectl
from tests.moments import sockets_closed

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Kubernetes version v1.36.2 is not supported")]


async def closed(api: Any) -> None:
    """kr8s leaves its connections to the end of the process."""
    await api._session.aclose()


@pytest.fixture
def k8s(kubectl: Kubectl) -> Iterator[Any]:
    api = kr8s.api(kubeconfig=str(kubectl.cluster.kubeconfig), namespace=kubectl.namespace)
    yield api
    as_sync_func(closed)(api)


def config_map(name: str = "a", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name: str, *command: str) -> dict[str, Any]:
    spec = {"restartPolicy": "Never", "containers": [{"name": "c", "image": IMAGE, "command": list(command)}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def test_objects(k8s: Any) -> None:
    one = ConfigMap(config_map(k="1"), api=k8s)
    one.create()
    assert one.exists()
    one.patch({"data": {"l": "2"}})
    one.label({"color": "blue"})
    one.annotate({"seen": "yes"})
    assert ConfigMap.get("a", api=k8s).data.to_dict() == {"k": "1", "l": "2"}
    assert [o.name for o in k8s.get("configmaps", label_selector={"color": "blue"})] == ["a"]
    one.raw["data"]["k"] = "3"
    one.patch([{"op": "replace", "path": "/data/k", "value": "4"}], type="json")
    one.refresh()
    assert one.data.k == "4"
    one.delete()
    assert not one.exists()
    with pytest.raises(kr8s.NotFoundError):
        ConfigMap.get("a", api=k8s)


def test_a_deployment_scales(k8s: Any, kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "web", f"--image={IMAGE}", "--", "sleep", "3600")
    web = Deployment.get("web", api=k8s)
    web.wait("condition=Available", timeout=20)
    web.scale(3)
    assert web.replicas == 3
    assert {p.metadata["labels"]["app"] for p in web.pods()} == {"web"}
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    assert web.ready()


def test_waiting_for_a_pod(k8s: Any) -> None:
    one = Pod(pod("p", "sleep", "3600"), api=k8s)
    one.create()
    one.wait("condition=Ready", timeout=20)
    assert one.ready()
    one.delete()
    one.wait("delete", timeout=20)


def test_who_and_what(k8s: Any) -> None:
    assert k8s.whoami() == "kubernetes-admin"
    assert k8s.version()["gitVersion"] == "v1.36.2"
    assert {"pods", "deployments"} <= {r["name"] for r in k8s.api_resources()}


async def test_watching_asynchronously(kubectl: Kubectl) -> None:
    seen: list[tuple[str, str]] = []

    async def watching(api: Any) -> None:
        async for kind, event in api.watch("configmaps", namespace=kubectl.namespace, field_selector="metadata.name=a"):
            seen.append((kind, event.raw["data"]["k"]))
            if kind == "DELETED":
                return
            await (one.patch({"data": {"k": "2"}}) if kind == "ADDED" else one.delete())

    async with sockets_closed():
        api = await kr8s.asyncio.api(kubeconfig=str(kubectl.cluster.kubeconfig), namespace=kubectl.namespace)
        one = await kr8s.asyncio.objects.ConfigMap(config_map(k="1"), api=api)
        await one.create()
        await asyncio.wait_for(watching(api), 10)
        await closed(api)
    assert seen == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]
