"""Sets of fields, kept in the form managedFields shows them: {"f:spec": {"f:ports": {'k:{"port":80}': {".": {}, "f:port": {}}}}}.

A path is in the set when its node is {} or holds "."; a node with other children only leads to them. Sets are never changed
once made. Steps (stock's path elements): "f:name" a field, 'k:{…}' an item by its keys, 'v:…' an item of a set by its value.
`to_field_set` makes the set of an object by its schema; kapi.schema.difference compares two objects.

Example: the set of {"spec": {"ports": [{"port": 80}]}} as applied is
{"f:spec": {"f:ports": {'k:{"port":80}': {".": {}, "f:port": {}}}}}: the item and its field are members, spec and ports only lead to them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from kapi.objects import nested
from kapi.objects.meta import Object
from kapi.schema.schema import ANY, ZEROS, Schema

FieldSet = Mapping[str, Any]

MEMBER: FieldSet = {}
"""The node of a path in the set without further paths below it."""
_KEY_DEFAULTS = {("ContainerPort", "protocol"): "TCP", ("ServicePort", "protocol"): "TCP", ("LocalObjectReference", "name"): ""}
"""Defaults of key fields that the table of types does not have: published types leave them out."""


def is_member(node: FieldSet) -> bool:
    return not node or "." in node


def has(fields: FieldSet, path: Sequence[str]) -> bool:
    """Whether the path (steps: "f:spec", …) is in the set."""
    node: FieldSet = fields
    for step in path:
        if step not in node:
            return False
        node = node[step]
    return bool(path) and is_member(node)


def members(fields: FieldSet, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every path of the set, parents before what is below them."""
    for step, node in fields.items():
        if step != ".":
            here = (*path, step)
            if is_member(node):
                yield here
            yield from members(node, here)


# algebra ------------------------------------------------------------------------------------------------------------------------


def union_all(parts: Sequence[FieldSet]) -> FieldSet:
    """Paths in any of several sets, united in pairs: large sets are then copied less often."""
    while len(parts) > 1:
        parts = [union(*parts[at : at + 2]) if at + 1 < len(parts) else parts[at] for at in range(0, len(parts), 2)]
    return parts[0] if parts else {}


def _joined(member: bool, children: Object) -> Object | None:
    """A node built from its parts; None for an empty one."""
    if not member:
        return children or None
    return {".": MEMBER, **children} if children else {}


def _sorted(node: Object) -> Object:
    return dict(sorted(node.items()))


def union(a: FieldSet, b: FieldSet) -> FieldSet:
    """Paths in either; `a` itself when `b` adds nothing."""
    if not b:
        return a
    if not a:
        return b
    out: Object | None = None
    for step, theirs in b.items():
        if step == ".":
            continue
        mine = a.get(step)
        node = theirs if mine is None else _union_node(mine, theirs)
        if node is not mine:
            out = dict(a) if out is None else out
            out[step] = node
    return a if out is None else _sorted(out)


def _union_node(mine: FieldSet, theirs: FieldSet) -> FieldSet:
    if mine is theirs or mine == theirs:
        return mine
    member = is_member(mine) or is_member(theirs)
    children = union(without_dot(mine), without_dot(theirs))
    if children == without_dot(mine) and member == is_member(mine):
        return mine
    return _joined(member, dict(children)) or MEMBER


def without_dot(node: FieldSet) -> FieldSet:
    return {k: v for k, v in node.items() if k != "."} if "." in node else node


def difference(a: FieldSet, b: FieldSet) -> FieldSet:
    """Paths in `a` and not in `b`; `a` itself when they have none in common."""
    out: Object | None = None
    for step in a if len(a) < len(b) else b:
        mine, theirs = a.get(step), b.get(step)
        if mine is None or theirs is None or step == ".":
            continue
        node = _difference_node(mine, theirs)
        if node is mine:
            continue
        out = dict(a) if out is None else out
        if node is None:
            del out[step]
        else:
            out[step] = node
    return a if out is None else out


def _difference_node(mine: FieldSet, theirs: FieldSet) -> FieldSet | None:
    was, member = is_member(mine), is_member(mine) and not is_member(theirs)
    before = without_dot(mine)
    children = difference(before, theirs)
    if children is before and member == was:
        return mine
    return _joined(member, dict(children))


def intersection(a: FieldSet, b: FieldSet) -> FieldSet:
    """Paths in both."""
    out: Object = {}
    small, large = (a, b) if len(a) <= len(b) else (b, a)
    for step, mine in small.items():
        theirs = large.get(step)
        if theirs is None or step == ".":
            continue
        common = _joined(is_member(mine) and is_member(theirs), dict(intersection(mine, theirs)))
        if common is not None:
            out[step] = common
    return out


def prune(fields: FieldSet, path: tuple[str, ...]) -> FieldSet:
    """Without the path and all below it; path steps are plain field names."""
    step = f"f:{path[0]}"
    node = fields.get(step)
    if node is None:
        return fields
    if len(path) == 1:
        return {k: v for k, v in fields.items() if k != step}
    inner = prune(node, path[1:])
    if inner is node:
        return fields
    if not inner and not is_member(node):
        return {k: v for k, v in fields.items() if k != step}
    return {**fields, step: inner}


# steps of an object -------------------------------------------------------------------------------------------------------------


def child(schema: Schema, name: str) -> Schema:
    """The type of a field or map value."""
    if schema.type == "map":
        return schema.item or ANY
    return schema.fields.get(name) or ANY


def granular(schema: Schema, value: Any) -> bool:
    """Whether the fields inside of the value have owners of their own (not atomic)."""
    if isinstance(value, dict):
        return schema.type in ("object", "map") and not schema.atomic
    return isinstance(value, list) and schema.type == "list" and schema.list_type != "atomic"


def _text(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


class MissingKeys(ValueError):
    """A list item has none of its key fields: its owners cannot be tracked."""


def item_step(schema: Schema, item: Any) -> str:
    """The step of a list item: 'v:"x"' of a set, 'k:{"name":"c"}' of a map list. Raises Unkeyed."""
    if schema.list_type == "set":
        return f"v:{_text(item)}"
    keys: Object = {}
    for key in schema.keys if isinstance(item, dict) else ():
        value = item.get(key)
        if value is None:
            value = _missing_key(schema, key)
        if value is not None:
            keys[key] = value
    if not keys:
        raise MissingKeys(", ".join(schema.keys))
    return f"k:{_text(keys)}"


def key_default(schema: Schema, key: str) -> Any:
    """The default of a key field of a list's items; None when it has none."""
    item = schema.item or ANY
    field = item.fields.get(key)
    if field is not None and field.default is not None:
        return field.default
    return _KEY_DEFAULTS.get((item.name.rpartition(".")[2], key))


def _missing_key(schema: Schema, key: str) -> Any:
    """The value of an absent key field: its default, or the zero value where Go always writes the field."""
    default = key_default(schema, key)
    field = (schema.item or ANY).fields.get(key)
    if default is None and field is not None and not field.omit_empty and not field.pointer:
        return ZEROS.get(field.type)
    return default


def items(schema: Schema, values: list[Any]) -> dict[str, Any]:
    """The items of a granular list by their step, in list order; of doubles the first one. Raises Unkeyed."""
    out: dict[str, Any] = {}
    for item in values:
        out.setdefault(item_step(schema, item), item)
    return out


def to_field_set(schema: Schema, obj: Any) -> FieldSet:
    """The fields of an applied configuration: leaves, list items and map entries, but not the structs that contain them."""
    out: Object = {}
    if isinstance(obj, list):
        for step, item in items(schema, obj).items():
            below = to_field_set(schema.item or ANY, item) if granular(schema.item or ANY, item) else {}
            out[step] = {".": MEMBER, **below} if below else MEMBER
        return _sorted(out)
    for name in sorted(obj):
        node, value = child(schema, name), obj[name]
        inner = to_field_set(node, value) if granular(node, value) else None
        entry = schema.type == "map" or name not in schema.fields
        if inner:
            out[f"f:{name}"] = {".": MEMBER, **inner} if entry else inner
        elif inner is None or entry or isinstance(value, dict):
            out[f"f:{name}"] = MEMBER
    return out


def path_text(path: Iterable[str]) -> str:
    """A path as in the messages of conflicts: .spec.containers[name="c"].image"""
    out = []
    for step in path:
        kind, _, rest = step.partition(":")
        if kind == "f":
            out.append(f".{rest}")
        elif kind == "k":
            keys = ",".join(f"{key}={_text(value)}" for key, value in nested.loads(rest.encode()).items())
            out.append(f"[{keys}]")
        else:
            out.append(f"[={rest}]" if kind == "v" else f"[{rest}]")
    return "".join(out)
