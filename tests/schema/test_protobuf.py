"""Kubernetes' protobuf: bytes made by hand from the published numbers."""

import re
import tracemalloc
from typing import Any

import pytest

from kapi import limits
from kapi.objects import errors
from kapi.schema import builtin, decode, protobuf, reading
from openapi import tables
from tests.messages import envelope, field


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
    ("core.v1.PodStatus", field(7, field(1, -62135596799)), {"startTime": "0001-01-01T00:00:01Z"}),
    ("coordination.v1.LeaseSpec", field(4, field(1, -62135596799) + field(2, 5000)), {"renewTime": "0001-01-01T00:00:01.000005Z"}),
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


def _reached(name: str, seen: set[str]) -> None:
    """The definitions an object of this one may hold."""
    if name in seen or name in builtin.SPECIAL:
        return
    seen.add(name)
    for text in tables.types()[name].values():
        for inner in re.findall(r"io\.k8s\.[\w.-]+", text):
            _reached(inner, seen)


def test_every_field_that_is_served_has_a_number() -> None:
    seen: set[str] = set()
    for row in tables.resources():
        _reached(builtin.named(row["group"], row["version"], row["kind"]), seen)
    for name in seen:
        numbered = {word.partition("=")[0] for word in tables.wire().get(name, "").split()}
        assert {*tables.types()[name]} - numbered <= {"", "kind", "apiVersion"}, name


EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
STRING = field(5, b"string") + field(4, b"") + field(37, 0)
"""A schema, with zeros as Go writes them."""
EITHER = [
    (field(24, field(1, STRING)), {"items": {"type": "string"}}),
    (field(24, field(2, STRING) + field(2, STRING)), {"items": [{"type": "string"}, {"type": "string"}]}),
    (field(30, field(1, 1)), {"additionalProperties": True}),
    (field(30, field(1, 0)), {"additionalProperties": False}),
    (field(30, field(1, 1) + field(2, STRING)), {"additionalProperties": {"type": "string"}}),
    (field(32, field(1, b"k") + field(2, field(2, b"a") + field(2, b"b"))), {"dependencies": {"k": ["a", "b"]}}),
    (field(32, field(1, b"k") + field(2, field(1, STRING))), {"dependencies": {"k": {"type": "string"}}}),
    (field(8, field(1, b'{"a":null}')), {"default": {"a": None}}),
    (field(2, b"x") + field(43, b"atomic"), {"$schema": "x", "x-kubernetes-map-type": "atomic"}),
    (field(30, field(2, field(24, field(1, STRING)))), {"additionalProperties": {"items": {"type": "string"}}}),
]


@pytest.mark.parametrize(("body", "expected"), EITHER)
def test_schemas_of_custom_types(body: bytes, expected: dict[str, Any]) -> None:
    assert protobuf.decode(body, builtin.schema(EXTENSIONS + "JSONSchemaProps")) == expected


def test_an_aggregated_service() -> None:
    spec = field(1, field(1, b"ns") + field(2, b"s") + field(3, 443)) + field(2, b"g") + field(3, b"v1") + field(4, 1) + field(7, 100)
    body = envelope("apiregistration.k8s.io/v1", "APIService", field(1, field(1, b"v1.g")) + field(2, spec + field(8, 15)))
    schema = builtin.schema("io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService")
    obj, _ = decode.decode(body, "protobuf", schema, api_version="apiregistration.k8s.io/v1", kind="APIService")
    assert obj["spec"] == {
        "service": {"namespace": "ns", "name": "s", "port": 443}, "group": "g", "version": "v1", "insecureSkipTLSVerify": True,
        "groupPriorityMinimum": 100, "versionPriority": 15,
    }  # fmt: skip


@pytest.mark.parametrize("seconds", [1 << 62, -(1 << 62), 1 << 38, -62135596801])
def test_times_of_no_calendar(seconds: int) -> None:
    body = envelope("v1", "Pod", field(1, field(8, field(1, seconds))))
    with pytest.raises(errors.BadRequest, match="cannot be handled as a Pod"):
        decode.decode(body, "protobuf", builtin.schema("io.k8s.api.core.v1.Pod"), api_version="v1", kind="Pod")


def test_a_schema_in_a_schema_counts_as_any_other() -> None:
    nested = field(24, field(1, field(23, b"") * (limits.BODY_VALUES + 1)))
    with pytest.raises(errors.RequestEntityTooLarge):
        protobuf.decode(nested, builtin.schema(EXTENSIONS + "JSONSchemaProps"))


def _nested(levels: int, number: int, inner: bytes, *between: int) -> bytes:
    """A message in a message of a schema's field `number`, so many times."""
    for _ in range(levels):
        for step in between:
            inner = field(step, inner)
        inner = field(number, inner)
    return inner


def _definition(schema: bytes) -> Any:
    version = field(1, b"v1") + field(4, field(1, schema))
    body = envelope("apiextensions.k8s.io/v1", "CustomResourceDefinition", field(2, field(7, version)))
    model = builtin.schema(builtin.APIEXTENSIONS + "CustomResourceDefinition")
    obj, _ = decode.decode(body, "protobuf", model, api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    return obj["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def test_messages_in_messages_take_no_copies() -> None:
    model = builtin.schema(builtin.APIEXTENSIONS + "JSONSchemaProps")
    message = _nested(200, 28, field(4, b"x" * 1_000_000))
    protobuf.decode(_nested(200, 28, b""), model)
    tracemalloc.start()
    try:
        schema: Any = protobuf.decode(message, model)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    for _ in range(200):
        schema = schema["not"]
    assert schema == {"description": "x" * 1_000_000}
    assert peak < 5_000_000


def test_schemas_within_schemas_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in "items" is anything to a reading: it is not gone through again at each level."""
    seen: list[Any] = []
    monkeypatch.setattr(reading, "plain", seen.append)
    model = builtin.schema(builtin.APIEXTENSIONS + "JSONSchemaProps")
    schema: Any = protobuf.decode(_nested(100, 24, field(4, b"x"), 1), model)
    for _ in range(100):
        schema = schema["items"]
    assert schema == {"description": "x"}
    assert not seen


@pytest.mark.parametrize(
    "schema",
    [
        _nested(250, 28, field(4, b"x")),
        _nested(3000, 28, field(4, b"x")),
        _nested(3000, 24, b"", 1),
        _nested(1, 8, field(1, b"[" * 900 + b"]" * 900)),
        _nested(60, 28, field(8, field(1, b"[" * 200 + b"]" * 200))),
    ],
)
def test_what_is_nested_too_deeply_to_be_kept_is_refused(schema: bytes) -> None:
    with pytest.raises(errors.BadRequest, match="exceeded max depth"):
        _definition(schema)


def test_options_written_in_another_way_are_refused() -> None:
    with pytest.raises(errors.BadRequest) as found:
        decode.options(envelope("v1", "DeleteOptions", field(1, b"x")), "protobuf", "DeleteOptions")
    assert found.value.message == (
        'DeleteOptions in version "v1" cannot be handled as a DeleteOptions: proto: wrong wireType = 2 for field GracePeriodSeconds'
    )
