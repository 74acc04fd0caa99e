"""What the OpenAPI schema of a CustomResourceDefinition must be: structural, and within what a server can check.

Its rules (x-kubernetes-validations) are checked by kapi.registry.kinds.apiextensions.custom_rules.
"""

import re
from typing import Any

from kapi.objects import patterns
from kapi.objects.errors import Cause
from kapi.objects.meta import Object
from kapi.registry.kinds.apiextensions import custom_rules
from kapi.registry.validation.rules import Errors

TYPES = ("array", "boolean", "integer", "number", "object", "string")
LIST_TYPES, MAP_TYPES = ("atomic", "set", "map"), ("atomic", "granular")
AT_ROOT = ("description", "type", "format", "title", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength", "minLength",
           "pattern", "maxItems", "minItems", "uniqueItems", "multipleOf", "required", "items", "properties", "externalDocs", "example",
           "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations")  # fmt: skip
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
_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_\-]*)|\[\"([^\"]+)\"\]|\['([^']+)'\]|\[(\d+)\]")


def _title(field: str) -> str:
    """'x-kubernetes-list-type' -> 'XListType', '$ref' -> 'Ref', 'id' -> 'ID'."""
    if field == "id":
        return "ID"
    if field.startswith("x-kubernetes-"):
        return "X" + "".join(part.title() for part in field.removeprefix("x-kubernetes-").split("-"))
    bare = field.removeprefix("$")
    return bare[0].upper() + bare[1:]


def shown(schema: Object) -> Object:
    """A schema as stock prints its own type."""
    return {_title(field): _value(field, schema.get(field), zero) for field, zero in _FIELDS}


def _value(field: str, value: Any, zero: Any) -> Any:
    if value is None:
        return zero
    if field in ("properties", "patternProperties", "definitions"):
        return {key: shown(value[key]) for key in sorted(value)}
    if field in ("allOf", "oneOf", "anyOf"):
        return [shown(part) for part in value]
    if field == "not":
        return shown(value)
    if field == "items":
        return {"Schema": shown(value), "JSONSchemas": None} if isinstance(value, dict) else value
    if field in ("additionalProperties", "additionalItems"):
        return {"Allows": value is not False, "Schema": shown(value) if isinstance(value, dict) else None}
    if field == "x-kubernetes-validations":
        return [{_title(name): rule.get(name, empty) for name, empty in _RULE} for rule in value]
    return value


def validate(at: str, schema: Object, status: bool) -> list[Cause]:
    """Causes of the root schema at `at`; `status` says the /status endpoint is on."""
    e = Errors()
    if status:
        if any(value not in (None, "", False, []) for field, value in schema.items() if field not in AT_ROOT):
            listed = " ".join(map(_title, AT_ROOT))
            text = f"only [{listed}] fields are allowed at the root of the schema if the status subresource is enabled"
            e.invalid(at, shown(schema), text)
        if schema.get("type") and schema["type"] != "object":
            text = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
            e.invalid(f"{at}.type", schema["type"], text)
    if schema.get("nullable"):
        e.forbidden(f"{at}.nullable", "nullable cannot be true at the root")
    _structural(e, at, schema, "root")
    shaped = not e
    _openapi(e, at, schema)
    if shaped:
        custom_rules.compiled(e, at, schema)
    return e


def _structural(e: Errors, at: str, schema: Object, level: str) -> None:
    """Every node says what type it is."""
    if isinstance(schema.get("items"), dict):
        _structural(e, f"{at}.items", schema["items"], "item")
    for name, part in (schema.get("properties") or {}).items():
        _structural(e, f"{at}.properties[{name}]", part, "field")
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        _structural(e, f"{at}.additionalProperties", more, "field")
    kind = schema.get("type") or ""
    if level == "root":
        if e.need(f"{at}.type", kind, "must not be empty at the root") and kind != "object":
            e.invalid(f"{at}.type", kind, "must be object at the root")
        if more not in (None, False):
            e.forbidden(f"{at}.additionalProperties", "must not be used at the root")
    elif not kind and not schema.get("x-kubernetes-int-or-string") and not schema.get("x-kubernetes-preserve-unknown-fields"):
        what = "specified array items" if level == "item" else "specified object fields"
        e.required(f"{at}.type", f"must not be empty for {what}")
    if schema.get("x-kubernetes-embedded-resource") and kind != "object":
        _must_be(e, at, kind, "must be object if x-kubernetes-embedded-resource is true")


def _must_be(e: Errors, at: str, kind: str, text: str) -> None:
    if kind:
        e.invalid(f"{at}.type", kind, text)
    else:
        e.required(f"{at}.type", text)


def _openapi(e: Errors, at: str, schema: Object) -> None:
    kind = schema.get("type") or ""
    if schema.get("uniqueItems"):
        e.forbidden(f"{at}.uniqueItems", "uniqueItems cannot be set to true since the runtime complexity becomes quadratic")
    more, properties = schema.get("additionalProperties"), schema.get("properties") or {}
    if more not in (None, False) and properties:
        e.forbidden(f"{at}.additionalProperties", "additionalProperties and properties are mutual exclusive")
    if isinstance(more, dict):
        _openapi(e, f"{at}.additionalProperties", more)
    for name, part in properties.items():
        _openapi(e, f"{at}.properties[{name}]", part)
    for field in ("allOf", "oneOf", "anyOf"):
        for i, part in enumerate(schema.get(field) or ()):
            _openapi(e, f"{at}.{field}[{i}]", part)
    if isinstance(schema.get("items"), dict):
        _openapi(e, f"{at}.items", schema["items"])
    if isinstance(schema.get("not"), dict):
        _openapi(e, f"{at}.not", schema["not"])
    for field in ("$ref", "id"):
        if schema.get(field):
            e.forbidden(f"{at}.{field}", f"{field} is not supported")
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        e.invalid(f"{at}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")
    if kind and kind not in TYPES:
        e.unsupported(f"{at}.type", kind, TYPES)
    if schema.get("pattern"):
        try:
            patterns.compiled(schema["pattern"])
        except ValueError as why:
            e.invalid(f"{at}.pattern", schema["pattern"], f"must be a valid regular expression, but isn't: {why}")
    _lists(e, at, schema, kind)
    for i, rule in enumerate(schema.get("x-kubernetes-validations") or ()):
        custom_rules.words(e, f"{at}.x-kubernetes-validations[{i}]", rule, lambda path: isinstance(at_path(schema, path), dict))


def _lists(e: Errors, at: str, schema: Object, kind: str) -> None:
    listed, mapped = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-map-type")
    keys = schema.get("x-kubernetes-list-map-keys") or []
    if listed is not None:
        if kind != "array":
            _must_be(e, at, kind, "must be array if x-kubernetes-list-type is specified")
        if listed not in LIST_TYPES:
            e.unsupported(f"{at}.x-kubernetes-list-type", listed, LIST_TYPES, sort=False)
    if keys and listed != "map":
        text = "must be map if x-kubernetes-list-map-keys is non-empty"
        if listed is None:
            e.required(f"{at}.x-kubernetes-list-type", text)
        else:
            e.invalid(f"{at}.x-kubernetes-list-type", listed, text)
    if listed == "map":
        e.need(f"{at}.x-kubernetes-list-map-keys", keys, "must not be empty if x-kubernetes-list-type is map")
        _map_keys(e, at, schema.get("items") or {}, keys)
    if mapped is not None:
        if kind != "object":
            _must_be(e, at, kind, "must be object if x-kubernetes-map-type is specified")
        if mapped not in MAP_TYPES:
            e.unsupported(f"{at}.x-kubernetes-map-type", mapped, MAP_TYPES, sort=False)


def _map_keys(e: Errors, at: str, items: Object, keys: list[str]) -> None:
    seen: set[str] = set()
    needed, properties = items.get("required") or (), items.get("properties") or {}
    if items.get("type") != "object":
        _must_be(e, f"{at}.items", items.get("type") or "", "must be object if parent array's x-kubernetes-list-type is map")
    for i, key in enumerate(keys):
        field = f"{at}.x-kubernetes-list-map-keys[{i}]"
        if key not in properties:
            e.invalid(field, key, "entries must all be names of item properties")
        elif properties[key].get("type") in ("array", "object"):
            e.invalid(f"{at}.items.properties[{key}].type", properties[key]["type"], f"must be a scalar type if parent array's "
                      f"x-kubernetes-list-type is map and {key} is in x-kubernetes-list-map-keys")  # fmt: skip
        elif key not in needed and "default" not in properties[key]:
            text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            e.required(f"{at}.items.properties[{key}].default", text)
        e.unique(field, key, seen)


def at_path(schema: Object, path: str) -> Object | str:
    """The node a selectable field's path leads to, or what is wrong with the path."""
    place, node = 0, schema
    while place < len(path):
        step = _STEP.match(path, place)
        if step is None:
            return f"is an invalid path: expected [ or . but got: {path[place:]}"
        name = step[1] or step[2] or step[3]
        found = (node.get("properties") or {}).get(name) if name else None
        if found is None:
            return "is an invalid path: does not refer to a valid field"
        place, node = step.end(), found
    return node
