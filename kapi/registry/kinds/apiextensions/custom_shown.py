"""Schemas as stock prints its own types in causes: every field by its Go name, empty ones too.

A schema grows twenty-fold that way, so what a cause would leave out of a long text is not built: the nodes behind are None.
"""

from collections.abc import Iterator
from typing import Any

from kapi import limits
from kapi.objects.meta import Object

_FIELDS = (
    ("id", ""), ("$schema", ""), ("$ref", None), ("description", ""), ("type", ""), ("nullable", False), ("format", ""), ("title", ""),
    ("default", None), ("maximum", None), ("exclusiveMaximum", False), ("minimum", None), ("exclusiveMinimum", False), ("maxLength", None),
    ("minLength", None), ("pattern", ""), ("maxItems", None), ("minItems", None), ("uniqueItems", False), ("multipleOf", None),
    ("enum", None), ("maxProperties", None), ("minProperties", None), ("required", None), ("items", None), ("allOf", None), ("oneOf", None),
    ("anyOf", None), ("not", None), ("properties", None), ("additionalProperties", None), ("patternProperties", None),
    ("dependencies", None), ("additionalItems", None), ("definitions", None), ("externalDocs", None), ("example", None),
    ("x-kubernetes-preserve-unknown-fields", None), ("x-kubernetes-embedded-resource", False), ("x-kubernetes-int-or-string", False),
    ("x-kubernetes-list-map-keys", None), ("x-kubernetes-list-type", None), ("x-kubernetes-map-type", None),
    ("x-kubernetes-validations", None),
)  # fmt: skip
"""Fields of a schema in the order stock shows them, with what stands for nothing."""
_RULE = (("rule", ""), ("message", ""), ("messageExpression", ""), ("reason", None), ("fieldPath", ""), ("optionalOldSelf", None))


def title(field: str) -> str:
    """'x-kubernetes-list-type' -> 'XListType', '$ref' -> 'Ref', 'id' -> 'ID'."""
    if field == "id":
        return "ID"
    if field.startswith("x-kubernetes-"):
        return "X" + "".join(part.title() for part in field.removeprefix("x-kubernetes-").split("-"))
    bare = field.removeprefix("$")
    return bare[0].upper() + bare[1:]


_LEAST = 900
"""Characters that a schema takes at least as JSON."""


def room() -> Iterator[int]:
    """As many nodes as a cause has characters for."""
    return iter(range(limits.QUOTED_VALUE // _LEAST + 1))


def shown(schema: Object, left: Iterator[int]) -> Object | None:
    """A schema as stock prints its own type, while there are nodes left of a `room`."""
    if next(left, None) is None:
        return None
    return {title(field): _value(field, schema.get(field), zero, left) for field, zero in _FIELDS}


def _value(field: str, value: Any, zero: Any, left: Iterator[int]) -> Any:
    if value is None:
        return zero
    if field in ("properties", "patternProperties", "definitions"):
        return {key: shown(value[key], left) for key in sorted(value)}
    if field in ("allOf", "oneOf", "anyOf"):
        return [shown(part, left) for part in value]
    if field == "not":
        return shown(value, left)
    if field == "items":
        if isinstance(value, dict):
            return {"Schema": shown(value, left), "JSONSchemas": None}
        return {"Schema": None, "JSONSchemas": [shown(part, left) for part in value]}
    if field in ("additionalProperties", "additionalItems"):
        return {"Allows": value is not False, "Schema": shown(value, left) if isinstance(value, dict) else None}
    if field == "x-kubernetes-validations":
        return [{title(name): rule.get(name, empty) for name, empty in _RULE} for rule in value]
    return value
