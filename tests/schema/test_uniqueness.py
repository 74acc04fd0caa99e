from typing import Any

from kapi.objects.meta import Object
from kapi.schema import uniqueness

ITEMS: Object = {"type": "object", "properties": {"a": {"type": "string"}}}
SCHEMA: Object = {"type": "object", "properties": {
    "map": {"type": "array", "items": ITEMS, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"]},
    "two": {"type": "array", "items": ITEMS, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"]},
    "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
    "list": {"type": "array", "items": {"type": "string"}},
}}  # fmt: skip


def doubles(**value: Any) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in uniqueness.validate(SCHEMA, value)]


def test_items_of_maps_and_sets_stand_once() -> None:
    assert doubles(map=[{"a": "x"}, {"a": "y"}, {"a": "x"}, {"a": "x"}]) == ['map[2]: Duplicate value: {"a":"x"}']
    assert doubles(map=[{}, {}]) == ["map[1]: Duplicate value: {}"]
    assert doubles(two=[{"a": "x", "b": 1}, {"a": "x", "b": 2}, {"b": 1, "a": "x"}]) == ['two[2]: Duplicate value: {"a":"x","b":1}']
    assert doubles(set=["x", "y", "x"]) == ['set[2]: Duplicate value: "x"']
    assert doubles(list=["x", "x"]) == []
    assert doubles(map=["x"]) == ['map[0]: Invalid value: "x": must be an object for an array of list-type map']


def test_whether_there_is_anything_to_look_for() -> None:
    assert uniqueness.needed(SCHEMA)
    assert not uniqueness.needed(ITEMS)
