"""Kubernetes' protobuf encoding, read: what Go clients send. Numbers come from openapi's wire table.

A body is the four bytes 'k8s\\0' and a runtime.Unknown that names the type and holds the object. Zero values are on the wire
as well; kapi.schema.decode drops them as it does with JSON. Written it is by kapi.schema.protobuf_encoding.
"""

import base64
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple, cast

import orjson

from kapi import limits
from kapi.objects import sizes, time
from kapi.objects.errors import RequestEntityTooLarge
from kapi.objects.meta import Object
from kapi.schema import builtin, reading, unpublished
from kapi.schema.schema import Schema
from openapi import tables

MAGIC = b"k8s\0"
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_DEEP = 100
"""Levels of messages from which the object's are counted; there are lists and maps between them."""

Bytes = bytes | memoryview
"""A part of a body. Messages within messages are views of it: copies would be alive at each level of a deep one."""


_TOO_DEEP = "exceeded max depth"


class Malformed(ValueError):
    """The bytes are not a message of the type."""


class Envelope(NamedTuple):
    """A decoded runtime.Unknown."""

    api_version: str
    kind: str
    raw: Bytes


class Node(NamedTuple):
    """Number -> (JSON name, type) of a message's own fields; number -> Node of the structs embedded in it."""

    fields: dict[int, tuple[str, Schema]]
    embedded: dict[int, "Node"]


class Wire(NamedTuple):
    """A field as it lies in a message: an int of a varint, else a view of its bytes."""

    number: int
    kind: int
    value: Any

    def message(self, name: str) -> Bytes:
        """The bytes of a text or message. Raises Malformed."""
        return cast(Bytes, self.of(_BYTES, name))

    def of(self, kind: int, name: str) -> Any:
        """The value of a field that is written in this way. Raises Malformed."""
        if self.kind != kind:
            raise Malformed(f"proto: wrong wireType = {self.kind} for field {_GO_NAMES.get(name) or name[:1].upper() + name[1:]}")
        return self.value


_GO_NAMES = {"metadata": "ObjectMeta", "uid": "UID", "apiVersion": "APIVersion"}
"""Fields that Go calls otherwise than JSON does."""


def _varint(data: Bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise Malformed("proto: integer overflow")


_LENGTHS = {_EIGHT: 8, _FOUR: 4}


def _wire(message: Bytes) -> Iterator[Wire]:
    """The fields of a message. Raises Malformed."""
    data, at, end = memoryview(message), 0, len(message)
    try:
        while at < end:
            tag, at = _varint(data, at)
            number, kind = tag >> 3, tag & 7
            if kind == _VARINT:
                value, at = _varint(data, at)
                yield Wire(number, kind, value)
                continue
            if kind == _BYTES:
                length, at = _varint(data, at)
            elif kind in _LENGTHS:
                length = _LENGTHS[kind]
            else:
                raise Malformed(f"proto: illegal wireType {kind}")
            if at + length > end:
                raise Malformed("unexpected EOF")
            yield Wire(number, kind, data[at : at + length])
            at += length
    except IndexError:
        raise Malformed("unexpected EOF") from None


def _first(data: Bytes, **names: int) -> dict[str, Any]:
    """The fields of a small message by name (name: its number; `seconds=1` for numbers, `Raw=2` for bytes)."""
    wanted = {number: name for name, number in names.items()}
    return {
        name: field.of(_VARINT if name in _NUMBERS else _BYTES, name)
        for field in _wire(data)
        if (name := wanted.get(field.number))
    }


_NUMBERS = frozenset({"seconds", "nanos", "type", "intVal", "duration"})


def unwrap(body: bytes) -> Envelope:
    """The envelope of a body. Raises Malformed."""
    if not body.startswith(MAGIC):
        raise Malformed("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    outer = _first(memoryview(body)[len(MAGIC) :], typeMeta=1, raw=2)
    inner = _first(outer.get("typeMeta", b""), apiVersion=1, kind=2)
    return Envelope(_text(inner.get("apiVersion", b"")), _text(inner.get("kind", b"")), outer.get("raw", b""))


@cache
def _node(name: str, fields: tuple[tuple[str, str], ...], schema: Schema) -> Node:
    node = Node({}, {})
    for field, path in fields:
        at = node
        *outer, number = (int(n) for n in path.split("."))
        for step in outer:
            at = at.embedded.setdefault(step, Node({}, {}))
        if field in schema.fields:
            at.fields[number] = (field, schema.fields[field])
    return node


@cache
def layout(schema: Schema) -> Node:
    """Where the fields of an object lie in its message."""
    words = (unpublished.WIRE.get(schema.name) or tables.wire().get(schema.name, "")).split()
    return _node(schema.name, tuple((f, n) for f, _, n in (w.partition("=") for w in words)), schema)


def decode(data: Bytes, schema: Schema) -> Object:
    """The object of a message's bytes, in the form of JSON, with its zero values. Raises Malformed, RequestEntityTooLarge."""
    decoding = _Decoding()
    try:
        out = decoding.object(data, schema)
    except RecursionError:
        raise Malformed(_TOO_DEEP) from None
    if decoding.deep:
        _check_depth(out)
    return out


def _check_depth(obj: Object) -> None:
    level: list[Any] = [obj]
    for _ in range(limits.PROTOBUF_DEPTH):
        items = (item for outer in level for item in (outer.values() if isinstance(outer, dict) else outer))
        level = [item for item in items if isinstance(item, dict | list)]
    if level:
        raise Malformed(_TOO_DEEP)


class _Decoding:
    """One reading of a body."""

    def __init__(self) -> None:
        self._left = limits.BODY_VALUES
        """Values that may still come."""
        self._level = 0
        self.deep = False
        """Whether the object may have more levels than can be kept."""

    def _take(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise RequestEntityTooLarge(f"Request entity too large: limit is {limits.BODY_VALUES} values", {})

    def _wire(self, data: Bytes) -> Iterator[Wire]:
        for field in _wire(data):
            self._take(1)
            yield field

    def object(self, data: Bytes, schema: Schema) -> Object:
        self._level += 1
        if self._level > limits.PROTOBUF_DEPTH:
            raise Malformed(_TOO_DEEP)
        self.deep = self.deep or self._level > _DEEP
        out: Object = {}
        self._fill(out, data, layout(schema))
        self._level -= 1
        return out

    def _fill(self, out: Object, data: Bytes, node: Node) -> None:
        for field in self._wire(data):
            if field.number in node.fields:
                name, schema = node.fields[field.number]
                if schema.type == "list":
                    out.setdefault(name, []).extend(self._items(field, name, _item(schema)))
                elif schema.type == "map":
                    key, value = self._entry(field.message(name), _item(schema))
                    out.setdefault(name, {})[key] = value
                else:
                    out[name] = self._value(field, name, schema)
            elif field.number in node.embedded:
                self._fill(out, field.message(str(field.number)), node.embedded[field.number])

    def _items(self, field: Wire, name: str, schema: Schema) -> Iterable[Any]:
        """The item of a field of a list; of numbers there may be several in one."""
        if schema.type not in _PACKED or field.kind != _BYTES:
            return (self._value(field, name, schema),)
        self._take(len(field.value) - 1)
        return [_SCALARS[schema.type](number) for number in _packed(field.value)]

    def _entry(self, data: Bytes, schema: Schema) -> tuple[str, Any]:
        """A map's key and value; a list there is a message of items."""
        key, value = "", Wire(2, _WIRES.get(schema.type, _BYTES), _ZEROS.get(schema.type, b""))
        for field in self._wire(data):
            if field.number == 1:
                key = _text(field.message("mapkey"))
            elif field.number == 2:
                value = field
        if schema.type != "list":
            return key, self._value(value, "mapvalue", schema)
        item = _item(schema)
        return key, [self._value(field, "items", item) for field in self._wire(value.message("mapvalue")) if field.number == 1]

    def _value(self, field: Wire, name: str, schema: Schema) -> Any:
        value = field.of(_WIRES.get(schema.type, _BYTES), name)
        if schema.type == "object":
            return self.object(value, schema)
        if schema.name in EITHER:
            return self._either(value, *EITHER[schema.name])
        if schema.type == "any":
            raw = bytes(value)
            self._take(sizes.values(raw))
            self.deep = self.deep or raw.count(b"[") + raw.count(b"{") > _DEEP
        try:
            return _SCALARS[schema.type](value)
        except OverflowError as why:
            raise Malformed(str(why)) from None

    def _either(self, data: Bytes, one: int, other: int, kind: str) -> Any:
        """A schema, or what may be in its place; in JSON the one or the other stands there without a name."""
        props = builtin.schema(builtin.APIEXTENSIONS + "JSONSchemaProps")
        schema: list[Object] = []
        others: list[Any] = []
        for field in self._wire(data):
            if field.number == one:
                schema.append(_written(self.object(field.message("schema"), props), props))
            elif field.number == other:
                value = self._value(field, kind, props if kind == "object" else Schema(kind))
                others.append(_written(value, props) if kind == "object" else value)
        if kind == "boolean":
            return schema[-1] if schema else any(others)
        return others or (schema[-1] if schema else None)


class _Reading(reading.Reading):
    """Takes what may be anything as it is: there are no repeated keys, and schemas in it have been read before."""

    _BY_TYPE = {**reading.Reading._BY_TYPE, "any": lambda _, value, __: value}


def _written(value: Object, schema: Schema) -> Any:
    """An object without its zero values."""
    return _Reading().whole(value, schema)


EITHER = {
    builtin.APIEXTENSIONS + "JSONSchemaPropsOrArray": (1, 2, "object"),
    builtin.APIEXTENSIONS + "JSONSchemaPropsOrBool": (2, 1, "boolean"),
    builtin.APIEXTENSIONS + "JSONSchemaPropsOrStringArray": (1, 2, "string"),
}
"""Name -> the number of the schema, that of what may be in its place, and what type that has."""


_WIRES = {"int32": _VARINT, "int64": _VARINT, "boolean": _VARINT, "number": _EIGHT}
"""How what is not bytes is written."""
_PACKED = frozenset({"int32", "int64", "boolean"})
_ZEROS = {"int32": 0, "int64": 0, "boolean": 0, "number": bytes(8)}


def _packed(data: Bytes) -> Iterator[int]:
    at = 0
    try:
        while at < len(data):
            value, at = _varint(data, at)
            yield value
    except IndexError:
        raise Malformed("unexpected EOF") from None


def _item(schema: Schema) -> Schema:
    assert schema.item is not None
    return schema.item


def _text(value: Bytes) -> str:
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError:
        raise Malformed("string field contains invalid UTF-8") from None


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _time(value: Bytes) -> str | None:
    try:
        return time.stamp(_signed(_first(value, seconds=1).get("seconds", 0))) if value else None
    except (OSError, OverflowError):
        raise Malformed("year outside of range [0,9999]") from None


def _micro_time(value: Bytes) -> str | None:
    seconds = _time(value)
    return f"{seconds[:-1]}.{_first(value, nanos=2).get('nanos', 0) // 1000 % 1_000_000:06}Z" if seconds else None


def _int_or_string(value: Bytes) -> int | str:
    parts = _first(value, type=1, intVal=2, strVal=3)
    return _text(parts.get("strVal", b"")) if parts.get("type") else _signed(parts.get("intVal", 0))


def _any(value: Bytes) -> Any:
    """RawExtension, JSON and FieldsV1 carry JSON text."""
    raw = _first(value, raw=1).get("raw", b"")
    try:
        return orjson.loads(raw) if raw else None
    except orjson.JSONDecodeError as why:
        raise Malformed(str(why)) from None


_SCALARS: dict[str, Callable[[Any], Any]] = {
    "string": _text,
    "int32": _signed,
    "int64": _signed,
    "boolean": bool,
    "number": lambda value: struct.unpack("<d", value)[0],
    "bytes": lambda value: base64.b64encode(value).decode(),
    "quantity": lambda value: _text(_first(value, string=1).get("string", b"")) or "0",
    "time": _time,
    "microtime": _micro_time,
    "duration": lambda value: f"{_signed(_first(value, duration=1).get('duration', 0))}ns",
    "intstr": _int_or_string,
    "any": _any,
}
