"""Kubernetes' protobuf: bytes made by hand from the published numbers, and every recorded vector when they are at hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from kapi.schema import builtin, decode, protobuf

VECTORS = sorted((Path(__file__).parents[3] / "shared" / "data" / "roundtrip").glob("*.pb"))
NEWER = {"core.v1.Pod", "resource.k8s.io.v1.ResourceSlice", "resource.k8s.io.v1beta1.ResourceSlice", "resource.k8s.io.v1beta2.ResourceSlice",
         "scheduling.k8s.io.v1alpha2.PodGroup", "scheduling.k8s.io.v1alpha2.Workload"}  # fmt: skip
"""Kinds with alpha fields whose numbers the kubectl that the table is made from does not carry."""


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    return protobuf.MAGIC + field(1, field(1, api_version.encode()) + field(2, kind.encode())) + field(2, raw)


def test_an_object_is_read_and_its_zero_values_are_dropped() -> None:
    meta = field(1, b"a") + field(2, b"") + field(11, field(1, b"k") + field(2, b"v"))
    body = envelope("v1", "ConfigMap", field(1, meta) + field(2, field(1, b"x") + field(2, b"y")))
    schema = builtin.schema("io.k8s.api.core.v1.ConfigMap")
    obj, warnings = decode.decode(body, "protobuf", schema, api_version="v1", kind="ConfigMap")
    assert obj == {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a", "labels": {"k": "v"}}, "data": {"x": "y"}}
    assert warnings == []


def test_embedded_structs_lie_in_messages_of_their_own() -> None:
    volume = field(1, b"v") + field(2, field(2, field(1, b"Memory")))
    schema = builtin.schema("io.k8s.api.core.v1.Volume")
    assert protobuf.decode(volume, schema) == {"name": "v", "emptyDir": {"medium": "Memory"}}


@pytest.mark.parametrize("body", [b"", b"k8s\0\xff", b"{}", b"k8s\0" + field(2, b"\x0a\xff")])
def test_bytes_that_are_no_message_are_refused(body: bytes) -> None:
    schema = builtin.schema("io.k8s.api.core.v1.ConfigMap")
    with pytest.raises(decode.BadRequest, match="unrecognized"):
        decode.decode(body, "protobuf", schema, api_version="v1", kind="ConfigMap")


def bare(value: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in value.items() if k not in ("kind", "apiVersion")}


def test_every_vector_reads_as_its_json() -> None:
    for path in VECTORS:
        found = protobuf.unwrap(path.read_bytes())
        group, _, version = found.api_version.rpartition("/")
        name = builtin.named(group, version, found.kind)
        if not name or path.stem in NEWER:
            continue
        schema = builtin.schema(name)
        wanted = decode.read(bare(json.loads(path.with_suffix(".json").read_bytes())), schema)[0]
        assert decode.read(protobuf.decode(found.raw, schema), schema)[0] == wanted, path.stem
