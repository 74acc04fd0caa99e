"""Structural schemas of custom resources, made from the OpenAPI of a CustomResourceDefinition: pruning and defaulting.

`Structural(openapi)` is a Schema like any other, so managed fields and patches treat both alike. `read` does in one pass what stock does
in three: it prunes unspecified fields, drops nulls of fields that are not nullable, and sets defaults. Nodes are made at their first use.
kapi.schema.values validates. Example: of {"a": 1, "b": null} a schema with the properties b (default "x") and c (default 2) leaves
{"b": "x", "c": 2}, and reports 'unknown field "a"'. Source: the structural schemas of apiextensions-apiserver (v1.36).
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import orjson

from kapi.objects.meta import Object
from kapi.schema import builtin, compiled, reading
from kapi.schema.schema import Fields, Schema

PRESERVE, EMBEDDED = "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"
INT_OR_STRING, LIST_TYPE, LIST_KEYS = "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"
MAP_TYPE, RULES = "x-kubernetes-map-type", "x-kubernetes-validations"
TYPES = {"integer": "int64", "number": "number", "string": "string", "boolean": "boolean", "array": "list"}
HEADER: dict[str, Schema] = {"apiVersion": Schema("string"), "kind": Schema("string")}
OBJECT_META = builtin.META + "ObjectMeta"
LARGEST_EXACT, LARGEST_INTEGER = float(2**53), float(2**63)
"""Whole floats below are written as integers: those of integer fields, and all others."""


class Structural(Schema):
    """One node with its OpenAPI. Its type is 'any' where the schema does not specify the content."""

    __slots__ = ("_filled", "_filling", "embeds", "keeps", "nullable", "openapi")

    def __init__(self, openapi: Object, *, root: bool = False, keeps: bool = False) -> None:
        self.embeds = root or bool(openapi.get(EMBEDDED))
        """An API object (the root or x-kubernetes-embedded-resource): apiVersion, kind and metadata are implied."""
        self.keeps = keeps or bool(openapi.get(PRESERVE))
        """Unspecified fields are preserved."""
        self.openapi = openapi
        self.nullable = bool(openapi.get("nullable"))
        self._filled: bytes | None = None
        self._filling: list[tuple[str, Structural]] | None = None
        super().__init__(
            self._kind(openapi), fields=self._made, item=_item(openapi), list_type=openapi.get(LIST_TYPE) or "atomic",
            keys=openapi.get(LIST_KEYS) or (), atomic=openapi.get(MAP_TYPE) == "atomic", default=openapi.get("default"),
            pointer=True, omit_zero=True, extra=openapi,
        )  # fmt: skip

    def _kind(self, openapi: Object) -> str:
        type_ = openapi.get("type") or ""
        if type_ != "object":
            return TYPES.get(type_, "any") if not openapi.get(INT_OR_STRING) else "any"
        if self.embeds or openapi.get("properties"):
            return "object"
        if openapi.get("additionalProperties"):
            return "map"
        return "any" if self.keeps else "object"

    def _made(self) -> Fields:
        own: dict[str, Schema] = {name: Structural(part) for name, part in (self.openapi.get("properties") or {}).items()}
        return own | HEADER | {"metadata": builtin.schema(OBJECT_META)} if self.embeds else own

    @property
    def open(self) -> bool:
        return self.keeps

    # reading ------------------------------------------------------------------------------------------------------------------------

    def read(self, value: Any, unknown: list[str], path: str = "", keeps: bool = False) -> Any:
        """A pruned and defaulted copy of a value; appends pruned fields to `unknown`: 'unknown field "spec.x"'. Raises DecodeError."""
        if type(value) is dict:
            return self._read_map(value, unknown, path, keeps or self.keeps)
        if type(value) is list:
            return self._read_list(value, unknown, path, keeps or self.keeps)
        return scalar(value, self.type)

    def _read_map(self, value: Object, unknown: list[str], path: str, keeps: bool) -> Object:
        out: Object = {}
        fields, rest, embeds = self.fields, self.item if self.type != "list" else None, self.embeds
        for key, item in value.items():
            if embeds and key in META_FIELDS:
                out[key] = META_FIELDS[key](item, unknown, f"{path}.{key}")
                continue
            field = fields.get(key) or rest
            if not isinstance(field, Structural):
                if keeps:
                    out[key] = copied(item)
                else:
                    unknown.append(f'unknown field "{f"{path}.{key}"[1:]}"')
            elif item is not None or field.nullable:
                out[key] = field.read(item, unknown, f"{path}.{key}") if isinstance(item, dict | list) else scalar(item, field.type)
            elif field.default is not None and field is rest:
                out[key] = field.filled()
        self.fill(out)
        return out

    def _read_list(self, value: list[Any], unknown: list[str], path: str, keeps: bool) -> list[Any]:
        item = self.item if self.type == "list" else None
        node = item if isinstance(item, Structural) else NOTHING
        return [
            node.filled() if one is None and not node.nullable else node.read(one, unknown, f"{path}[{at}]", keeps)
            for at, one in enumerate(value)
        ]

    def prune(self, value: Any, keeps: bool = False) -> Any:
        """A copy of a value without the fields that are not specified; nothing is filled in."""
        keeps = keeps or self.keeps
        if type(value) is list:
            node = self.item if self.type == "list" and isinstance(self.item, Structural) else NOTHING
            return [node.prune(one, keeps) for one in value]
        if type(value) is not dict:
            return value
        out: Object = {}
        fields, rest = self.fields, self.item if self.type != "list" else None
        for key, item in value.items():
            field = fields.get(key) or rest
            if isinstance(field, Structural):
                out[key] = field.prune(item)
            elif keeps or (self.embeds and key in META_FIELDS):
                out[key] = item
        return out

    # defaults -----------------------------------------------------------------------------------------------------------------------

    def fill(self, obj: Object) -> None:
        """Give an object the fields that have a default and are missing."""
        for key, field in self.filling:
            if key not in obj:
                obj[key] = field.filled()

    @property
    def filling(self) -> list[tuple[str, "Structural"]]:
        """The fields that have a default."""
        if self._filling is None:
            known = self.fields.items()
            self._filling = [(key, field) for key, field in known if isinstance(field, Structural) and field.default is not None]
        return self._filling

    def filled(self) -> Any:
        """A copy of this node's default, with the defaults of what is in it; None without one."""
        if self.default is None:
            return None
        if self._filled is None:
            self._filled = orjson.dumps(self.read(self.default, []))
        return orjson.loads(self._filled)


def _item(openapi: Object) -> Schema | None:
    """What a list or map holds; NOTHING where anything is allowed and therefore nothing specified."""
    if openapi.get("type") == "array":
        items = openapi.get("items")
        return Structural(items) if isinstance(items, dict) else NOTHING
    more = openapi.get("additionalProperties")
    return Structural(more) if isinstance(more, dict) else NOTHING if more else None


def scalar(value: Any, type_: str = "any") -> Any:
    """A number as Go encodes it: 1 for 1.0, a float for what is not a 64-bit integer. Large floats of integer fields stay floats."""
    kind = type(value)
    if kind is float and value.is_integer() and abs(value) < (LARGEST_EXACT if type_ == "int64" else LARGEST_INTEGER):
        return int(value)
    return float(value) if kind is int and not -(2**63) <= value < 2**63 else value


def copied(value: Any) -> Any:
    """A copy of a value without a schema."""
    if type(value) is dict:
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if type(value) is list else scalar(value)


# header and metadata ----------------------------------------------------------------------------------------------------------------


@cache
def _validator() -> Callable[[Any], Any]:
    return compiled.validator(builtin.schema(OBJECT_META))


def _metadata(value: Any, unknown: list[str], path: str) -> Any:
    """An ObjectMeta, read as that of a built-in kind."""
    try:
        return _validator()(value)
    except compiled.Refused:
        careful = reading.Reading(path)
        out = careful.whole(value, builtin.schema(OBJECT_META))
        unknown += careful.strict
        return out


def _text(value: Any, unknown: list[str], path: str) -> Any:
    return value


META_FIELDS: Mapping[str, Callable[[Any, list[str], str], Any]] = {"apiVersion": _text, "kind": _text, "metadata": _metadata}


# the tree ---------------------------------------------------------------------------------------------------------------------------


def parts(openapi: Object) -> Iterator[Object]:
    """A schema and everything below it that shapes objects (not the parts that only check values)."""
    yield openapi
    for part in (*(openapi.get("properties") or {}).values(), openapi.get("items"), openapi.get("additionalProperties")):
        if isinstance(part, dict):
            yield from parts(part)


def walk(openapi: Object, value: Any, path: str = "") -> Iterator[tuple[Object, Any, str]]:
    """A value and all that is in it, each with its schema and path: (…, 80, "spec.ports[0].port"); what has no schema is left out."""
    yield openapi, value, path
    if isinstance(value, list) and isinstance(items := openapi.get("items"), dict):
        for at, item in enumerate(value):
            yield from walk(items, item, f"{path}[{at}]")
    elif isinstance(value, dict):
        fields, more = openapi.get("properties") or {}, openapi.get("additionalProperties")
        for key, item in value.items():
            if key in fields:
                yield from walk(fields[key], item, f"{path}.{key}" if path else key)
            elif isinstance(more, dict):
                yield from walk(more, item, f"{path}[{key}]")


NOTHING = Structural({})
