"""Defaults in the schemas of CustomResourceDefinitions: each must be what its own schema says, with no fields that it does not know.

Source: apiextensions-apiserver's defaulting validation (v1.36).
"""

from collections.abc import Iterator

from kapi.objects import causes
from kapi.objects.errors import Cause
from kapi.objects.meta import Object
from kapi.schema.structural import EMBEDDED, META_FIELDS, Structural
from kapi.schema.values import NOWHERE, Validator


def validate(at: str, schema: Object) -> list[Cause]:
    """The causes of every default below a schema whose path is `at`; those of maps are refused elsewhere."""
    return [cause for path, node in _nodes(at, schema, root=True) if node.get("default") is not None for cause in _check(path, node)]


def _nodes(at: str, schema: Object, root: bool = False) -> Iterator[tuple[str, Object]]:
    """The parts of a schema that may have defaults; header and metadata of objects follow their own rules."""
    yield at, schema
    if isinstance(items := schema.get("items"), dict):
        yield from _nodes(f"{at}.items", items)
    for name, part in (schema.get("properties") or {}).items():
        if not (name in META_FIELDS and (root or schema.get(EMBEDDED))):
            yield from _nodes(f"{at}.properties[{name}]", part)


def _check(at: str, node: Object) -> list[Cause]:
    unknown: list[str] = []
    where, value = f"{at}.default", node["default"]
    Structural(node).read(value, unknown)
    out = [causes.invalid(where, value, "must not have unknown fields")] if unknown else []
    found = Validator(node).validate(value)
    return out + [cause._replace(field=where if cause.field == NOWHERE else f"{where}.{cause.field}") for cause in found]
