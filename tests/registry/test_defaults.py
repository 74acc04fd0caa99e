"""Defaults as data: what counts as absent, and where a path leads."""

from typing import Any

import pytest

from kapi.objects.meta import Object
from kapi.registry.defaults import fill
from kapi.registry.kinds import STRATEGIES


@pytest.mark.parametrize(("obj", "filled"), [
    ({}, {"a": {}, "e": "E"}),
    ({"a": None, "e": ""}, {"a": {}, "e": "E"}),
    ({"a": {"b": {}}, "e": "f"}, {"a": {"b": {"c": 1}}, "e": "f"}),
    ({"a": {"b": {"c": 0}}, "e": "f"}, {"a": {"b": {"c": 0}}, "e": "f"}),
    ({"a": {"l": [{}, {"d": "", "m": [{}]}]}, "e": "f"}, {"a": {"l": [{"d": "D"}, {"d": "", "m": [{"n": 2}]}]}, "e": "f"}),
    ({"a": {"l": [], "b": None}, "e": "f"}, {"a": {"l": [], "b": None}, "e": "f"}),
])  # fmt: skip
def test_absent_fields_are_set(obj: Object, filled: Object) -> None:
    fill(obj, {"a": {}, "a.b.c": 1, "a.l[].d": "D", "a.l[].m[].n": 2}, {"e": "E"})
    assert obj == filled


def test_an_object_gets_a_value_of_its_own() -> None:
    defaults = {"a": {"b": [1]}}
    one: Any = {}
    fill(one, defaults, {})
    one["a"]["b"].append(2)
    assert defaults == {"a": {"b": [1]}}


def test_parents_come_before_their_fields() -> None:
    """A default below a field that is itself filled in would else be lost."""
    for strategy in STRATEGIES.values():
        paths = [*strategy.defaults, *strategy.defaults_of_empty]
        for i, path in enumerate(paths):
            assert not [later for later in paths[i:] if path.startswith(f"{later}.")], strategy
