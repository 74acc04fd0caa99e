"""Kubernetes' protobuf encoding, written as gogo/protobuf writes it: fields by number, maps by key, zero values where Go has no pointer.

An Encoder is made of a type once: a list of what each field is when it is absent, and for each name a function that writes its value. To
write an object is to put what it has into a copy of that list. kapi.schema.protobuf reads what is written here.
"""

import re
import struct
from binascii import a2b_base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, cached_property, partial
from typing import Any

import orjson

from kapi.objects.caching import kept
from kapi.objects.meta import Object
from kapi.schema import builtin, protobuf
from kapi.schema.protobuf import MAGIC, Node
from kapi.schema.schema import Schema

Write = Callable[[Any], bytes]
"""Writes a value that is not null."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EMPTY = b"\0"
"""The length of nothing."""
END = b"\x1a\0\x22\0"
"""What follows the object in a runtime.Unknown: no content encoding, no content type."""


def varint(value: int) -> bytes:
    """A number of at most 64 bits; a negative one takes ten bytes."""
    value &= 0xFFFFFFFFFFFFFFFF
    if value < 128:
        return bytes((value,))
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int, kind: int) -> bytes:
    """What stands in front of a field: its number, and how it is written."""
    return varint(number << 3 | kind)


_VARINT, _EIGHT, _BYTES = 0, 1, 2


@cache
def _heads(before: bytes) -> tuple[bytes, ...]:
    """The tag with each number that takes one byte."""
    return tuple(before + bytes((number,)) for number in range(128))


def framed(number: int, raw: bytes) -> bytes:
    """A field that has a length: a text or a message."""
    return tag(number, _BYTES) + varint(len(raw)) + raw


def _framing(number: int, inner: Write) -> Write:
    """Writes a field whose value is written by `inner`."""
    before = tag(number, _BYTES)
    heads = _heads(before)

    def write(value: Any) -> bytes:
        raw = inner(value)
        size = len(raw)
        return heads[size] + raw if size < 128 else before + varint(size) + raw

    return write


# values -------------------------------------------------------------------------------------------------------------------------------


def _text(value: str) -> bytes:
    return value.encode()


def _quantity(value: str | int | float) -> bytes:
    return framed(1, str(value).encode())


@kept(1024)
def _time(text: str) -> bytes:
    """A metav1.Time or MicroTime: a Timestamp, which is empty for Go's zero time."""
    at = datetime.fromisoformat(text) - _EPOCH
    if at == _ZERO_TIME:
        return b""
    return b"\x08" + varint(at.days * 86400 + at.seconds) + b"\x10" + varint(at.microseconds * 1000)


_ZERO_TIME = datetime(1, 1, 1, tzinfo=UTC) - _EPOCH
_PART = re.compile(r"([0-9.]+)([a-zµμ]+)")
_NANOSECONDS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 1000, "µs": 1000, "μs": 1000, "ns": 1}


def _duration(text: str) -> bytes:
    """A metav1.Duration: nanoseconds."""
    total = sum(int(Decimal(number) * _NANOSECONDS[unit]) for number, unit in _PART.findall(text))
    return b"\x08" + varint(-total if text.startswith("-") else total)


def _int_or_string(value: int | str) -> bytes:
    if isinstance(value, str):
        return b"\x08\x01\x10\x00" + framed(3, value.encode())
    return b"\x08\x00\x10" + varint(value) + b"\x1a\x00"


def _any(value: Any) -> bytes:
    """RawExtension, JSON and FieldsV1 carry JSON text."""
    return b"" if value is None else framed(1, orjson.dumps(value))


def _either(schema: Schema) -> Write:
    """A schema, or what may be in its place."""
    one, other, kind = protobuf.EITHER[schema.name]
    props = _framing(one, encoder(builtin.APIEXTENSIONS + "JSONSchemaProps").message)
    if kind == "boolean":
        return lambda value: b"\x08\x01" + props(value) if isinstance(value, dict) else b"\x08" + varint(value)
    single = _framing(other, _text if kind == "string" else encoder(builtin.APIEXTENSIONS + "JSONSchemaProps").message)
    return lambda value: props(value) if isinstance(value, dict) else b"".join(map(single, value))


_FRAMED: dict[str, Write] = {
    "string": _text, "bytes": a2b_base64, "quantity": _quantity, "time": _time, "microtime": _time, "duration": _duration,
    "intstr": _int_or_string, "any": _any,
}  # fmt: skip
"""Type -> what stands behind the length."""
_ZEROS = {
    "string": b"", "quantity": _quantity("0"), "time": b"", "microtime": b"", "duration": _duration("0s"), "intstr": _int_or_string(0),
    "any": b"",
}  # fmt: skip
"""The same of absent values."""


# fields -------------------------------------------------------------------------------------------------------------------------------


def _number(number: int) -> Write:
    before = tag(number, _VARINT)
    heads = _heads(before)
    return lambda value: heads[value] if 0 <= value < 128 else before + varint(value)


def _float(number: int) -> Write:
    before, pack = tag(number, _EIGHT), struct.Struct("<d").pack
    return lambda value: before + pack(value)


def _string(number: int) -> Write:
    before = tag(number, _BYTES)
    heads = _heads(before)

    def write(value: str) -> bytes:
        raw = value.encode()
        size = len(raw)
        return heads[size] + raw if size < 128 else before + varint(size) + raw

    return write


_FIELDS: dict[str, Callable[[int], Write]] = {
    "string": _string, "int32": _number, "int64": _number, "boolean": _number, "number": _float,
}  # fmt: skip


def _single(number: int, schema: Schema) -> Write:
    """Writes a field that is no list."""
    if schema.name in protobuf.EITHER:
        return _framing(number, _late(partial(_either, schema)))
    if schema.type == "object":
        return _framing(number, encoder(schema.name).message)
    if schema.type in _FIELDS:
        return _FIELDS[schema.type](number)
    return _framing(number, _FRAMED[schema.type])


def _late(make: Callable[[], Write]) -> Write:
    """A function that is made when it is first needed: types may contain themselves."""
    made: list[Write] = []

    def write(value: Any) -> bytes:
        if not made:
            made.append(make())
        return made[0](value)

    return write


def _field(number: int, schema: Schema) -> Write:
    if schema.type == "list":
        items = _items(1 if schema.go else number, schema)
        return _framing(number, items) if schema.go else items
    if schema.type == "map":
        return _map(number, schema)
    return _single(number, schema)


def _items(number: int, schema: Schema) -> Write:
    """Writes a list: a field for each item. One with a name in Go is a message of its items."""
    assert schema.item is not None
    item, blank = _single(number, schema.item), partial(_absent, number, schema.item)
    return lambda values: b"".join([item(value) if value is not None else blank() for value in values])


def _map(number: int, schema: Schema) -> Write:
    """Writes a map: a message for each key, in the order of the keys."""
    assert schema.item is not None
    if schema.item.type == "string":
        return _map_of_texts(number)
    key, value, blank = _string(1), _field(2, schema.item), partial(_absent, 2, schema.item)
    entry = _framing(number, lambda pair: key(pair[0]) + (blank() if pair[1] is None else value(pair[1])))
    return lambda values: b"".join([entry((name, values[name])) for name in sorted(values)])


def _map_of_texts(number: int) -> Write:
    """The same of labels, data and the like, which there are most of."""
    heads, key, value = (_heads(tag(at, _BYTES)) for at in (number, 1, 2))
    write_key, write_value = _string(1), _string(2)
    long = _framing(number, lambda pair: write_key(pair[0]) + write_value(pair[1]))

    def write(values: dict[str, str | None]) -> bytes:
        out = []
        for name in sorted(values):
            first, second = name.encode(), (values[name] or "").encode()
            before, behind = len(first), len(second)
            if before + behind < 124:
                out.append(b"%b%b%b%b%b" % (heads[before + behind + 4], key[before], first, value[behind], second))
            else:
                out.append(long((name, values[name] or "")))
        return b"".join(out)

    return write


def _absent(number: int, schema: Schema) -> bytes:
    """What is written of a value that Go has no pointer for and the object does not have."""
    if schema.type in ("map", "bytes") or (schema.type == "list" and not schema.go):
        return b""
    if schema.type == "list":
        return tag(number, _BYTES) + _EMPTY
    if schema.type == "object":
        return framed(number, encoder(schema.name).message({}))
    if schema.type == "number":
        return tag(number, _EIGHT) + bytes(8)
    if schema.type in _FIELDS and schema.type != "string":
        return tag(number, _VARINT) + _EMPTY
    return framed(number, _ZEROS[schema.type])


class Encoder:
    """Writes the objects of one type, or the part of them that is a struct embedded in it."""

    def __init__(self, layout: Callable[[], Node]) -> None:
        """`layout` is called when an object is first written."""
        self._layout = layout

    @cached_property
    def _made(self) -> tuple[list[bytes], dict[str, tuple[int, Write]], list[tuple[int, frozenset[str], Write]]]:
        """What absent fields are, by number; place and function of each; place, names and function of embedded structs."""
        node = self._layout()
        places = {number: at for at, number in enumerate(sorted({*node.fields, *node.embedded}))}
        blanks = [b""] * len(places)
        fields: dict[str, tuple[int, Write]] = {}
        for number, (name, schema) in node.fields.items():
            fields[name] = places[number], _field(number, schema)
            if not schema.pointer and not _nullable(schema):
                blanks[places[number]] = _absent(number, schema)
        structs = []
        for number, inner in node.embedded.items():
            struct_ = Encoder(partial(_same, inner))
            blanks[places[number]] = framed(number, struct_.message({}))
            structs.append((places[number], frozenset(_names(inner)), _framing(number, struct_.message)))
        return blanks, fields, structs

    def message(self, obj: Object) -> bytes:
        """The message of an object in the form of JSON. `apiVersion` and `kind` stand around it, not in it."""
        blanks, fields, structs = self._made
        parts = blanks.copy()
        for name, value in obj.items():
            if value is not None and name in fields:
                place, write = fields[name]
                parts[place] = write(value)
        for place, names, write in structs:
            if inner := {name: value for name, value in obj.items() if name in names}:
                parts[place] = write(inner)
        return b"".join(parts)


def _nullable(schema: Schema) -> bool:
    """A list with a name in Go is left out where there is none, though in a map it is empty."""
    return schema.type == "list"


def _same(node: Node) -> Node:
    return node


def _names(node: Node) -> Iterator[str]:
    """The names of all fields below a node."""
    yield from (name for name, _ in node.fields.values())
    for inner in node.embedded.values():
        yield from _names(inner)


@cache
def encoder(name: str) -> Encoder:
    """The encoder of a definition."""
    return Encoder(lambda: protobuf.layout(builtin.schema(name)))


# bodies -------------------------------------------------------------------------------------------------------------------------------


def head(api_version: str, kind: str) -> bytes:
    """What stands in front of the object in a body: the magic number, and of runtime.Unknown the type."""
    return MAGIC + framed(1, framed(1, api_version.encode()) + framed(2, kind.encode()))


def whole(obj: Object) -> bytes:
    """A body with an object of any type that is answered. Raises KeyError where there is no such type."""
    api_version, kind = obj.get("apiVersion", ""), obj["kind"]
    message = encoder(builtin.of_answer(api_version, kind).name).message(obj)
    return head(api_version, kind) + framed(2, message) + END
