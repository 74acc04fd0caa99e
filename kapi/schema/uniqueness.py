"""Lists of custom resources that are sets or maps: no item twice.

`needed` is called once for each schema. Source: apiextensions-apiserver's listtype validation (v1.36).
"""

from typing import Any

from kapi.objects import causes
from kapi.objects.errors import Cause, Causes
from kapi.objects.meta import Object, hashed
from kapi.schema.structural import LIST_KEYS, LIST_TYPE, parts, walk


def needed(openapi: Object) -> bool:
    """Whether a schema has lists that are sets or maps."""
    return any(part.get(LIST_TYPE) in ("set", "map") for part in parts(openapi))


def validate(openapi: Object, whole: Object) -> list[Cause]:
    """The causes of doubles, e.g. spec.ports[1]: Duplicate value: {"p":1}."""
    out = Causes()
    for node, value, path in walk(openapi, whole):
        if isinstance(value, list) and node.get(LIST_TYPE) == "set":
            out += [causes.duplicate(f"{path}[{at}]", value[at]) for at in _doubles(value)]
        elif isinstance(value, list) and node.get(LIST_TYPE) == "map":
            out += _map(node.get(LIST_KEYS) or [], value, path)
    return out


def _map(keys: list[str], values: list[Any], path: str) -> list[Cause]:
    for at, item in enumerate(values):
        if item is not None and not isinstance(item, dict):
            return [causes.invalid(f"{path}[{at}]", item, "must be an object for an array of list-type map")]
    named = [{key: item[key] for key in sorted(keys) if key in item} if item else {} for item in values]
    return [causes.duplicate(f"{path}[{at}]", named[at]) for at in _doubles(named)]


def _doubles(values: list[Any]) -> list[int]:
    """Where something stands the second time."""
    seen: dict[Any, int] = {}
    out: list[int] = []
    for at, value in enumerate(values):
        text = hashed(value)
        seen[text] = seen.get(text, 0) + 1
        if seen[text] == 2:
            out.append(at)
    return out
