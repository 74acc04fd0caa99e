"""Kubernetes' protobuf: bytes made by hand from the published numbers."""

from typing import Any

import pytest

from kapi import limits
from kapi.objects import errors
from kapi.schema import builtin, decode, protobuf
from openapi import tables


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


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


@pytest.mark.parametrize("body", [b"", b"k8s\0\xff", b"{}", b"k8s\0" + field(1, 5), b"k8s\0" + field(1, field(1, b"\xff"))])
def test_bytes_that_are_no_message_are_refused(body: bytes) -> None:
    with pytest.raises(errors.BadRequest, match="unrecognized"):
        _config_map(body)


def _config_map(body: bytes) -> None:
    schema = builtin.schema("io.k8s.api.core.v1.ConfigMap")
    decode.decode(body, "protobuf", schema, api_version="v1", kind="ConfigMap")


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"\x0a\xff", "unexpected EOF"),
        (field(1, 5), "proto: wrong wireType = 0 for field ObjectMeta"),
        (field(1, field(1, 5)), "proto: wrong wireType = 0 for field Name"),
        (field(1, field(7, b"x")), "proto: wrong wireType = 2 for field Generation"),
        (field(1, field(8, b"\x0a\x01x")), "proto: wrong wireType = 2 for field Seconds"),
        (field(1, field(11, field(1, 7))), "proto: wrong wireType = 0 for field Mapkey"),
        (b"\x0b", "proto: illegal wireType 3"),
        (b"\x08" + b"\xff" * 11, "proto: integer overflow"),
    ],
)
def test_what_is_written_in_another_way_is_refused(message: bytes, why: str) -> None:
    with pytest.raises(errors.BadRequest) as found:
        _config_map(envelope("v1", "ConfigMap", message))
    assert found.value.message == f'ConfigMap in version "v1" cannot be handled as a ConfigMap: {why}'


def test_numbers_may_be_packed() -> None:
    schema = builtin.schema("io.k8s.api.core.v1.PodSecurityContext")
    assert protobuf.decode(field(4, b"\x01\xac\x02") + field(4, 7), schema) == {"supplementalGroups": [1, 300, 7]}


def test_more_fields_than_a_body_may_have() -> None:
    with pytest.raises(errors.RequestEntityTooLarge):
        _config_map(envelope("v1", "ConfigMap", field(9, b"") * (limits.BODY_VALUES + 1)))


ONE_OF_EACH = [
    ("core.v1.Secret", field(2, field(1, b"k") + field(2, b"\x00\xff")), {"data": {"k": "AP8="}}),
    ("core.v1.SecurityContext", field(2, 1) + field(4, -1), {"privileged": True, "runAsUser": -1}),
    ("core.v1.PodSpec", field(25, 1000) + field(5, 0), {"priority": 1000, "activeDeadlineSeconds": 0}),
    ("core.v1.ServicePort", field(3, 80) + field(4, field(1, 1) + field(3, b"http")), {"port": 80, "targetPort": "http"}),
    ("core.v1.ServicePort", field(4, field(1, 0) + field(2, 8080)), {"targetPort": 8080}),
    ("core.v1.ResourceRequirements", field(1, field(1, b"cpu") + field(2, field(1, b"500m"))), {"limits": {"cpu": "500m"}}),
    ("core.v1.PersistentVolumeClaimSpec", field(1, b"ReadOnlyMany") + field(1, b"ReadWriteOnce"),
     {"accessModes": ["ReadOnlyMany", "ReadWriteOnce"]}),
    ("coordination.v1.LeaseSpec", field(4, field(1, 1) + field(2, 250_000_000)), {"renewTime": "1970-01-01T00:00:01.250000Z"}),
    ("core.v1.PodStatus", field(7, field(1, 86400)), {"startTime": "1970-01-02T00:00:00Z"}),
    ("apps.v1.ControllerRevision", field(2, field(1, b'{"a":[1]}')), {"data": {"a": [1]}}),
    ("core.v1.SecurityContext", field(99, b"a field of a later version"), {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body", "expected"), ONE_OF_EACH)
def test_every_sort_of_value(name: str, body: bytes, expected: dict[str, Any]) -> None:
    assert protobuf.decode(body, builtin.schema(f"io.k8s.api.{name}")) == expected


def test_no_number_means_two_fields() -> None:
    for name, words in tables.wire().items():
        numbers = [word.partition("=")[2] for word in words.split()]
        assert len(set(numbers)) == len(numbers), name
