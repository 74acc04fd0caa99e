"""A kind as the documentation of kapi.registry.validation.part adds one; rules that are judged once for what is alike."""

import time
from typing import Any

import pytest

from kapi import limits
from kapi.objects import names
from kapi.objects.meta import Object
from kapi.registry.validation import rules
from kapi.registry.validation.part import Part, RuledStrategy, validate_cached
from kapi.registry.validation.rules import Errors


class GateStrategy(RuledStrategy):
    columns = rules.columns("Name", "Width#: How wide it opens", "Age")

    def check(self, new: Part, old: Object | None) -> None:
        spec = new.part("spec")
        spec.named("road", names.dns_label)
        spec.choice("side", ("Left", "Right"))
        for lock in spec.parts("locks", most=2):
            lock.need("key", "must have a key")
        if old is not None:
            spec.immutable(old["spec"], "road")

    def cells(self, obj: Object) -> list[Any]:
        return [obj["spec"].get("width", 0)]


def told(spec: Object, old: Object | None = None) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in GateStrategy().validate({"spec": spec}, old)]


@pytest.mark.parametrize(("spec", "expected"), [
    ({"road": "a", "side": "Left", "locks": [{"key": "k"}]}, []),
    ({}, ["spec.road: Required value"]),
    ({"road": "a", "side": ""}, ['spec.side: Unsupported value: "": supported values: "Left", "Right"']),
    ({"road": "a", "locks": [{"key": "k"}, {}]}, ["spec.locks[1].key: Required value: must have a key"]),
    ({"road": "a", "locks": [{}, {}, {}]}, ["spec.locks: Too many: 3: must have at most 2 items"]),
])  # fmt: skip
def test_making(spec: Object, expected: list[str]) -> None:
    assert told(spec) == expected


def test_changing() -> None:
    assert told({"road": "b"}, {"spec": {"road": "a"}}) == ['spec.road: Invalid value: "b": field is immutable']


def test_cells() -> None:
    gate = {"metadata": {"name": "g", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"width": 3}}
    assert GateStrategy().row(gate, 1767225600.0 + 60) == ["g", 3, "60s"]


def test_judged_once() -> None:
    asked: list[str] = []

    def rule(part: Part) -> None:
        asked.append(part.at)
        part.need("key")

    e = Errors()
    for i, obj in enumerate([{"key": "a"}, {"key": "a"}, {}, {}]):
        validate_cached(rule, Part(e, f"locks[{i}]", obj))
    assert [cause.field for cause in e] == ["locks[2].key", "locks[3].key"]
    assert asked == ["", "", "locks[2]", "locks[3]"]  # each of the two shapes was tried once; a bad one is told of wherever it is


# differences ------------------------------------------------------------------------------------------------------------------------


def test_a_difference_shows_the_changed_lines_where_they_are() -> None:
    old = {"a": list(range(600)), "b": 1}
    new = {**old, "a": [*range(599), 7]}
    lines = rules.difference(old, new).splitlines()
    assert lines[1:7] == ["@@ -599,7 +599,7 @@", "     596,", "     597,", "     598,", "-    599", "+    7"]


def test_a_difference_of_long_lists_is_found_quickly() -> None:
    """Lines that occur some hundred times each are the worst case of difflib."""
    old = [f"v{i % 150}" for i in range(40_000)]
    new = sorted(old, key=lambda text: hash((text, 1)))
    began = time.thread_time()
    shown = rules.difference(old, new)
    assert time.thread_time() - began < 1
    assert shown.count("\n") <= 2 * limits.DIFFERENCE_LINES + 100
