"""Defaults in the schemas of CustomResourceDefinitions: each must be valid by its own schema and rules, and contain nothing that is pruned.

Source: apiextensions-apiserver's defaulting validation (v1.36).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from kapi.objects import causes
from kapi.objects.errors import Cause
from kapi.objects.meta import Object
from kapi.registry import embedded
from kapi.schema import rules
from kapi.schema.structural import EMBEDDED, META_FIELDS, Structural
from kapi.schema.values import NOWHERE, Validator

_HEADER = {"apiVersion": "validation/v1", "kind": "Validation"}


class _Node(NamedTuple):
    """A part of a schema, and the object around it, when it is of that object's header or metadata."""

    at: str
    schema: Object
    root: Object
    inside: tuple[str, ...] | None = None
    """The way from the object; None outside of header and metadata. '[0]' is an item."""


def validate(at: str, schema: Object, *, pruned: bool = True) -> list[Cause]:
    """The causes of every default below a schema whose path is `at`; those of maps are refused elsewhere."""
    root = {**schema, EMBEDDED: True}
    budget = rules.Budget()
    nodes = (node for node in _nodes(_Node(at, root, root)) if node.schema.get("default") is not None)
    return [cause for node in nodes for cause in _check(node, pruned, budget)]


def unpruned(schema: Object) -> bool:
    """Whether a schema has a default with fields that it does not know."""
    root = {**schema, EMBEDDED: True}
    nodes = (node for node in _nodes(_Node("", root, root)) if node.inside is None)
    return any(node.schema.get("default") is not None and _unknown(node.schema) for node in nodes)


def _nodes(node: _Node) -> Iterator[_Node]:
    """The parts that may have defaults; those of additionalProperties are not followed."""
    yield node
    schema, root = node.schema, node.schema if node.schema.get(EMBEDDED) else node.root
    if isinstance(items := schema.get("items"), dict):
        yield from _nodes(_Node(f"{node.at}.items", items, root, None if node.inside is None else (*node.inside, "[0]")))
    for name, part in (schema.get("properties") or {}).items():
        inside: tuple[str, ...] | None = None
        if not part.get(EMBEDDED) and (node.inside is not None or (schema.get(EMBEDDED) and name in META_FIELDS)):
            inside = (*(node.inside or ()), name)
        yield from _nodes(_Node(f"{node.at}.properties[{name}]", part, root, inside))


def _unknown(schema: Object) -> bool:
    unknown: list[str] = []
    Structural(schema).read(schema["default"], unknown)
    return bool(unknown)


def _check(node: _Node, pruned: bool, budget: rules.Budget) -> Iterator[Cause]:
    where, value = f"{node.at}.default", node.schema["default"]
    if node.inside is not None:
        yield from _check_inside(where, node)
    elif pruned and _unknown(node.schema):
        yield causes.invalid(where, value, "must not have unknown fields")
    if node.inside is None and (found := _moved(where, embedded.validate(node.schema, value))):
        yield from found
    elif found := Validator(node.schema).validate(value):
        yield from (cause._replace(field=where if cause.field == NOWHERE else f"{where}.{cause.field}") for cause in found)
    elif (known := rules.of(node.schema, root=node.schema is node.root)) is not None:
        same = known.validate(value, value, budget=budget, ratchets=False)
        yield from _moved(where, same or known.validate(value, None, budget=budget))


def _moved(where: str, found: list[Cause]) -> list[Cause]:
    return [cause._replace(field=where if cause.field == NOWHERE else _joined(where, cause.field)) for cause in found]


def _joined(where: str, field: str) -> str:
    return f"{where}{field}" if field[0] in ".[" else f"{where}.{field}"


def _check_inside(where: str, node: _Node) -> Iterator[Cause]:
    """A default within an object's header or metadata, put into such an object."""
    value = node.schema["default"]
    found = embedded.validate({**node.root, EMBEDDED: True}, _around(node.inside or (), value))
    if found:
        detail = ", ".join(f"{cause.field.removeprefix('.')}: {cause.message}" for cause in found)
        yield causes.invalid(where, value, f"must result in valid metadata: {detail if len(found) == 1 else f'[{detail}]'}")


def _around(way: tuple[str, ...], value: Any) -> Object:
    made = value
    for step in reversed(way):
        made = [made] if step == "[0]" else {step: made}
    return {**_HEADER, **made}
