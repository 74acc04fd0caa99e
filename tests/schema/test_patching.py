"""Patch bodies and patched results: read, applied, refused with stock's words."""

from typing import Any

import pytest

from kapi.objects import errors
from kapi.schema import builtin, patching

DEPLOYMENT = builtin.schema(builtin.named("apps", "v1", "Deployment"))


def result(merged: Any, parsed: Any, media: str, validation: str = "Warn") -> Any:
    return patching.result(DEPLOYMENT, merged, parsed, media, api_version="apps/v1", kind="Deployment", validation=validation)


def deployment(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}


@pytest.mark.parametrize(
    ("raw", "media", "message"),
    [
        (b"{", patching.MERGE, "error decoding patch: unexpected end of JSON input"),
        (b'{"a": 1e400}', patching.MERGE, "error decoding patch: json: cannot unmarshal number 1e400 into Go value of type float64"),
        (b"[]", patching.MERGE, "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"),
        (b"[]", patching.STRATEGIC, "json: cannot unmarshal array into Go value of type map[string]interface {}"),
        (b"{}", patching.JSON, "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
    ],
)
def test_bodies_that_cannot_be_read(raw: bytes, media: str, message: str) -> None:
    with pytest.raises(errors.BadRequest) as caught:
        patching.parse(raw, media)
    assert caught.value.message == message


def test_half_a_character_and_repeated_fields() -> None:
    assert patching.parse(rb'{"a": "\ud800"}', patching.MERGE) == ({"a": "\ufffd"}, [])
    twice = b'{"a": {"b": 1, "b": 2}}'
    assert patching.parse(twice, patching.MERGE) == ({"a": {"b": 2}}, ['duplicate field "a.b"'])
    assert patching.parse(twice, patching.MERGE, "Ignore") == ({"a": {"b": 2}}, [])


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"replicas": "x"}, "unrecognized type: int32"),
        ({"template": "x"}, "cannot restore struct from: string"),
        ({"template": {"spec": {"containers": "x"}}}, "cannot restore slice from string"),
    ],
)
def test_a_strategic_result_of_the_wrong_type(spec: Any, why: str) -> None:
    with pytest.raises(errors.Invalid) as caught:
        result(deployment(**spec), {"spec": {"replicas": "x"}}, patching.STRATEGIC)
    assert caught.value.message == f' "" is invalid: patch: Invalid value: "map[spec:map[replicas:x]]": {why}'
    assert list(caught.value.status()["details"]) == ["causes"]


def test_unknown_fields_by_validation() -> None:
    merged = deployment(bogus=1)
    assert result(merged, {}, patching.MERGE, "Warn")[1] == ['unknown field "spec.bogus"']
    assert result(merged, {}, patching.MERGE, "Ignore")[1] == []
    with pytest.raises(errors.Invalid, match=r'strict decoding error: unknown field "spec\.bogus"'):
        result(merged, {}, patching.MERGE, "Strict")
