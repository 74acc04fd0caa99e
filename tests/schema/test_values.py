"""What is wrong with values, in stock's words and order."""

from typing import Any

import pytest

from kapi.objects import patterns
from kapi.objects.meta import Object
from kapi.schema import formats
from kapi.schema.values import Validator


def wrong(value: Any, old: Any = None, **schema: Any) -> list[str]:
    """'field: message' of a value in the field x."""
    validator = Validator({"type": "object", "properties": {"x": schema}})
    found = validator.validate({"x": value}) if old is None else validator.validate({"x": value}, {"x": old})
    return [f"{cause.field}: {cause.message}" for cause in found]


INTEGER, TEXT = {"type": "integer"}, {"type": "string"}
CASES: list[tuple[Any, Object, str]] = [
    ("a", INTEGER, 'x: Invalid value: "string": x in body must be of type integer: "string"'),
    (1.0000000001, INTEGER, '<nil>: Invalid value: "": Checked value must be of type integer (default format) in x'),
    (2**31, {**INTEGER, "format": "int32"}, '<nil>: Invalid value: "": Checked value must be of type integer with format int32 in x'),
    (1e39, {"type": "number", "format": "float"},
     '<nil>: Invalid value: "": Checked value must be of type number with format float in x'),
    (3, {"type": "number", "maximum": 2.5}, "x: Invalid value: 3: x in body should be less than or equal to 2"),
    (3.5, {"type": "number", "maximum": 1e6, "multipleOf": 2}, "x: Invalid value: 3.5: x in body should be a multiple of 2"),
    (2e6, {"type": "number", "maximum": 1e6}, "x: Invalid value: 2e+06: x in body should be less than or equal to 1e+06"),
    (7, {**INTEGER, "minimum": 1.5},
     '<nil>: Invalid value: "": Minimum boundary value must be of type integer (default format) in x'),
    (4, {"type": "number", "multipleOf": -2}, "x: Invalid value: -2: factor MultipleOf declared for x must be positive: -2"),
    (None, {**TEXT, "nullable": True, "enum": ["a", None]}, 'x: Unsupported value: null: supported values: "a", "null"'),
    (True, {"type": "integer", "format": "int32"}, 'x: Invalid value: "": x in body must be of type int32: ""'),
    (None, TEXT, 'x: Invalid value: "null": x in body must be of type string: "null"'),
    (True, {"x-kubernetes-int-or-string": True}, 'x: Invalid value: "boolean": x in body must be of type integer,string: "boolean"'),
    (6, {**INTEGER, "maximum": 5}, "x: Invalid value: 6: x in body should be less than or equal to 5"),
    (5, {**INTEGER, "maximum": 5, "exclusiveMaximum": True}, "x: Invalid value: 5: x in body should be less than 5"),
    (-1, {**INTEGER, "minimum": 0}, "x: Invalid value: -1: x in body should be greater than or equal to 0"),
    (5, {**INTEGER, "multipleOf": 2}, "x: Invalid value: 5: x in body should be a multiple of 2"),
    ("abc", {**TEXT, "maxLength": 2}, "x: Too long: may not be more than 2 bytes"),
    ("", {**TEXT, "minLength": 1}, 'x: Invalid value: "": x in body should be at least 1 chars long'),
    ("b", {**TEXT, "pattern": "^a+$"}, "x: Invalid value: \"b\": x in body should match '^a+$'"),
    ("c", {**TEXT, "enum": ["b", "a"]}, 'x: Unsupported value: "c": supported values: "b", "a"'),
    ("no", {**TEXT, "format": "date-time"}, 'x: Invalid value: "no": x in body must be of type date-time: "no"'),
    ([], {"type": "array", "minItems": 1}, "x: Invalid value: 0: x in body should have at least 1 items"),
    ([1, 2], {"type": "array", "maxItems": 1}, "x: Too many: 2: must have at most 1 item"),
    ({}, {"type": "object", "minProperties": 1}, "x: Invalid value: 0: x in body should have at least 1 properties"),
    ({}, {"type": "object", "required": ["a"]}, "x.a: Required value"),
    ({"k": 1}, {"type": "object", "additionalProperties": TEXT},
     'x.k: Invalid value: "integer": x.k in body must be of type string: "integer"'),
    (["a", 1], {"type": "array", "items": TEXT}, 'x[1]: Invalid value: "integer": x[1] in body must be of type string: "integer"'),
    (1, {**INTEGER, "not": {"enum": [1]}}, '<nil>: Invalid value: "": "x" must not validate the schema (not)'),
]


@pytest.mark.parametrize(("value", "schema", "said"), CASES)
def test_what_is_wrong(value: Any, schema: Object, said: str) -> None:
    assert wrong(value, **schema) == [said]


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (1.0, INTEGER), (1, {"type": "number"}), (None, {**TEXT, "nullable": True}), ("a\n", {**TEXT, "pattern": "a"}),
        (5, {"x-kubernetes-int-or-string": True}), ("2026-01-02T03:04:05Z", {**TEXT, "format": "date-time"}), (7, {}),
    ],
)  # fmt: skip
def test_what_is_right(value: Any, schema: Object) -> None:
    assert wrong(value, **schema) == []


@pytest.mark.parametrize("value", [1.5, 1e20, float(2**53)])
def test_no_integers(value: float) -> None:
    assert wrong(value, **INTEGER) == [
        'x: Invalid value: "number": x in body must be of type integer: "number"',
        '<nil>: Invalid value: "": Checked value must be of type integer (default format) in x',
    ][: 1 + (value != 2**53)]


def test_nothing_is_told_twice() -> None:
    twice = wrong(1, anyOf=[{"not": {}}, {"not": {}}], allOf=[{"not": {}}])
    assert twice.count('<nil>: Invalid value: "": "x" must not validate the schema (not)') == 1


def test_a_pattern_s_end_is_the_text_s() -> None:
    assert wrong("a\n", **TEXT, pattern="^a$") != []


def test_the_best_of_several_alternatives() -> None:
    some = [{"required": ["a", "b"], "properties": {"a": TEXT}}, {"required": ["c"]}]
    none = 'must validate one and only one schema (oneOf). Found none valid'
    assert wrong({"a": "x"}, type="object", oneOf=some) == [f'<nil>: Invalid value: "": "x" {none}', "x.b: Required value"]
    assert wrong({"a": "x", "b": 1, "c": 2}, type="object", oneOf=some) == [
        '<nil>: Invalid value: "": "x" must validate one and only one schema (oneOf). Found 2 valid alternatives'
    ]
    assert wrong({"c": 1}, type="object", oneOf=some) == []
    assert wrong({}, type="object", anyOf=some)[0] == '<nil>: Invalid value: "": "x" must validate at least one schema (anyOf)'
    assert wrong({}, type="object", allOf=some)[-1] == '<nil>: Invalid value: "": "x" must validate all the schemas (allOf). None validated'


def test_what_did_not_change_is_not_judged() -> None:
    fields = {"type": "object", "properties": {"a": INTEGER, "b": INTEGER}}
    assert wrong({"a": "old", "b": 2}, {"a": "old", "b": 1}, **fields) == []
    assert wrong({"a": "new"}, {"a": "old"}, **fields) != []
    keyed = {"type": "array", "items": fields, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["b"]}
    assert wrong([{"b": 2, "a": 1}, {"b": 1, "a": "old"}], [{"b": 1, "a": "old"}], **keyed) == []
    assert wrong([{"b": 1, "a": "old"}, {}], [{"b": 1, "a": "old"}], type="array", items=fields) != []


FORMATS: list[tuple[str, str, str]] = [
    ("ipv4", "10.0.0.1", "10.0.0"), ("ipv6", "::1", "10.0.0.1"), ("cidr", "10.0.0.0/8", "10.0.0.0"), ("mac", "00:11:22:33:44:55", "00:11"),
    ("uri", "https://a.b/c", "a b"), ("email", "a@b.c", "a"), ("hostname", "a.b-c", "-a"), ("date", "2026-01-02", "2026-1-2"),
    ("date-time", "2026-01-02T03:04:05.6+02:00", "2026-01-02"), ("duration", "1h30m", "soon"), ("byte", "YQ==", "YQ="),
    ("uuid", "f47ac10b-58cc-4372-a567-0e02b2c3d479", "f47ac10b"),
    ("uuid4", "f47ac10b58cc4372a5670e02b2c3d479", "f47ac10b58cc1372a5670e02b2c3d479"),
    ("hexcolor", "#ffAA00", "#ff"), ("k8s-short-name", "a-b", "A"), ("k8s-long-name", "a.b", "a..b"), ("isbn10", "0321751043", "1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "good", "bad"), FORMATS)
def test_formats(name: str, good: str, bad: str) -> None:
    check = formats.check(name)
    assert check is not None
    assert (check(good), check(bad)) == (True, False)


def test_an_unknown_format_says_nothing() -> None:
    assert formats.check("mine") is None
    assert wrong("x", **TEXT, format="mine") == []


def test_a_pattern_that_is_none_holds_nothing_up() -> None:
    assert wrong("x", **TEXT, pattern="[") == []
    with pytest.raises(ValueError, match=r"error parsing regexp: missing closing \]: `\[`"):
        patterns.compiled("[")
