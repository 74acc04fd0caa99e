"""Validates the OpenAPI schema of a CustomResourceDefinition: structural, with valid defaults and rules of bounded cost.

Shapes are judged by custom_structure, defaults by custom_defaults, lists and maps by custom_lists, rules (x-kubernetes-validations) by
custom_rules, all of this package. An update is spared what the old definition already got wrong (`spared`), as stock does.
Source: apiextensions-apiserver's validation of definitions (v1.36).
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from kapi.objects.errors import Cause
from kapi.objects.meta import Object
from kapi.registry.kinds.apiextensions import custom_defaults, custom_lists, custom_paths, custom_rules, custom_structure
from kapi.registry.kinds.apiextensions.custom_shown import room, shown, title
from kapi.registry.validation.rules import Errors
from kapi.schema.structural import EMBEDDED, META_FIELDS, PRESERVE, RULES

TYPES = ("array", "boolean", "integer", "number", "object", "string")
AT_ROOT = ("description", "type", "format", "title", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength", "minLength",
           "pattern", "maxItems", "minItems", "uniqueItems", "multipleOf", "required", "items", "properties", "externalDocs", "example",
           "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations")  # fmt: skip
_NOT_SUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_TEXTS = frozenset(("id", "patternProperties", "definitions"))
"""Of these, what is empty is nothing."""
_UNIQUE = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"


class Spared(NamedTuple):
    """What is not held against a definition: the one it replaces had it too."""

    types: bool = False
    defaults: bool = False
    sets: bool = False
    map_keys: bool = False


NOTHING_SPARED = Spared()


class _Place(NamedTuple):
    """Where a node lies, as far as that matters."""

    spared: Spared
    in_meta: bool = False
    """Within an object's header or metadata."""
    no_defaults: str = ""
    """Why there may be no defaults."""


def spared(olds: list[Object]) -> Spared:
    """That of an update: what any of the old definition's schemas has."""

    def some(test: Callable[[Object], bool]) -> bool:
        return any(test(node) for old in olds for node in everything(old))

    return Spared(
        some(lambda node: bool(node.get("type")) and node["type"] not in TYPES),
        any(custom_defaults.unpruned(old) for old in olds),
        some(lambda node: bool(custom_lists.items_of_sets("", node))),
        some(lambda node: bool(custom_lists.map_keys("", node))),
    )


def validate(at: str, schema: Object, status: bool, spare: Spared = NOTHING_SPARED, *, unchanged: bool = False) -> list[Cause]:
    """Causes of the root schema at `at`; `status`: /status is enabled; `unchanged`: an update does not change the schema."""
    e = Errors()
    if status:
        _under_status(e, at, schema)
    if schema.get("nullable"):
        e.forbidden(f"{at}.nullable", "nullable cannot be true at the root")
    wrong = custom_structure.unsupported(schema)
    shape = [] if wrong else custom_structure.violations(at, schema) or custom_defaults.validate(at, schema, pruned=not spare.defaults)
    e += shape
    found = Errors()
    _openapi(found, at, schema, _Place(spare), root=True)
    e += found
    if wrong and not e:
        e.invalid(at, "", wrong)
    if not wrong and not shape:
        custom_rules.compiled(e, at, schema, [cause.field for cause in found], skip_costs=unchanged)
    return e


def _under_status(e: Errors, at: str, schema: Object) -> None:
    """The schema of a status is cut out of the root, so not much may stand there."""
    for field in (field for field, value in schema.items() if value not in (None, "", False, [])):
        if field not in AT_ROOT:
            listed = " ".join(map(title, AT_ROOT))
            text = f"only [{listed}] fields are allowed at the root of the schema if the status subresource is enabled"
            e.invalid(at, shown(schema, room()), text)
            break
    if schema.get("type") and schema["type"] != "object":
        text = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
        e.invalid(f"{at}.type", schema["type"], text)


# every node -------------------------------------------------------------------------------------------------------------------------


def _inner(at: str, schema: Object, place: _Place, root: bool) -> Iterator[tuple[str, Object, _Place]]:
    """The parts of a node in stock's order, the junctors' too."""
    more, items = schema.get("additionalProperties"), schema.get("items")
    if isinstance(more, dict):
        bare = place._replace(no_defaults="inside additionalProperties applying to object metadata") if place.in_meta else place
        yield f"{at}.additionalProperties", more, bare
    for name, part in (schema.get("properties") or {}).items():
        below = place
        if name in META_FIELDS and (root or schema.get(EMBEDDED)):
            below = place._replace(in_meta=True, no_defaults=f"in top-level {name}" if root else place.no_defaults)
        yield f"{at}.properties[{name}]", part, below
    if isinstance(schema.get("not"), dict):
        yield f"{at}.not", schema["not"], place
    for field in ("allOf", "oneOf", "anyOf"):
        for i, part in enumerate(schema.get(field) or ()):
            yield f"{at}.{field}[{i}]", part, place
    for name, part in (schema.get("definitions") or {}).items():
        yield f"{at}.definitions[{name}]", part, place
    for i, part in enumerate(items if isinstance(items, list) else ()):
        yield f"{at}.items[{i}]", part, place
    if isinstance(items, dict):
        yield f"{at}.items", items, place
    for name, part in (schema.get("dependencies") or {}).items():
        if isinstance(part, dict):
            yield f"{at}.dependencies[{name}]", part, place


def everything(schema: Object) -> Iterator[Object]:
    """A schema and all that is in it."""
    yield schema
    for _, part, _ in _inner("", schema, _Place(NOTHING_SPARED), root=False):
        yield from everything(part)


def _openapi(e: Errors, at: str, schema: Object, place: _Place, *, root: bool = False) -> None:
    _words(e, at, schema, place)
    if schema.get("uniqueItems"):
        e.forbidden(f"{at}.uniqueItems", _UNIQUE)
    more = schema.get("additionalProperties")
    if schema.get("properties") and more not in (None, True):
        e.forbidden(f"{at}.additionalProperties", "additionalProperties and properties are mutual exclusive")
    for where, part, below in _inner(at, schema, place, root):
        _openapi(e, where, part, below)
    if schema.get(PRESERVE) is False:
        e.invalid(f"{at}.{PRESERVE}", False, "must be true or undefined")
    custom_lists.validate(e, at, schema, sets=not place.spared.sets, keys=not place.spared.map_keys)
    for i, rule in enumerate(schema.get(RULES) or ()):
        custom_rules.words(e, f"{at}.{RULES}[{i}]", rule, lambda path: custom_paths.valid(schema, path))


def _words(e: Errors, at: str, schema: Object, place: _Place) -> None:
    """Forbidden fields of a node."""
    kind = schema.get("type") or ""
    if kind and kind not in TYPES and not place.spared.types:
        e.unsupported(f"{at}.type", kind, TYPES)
    if schema.get("default") is not None and place.no_defaults:
        e.forbidden(f"{at}.default", f"must not be set {place.no_defaults}")
    for field in _NOT_SUPPORTED:
        value: Any = schema.get(field)
        if value if field in _TEXTS else value is not None:
            e.forbidden(f"{at}.{field}", f"{field} is not supported")
    if kind == "null":
        e.forbidden(f"{at}.type", "type cannot be set to null, use nullable as an alternative")
    if isinstance(schema.get("items"), list) and schema["items"]:
        e.forbidden(f"{at}.items", "items must be a schema object and not an array")
    if place.in_meta and schema.get(EMBEDDED):
        e.forbidden(f"{at}.{EMBEDDED}", "must not be used inside of resource meta")
