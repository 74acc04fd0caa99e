"""Kubernetes' protobuf, written: bytes that can be checked by hand, and what is written is what is read."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kapi.objects.meta import Object
from kapi.schema import builtin, decode, protobuf, protobuf_encoding
from kapi.schema.protobuf_encoding import encoder
from kapi.schema.schema import Schema
from openapi import tables
from tests import descriptors
from tests.messages import field, varint

CORE, META = "io.k8s.api.core.v1.", builtin.META
NO_META = field(1, b"") + field(2, b"") + field(3, b"") + field(4, b"") + field(5, b"") + field(6, b"") + field(7, 0) + field(8, b"")
"""Metadata with nothing in it: all that is no pointer is written."""


def test_a_body() -> None:
    obj = {
        "kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a", "labels": {"z": "1", "b": "2"}, "creationTimestamp": None},
        "data": {"k": "v"},
    }  # fmt: skip
    assert protobuf_encoding.whole(obj) == (
        b"k8s\0" b"\x0a\x0f" b"\x0a\x02v1" b"\x12\x09ConfigMap"
        b"\x12\x2b"
        b"\x0a\x21" b"\x0a\x01a" b"\x12\x00" b"\x1a\x00" b"\x22\x00" b"\x2a\x00" b"\x32\x00" b"\x38\x00" b"\x42\x00"
        b"\x5a\x06\x0a\x01b\x12\x012" b"\x5a\x06\x0a\x01z\x12\x011"
        b"\x12\x06\x0a\x01k\x12\x01v"
        b"\x1a\x00" b"\x22\x00"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "obj", "message"),
    [
        (CORE + "Secret", {"data": {"k": "AP8=", "n": None, "e": ""}},
         field(1, NO_META) + field(2, field(1, b"e") + field(2, b"")) + field(2, field(1, b"k") + field(2, b"\0\xff"))
         + field(2, field(1, b"n")) + field(3, b"")),
        (CORE + "SecurityContext", {"privileged": False, "runAsUser": -1}, field(2, 0) + field(4, -1)),
        (CORE + "ServicePort", {"port": 80, "targetPort": "http"},
         field(1, b"") + field(2, b"") + field(3, 80) + field(4, field(1, 1) + field(2, 0) + field(3, b"http")) + field(5, 0)),
        (CORE + "ServicePort", {"port": 300, "targetPort": 8080},
         field(1, b"") + field(2, b"") + field(3, 300) + field(4, field(1, 0) + field(2, 8080) + field(3, b"")) + field(5, 0)),
        (CORE + "ResourceRequirements", {"limits": {"memory": "1Gi", "cpu": "500m"}},
         field(1, field(1, b"cpu") + field(2, field(1, b"500m"))) + field(1, field(1, b"memory") + field(2, field(1, b"1Gi")))),
        (CORE + "Volume", {"name": "v", "emptyDir": {"medium": "Memory"}}, field(1, b"v") + field(2, field(2, field(1, b"Memory")))),
        (CORE + "Volume", {"name": "v"}, field(1, b"v") + field(2, b"")),
        ("io.k8s.api.coordination.v1.LeaseSpec", {"renewTime": "1970-01-01T00:00:01.250000Z"},
         field(4, field(1, 1) + field(2, 250_000_000))),
        (CORE + "EventSeries", {"lastObservedTime": None}, field(1, 0) + field(2, b"")),
        (META + "OwnerReference", {"name": "é" * 100}, field(1, b"") + field(3, "é".encode() * 100) + field(4, b"") + field(5, b"")),
        (META + "APIResource", {"name": "pods", "verbs": ["get", "list"]},
         field(1, b"pods") + field(2, 0) + field(3, b"") + field(4, field(1, b"get") + field(1, b"list")) + field(6, b"") + field(8, b"")
         + field(9, b"") + field(10, b"")),
        ("io.k8s.api.authentication.v1.UserInfo", {"extra": {"k": ["a", "b"], "n": None}},
         field(1, b"") + field(2, b"") + field(4, field(1, b"k") + field(2, field(1, b"a") + field(1, b"b")))
         + field(4, field(1, b"n") + field(2, b""))),
        (META + "ManagedFieldsEntry", {"time": "0001-01-01T00:00:00Z", "fieldsV1": {"f:a": {}}},
         field(1, b"") + field(2, b"") + field(3, b"") + field(4, b"") + field(6, b"") + field(7, field(1, b'{"f:a":{}}')) + field(8, b"")),
    ],
)  # fmt: skip
def test_every_sort_of_value(name: str, obj: Object, message: bytes) -> None:
    assert encoder(name).message(obj) == message


SCHEMA = encoder(builtin.APIEXTENSIONS + "JSONSchemaProps").message
TEXT = SCHEMA({"type": "string"})


@pytest.mark.parametrize(
    ("obj", "number", "value"),
    [
        ({"items": {"type": "string"}}, 24, field(1, TEXT)),
        ({"items": [{"type": "string"}, {"type": "string"}]}, 24, field(2, TEXT) + field(2, TEXT)),
        ({"additionalProperties": True}, 30, field(1, 1)),
        ({"additionalProperties": False}, 30, field(1, 0)),
        ({"additionalProperties": {"type": "string"}}, 30, field(1, 1) + field(2, TEXT)),
        ({"dependencies": {"k": ["a", "b"]}}, 32, field(1, b"k") + field(2, field(2, b"a") + field(2, b"b"))),
        ({"dependencies": {"k": {"type": "string"}}}, 32, field(1, b"k") + field(2, field(1, TEXT))),
        ({"default": {"a": None}}, 8, field(1, b'{"a":null}')),
        ({"not": {"type": "string"}}, 28, TEXT),
    ],
)
def test_schemas_of_custom_types(obj: Object, number: int, value: bytes) -> None:
    assert field(number, value) in SCHEMA(obj)


def test_numbers_of_schemas_have_eight_bytes() -> None:
    assert varint(9 << 3 | 1) + b"\0\0\0\0\0\0\xf8\x3f" in SCHEMA({"maximum": 1.5})
    assert varint(9 << 3 | 1) + b"\0\0\0\0\0\0\0\x40" in SCHEMA({"maximum": 2})


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("0s", 0), ("1h2m3.5s", 3723_500_000_000), ("-1.5ms", -1_500_000), ("1ns", 1), ("2540400h10m10s", 9145440610 * 10**9)],
)
def test_durations(text: str, nanoseconds: int) -> None:
    kind = Schema("object", name="test", fields={"d": Schema("duration")})
    layout = protobuf.Node({1: ("d", kind.fields["d"])}, {})
    assert protobuf_encoding.Encoder(lambda: layout).message({"d": text}) == field(1, field(1, nanoseconds))


def test_a_schema_of_as_many_levels_as_are_kept() -> None:
    schema: Object = {"type": "string"}
    for _ in range(120):
        schema = {"properties": {"a": schema}}
    assert protobuf.decode(SCHEMA(schema), builtin.schema(builtin.APIEXTENSIONS + "JSONSchemaProps"))["properties"]["a"]


# random objects -------------------------------------------------------------------------------------------------------------------------

NAMES = sorted(name for row in tables.resources() if (name := builtin.named(row["group"], row["version"], row["kind"])))
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
JSON = st.dictionaries(TEXTS, st.none() | st.booleans() | NUMBERS | TEXTS | st.lists(TEXTS, max_size=2), max_size=3)
TIMES = st.datetimes().map(lambda at: at.isoformat(timespec="microseconds"))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXTS, "int32": st.integers(-(2**31), 2**31 - 1), "int64": NUMBERS, "boolean": st.booleans(),
    "number": st.integers(-(2**40), 2**40), "bytes": st.sampled_from(["AA==", "/+8=", "aGVsbG8="]),
    "quantity": st.sampled_from(["1", "100m", "2Gi", "0", "-5"]), "time": TIMES.map(lambda text: f"{text[:19]}Z"),
    "microtime": TIMES.map(lambda text: f"{text}Z"), "intstr": TEXTS | st.integers(-(2**31), 2**31 - 1), "any": JSON,
}  # fmt: skip
EITHER = {"boolean": st.booleans(), "object": st.just([{"type": "string"}]), "string": st.lists(TEXTS, min_size=1, max_size=2)}


def _field(draw: st.DrawFn, schema: Schema, levels: int) -> Any:
    if schema.name in protobuf.EITHER:
        return draw(st.just({"type": "string"}) | EITHER[protobuf.EITHER[schema.name][2]])
    if schema.type == "object":
        return _object(draw, schema, levels)
    if schema.type == "list":
        assert schema.item is not None
        return [_field(draw, schema.item, levels) for _ in range(draw(st.integers(1, 2)))]
    if schema.type == "map":
        assert schema.item is not None
        return {name: _field(draw, schema.item, levels) for name in draw(st.lists(TEXTS, min_size=1, max_size=2, unique=True))}
    return draw(VALUES[schema.type])


def _object(draw: st.DrawFn, schema: Schema, levels: int) -> Object:
    if not levels or not schema.fields:
        return {}
    chosen = draw(st.lists(st.sampled_from(sorted(schema.fields)), max_size=6, unique=True))
    if levels > 8:
        chosen = [*{*chosen, *schema.fields}]
    return {name: _field(draw, schema.fields[name], levels - 1) for name in chosen if name not in ("kind", "apiVersion")}


@st.composite
def objects(draw: st.DrawFn, name: str) -> Object:
    """An object of a definition, as the registry keeps it."""
    schema = builtin.schema(name)
    obj: Object = decode.read(_object(draw, schema, 9), schema)[0]
    return obj


@pytest.mark.slow
@given(st.data())
def test_what_is_written_is_read_again(data: st.DataObject) -> None:
    """Of an object of any kind: by the decoder of bodies the same object, by another library the same values; of that the same bytes."""
    name = data.draw(st.sampled_from(NAMES))
    obj, schema = data.draw(objects(name)), builtin.schema(name)
    message = encoder(name).message(obj)
    again = decode.read(protobuf.decode(message, schema), schema)[0]
    assert again == obj
    assert encoder(name).message(again) == message
    if "apiextensions" not in name:  # schemas take several forms there
        body = protobuf_encoding.head("v1", "K") + field(2, message) + protobuf_encoding.END
        found = descriptors.read(body, name)
        del found["apiVersion"], found["kind"]
        assert descriptors.without_zeros(found) == descriptors.without_zeros(obj)
