"""Types from schemas, names that are escaped, values that take their type."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kapi.cel import types, values
from kapi.cel.compiling import CompilationError, compiled
from kapi.cel.declaring import adapter, declared, published
from kapi.cel.escaping import escape, unescape
from kapi.cel.values import MapList, Timestamp, add_lists, equal


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("plain", "plain"),
        ("if", "__if__"),
        ("namespace", "__namespace__"),
        ("a.b-c/d", "a__dot__b__dash__c__slash__d"),
        ("a__b", "a__underscores__b"),
        ("1a", None),
        ("ä", None),
    ],
)
def test_escape(name: str, escaped: str | None) -> None:
    assert escape(name) == escaped


@given(st.from_regex(r"[A-Za-z_][A-Za-z0-9_.\-/]*", fullmatch=True))
def test_what_is_escaped_comes_back(name: str) -> None:
    escaped = escape(name)
    assert escaped is not None
    assert unescape(escaped) == name


def test_sizes() -> None:
    def most(openapi: dict[str, object]) -> int | None:
        found = declared(openapi)
        assert found is not None
        return found.type.most

    assert most({"type": "string", "maxLength": 10}) == 40
    assert most({"type": "string", "enum": ["a", "abc"]}) == 3
    assert most({"type": "array", "items": {"type": "integer"}, "maxItems": 5}) == 5
    assert most({"type": "array", "items": {"type": "integer"}}) == (3 * 1024 * 1024 - 2) // 2
    assert most({"type": "object", "additionalProperties": {"type": "boolean"}}) == (3 * 1024 * 1024 - 2) // 10


def test_what_has_no_type_is_not_seen() -> None:
    found = declared({"type": "object", "properties": {"a": {}, "b": {"type": "array"}, "c": {"x-kubernetes-int-or-string": True}}})
    assert found is not None
    assert dict(found.type.fields or {}) == {"c": types.DYN}


def test_values_take_their_type() -> None:
    act = adapter({"type": "object", "properties": {
        "r": {"type": "number"}, "t": {"type": "string", "format": "date-time"}, "d": {"type": "string", "format": "duration"},
        "b": {"type": "string", "format": "byte"}, "n": {"type": "integer"}, "s": {"type": "array", "items": {"type": "number"}},
    }})  # fmt: skip
    assert act is not None
    given = {"r": 1, "t": "1970-01-01T00:00:01Z", "d": "1m", "b": "YQ==", "n": 2, "s": [1], "other": "x"}
    made = act(given)
    assert made == {
        "r": 1.0, "t": Timestamp(10**9), "d": values.parse_duration("60s"), "b": b"a", "n": 2, "s": [1.0], "other": "x",
    }  # fmt: skip
    assert isinstance(made["r"], float)
    assert given["r"] == 1
    assert adapter({"type": "object", "properties": {"n": {"type": "integer"}}}) is None


ITEMS = st.lists(st.integers(0, 5), unique=True)


@given(ITEMS, ITEMS)
def test_sets_know_no_order_and_add_as_unions(a: list[int], b: list[int]) -> None:
    act = adapter({"type": "array", "items": {"type": "integer"}, "x-kubernetes-list-type": "set"})
    assert act is not None
    assert equal(act(a), act(sorted(a)))
    assert set(add_lists(act(a), act(b))) == {*a, *b}
    assert len(add_lists(act(a), act(b))) == len({*a, *b})
    assert equal(add_lists(act(a), act(a)), act(a))


def test_map_lists_add_by_key() -> None:
    act = adapter({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]})
    assert act is not None
    made = add_lists(act([{"k": 1, "v": 1}, {"k": 2}]), [{"k": 1, "v": 5}, {"k": 3}])
    assert made == [{"k": 1, "v": 5}, {"k": 2}, {"k": 3}]
    assert isinstance(made, MapList)
    assert equal(made, act([{"k": 3}, {"k": 2}, {"k": 1, "v": 5}]))


DOCUMENT: dict[str, Any] = {
    "Tree": {"type": "object", "properties": {
        "name": {"type": "string"}, "raw": {"type": "object"},
        "limit": {"$ref": "#/components/schemas/api.Quantity"}, "at": {"allOf": [{"$ref": "#/components/schemas/Time"}]},
        "parts": {"type": "array", "items": {"allOf": [{"$ref": "#/components/schemas/Tree"}], "default": {}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "port": {"oneOf": [{"type": "integer"}, {"type": "string"}]},
    }},
    "Time": {"type": "string", "format": "date-time"},
    "api.Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
}  # fmt: skip


def test_published_types() -> None:
    tree = published(DOCUMENT, DOCUMENT["Tree"], "Tree")
    text = "x.parts.all(p, p.parts[0].name != '' && p.labels.a == 'b' && p.port == 1 && p.raw.b) && x.limit.size() > 0"
    assert compiled(text, {"x": tree}).code.type == types.BOOL
    with pytest.raises(CompilationError, match="undefined field 'part'"):
        compiled("x.parts[0].part.size() > 0", {"x": tree})
    with pytest.raises(CompilationError, match="found no matching overload for '_>_' applied to '\\(timestamp, int\\)'"):
        compiled("x.at > 5", {"x": tree})
