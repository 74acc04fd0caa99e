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
