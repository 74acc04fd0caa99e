"""Requests that attacks are made of: paths, patches, definitions, and what makes many objects quickly."""

import http.client
import json
from typing import Any

from kapi.objects.meta import Object
from tests.attacks.victim import Victim

NAMESPACE = "/api/v1/namespaces/default"
MAPS, PODS = f"{NAMESPACE}/configmaps", f"{NAMESPACE}/pods"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CUSTOM = "/apis/attack.example.com/v1/namespaces/default"
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
YAML = {"Content-Type": "application/yaml"}
PROTOBUF = {"Content-Type": "application/vnd.kubernetes.protobuf"}
ANYTHING: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
"""A schema."""
PATCHES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


def create(victim: Victim, path: str, obj: Object) -> None:
    """The object is there afterwards."""
    status, answer = victim.ask("POST", path, obj)
    assert status in (201, 409), answer


def patch(victim: Victim, path: str, form: str, body: Any, manager: str = "attacker") -> tuple[int, Any]:
    """(status, answer) of a patch in one of the four forms."""
    query = f"?fieldManager={manager}" if form == "apply" else ""
    return victim.ask("PATCH", path + query, body, headers={"Content-Type": PATCHES[form]})


def config_map(name: str, **metadata: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}


def pod(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


def properties(**fields: Object) -> Object:
    """An OpenAPI schema."""
    return {"type": "object", "properties": fields}


def definition(kind: str, schema: Object, columns: list[Object] | None = None, **more: Any) -> Object:
    """A CustomResourceDefinition of attack.example.com; `more` is of its version."""
    plural = f"{kind.lower()}s"
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **more}
    if columns:
        version["additionalPrinterColumns"] = columns
    named = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    spec = {"group": "attack.example.com", "scope": "Namespaced", "names": named, "versions": [version]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.attack.example.com"},
        "spec": spec,
    }


def define(victim: Victim, kind: str, schema: Object, columns: list[Object] | None = None, **more: Any) -> str:
    """The path of a custom kind, which is served afterwards."""
    wanted = definition(kind, schema, columns, **more)
    create(victim, DEFINITIONS, wanted)
    name = wanted["metadata"]["name"]
    query = f"watch=1&timeoutSeconds=20&fieldSelector=metadata.name%3D{name}"
    line = http.client.HTTPSConnection("127.0.0.1", victim.port, context=victim.tls(), timeout=30)
    line.request("GET", f"{DEFINITIONS}?{query}", headers={"Authorization": f"Bearer {victim.token}"})
    for event in line.getresponse():
        conditions = json.loads(event)["object"].get("status", {}).get("conditions") or ()
        if any(one["type"] == "Established" and one["status"] == "True" for one in conditions):
            break
    else:
        raise AssertionError(f"{name} is not served")
    line.close()
    return f"{CUSTOM}/{kind.lower()}s"


def custom(kind: str, name: str, **fields: Any) -> Object:
    return {"apiVersion": "attack.example.com/v1", "kind": kind, "metadata": {"name": name}, **fields}


def create_config_maps(victim: Victim, count: int, prefix: str, labels: dict[str, str]) -> None:
    """So many ConfigMaps with these labels."""
    line = http.client.HTTPSConnection("127.0.0.1", victim.port, context=victim.tls(), timeout=30)
    headers = {"Authorization": f"Bearer {victim.token}", "Content-Type": "application/json"}
    for number in range(count):
        line.request("POST", MAPS, json.dumps(config_map(f"{prefix}-{number}", labels=labels)), headers)
        answer = line.getresponse()
        answer.read()
        assert answer.status == 201
    line.close()
