import pytest

from kapi.schema import builtin
from openapi import tables

POD = builtin.schema("io.k8s.api.core.v1.Pod")


def test_lists_know_how_they_merge() -> None:
    containers = POD.at("spec", "containers")
    assert containers is not None
    assert (containers.type, containers.list_type, containers.keys) == ("list", "map", ("name",))
    assert (containers.patch_strategy, containers.patch_key) == (frozenset({"merge"}), "name")
    assert containers.go_type == "[]v1.Container"
    volumes = POD.at("spec", "volumes")
    assert volumes is not None
    assert volumes.patch_strategy == {"merge", "retainKeys"}
    ports = POD.at("spec", "containers", "ports")
    assert ports is not None
    assert ports.keys == ("containerPort", "protocol")


@pytest.mark.parametrize(
    ("path", "kind", "go"),
    [
        ("spec.containers.resources.requests", "map", "v1.ResourceList"),
        ("spec.containers.resources.requests.cpu", "quantity", "resource.Quantity"),
        ("spec.containers.ports.protocol", "string", "v1.Protocol"),
        ("spec.containers.livenessProbe.httpGet.port", "intstr", "intstr.IntOrString"),
        ("metadata.creationTimestamp", "time", "v1.Time"),
        ("metadata.labels", "map", "map[string]string"),
        ("metadata.managedFields.fieldsV1", "any", "v1.FieldsV1"),
        ("spec.nodeSelector", "map", "map[string]string"),
        ("spec.priority", "int32", "int32"),
        ("spec.hostNetwork", "boolean", "bool"),
    ],
)
def test_types(path: str, kind: str, go: str) -> None:
    node = POD.at(*path.split("."))
    assert node is not None
    assert (node.type, node.go_type) == (kind, go)


def test_what_go_omits() -> None:
    def facts(*path: str) -> tuple[bool, bool, bool]:
        node = POD.at(*path)
        assert node is not None
        return node.pointer, node.omit_empty, node.omit_zero

    assert facts("spec", "priority") == (True, True, False)
    assert facts("spec", "containers") == (False, False, False)
    assert facts("metadata", "creationTimestamp") == (False, True, True)


def test_atomic_objects_and_maps() -> None:
    selector = POD.at("spec", "nodeSelector")
    secret = POD.at("spec", "imagePullSecrets")
    assert selector is not None
    assert selector.atomic
    assert secret is not None
    assert secret.item is not None
    assert secret.item.atomic
    assert not POD.atomic


def test_a_type_may_hold_itself() -> None:
    props = builtin.schema(builtin.APIEXTENSIONS + "JSONSchemaProps")
    inner = props.at("properties", "a", "allOf", "not")
    assert inner is not None
    assert inner.fields is props.fields
    assert props.at("no", "such") is None


def test_every_type_of_the_table_resolves() -> None:
    for name in tables.types():
        for field in builtin.schema(name).fields.values():
            assert field.type
            assert field.type not in ("list", "map") or field.item is not None


def test_names_of_kinds() -> None:
    assert builtin.named("apps", "v1", "Deployment") == "io.k8s.api.apps.v1.Deployment"
    assert builtin.named("apps", "v9", "Deployment") == ""
    with pytest.raises(KeyError):
        builtin.schema("io.k8s.api.core.v1.Nothing")
