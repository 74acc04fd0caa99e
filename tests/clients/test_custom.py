"""Custom resources by the clients that people use: kubectl, the official client, kopf, Helm; and by the controllers of the cluster."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kopf
import pytest
import yaml
from kubernetes import client, dynamic

from kapi.objects.meta import Object
from tests.clients.programs import program
from tests.clients.test_kopf import Operator
from tests.e2e.cluster import Kubectl

pytestmark = pytest.mark.slow

GROUP = "cars.example.com"


def definition(group: str) -> Object:
    spec: Object = {
        "type": "object", "description": "What the car is.", "required": ["color"],
        "properties": {
            "color": {"type": "string", "description": "Its colour.", "enum": ["red", "blue"]},
            "doors": {"type": "integer", "default": 4, "maximum": 5},
        },
    }  # fmt: skip
    status = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}}
    columns = [{"name": "Color", "type": "string", "jsonPath": ".spec.color"},
               {"name": "Doors", "type": "integer", "jsonPath": ".spec.doors", "priority": 1}]  # fmt: skip
    scale = {"specReplicasPath": ".spec.doors", "statusReplicasPath": ".status.doors"}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema, "additionalPrinterColumns": columns,
               "subresources": {"status": {}, "scale": scale}}  # fmt: skip
    names = {"plural": "cars", "kind": "Car", "shortNames": ["cr"], "categories": ["all"]}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"cars.{group}"},
            "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}}  # fmt: skip


def car(name: str, group: str = GROUP, **spec: Any) -> Object:
    return {"apiVersion": f"{group}/v1", "kind": "Car", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def cars(kubectl: Kubectl) -> Iterator[Kubectl]:
    """kubectl where there are cars."""
    kubectl.apply(definition(GROUP))
    # kubectl cannot wait for a condition while `conditions` is null, which it is until the names are accepted.
    kubectl("wait", "--for=jsonpath={.status.acceptedNames.kind}=Car", f"crd/cars.{GROUP}", "--timeout=10s")
    kubectl("wait", "--for=condition=Established", f"crd/cars.{GROUP}", "--timeout=10s")
    yield kubectl
    kubectl("delete", "crd", f"cars.{GROUP}", "--timeout=20s")


def test_kubectl(cars: Kubectl, tmp_path: Path) -> None:
    cars.apply(car("beetle", color="red"))
    assert cars("get", "cr", "-o", "wide").split() == ["NAME", "COLOR", "DOORS", "beetle", "red", "4"]
    assert "beetle" in cars("get", "all")
    bad = tmp_path / "bad.yaml"
    bad.write_text(yaml.safe_dump(car("bus", color="green", doors=9)))
    why = cars("apply", "-f", str(bad), fails=True).err
    assert 'spec.color: Unsupported value: "green": supported values: "red", "blue"' in why
    assert "spec.doors: Invalid value: 9: spec.doors in body should be less than or equal to 5" in why
    bad.write_text(yaml.safe_dump(car("bus", color="red", wings=2)))
    assert 'strict decoding error: unknown field "spec.wings"' in cars("apply", "-f", str(bad), fails=True).err
    explained = cars("explain", "car.spec")
    assert "What the car is." in explained
    assert "color\t<string> -required-" in explained
    cars("patch", "car", "beetle", "--type=merge", "-p", '{"spec":{"color":"blue"}}')
    cars("scale", "car/beetle", "--replicas=2")
    assert (cars.field("car/beetle", ".spec.color"), cars.field("car/beetle", ".spec.doors")) == ("blue", "2")
    cars("delete", "car", "beetle", "--timeout=10s")
    assert cars("get", "cars", "-o", "name") == ""


def test_the_official_client(cars: Kubectl, api: client.ApiClient) -> None:
    customs, where = client.CustomObjectsApi(api), {"group": GROUP, "version": "v1", "namespace": cars.namespace, "plural": "cars"}
    customs.create_namespaced_custom_object(body=car("a", color="red"), **where)
    customs.patch_namespaced_custom_object_status(name="a", body={"status": {"doors": 1}}, **where)
    assert customs.get_namespaced_custom_object(name="a", **where)["status"] == {"doors": 1}
    assert [item["metadata"]["name"] for item in customs.list_namespaced_custom_object(**where)["items"]] == ["a"]
    found = dynamic.DynamicClient(api).resources.get(api_version=f"{GROUP}/v1", kind="Car")
    applied = found.server_side_apply(body=car("b", color="blue"), namespace=cars.namespace, field_manager="me")
    assert applied.spec.to_dict() == {"color": "blue", "doors": 4}
    with pytest.raises(dynamic.exceptions.UnprocessibleEntityError):
        found.create(body=car("c"), namespace=cars.namespace)
    customs.delete_collection_namespaced_custom_object(**where)
    assert found.get(namespace=cars.namespace).items == []


async def test_an_operator(cars: Kubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    """kopf: state in annotations and status, finalizers, children that are owned."""
    monkeypatch.setenv("KUBECONFIG", str(cars.cluster.kubeconfig))
    operator = Operator(cars.namespace)
    kind: Any = {"registry": operator.registry}

    @kopf.on.create(GROUP, "v1", "cars", id="created", **kind)
    async def created(name: str, spec: Any, **_: Any) -> dict[str, int]:
        await operator.story.put(("created", name, spec["color"]))
        return {"wheels": 4}

    @kopf.on.update(GROUP, "v1", "cars", field="spec.color", **kind)
    async def painted(old: Any, new: Any, **_: Any) -> None:
        await operator.story.put(("painted", old, new))

    @kopf.on.delete(GROUP, "v1", "cars", **kind)
    async def deleted(name: str, **_: Any) -> None:
        await operator.story.put(("deleted", name))

    async with operator.running():
        await asyncio.to_thread(cars.apply, car("beetle", color="red"))
        assert await operator.next() == ("created", "beetle", "red")
        await asyncio.to_thread(cars, "wait", "--for=jsonpath={.status.created.wheels}=4", "car/beetle", "--timeout=10s")
        await asyncio.to_thread(cars, "patch", "car", "beetle", "--type=merge", "-p", '{"spec":{"color":"blue"}}')
        assert await operator.next() == ("painted", "red", "blue")
        await asyncio.to_thread(cars, "delete", "car", "beetle", "--timeout=20s")
        assert await operator.next() == ("deleted", "beetle")


def test_controllers_see_new_kinds(cars: Kubectl) -> None:
    """What a car owns goes with it, and the cars go with their namespace; quotas count them."""
    cars.apply(car("owner", color="red"))
    uid = cars.field("car/owner", ".metadata.uid")
    owner = {"apiVersion": f"{GROUP}/v1", "kind": "Car", "name": "owner", "uid": uid}
    cars.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned", "ownerReferences": [owner]}})
    quota = {"hard": {f"count/cars.{GROUP}": "1"}}
    cars.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": quota})
    counted = f"count/cars.{GROUP}".replace(".", "\\.")
    cars("wait", f"--for=jsonpath={{.status.used.{counted}}}=1", "quota/few", "--timeout=20s")
    other = cars("apply", "-f", "-", given=json.dumps(car("second", color="red")), fails=True)
    assert "exceeded quota: few" in other.err
    cars("delete", "car", "owner", "--timeout=10s")
    cars("wait", "--for=delete", "configmap/owned", "--timeout=20s")
    cars("create", "namespace", "garage")
    cars("apply", "-n", "garage", "-f", "-", given=json.dumps(car("parked", color="red")))
    cars("delete", "namespace", "garage", "--timeout=30s")
    assert cars("get", "cars", "-A", "-o", "name") == ""


@pytest.mark.parametrize("age", ["new", "old"])
def test_a_chart_with_definitions(kubectl: Kubectl, tmp_path: Path, age: str) -> None:
    """Helm makes what is in crds/ first, waits for it, and leaves it behind."""
    group, chart = f"{age}.example.com", tmp_path / "chart"
    (chart / "crds").mkdir(parents=True)
    (chart / "templates").mkdir()
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: cars\nversion: 0.1.0\n")
    (chart / "crds" / "cars.yaml").write_text(yaml.safe_dump(definition(group)))
    (chart / "templates" / "car.yaml").write_text(yaml.safe_dump(car("beetle", group, color="red")))
    helm = Kubectl(kubectl.cluster, kubectl.namespace, str(program(age, "helm")))
    assert "STATUS: deployed" in helm("install", "one", str(chart), "--wait", "--timeout", "100s")
    assert kubectl.field(f"cars.{group}/beetle", ".spec.doors") == "4"
    helm("uninstall", "one", "--wait", "--timeout", "100s")
    assert kubectl("get", "crd", f"cars.{group}", "-o", "name") != ""
    kubectl("delete", "crd", f"cars.{group}", "--timeout=20s")
    shutil.rmtree(chart)
