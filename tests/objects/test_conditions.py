"""Conditions: set in place, moved to the end, removed; the transition time follows the status."""

from kapi.objects import conditions, time

OLD = {"type": "Ready", "status": "True", "reason": "Up", "lastTransitionTime": "2026-01-01T00:00:00Z"}
OTHER = {"type": "Other", "status": "False"}


def test_a_condition_with_the_same_status_keeps_its_time_and_place() -> None:
    new = {"type": "Ready", "status": "True", "reason": "StillUp"}
    assert conditions.updated([OLD, OTHER], new) == [{**OLD, "reason": "StillUp"}, OTHER]
    assert OLD["reason"] == "Up"


def test_a_condition_with_another_status_gets_the_time_of_now() -> None:
    (changed,) = conditions.updated([OLD], {"type": "Ready", "status": "False"})
    assert "reason" not in changed
    assert time.parse(changed["lastTransitionTime"]) > time.parse(OLD["lastTransitionTime"])
    assert conditions.since(OLD, "False", 0) == conditions.since(None, "True", 0) == "1970-01-01T00:00:00Z"


def test_a_new_type_is_appended() -> None:
    first, second = conditions.updated((OTHER,), {"type": "Ready", "status": "True"})
    assert first is OTHER
    assert second.keys() == {"type", "status", "lastTransitionTime"}


def test_moved_appends_as_it_is_and_without_removes() -> None:
    new = {"type": "Ready", "status": "True"}
    assert conditions.moved([OLD, OTHER], new) == [OTHER, new]
    assert conditions.without([OLD, OTHER], "Ready") == [OTHER]
    assert conditions.find([OLD, OTHER], "Missing") is None
