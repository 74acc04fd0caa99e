"""Validates that a schema is structural: types and fields are specified outside of allOf, anyOf, oneOf and not.

`violations(at, schema)` gives the causes in the order of their texts, as stock sorts them. Fields that no structural schema has at all
(`unsupported`) are looked for first. Source: apiextensions-apiserver's structural schemas (v1.36).
"""

from collections.abc import Iterator
from typing import Any

from kapi.objects import patterns
from kapi.objects.errors import Cause
from kapi.objects.meta import Object
from kapi.registry.validation.rules import Errors
from kapi.schema.structural import EMBEDDED, INT_OR_STRING, LIST_KEYS, LIST_TYPE, MAP_TYPE, PRESERVE, RULES

_UNSUPPORTED = (("id", "id"), ("$schema", "schema"), ("$ref", "$ref"), ("patternProperties", "patternProperties"),
                ("dependencies", "dependencies"), ("additionalItems", "additionalItems"), ("definitions", "definitions"))  # fmt: skip
_FORBIDDEN = (
    ("type", "empty"), ("additionalProperties", "undefined"), ("default", "undefined"), ("title", "empty"), ("description", "empty"),
    ("nullable", "false"), ("externalDocs", "undefined"), (PRESERVE, "false"), (EMBEDDED, "false"), (INT_OR_STRING, "false"),
    (LIST_KEYS, "empty"), (LIST_TYPE, "undefined"), (MAP_TYPE, "undefined"), (RULES, "empty"),
)  # fmt: skip
"""Fields a schema below a junctor must not set, and the values they must have."""
_POINTERS = frozenset(("additionalProperties", "default", "externalDocs", LIST_TYPE, MAP_TYPE))
"""Fields that are something as soon as they are there."""
_JUNCTORS = ("allOf", "anyOf", "oneOf")
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_LEVELS = {"root": "at the root", "item": "for specified array items", "field": "for specified object fields"}
_META_FREE = frozenset(("type", "default", "properties", "example"))
"""Fields the schema of metadata may set besides the properties name and generateName."""


def unsupported(schema: Object) -> str:
    """What makes a schema none that could be structural, '' for nothing."""
    for field, shown in _UNSUPPORTED:
        if schema.get(field) or (field == "additionalItems" and schema.get(field) is not None):
            return f"OpenAPIV3Schema '{shown}' is not supported"
    if schema.get(PRESERVE) is False:
        return "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined"
    if isinstance(schema.get("items"), list):
        return "OpenAPIV3Schema 'items' must be a schema, but is an array"
    return next((why for part in _all_parts(schema) if (why := unsupported(part))), "")


def _all_parts(schema: Object) -> Iterator[Object]:
    for field in ("not", "additionalProperties", "items"):
        if isinstance(schema.get(field), dict):
            yield schema[field]
    for field in _JUNCTORS:
        yield from schema.get(field) or ()
    yield from (schema.get("properties") or {}).values()


def violations(at: str, schema: Object) -> list[Cause]:
    """The causes of a schema that lies at `at` and has nothing unsupported."""
    e = Errors()
    _shape(e, at, schema, "root")
    _complete(e, schema, schema, at, at)
    return sorted(e, key=lambda cause: f"{cause.field}: {cause.message}")


def _shape(e: Errors, at: str, schema: Object, level: str) -> None:
    """The invariants of a node and of all below it that shape objects."""
    kind, items, more = schema.get("type") or "", schema.get("items"), schema.get("additionalProperties")
    properties = schema.get("properties") or {}
    if kind == "array" and items is None:
        e.required(f"{at}.items", "must be specified")
    if items is not None:
        _shape(e, f"{at}.items", items, "item")
    for name, part in properties.items():
        _shape(e, f"{at}.properties[{name}]", part, "field")
    if more is not None and level == "root":
        e.forbidden(f"{at}.additionalProperties", "must not be used at the root")
    if isinstance(more, dict):
        _shape(e, f"{at}.additionalProperties", more, "field")
    if schema.get(INT_OR_STRING):
        for field in (PRESERVE, EMBEDDED):
            if schema.get(field):
                e.invalid(f"{at}.{field}", True, "must be false if x-kubernetes-int-or-string is true")
    _validate_value_validation(e, at, schema, _is_int_or_string(schema.get("anyOf")), _is_int_or_string(_first_any_of(schema)))
    _typed(e, at, schema, level, kind)
    if level == "root" or schema.get(EMBEDDED):
        _header(e, at, properties)
    if level == "root" and "metadata" in properties:
        _root_metadata(e, f"{at}.properties[metadata]", properties["metadata"])


def _typed(e: Errors, at: str, schema: Object, level: str, kind: str) -> None:
    """Every node has a type; embedded resources are objects."""
    if schema.get(EMBEDDED) and kind != "object":
        text = "must be object if x-kubernetes-embedded-resource is true"
        if kind:
            e.invalid(f"{at}.type", kind, text)
        else:
            e.required(f"{at}.type", text)
    elif not kind and not schema.get(INT_OR_STRING) and not schema.get(PRESERVE):
        e.required(f"{at}.type", f"must not be empty {_LEVELS[level]}")
    if schema.get(EMBEDDED) and schema.get("additionalProperties") is not None:
        e.forbidden(f"{at}.additionalProperties", "must not be used if x-kubernetes-embedded-resource is set")
    if schema.get(EMBEDDED) and not schema.get(PRESERVE) and not schema.get("properties"):
        why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        e.required(f"{at}.properties", why)
    if level == "root" and kind and kind != "object":
        e.invalid(f"{at}.type", kind, "must be object at the root")


def _header(e: Errors, at: str, properties: Object) -> None:
    """The header and the metadata of an object of the API."""
    for name, expected in (("kind", "string"), ("apiVersion", "string"), ("metadata", "object")):
        if name in properties and (kind := properties[name].get("type") or "") != expected:
            e.invalid(f"{at}.properties[{name}].type", kind, f"must be {expected}")


def _root_metadata(e: Errors, at: str, metadata: Object) -> None:
    """Metadata is known already; a definition may only restrict names."""
    kept = (name for name, value in metadata.items() if value not in (None, "", False, []) or (name in _POINTERS and value is not None))
    if set(kept) - _META_FREE or not set(metadata.get("properties") or ()) <= {"name", "generateName"}:
        text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        e.forbidden(at, text)


# junctors ---------------------------------------------------------------------------------------------------------------------------


def _is_int_or_string(parts: Any) -> bool:
    """Whether anyOf repeats x-kubernetes-int-or-string: the only junctor that may set types."""
    return [{k: v for k, v in part.items() if v not in (None, "", False, [], {})} for part in parts or ()] == _INT_OR_STRING


def _first_any_of(schema: Object) -> Any:
    return next((part.get("anyOf") for part in schema.get("allOf") or ()), None)


def _validate_value_validation(e: Errors, at: str, schema: Object, skip_any: bool = False, skip_first: bool = False) -> None:
    """What is below the junctors of a node."""
    for field in ("anyOf", "allOf", "oneOf"):
        for i, part in enumerate(schema.get(field) or ()):
            if not (field == "anyOf" and skip_any):
                _nested(e, f"{at}.{field}[{i}]", part, field == "allOf" and i == 0 and skip_first)
    if isinstance(schema.get("not"), dict):
        _nested(e, f"{at}.not", schema["not"])
    if schema.get("pattern"):
        _pattern(e, f"{at}.pattern", schema["pattern"])


def _pattern(e: Errors, at: str, pattern: str) -> None:
    try:
        patterns.compiled(pattern)
    except ValueError as why:
        e.invalid(at, pattern, f"must be a valid regular expression, but isn't: {why}")


def _nested(e: Errors, at: str, schema: Object, skip_any: bool = False) -> None:
    """A schema below a junctor: it judges values, and shapes nothing."""
    _validate_value_validation(e, at, schema, skip_any)
    if isinstance(schema.get("items"), dict):
        _nested(e, f"{at}.items", schema["items"])
    for name, part in (schema.get("properties") or {}).items():
        _nested(e, f"{at}.properties[{name}]", part)
    for field, expected in _FORBIDDEN:
        value = schema.get(field)
        if value is not None if field in _POINTERS else value:
            e.forbidden(f"{at}.{field}", f"must be {expected} to be structural")
    if "metadata" in (schema.get("properties") or {}):
        e.forbidden(f"{at}.properties[metadata]", "must not be specified in a nested context")


def _complete(e: Errors, validation: Object, shape: Object | None, at: str, kept: str) -> None:
    """Every field and list that a junctor at `kept` judges must be there in the schema around it, at `at`."""
    parts = [(f"{kept}.{field}[{i}]", part) for field in _JUNCTORS for i, part in enumerate(validation.get(field) or ())]
    if isinstance(validation.get("not"), dict):
        parts.insert(0, (f"{kept}.not", validation["not"]))
    for inner, part in parts:
        _complete_nested(e, part, shape, at, inner)


def _complete_nested(e: Errors, validation: Object, shape: Object | None, at: str, kept: str) -> None:
    if shape is None:
        e.required(at, f"because it is defined in {kept}")
        return
    _complete(e, validation, shape, at, kept)
    if isinstance(validation.get("items"), dict):
        _complete_nested(e, validation["items"], shape.get("items"), f"{at}.items", f"{kept}.items")
    known = shape.get("properties") or {}
    for name, part in (validation.get("properties") or {}).items():
        _complete_nested(e, part, known.get(name), f"{at}.properties[{name}]", f"{kept}.properties[{name}]")
