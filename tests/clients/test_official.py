"""What the official client builds on its generated API: creating from files, the dynamic client, watches without end."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, dynamic, utils, watch

from tests.e2e.cluster import Kubectl

pytestmark = pytest.mark.slow

MANY = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: from-a-list}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "localhost/kapi/busybox:1"}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
"""


def test_creating_from_a_file(api: client.ApiClient, kubectl: Kubectl, tmp_path: Path) -> None:
    path = tmp_path / "many.yaml"
    path.write_text(MANY)
    made = utils.create_from_yaml(api, str(path), namespace=kubectl.namespace)
    assert [one.kind for group in made for one in group] == ["ConfigMap", "Deployment", "Role"]
    with pytest.raises(utils.FailToCreateError, match="already exists"):
        utils.create_from_yaml(api, str(path), namespace=kubectl.namespace)
    utils.create_from_yaml(api, str(path), namespace=kubectl.namespace, apply=True)


@pytest.fixture
def found(api: client.ApiClient, tmp_path: Path) -> dynamic.DynamicClient:
    return dynamic.DynamicClient(api, cache_file=str(tmp_path / "discovery.json"))


def test_discovery_is_kept(api: client.ApiClient, found: dynamic.DynamicClient, tmp_path: Path) -> None:
    every = [r.kind for r in found.resources.search()]
    again = dynamic.DynamicClient(api, cache_file=str(tmp_path / "discovery.json"))
    assert [r.kind for r in again.resources.search()] == every
    assert {"Pod", "Deployment", "StorageClass", "ResourceSlice"} <= set(every)
    assert found.version["kubernetes"]["gitVersion"] == "v1.36.2"


def test_applying_dynamically(found: dynamic.DynamicClient, kubectl: Kubectl) -> None:
    deployments = found.resources.get(api_version="apps/v1", kind="Deployment")
    body: dict[str, Any] = list(yaml.safe_load_all(MANY))[1]
    body["spec"]["replicas"] = 2

    def apply(manager: str, **options: Any) -> Any:
        return deployments.server_side_apply(body=body, namespace=kubectl.namespace, field_manager=manager, **options)

    assert apply("me").spec.replicas == 2
    body["spec"]["replicas"] = 3
    with pytest.raises(dynamic.exceptions.ConflictError) as refused:
        apply("you")
    assert json.loads(refused.value.body)["message"] == 'Apply failed with 1 conflict: conflict with "me": .spec.replicas'
    owners = {m.manager: m.operation for m in apply("you", force_conflicts=True).metadata.managedFields}
    assert {"me": "Apply", "you": "Apply"}.items() <= owners.items()
    assert deployments.scale.get(name="web", namespace=kubectl.namespace).spec.replicas == 3
    one = {"spec": {"replicas": 1}}
    deployments.scale.patch(name="web", namespace=kubectl.namespace, body=one, content_type="application/merge-patch+json")
    assert deployments.status.get(name="web", namespace=kubectl.namespace).spec.replicas == 1
    deployments.delete(name="web", namespace=kubectl.namespace)


def test_watching_dynamically(found: dynamic.DynamicClient, kubectl: Kubectl) -> None:
    maps = found.resources.get(api_version="v1", kind="ConfigMap")
    kubectl("create", "configmap", "a")
    seen: list[str] = []
    for event in maps.watch(namespace=kubectl.namespace, field_selector="metadata.name=a", timeout=10):
        seen.append(event["type"])
        if event["type"] == "DELETED":
            break
        maps.delete(name="a", namespace=kubectl.namespace)
    assert seen == ["ADDED", "DELETED"]


def test_a_watch_goes_on_when_the_server_ends_it(api: client.ApiClient, kubectl: Kubectl) -> None:
    """The client asks again from the last version it saw, and neither misses nor repeats anything."""
    core, watching, seen = client.CoreV1Api(api), watch.Watch(), list[str]()
    done = threading.Event()

    def change() -> None:
        for i in range(12):
            core.create_namespaced_config_map(kubectl.namespace, {"metadata": {"name": f"m{i:02}", "labels": {"w": "y"}}})
            done.wait(0.2)

    thread = threading.Thread(target=change)
    thread.start()
    options: dict[str, Any] = {"label_selector": "w=y", "timeout_seconds": 1}
    while len(seen) < 12:
        since = watching.resource_version or "0"
        events = watching.stream(core.list_namespaced_config_map, kubectl.namespace, resource_version=since, **options)
        seen += [event["object"].metadata.name for event in events]
    thread.join()
    assert seen == [f"m{i:02}" for i in range(12)]
