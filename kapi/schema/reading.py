"""Decodes a JSON value into a type as Go's decoder does, and returns it in the form stock encodes.

The careful way: it walks in Python, knows what is wrong and where, and puts nulls, zero values and short forms right.
Objects already in the form stock writes take the compiled way (kapi.schema.compiled) and never come here; for those both
ways give the same. What is read may be plain JSON, or `Pairs` and `Number` made by kapi.schema.decode to keep what a dict loses.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from kapi import limits
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.schema import scalars
from kapi.schema.empties import Empties, Place
from kapi.schema.scalars import TypeMismatch, described, literal
from kapi.schema.schema import ANY, ZEROS, Schema

UNMARSHALED: dict[str, Callable[[Any], Any]] = {
    "quantity": scalars.amount,
    "time": scalars.time,
    "microtime": scalars.microtime,
    "duration": scalars.duration,
    "intstr": scalars.intstr,
}
"""Types that read themselves in Go: an error of theirs ends the reading."""
_EMPTY: tuple[Any, ...] = ([], {})
STRUCTS = frozenset({"object", "time", "microtime", "quantity", "intstr", "any", "duration"})
"""Structs in Go: omitempty never leaves them out."""


class Pairs(list[tuple[str, Any]]):
    """A JSON object whose keys may repeat."""


class Number(float):
    """A JSON number with a point or exponent, as it was written."""

    text: str

    def __new__(cls, text: str) -> "Number":
        number = super().__new__(cls, text)
        number.text = text
        return number


class DecodeError(ValueError):
    """Why a value cannot be read; the message is stock's."""


def zero(node: Schema) -> Any:
    """What Go writes for a value that was never set."""
    if node.pointer:
        return None
    if node.type == "object":
        return {name: zero(field) for name, field in node.fields.items() if kept(field, None)}
    return ZEROS.get(node.type)


def kept(node: Schema, value: Any) -> bool:
    """Whether a field with this value (None: unset) is written at all."""
    if value is not None and (node.pointer or value):
        return True
    if node.omit_zero or (node.pointer and node.omit_empty):
        return False
    return not node.omit_empty or node.type in STRUCTS


def plain(value: Any) -> Any:
    """Ordinary JSON of Pairs and Numbers."""
    if isinstance(value, Pairs):
        return {key: plain(item) for key, item in value}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, Number) or (type(value) is int and not -(2**63) <= value < 2**64):
        return _double(value)
    return value


def repeated(value: Any, path: str = "") -> list[str]:
    """The errors of strict decoding for duplicate keys: 'duplicate field "spec.x"'."""
    return list(islice(dict.fromkeys(_repeated(value, path)), limits.STRICT_ERRORS))


def _repeated(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, Pairs):
        seen: set[str] = set()
        for key, item in value:
            here = f"{path}.{key}"
            if key in seen:
                yield f"duplicate field {go_quote(here[1:])}"
            seen.add(key)
            if isinstance(item, list):
                yield from _repeated(item, here)
    elif isinstance(value, list):
        for at, item in enumerate(value):
            if isinstance(item, list):
                yield from _repeated(item, f"{path}[{at}]")


def _double(number: Any) -> float:
    """A number that is not a 64-bit integer, as Go keeps it; raises DecodeError beyond what a double holds."""
    try:
        if math.isfinite(out := float(number)):
            return out
    except OverflowError:
        pass
    raise DecodeError(f"json: cannot unmarshal number {getattr(number, 'text', number)} into Go value of type float64")


class Reading:
    """One reading: where it is, the first thing that was wrong, and what a strict reading would refuse."""

    def __init__(self, at: str = "") -> None:
        """`at`: where the value stands in its object, as messages on fields begin: ".metadata"."""
        self.error: DecodeError | None = None
        self.strict: list[str] = []
        self.empties = Empties()
        self._struct = ""
        self._fields: list[str] = []
        self._steps: list[str] = [at] if at else []

    def whole(self, value: Any, node: Schema) -> Any:
        """The value as stock writes it; raises DecodeError."""
        out = self.value(value, node)
        if self.error:
            raise self.error
        return out

    def _fail(self, found: TypeMismatch) -> DecodeError:
        where = f"struct field {self._struct}.{'.'.join(self._fields)}" if self._fields else "value"
        return DecodeError(f"json: cannot unmarshal {found.value} into Go {where} of type {found.go}")

    def _mismatch(self, value: str, node: Schema) -> None:
        self.error = self.error or self._fail(TypeMismatch(value, node.go_type))

    def _refuse(self, what: str, key: str) -> None:
        if len(self.strict) < limits.STRICT_ERRORS:
            text = f'{what} field {go_quote("".join([*self._steps, "." + key])[1:])}'
            if text not in self.strict:
                self.strict.append(text)

    def value(self, value: Any, node: Schema) -> Any:
        """One value; None when nothing usable was there (zero() is the caller's to fill in)."""
        if value is None:
            return None
        if read := UNMARSHALED.get(node.type):
            try:
                return read(plain(value) if isinstance(value, list) else value)
            except TypeMismatch as found:
                raise self._fail(found) from None
            except ValueError as found:
                raise DecodeError(str(found)) from None
        return self._BY_TYPE[node.type](self, value, node)

    def _object(self, value: Any, node: Schema) -> Any:
        if not isinstance(value, dict | Pairs):
            return self._mismatch(described(value), node)
        outer, read = self._struct, {}
        for key, item in self._keys(value):
            field = node.fields.get(key)
            if field is None:
                self._refuse("unknown", key)
                continue
            self._struct = node.go_type.rpartition(".")[2]
            depth = len(self._fields)
            self._fields += [*field.embedded.split("."), key] if field.embedded else [key]
            self._steps.append("." + key)
            read[key] = self.value(item, field)
            self._steps.pop()
            if read[key] in _EMPTY and field.type in ("list", "map") and not field.pointer:
                self.empties.append(Place(tuple(self._steps), key, read[key], not field.omit_empty))
            del self._fields[depth:]
            self._struct = outer
        return filled(read, node)

    def _keys(self, value: Any) -> Iterable[tuple[str, Any]]:
        if not isinstance(value, Pairs):
            yield from value.items()
            return
        seen: set[str] = set()
        for key, item in value:
            if key in seen:
                self._refuse("duplicate", key)
            seen.add(key)
            yield key, item

    def _map(self, value: Any, node: Schema) -> Any:
        if not isinstance(value, dict | Pairs):
            return self._mismatch(described(value), node)
        item, out = node.item or ANY, {}
        for key, inner in self._keys(value):
            self._steps.append("." + key)
            out[key] = self._held(inner, item)
            self._steps.pop()
        return out

    def _list(self, value: Any, node: Schema) -> Any:
        if not isinstance(value, list) or isinstance(value, Pairs):
            return self._mismatch("object" if isinstance(value, Pairs) else described(value), node)
        item, out = node.item or ANY, []
        for at, inner in enumerate(value):
            self._steps.append(f"[{at}]")
            out.append(self._held(inner, item))
            self._steps.pop()
        return out

    def _held(self, value: Any, node: Schema) -> Any:
        """An item of a list or map: unset ones are written as zero."""
        read = self.value(value, node)
        return zero(node) if read is None else read

    def _whole_number(self, value: Any, node: Schema) -> Any:
        if type(value) is int and value in (scalars.INT32 if node.type == "int32" else scalars.INT64):
            return value
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return self._mismatch(literal(value) if number else described_pairs(value), node)

    def _number(self, value: Any, node: Schema) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return int(value) if float(value).is_integer() else plain(value)
        return self._mismatch(described_pairs(value), node)

    def _text(self, value: Any, node: Schema) -> Any:
        return value if type(value) is str else self._mismatch(described_pairs(value), node)

    def _boolean(self, value: Any, node: Schema) -> Any:
        return value if type(value) is bool else self._mismatch(described_pairs(value), node)

    def _bytes(self, value: Any, node: Schema) -> Any:
        if type(value) is not str:
            return self._mismatch(described_pairs(value), node)
        try:
            return scalars.base64(value)
        except ValueError as found:
            self.error = self.error or DecodeError(str(found))
            return None

    def _any(self, value: Any, node: Schema) -> Any:
        return plain(value)

    _BY_TYPE: dict[str, Callable[["Reading", Any, Schema], Any]] = {
        "object": _object,
        "map": _map,
        "list": _list,
        "string": _text,
        "int32": _whole_number,
        "int64": _whole_number,
        "number": _number,
        "boolean": _boolean,
        "bytes": _bytes,
        "any": _any,
    }


def described_pairs(value: Any) -> str:
    return "object" if isinstance(value, Pairs) else described(value)


def filled(read: Object, node: Schema) -> Object:
    """The fields of an object in Go's order: zero values omitted or added by its tags."""
    fields = node.fields
    if node.order is None:
        unset = frozenset(name for name, field in fields.items() if kept(field, None))
        node.order = {name: place for place, name in enumerate(fields)}, unset
    places, unset = node.order
    names = unset.union(name for name, value in read.items() if name not in unset and kept(fields[name], value))
    out: Object = {}
    for name in sorted(names, key=places.__getitem__):
        value = read.get(name)
        if value is not None:
            out[name] = value
        elif name in unset:
            out[name] = zero(fields[name])
    return out
