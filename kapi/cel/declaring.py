"""Types of expressions from schemas: of custom resources, of an API server's OpenAPI document; and how values take these types.

`declared(openapi, root=True)` gives fields their escaped names and every value the largest size the schema allows. `adapter(openapi)`
converts JSON to the declared type where it differs: doubles, times, bytes, lists whose order does not count.
Source: SchemaDeclType of the API server (v1.36) and its limits.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from kapi.cel import types, values
from kapi.cel.escaping import escape
from kapi.cel.syntax import RESERVED
from kapi.cel.types import Type, list_of, map_of
from kapi.cel.values import EvaluationError, MapList, SetList
from kapi.objects.meta import Object

Adapter = Callable[[Any], Any]

REQUEST = 3 * 1024 * 1024
"""The largest request, in bytes."""
_STRING = {"type": "string"}
_META = {"type": "object", "properties": {"name": _STRING, "generateName": _STRING}}
_SCALARS = {"boolean": (types.BOOL.hold(0), 4), "number": (types.DOUBLE.hold(0), 1), "integer": (types.INT.hold(0), 1)}
"""Stock holds that a scalar of a schema has no elements."""
_FORMATS = {"byte": (types.BYTES, 2, REQUEST - 2), "duration": (types.DURATION, 3, 32), "date": (types.TIMESTAMP, 12, 12),
            "date-time": (types.TIMESTAMP, 21, 32)}  # fmt: skip
"""Formats of strings: the type, the smallest and the largest size."""


class Declared(NamedTuple):
    type: Type
    least: int
    """The size of the smallest value, serialized."""


def rooted(openapi: Object) -> Object:
    """The schema of a resource, which always has a header."""
    known = {"kind": _STRING, "apiVersion": _STRING, "metadata": _META}
    return openapi | {"properties": (openapi.get("properties") or {}) | known}


def declared(openapi: Object, name: str = "selfType", *, root: bool = False) -> Declared | None:
    """The type of a node; None for what expressions do not see."""
    if openapi.get("x-kubernetes-int-or-string"):
        most = 4 * openapi["maxLength"] if openapi.get("maxLength") is not None else REQUEST - 2
        return Declared(types.DYN.hold(most), 1)
    kind = openapi.get("type") or ""
    if kind in _SCALARS:
        return Declared(*_SCALARS[kind])
    if kind == "string":
        return _string(openapi)
    if kind == "array":
        item = _inner(openapi.get("items"), f"{name}.@idx")
        most = (REQUEST - 2) // (item.least + 1) if item else 0
        return Declared(list_of(item.type).hold(_given(openapi, "maxItems", most)), 2) if item else None
    if kind != "object":
        return None
    if isinstance(more := openapi.get("additionalProperties"), dict):
        item = _inner(more, f"{name}.@elem")
        most = (REQUEST - 2) // (item.least + 6) if item else 0
        return Declared(map_of(types.STRING.hold(0), item.type).hold(_given(openapi, "maxProperties", most)), 2) if item else None
    return _object(rooted(openapi) if root else openapi, name)


def _inner(openapi: Any, name: str) -> Declared | None:
    return declared(openapi, name, root=bool(openapi.get("x-kubernetes-embedded-resource"))) if isinstance(openapi, dict) else None


def _given(openapi: Object, key: str, otherwise: int) -> int:
    found: int | None = openapi.get(key)
    return otherwise if found is None else max(0, found)


def _string(openapi: Object) -> Declared:
    kind, least, most = _FORMATS.get(openapi.get("format") or "", (types.STRING, 2, REQUEST - 2))
    if kind == types.STRING and openapi.get("maxLength") is not None:
        most = 4 * max(0, openapi["maxLength"])
    elif kind == types.STRING and openapi.get("enum"):
        most = max(len(str(one)) for one in openapi["enum"])
    elif kind == types.BYTES:
        most = _given(openapi, "maxLength", most)
    return Declared(kind.hold(most), least)


def _object(openapi: Object, name: str) -> Declared:
    fields, least = {}, 2
    for key, part in (openapi.get("properties") or {}).items():
        inner = _inner(part, f"{name}.{key}")
        if inner is None:
            continue
        if escaped := escape(key):
            fields[escaped] = inner.type
        if key in RESERVED:
            fields[key] = inner.type  # a word that no variable may be, but a field
        if key in (openapi.get("required") or ()) and part.get("default") is None:
            least += len(key) + inner.least + 4
    return Declared(Type(name, fields=fields, most=0), least)


# values -----------------------------------------------------------------------------------------------------------------------------


def _time(text: str) -> Any:
    return values.parse_timestamp(text if "T" in text.upper() else f"{text}T00:00:00Z")


_READERS: dict[str, Adapter] = {
    "byte": base64.b64decode,
    "duration": values.parse_duration,
    "date": _time,
    "date-time": _time,
}


def adapter(openapi: Object) -> Adapter | None:
    """What makes a value of JSON one of the declared type; None where they are the same."""
    kind = openapi.get("type")
    if openapi.get("x-kubernetes-int-or-string"):
        return None
    if kind == "number":
        return float
    if kind == "string":
        read = _READERS.get(openapi.get("format") or "")
        return _careful(read) if read else None
    if kind == "array" and isinstance(openapi.get("items"), dict):
        return _list_adapter(openapi)
    if isinstance(more := openapi.get("additionalProperties"), dict):
        inner = adapter(more)
        return None if inner is None else lambda held: {key: _given_to(inner, value) for key, value in held.items()}
    parts = {key: made for key, part in (openapi.get("properties") or {}).items() if (made := adapter(part))}
    return _object_adapter(parts) if parts else None


def _careful(read: Adapter) -> Adapter:
    def careful(value: Any) -> Any:
        try:
            return read(value)
        except (ValueError, TypeError, EvaluationError):
            return value

    return careful


def _given_to(act: Adapter | None, value: Any) -> Any:
    return value if act is None or value is None else act(value)


def _object_adapter(parts: Mapping[str, Adapter]) -> Adapter:
    def adapt(held: Object) -> Object:
        if not isinstance(held, dict):
            return held
        return held | {key: _given_to(act, held[key]) for key, act in parts.items() if key in held}

    return adapt


def _list_adapter(openapi: Object) -> Adapter | None:
    inner, kind = adapter(openapi["items"]), openapi.get("x-kubernetes-list-type")
    if kind not in ("set", "map"):
        return None if inner is None else lambda held: [_given_to(inner, item) for item in held]
    keys = tuple(openapi.get("x-kubernetes-list-map-keys") or ())

    def adapt(held: list[Any]) -> SetList:
        made: SetList = MapList() if kind == "map" else SetList()
        made.extend(_given_to(inner, item) for item in held)
        if isinstance(made, MapList):
            made.keys = keys
        return made

    return adapt


# published types --------------------------------------------------------------------------------------------------------------------

_REF = "#/components/schemas/"


class _Fields(Mapping[str, Type]):
    """Fields of a published type, made at first use: types may contain themselves."""

    def __init__(self, schemas: Mapping[str, Object], properties: Object) -> None:
        self.schemas = schemas
        self.known = {escaped: part for name, part in properties.items() if (escaped := escape(name))}

    def __getitem__(self, name: str) -> Type:
        return published(self.schemas, self.known[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)


def published(schemas: Mapping[str, Object], node: Object, name: str = "object") -> Type:
    """The type of a node of an OpenAPI v3 document, whose `schemas` it refers to."""
    while "$ref" in node or len(node.get("allOf") or ()) == 1:
        name = node["$ref"].removeprefix(_REF) if "$ref" in node else name
        node = schemas[name] if "$ref" in node else node["allOf"][0]
    if name.endswith(".Quantity"):
        return types.STRING
    if node.get("type") == "array":
        return list_of(published(schemas, node.get("items") or {}))
    if isinstance(more := node.get("additionalProperties"), dict):
        return map_of(types.STRING, published(schemas, more))
    if node.get("properties"):
        return Type(name, fields=_Fields(schemas, node["properties"]))
    found = declared(node) if node.get("type") != "object" else None
    return found.type if found else types.DYN
