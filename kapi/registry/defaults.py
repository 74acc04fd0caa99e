"""Defaults of fields as data: {"spec": {}, "spec.replicas": 1, "spec.ports[].protocol": "TCP"}, read by `fill`.

Values that depend on other fields are set by the `default` method of a kind's Strategy.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from kapi.objects import meta
from kapi.objects.meta import Object

Defaults = Mapping[str, Any]
"""Path of a field -> its value, in the order in which they are set; `[]` after a field: in each item of the list."""


def fill(obj: Object, absent: Defaults, empty: Defaults) -> None:
    """Set fields of `obj` in place: those of `absent` which are absent or null, then those of `empty` which are also 0, "" or [].

    Nothing is set below a field which is itself absent.
    """
    for path, value in absent.items():
        for parent, field in _parents(obj, path):
            if parent.get(field) is None:
                parent[field] = meta.clone(value)
    for path, value in empty.items():
        for parent, field in _parents(obj, path):
            if not parent.get(field):
                parent[field] = meta.clone(value)


@cache  # the paths of kapi's own tables
def _steps(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


def _parents(obj: Object, path: str) -> list[tuple[Object, str]]:
    """Each object in `obj` that has or may have the field at the end of a path, with the field's name."""
    *way, field = _steps(path)
    parents = [obj]
    for step in way:
        if step.endswith("[]"):
            parents = [item for parent in parents for item in parent.get(step[:-2]) or ()]
        else:
            parents = [parent[step] for parent in parents if parent.get(step) is not None]
    return [(parent, field) for parent in parents]
