import json

import pytest

from openapi import binary, generate, tables


@pytest.mark.slow
def test_regenerating_gives_the_same_bytes() -> None:
    swagger = json.loads(generate.swagger_path().read_bytes())
    types = binary.read(generate.kubectl_path(), generate.WANTED)
    assert generate.types_table(swagger, types) == (generate.HERE / "types.json").read_text()
    assert generate.wire_table(swagger, types, tables.wire()) == (generate.HERE / "wire.json").read_text()


def test_numbers_come_from_published_files() -> None:
    name = "io.k8s.a-b.v1.T"
    numbers = {"xKubernetesMapType": 3, "ref": 2, "id": 1}
    messages = {"k8s.io.a_b.v1.T": {field: [number, "optional string"] for field, number in numbers.items()}}
    known = {name: {"properties": dict.fromkeys(("id", "$ref", "x-kubernetes-map-type"))}}
    assert generate.published_numbers(messages, known) == {name: "id=1 $ref=2 x-kubernetes-map-type=3"}


def test_go_names_go_both_ways() -> None:
    name = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    assert generate.go_name(name) == "k8s.io/apimachinery/pkg/apis/meta/v1.ObjectMeta"
    assert generate.definition(generate.go_name(name)) == name


def test_rows_come_from_a_discovery_document() -> None:
    digest = tables.storage_hash("autoscaling", "v2", "HorizontalPodAutoscaler")
    hpa = {"name": "horizontalpodautoscalers", "kind": "HorizontalPodAutoscaler", "namespaced": True, "verbs": ["get", "list"]}
    status = {"name": "horizontalpodautoscalers/status", "kind": "HorizontalPodAutoscaler", "namespaced": True, "verbs": ["get"]}
    document = {"groupVersion": "autoscaling/v1", "resources": [hpa | {"storageVersionHash": digest, "shortNames": ["hpa"]}, status]}
    assert generate.resource_rows(document) == [
        {
            "group": "autoscaling",
            "version": "v1",
            "plural": "horizontalpodautoscalers",
            "kind": "HorizontalPodAutoscaler",
            "namespaced": True,
            "verbs": "get list",
            "short": ["hpa"],
            "categories": [],
            "subresources": {"status": "get"},
            "stored": "autoscaling/v2",
        }
    ]


def test_guessed_fields_know_pointers_and_names() -> None:
    owner = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.ValidationRule"
    assert generate.guessed(owner, "reason", {"type": "string"}, False) == "*v1.FieldValueErrorReason=string ?"
    assert generate.guessed(owner, "rule", {"type": "string"}, True) == "string"


def test_tables_are_small_and_complete() -> None:
    assert len(tables.types()) == 771
    assert len(tables.resources()) == 95
    assert sum((generate.HERE / name).stat().st_size for name in ("types.json", "resources.json")) < 400_000


def test_what_is_published_beside_the_types() -> None:
    rows = {"io.X": {"": "kind=/v1/X", "b": "int32 ? !", "a": "string !", "p": "*v1.P=string ?", "l": "[]string", "m": "io.Y ?"}}
    properties = {
        "a": {"type": "string", "default": ""},
        "b": {"type": "integer", "default": 0},
        "p": {"type": "string", "enum": ["U", "V"], "default": "U"},
        "l": {"type": "array", "items": {"type": "string", "enum": ["I"]}},
        "m": {"allOf": [{}], "default": {}},
    }
    schema = {"properties": properties, "required": ["a", "b"], "x-kubernetes-unions": [{}]}
    found = generate.published_types({"v1": {"components": {"schemas": {"io.X": schema, "io.Unknown": {}}}}}, rows)
    assert found == {
        "io.X": {
            "": {"x-kubernetes-unions": [{}], "required": ["a", "b"]},
            "b": {"default": 0},
            "l": {"items": {"enum": ["I"]}},
            "p": {"enum": ["U", "V"], "default": "U"},
        }
    }


def test_names_of_shared_parameters() -> None:
    def reference(name: str) -> dict[str, str]:
        return {"$ref": f"#/parameters/{name}"}

    patch = {"x-kubernetes-action": "patch", "parameters": [reference("manager-2"), reference("body-1"), {"name": "dryRun", "in": "query"}]}
    stream = {"x-kubernetes-action": "connect", "x-kubernetes-group-version-kind": {"kind": "PodExecOptions"}}
    query = {"name": "manager", "in": "query"}
    document = {
        "paths": {
            "/a": {"post": {"x-kubernetes-action": "post", "parameters": [reference("manager-1")]}, "patch": patch},
            "/b": {"get": stream, "parameters": [reference("path-1"), reference("path-2")]},
        },
        "parameters": {
            "manager-1": query, "manager-2": query, "body-1": {"name": "body", "in": "body", "schema": {"$ref": "#/definitions/io.Patch"}},
            "path-1": {"name": "path", "in": "path"}, "path-2": {"name": "path", "in": "query"},
        },
    }  # fmt: skip
    names = {"manager": "manager-1", "patch manager": "manager-2", "body Patch": "body-1", "path path": "path-1", "path": "path-2"}
    assert generate.shared_parameters(document) == names
