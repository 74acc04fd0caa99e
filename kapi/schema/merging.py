"""The steps of server-side apply on objects: validate the applied configuration, merge it into the live object, remove fields.

Arguments are never changed; results share the unchanged parts. Sets are those of kapi.schema.fieldset.
"""

from typing import Any

from kapi.objects.meta import Object
from kapi.objects.patch import go_text
from kapi.schema import fieldset as sets
from kapi.schema.fieldset import FieldSet, child, granular, path_text
from kapi.schema.schema import ANY, Schema
from kapi.schema.structural import Structural

_NUMBERS = frozenset({"int32", "int64", "number"})
_TEXTS = frozenset({"string", "bytes", "time", "microtime", "duration"})


# validation ---------------------------------------------------------------------------------------------------------------------


def check(schema: Schema, value: Any, path: tuple[str, ...] = ()) -> list[str]:
    """What is wrong with an applied configuration, as stock's typed merge words it: '.spec.foo: field not declared in schema'.

    `path`: the steps to the value; they become a text only for a message.
    """
    if value is None or schema.type == "any":
        return []
    if schema.type in ("object", "map"):
        if not isinstance(value, dict):
            return [f"{path_text(path)}: expected map, got &{{{go_text(value)}}}"]
        return _check_map(schema, value, path)
    if schema.type == "list":
        if not isinstance(value, list):
            return [f"{path_text(path)}: expected list, got &{{{go_text(value)}}}"]
        return _check_list(schema, value, path)
    wrong = _scalar(schema, value)
    return [f"{path_text(path)}: {wrong}"] if wrong else []


def _scalar(schema: Schema, value: Any) -> str:
    kind = schema.type
    if kind in _NUMBERS and (isinstance(value, bool) or not isinstance(value, int | float)):
        names = {str: "string", bool: "bool", dict: "map[string]interface {}", list: "[]interface {}"}
        return f"expected numeric (int or float), got {names.get(type(value), 'string')}"
    if kind in _TEXTS and not isinstance(value, str):
        return f"expected string, got &{{{go_text(value)}}}"
    if kind == "boolean" and not isinstance(value, bool):
        return f"expected boolean, got &{{{go_text(value)}}}"
    return f"expected untyped, got {go_text(value)}" if isinstance(value, dict | list) else ""


def _check_map(schema: Schema, value: Object, path: tuple[str, ...]) -> list[str]:
    out: list[str] = []
    closed = schema.type == "object" and schema.fields and not schema.open
    for name, item in value.items():
        if closed and name not in schema.fields:
            out.append(f"{path_text(path)}.{name}: field not declared in schema")
        else:
            out += check(child(schema, name), item, (*path, f"f:{name}"))
    return out


def _check_list(schema: Schema, values: list[Any], path: tuple[str, ...]) -> list[str]:
    out: list[str] = []
    seen: set[str] = set()
    inner = schema.item or ANY
    for i, item in enumerate(values):
        step = f"i:{i}"
        if schema.list_type != "atomic":
            if schema.list_type == "map" and (missing := _no_key(schema, item)):
                out.append(f"{path_text(path)}: element {i}: {missing}")
                continue
            step = sets.item_step(schema, item)
            if step in seen:
                out.append(f"{path_text(path)}: duplicate entries for key {path_text([step])}")
            seen.add(step)
        out += check(inner, item, (*path, step))
    return out


def _no_key(schema: Schema, item: Any) -> str:
    """Why an item has no key; an applied configuration must contain key fields without a default."""
    if not isinstance(item, dict):
        return "associative list with keys may not have non-map elements"
    if any(item.get(key) is not None or sets.key_default(schema, key) is not None for key in schema.keys):
        return ""
    return f'associative list with keys has an element that omits key field "{schema.keys[0]}" (and doesn\'t have default value)'


# merging ------------------------------------------------------------------------------------------------------------------------


def merge(schema: Schema, live: Any, applied: Any) -> Any:
    """The applied value merged into the live one; null removes a field, except in custom objects, where it is a value."""
    if isinstance(live, dict) and isinstance(applied, dict) and live and granular(schema, applied):
        return _merge_maps(schema, live, applied)
    if isinstance(live, list) and isinstance(applied, list) and live and granular(schema, applied):
        return _merge_lists(schema, live, applied)
    return applied


def _merge_maps(schema: Schema, live: Object, applied: Object) -> Object:
    out = dict(live)
    for name, value in applied.items():
        if value is None and not isinstance(schema, Structural):
            out.pop(name, None)
        else:
            out[name] = merge(child(schema, name), live[name], value) if name in live else value
    return out


def _merge_lists(schema: Schema, live: list[Any], applied: list[Any]) -> list[Any]:
    """Items of both, in applied order; an item only the live list has stays in front of the shared item it preceded."""
    inner = schema.item or ANY
    theirs, ours = sets.items(schema, live), sets.items(schema, applied)
    doubles = _doubles(schema, live)
    shared = [step for step in ours if step in theirs]
    out: list[Any] = []
    left, right = list(theirs), list(ours)
    i = j = 0
    while i < len(left) or j < len(right):
        if i < len(left) and left[i] not in ours:
            out += doubles[left[i]]
            i += 1
        elif i < len(left) and (j >= len(right) or (left[i] != right[j] and shared and left[i] != shared[0])):
            i += 1
        else:
            step = right[j]
            out.append(merge(inner, theirs[step], ours[step]) if step in theirs else ours[step])
            i += i < len(left) and left[i] == step
            if shared and shared[0] == step:
                shared.pop(0)
            j += 1
    return out


def _doubles(schema: Schema, values: list[Any]) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = {}
    for item in values:
        out.setdefault(sets.item_step(schema, item), []).append(item)
    return out


# cut out ------------------------------------------------------------------------------------------------------------------------


def remove(schema: Schema, value: Any, gone: FieldSet) -> Any:
    """The value without the paths of the set (and all below them); None when nothing is left of it."""
    if not gone or not granular(schema, value):
        return value if not gone or not isinstance(value, dict | list) else None
    if isinstance(value, list):
        return _remove_items(schema, value, gone)
    out: Object = {}
    for name, item in value.items():
        node = gone.get(f"f:{name}")
        if node is None:
            out[name] = item
        elif not sets.is_member(node):
            left = remove(child(schema, name), item, node)
            if left is not None:
                out[name] = left
    return out or None


def _remove_items(schema: Schema, values: list[Any], gone: FieldSet) -> list[Any] | None:
    out = []
    for item in values:
        node = gone.get(sets.item_step(schema, item))
        if node is None:
            out.append(item)
        elif not sets.is_member(node):
            out.append(remove(schema.item or ANY, item, node))
    return out or None


def with_structs(schema: Schema, fields: FieldSet) -> FieldSet:
    """The set with every struct field on the way to a member made a member too."""
    out: Object = {}
    for step, node in fields.items():
        inner = child(schema, step[2:]) if step.startswith("f:") else schema.item or ANY
        below = with_structs(inner, node) if node else node
        named = schema.type == "object" and step.startswith("f:") and step[2:] in schema.fields
        out[step] = {".": sets.MEMBER, **below} if named and below and "." not in below else below
    return out
