"""Events of both APIs: one is kept, either is served; the newer one is strict."""


import pytest

from kapi.objects import time
from kapi.objects.meta import Object
from kapi.registry.kinds.core.event import NEW, EventStrategy, NewEventStrategy
from tests.registry.kinds.changing import ABSENT, causes, changed, ready

OLD_API, NEW_API = EventStrategy(), NewEventStrategy()
CORE: Object = {"involvedObject": {"kind": "Pod", "name": "p", "namespace": "ns"}, "reason": "Started", "message": "m"}
GOOD: Object = {
    "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "a.b/c", "reportingInstance": "i", "action": "Start",
    "reason": "Started", "type": "Normal", "regarding": {"kind": "Pod", "name": "p", "namespace": "ns"}, "note": "n",
}  # fmt: skip


def test_good() -> None:
    assert causes(OLD_API, CORE) == []
    assert causes(NEW_API, GOOD) == []


@pytest.mark.parametrize(
    ("at", "value", "wanted"),
    [
        ("eventTime", ABSENT, ["eventTime: Required value"]),
        ("type", "Odd", ['type: Invalid value: "": has invalid value: Odd']),
        ("action", "", ["action: Required value"]),
        ("reason", "x" * 129, ['reason: Invalid value: "": can have at most 128 characters']),
        ("note", "x" * 1025, ['message: Invalid value: "": can have at most 1024 characters']),
        ("deprecatedCount", 1, ['count: Invalid value: "": needs to be unset']),
        ("regarding", {}, ['involvedObject.namespace: Invalid value: "": does not match event.namespace']),
        ("series", {"count": 1}, ['series.count: Invalid value: "": should be at least 2', "series.lastObservedTime: Required value"]),
    ],
)
def test_bad(at: str, value: object, wanted: list[str]) -> None:
    assert causes(NEW_API, GOOD, at, value) == wanted


def test_namespaces_match() -> None:
    wanted = ['involvedObject.namespace: Invalid value: "x": does not match event.namespace']
    assert causes(OLD_API, CORE, "involvedObject.namespace", "x") == wanted


def test_only_the_series_changes() -> None:
    assert changed(NEW_API, GOOD, "series", {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}) == []
    assert changed(NEW_API, GOOD, "note", "other") == ['message: Invalid value: "other": field is immutable']
    assert changed(OLD_API, CORE, "message", "other") == []


def test_one_shape_is_kept() -> None:
    served = ready(NEW_API, GOOD)
    stored = NEW_API.to_storage(served, NEW)
    assert (stored["message"], stored["involvedObject"]["name"], stored["reportingComponent"]) == ("n", "p", "a.b/c")
    assert NEW_API.from_storage(stored, NEW) == served


def test_selectable_fields_are_those_of_what_is_kept() -> None:
    stored = NEW_API.to_storage(ready(NEW_API, GOOD), NEW)
    assert EventStrategy.fields["involvedObject.kind"](stored) == "Pod"
    assert NewEventStrategy.fields[NewEventStrategy.selected_as["regarding.name"]](stored) == "p"
    assert NewEventStrategy.fields[NewEventStrategy.selected_as["reportingController"]](stored) == "a.b/c"
    assert EventStrategy.fields["source"](stored) == "a.b/c"


def test_row() -> None:
    obj = ready(OLD_API, {**CORE, "type": "Normal", "count": 4, "source": {"component": "kubelet", "host": "n"}})
    obj.update(firstTimestamp=time.stamp(0), lastTimestamp=time.stamp(60))
    assert OLD_API.row(obj, 90.0) == ["30s", "Normal", "Started", "pod/p", "", "kubelet, n", "m", "90s", 4, "base"]


def test_columns_are_texts() -> None:
    """Also the count, whose cells are numbers."""
    assert {column.type for column in EventStrategy.columns} == {"string"}
