"""Kubernetes' protobuf encoding, read: what kubectl's typed commands and Go components send. Numbers come from openapi's wire table.

A body is the four bytes 'k8s\\0' and a runtime.Unknown that names the type and holds the object. Zero values are on the wire
as well; kapi.schema.decode drops them as it does with JSON. Writing it is left to whoever needs it: answers are JSON.
"""

import base64
import struct
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import orjson

from kapi.objects import time
from kapi.schema.schema import Schema
from openapi import tables

Object = dict[str, Any]
MAGIC = b"k8s\0"
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5


class Malformed(ValueError):
    """Bytes that are no such message."""


class Envelope(NamedTuple):
    """What a runtime.Unknown says."""

    api_version: str
    kind: str
    raw: bytes


class Node(NamedTuple):
    """Number -> (JSON name, type) of a message's own fields; number -> Node of the structs embedded in it."""

    fields: dict[int, tuple[str, Schema]]
    embedded: dict[int, "Node"]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise Malformed("varint is too long")


def _wire(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of a message: ints for numbers, bytes for the rest. Raises Malformed."""
    at, end = 0, len(data)
    try:
        while at < end:
            tag, at = _varint(data, at)
            kind = tag & 7
            if kind == _VARINT:
                value, at = _varint(data, at)
                yield tag >> 3, value
                continue
            length = {_EIGHT: 8, _FOUR: 4}.get(kind, 0)
            if kind == _BYTES:
                length, at = _varint(data, at)
            elif not length:
                raise Malformed(f"wire type {kind}")
            if at + length > end:
                raise Malformed("unexpected EOF")
            yield tag >> 3, data[at : at + length]
            at += length
    except IndexError:
        raise Malformed("unexpected EOF") from None


def _first(data: bytes) -> dict[int, Any]:
    """The values of a small message by number."""
    return dict(_wire(data))


def unwrap(body: bytes) -> Envelope:
    """The envelope of a body. Raises Malformed."""
    if not body.startswith(MAGIC):
        raise Malformed("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    outer = _first(body[len(MAGIC) :])
    inner = _first(outer.get(1, b""))
    return Envelope(inner.get(1, b"").decode(), inner.get(2, b"").decode(), outer.get(2, b""))


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
def _message(schema: Schema) -> Node:
    words = tables.wire().get(schema.name, "").split()
    return _node(schema.name, tuple((f, n) for f, _, n in (w.partition("=") for w in words)), schema)


def decode(data: bytes, schema: Schema) -> Object:
    """The object of a message's bytes, in the form of JSON, with its zero values. Raises Malformed."""
    out: Object = {}
    _fill(out, data, _message(schema))
    return out


def _fill(out: Object, data: bytes, node: Node) -> None:
    for number, value in _wire(data):
        if number in node.fields:
            name, schema = node.fields[number]
            if schema.type == "list":
                out.setdefault(name, []).append(_value(value, _item(schema)))
            elif schema.type == "map":
                entry = _first(value)
                out.setdefault(name, {})[entry.get(1, b"").decode()] = _element(entry.get(2), _item(schema))
            else:
                out[name] = _value(value, schema)
        elif number in node.embedded:
            _fill(out, value, node.embedded[number])


def _item(schema: Schema) -> Schema:
    assert schema.item is not None
    return schema.item


def _element(value: Any, schema: Schema) -> Any:
    """A map's value; a list there is a message of items."""
    if schema.type == "list":
        return [_value(v, _item(schema)) for n, v in _wire(value or b"") if n == 1]
    return _value(b"" if value is None else value, schema)


def _value(value: Any, schema: Schema) -> Any:
    if schema.type == "object":
        return decode(value, schema)
    return _SCALARS[schema.type](value)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Malformed("string field contains invalid UTF-8") from None


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _time(value: bytes) -> str | None:
    return time.stamp(_signed(_first(value).get(1, 0))) if value else None


def _micro_time(value: bytes) -> str | None:
    parts = _first(value)
    return time.micro_stamp(_signed(parts.get(1, 0)) + parts.get(2, 0) / 1e9) if value else None


def _int_or_string(value: bytes) -> int | str:
    parts = _first(value)
    return _text(parts.get(3, b"")) if parts.get(1) else _signed(parts.get(2, 0))


def _any(value: bytes) -> Any:
    """RawExtension, JSON and FieldsV1 carry JSON text."""
    raw = _first(value).get(1, b"")
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
    "quantity": lambda value: _text(_first(value).get(1, b"")) or "0",
    "time": _time,
    "microtime": _micro_time,
    "duration": lambda value: f"{_signed(_first(value).get(1, 0))}ns",
    "intstr": _int_or_string,
    "any": _any,
}
