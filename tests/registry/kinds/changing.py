"""What stock says of a good object with one field made bad, or changed in a bad way: causes as lines of text."""

from copy import deepcopy
from typing import Any, Final

from kapi.registry.strategy import Strategy

Object = dict[str, Any]

ABSENT: Final = object()
"""The value of a field that is taken away."""


def put(obj: Object, path: str, value: object) -> Object:
    """A copy with the field at 'spec.ports.0.port' set (or taken away); '' leaves the object as it is."""
    new = deepcopy(obj)
    *way, last = path.split(".")
    at: Any = new
    for step in way:
        at = at[int(step) if step.isdigit() else step]
    if value is ABSENT:
        del at[last]
    elif path:
        at[int(last) if last.isdigit() else last] = deepcopy(value)
    return new


def ready(strategy: Strategy, obj: Object, old: Object | None = None) -> Object:
    """The object as the rules see it."""
    new = {"metadata": {}, **deepcopy(obj)}
    new["metadata"] = {"name": "base", "namespace": "ns", **new["metadata"]}
    strategy.default(new)
    strategy.prepare(new, old)
    return new


def causes(strategy: Strategy, obj: Object, path: str = "", value: object = None) -> list[str]:
    """Of creating the object with `value` at `path`."""
    return [f"{c.field}: {c.message}" for c in strategy.validate(ready(strategy, put(obj, path, value)), None)]


def changed(strategy: Strategy, obj: Object, path: str, value: object) -> list[str]:
    """Of updating the object so."""
    old = ready(strategy, obj)
    return [f"{c.field}: {c.message}" for c in strategy.validate(ready(strategy, put(obj, path, value), old), old)]
