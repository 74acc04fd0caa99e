"""Namespaces: their label, finalizers, phases."""

from copy import deepcopy

import pytest

from kapi.objects import time
from kapi.objects.meta import Object
from kapi.registry.kinds.core.namespaces import NamespaceStrategy
from tests.registry.kinds.making import made

NAMESPACES = NamespaceStrategy()


def namespace() -> Object:
    return made(NAMESPACES, {"metadata": {"name": "n", "labels": {"a": "b"}}})


def test_new() -> None:
    assert namespace() == {
        "metadata": {"name": "n", "labels": {"a": "b", "kubernetes.io/metadata.name": "n"}},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


def test_name_that_was_generated_is_the_label_too() -> None:
    obj: Object = {"metadata": {"generateName": "n-"}}
    NAMESPACES.default(obj)
    assert "labels" not in obj["metadata"]
    obj["metadata"]["name"] = "n-1"
    NAMESPACES.prepare(obj, None)
    assert obj["metadata"]["labels"] == {"kubernetes.io/metadata.name": "n-1"}


def test_finalizers_change_through_finalize_only() -> None:
    old = namespace()
    new = deepcopy(old)
    new["spec"] = {"finalizers": []}
    NAMESPACES.prepare(new, old)
    assert new["spec"] == {"finalizers": ["kubernetes"]}
    new["spec"], new["status"] = {"finalizers": []}, {"phase": "Terminating"}
    NAMESPACES.prepare_subresource("finalize", new, old)
    assert new["spec"] == {"finalizers": []}
    assert new["status"] == {"phase": "Active"}
    assert not NAMESPACES.blocks_deletion(new)
    assert NAMESPACES.blocks_deletion(old)


@pytest.mark.parametrize(("name", "count"), [("kubernetes", 0), ("orphan", 0), ("a.b/c", 0), ("x", 1), ("bad name!", 2)])
def test_finalizer_names(name: str, count: int) -> None:
    obj = namespace()
    obj["spec"]["finalizers"] = [name]
    assert len(NAMESPACES.validate_subresource("finalize", obj, obj)) == count
    assert [c.field for c in NAMESPACES.validate(obj, None)] == ["spec.finalizers"] * count


def test_phases() -> None:
    obj = namespace()
    deleted = deepcopy(obj)
    deleted["metadata"]["deletionTimestamp"] = time.stamp(0.0)
    assert NAMESPACES.validate_status(obj, obj) == []
    assert [c.message for c in NAMESPACES.validate_status(deleted, obj)] == [
        "Invalid value: \"Active\": may only be 'Terminating' if `deletionTimestamp` is not empty"
    ]
    deleted["metadata"]["deletionGracePeriodSeconds"] = 0
    NAMESPACES.mark_deleted(deleted)
    assert "deletionGracePeriodSeconds" not in deleted["metadata"]
    assert NAMESPACES.validate_status(deleted, obj) == []
    assert NAMESPACES.validate_status({**obj, "status": {}}, obj)[0].field == "status.Phase"


def test_row_and_field() -> None:
    obj = namespace()
    obj["metadata"]["creationTimestamp"] = time.stamp(0.0)
    assert NAMESPACES.row(obj, 60.0) == ["n", "Active", "60s"]
    assert NAMESPACES.fields["status.phase"](obj) == "Active"
