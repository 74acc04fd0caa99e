"""What stock says of a good object with one field made bad, or changed in a bad way: causes as lines of text."""

from copy import deepcopy
from functools import cache
from typing import Any, Final

from kapi.objects.meta import Object
from kapi.registry import catalogue
from kapi.registry.strategy import Strategy
from kapi.schema import decode
from kapi.schema.empties import Empties
from kapi.schema.schema import Schema

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
    """The object as the pipeline has it before its rules."""
    return prepared(strategy, obj, old)[0]


def prepared(strategy: Strategy, obj: Object, old: Object | None = None) -> tuple[Object, Empties]:
    """The same, and the empty lists and maps it was given."""
    empties = Empties()
    metadata = {"name": "base", "namespace": "ns", **obj.get("metadata", {})}
    new: Object = decode.read({**deepcopy(obj), "metadata": metadata}, _schema(strategy, obj.get("apiVersion", "")), empties)[0]
    with empties.restored(new):
        strategy.default(new)
        strategy.prepare(new, old)
    return new, empties


@cache
def _schema(strategy: Strategy, version: str = "") -> Schema:
    """The type a strategy is for, in an apiVersion or in the first that is served."""
    kinds = [kind for kind in catalogue.standard({"api/all": True}) if type(kind.strategy) is type(strategy)]
    return next(kind.schema for kind in kinds if version in ("", kind.resource.api_version))


def causes(strategy: Strategy, obj: Object, path: str = "", value: object = None) -> list[str]:
    """Of creating the object with `value` at `path`."""
    return judged(strategy, put(obj, path, value), None)


def changed(strategy: Strategy, obj: Object, path: str, value: object) -> list[str]:
    """Of updating the object so."""
    return judged(strategy, put(obj, path, value), ready(strategy, obj))


def judged(strategy: Strategy, obj: Object, old: Object | None) -> list[str]:
    new, empties = prepared(strategy, obj, old)
    with empties.restored(new, old):
        return [f"{c.field}: {c.message}" for c in strategy.validate(new, old)]
