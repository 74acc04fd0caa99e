"""x-kubernetes-validations: paths and words of causes, transitions, ratcheting, budgets."""

from typing import Any

import pytest

from kapi import limits
from kapi.objects.errors import Cause
from kapi.objects.meta import Object
from kapi.schema import rules


def node(*given: str | Object, **more: Any) -> Object:
    """A schema with rules; its type is that of `more`, else object."""
    listed = [rule if isinstance(rule, dict) else {"rule": rule} for rule in given]
    return {"type": "object", "x-kubernetes-validations": listed} | more


def check(openapi: Object, new: Object, old: Object | None = None, warnings: list[str] | None = None) -> list[tuple[str, str]]:
    made = rules.of(openapi)
    assert made is not None
    return [(cause.field, cause.message) for cause in made.validate(new, old, warnings)]


INTEGER = {"type": "integer"}


def test_a_schema_without_rules() -> None:
    assert rules.of({"type": "object", "properties": {"a": INTEGER}}) is None


def test_paths_and_words() -> None:
    openapi = node(
        "self.metadata.name != 'bad'",
        properties={
            "spec": node(
                {"rule": "self.n < 10", "message": " too big "},
                {
                    "rule": "self.n != 11",
                    "messageExpression": "'n is %d'.format([self.n])",
                    "fieldPath": ".n",
                    "reason": "FieldValueForbidden",
                },
                properties={
                    "n": INTEGER,
                    "items": {"type": "array", "items": node({"rule": "self > 0", "reason": "FieldValueDuplicate"}, type="integer")},
                    "labels": {
                        "type": "object",
                        "additionalProperties": node({"rule": "self != ''", "reason": "FieldValueRequired"}, type="string"),
                    },
                },
            )
        },
    )
    assert check(openapi, {"metadata": {"name": "bad"}, "spec": {"n": 11, "items": [1, 0], "labels": {"k": ""}}}) == [
        ("<nil>", "Invalid value: failed rule: self.metadata.name != 'bad'"),
        ("spec", 'Invalid value: too big'),
        ("spec.n", "Forbidden: n is 11"),
        ("spec.items[1]", "Duplicate value: 0"),
        ("spec.labels[k]", "Required value: failed rule: self != ''"),
    ]


def test_errors_while_running() -> None:
    openapi = node(
        "self.n / self.m > 0", "self.a.size() > 0", properties={"n": INTEGER, "m": INTEGER, "a": {"x-kubernetes-int-or-string": True}}
    )
    assert check(openapi, {"n": 1, "m": 0, "a": 5}) == [
        ("<nil>", 'Invalid value: "object": division by zero evaluating rule: self.n / self.m > 0'),
        ("<nil>", "Invalid value: \"object\": 'no such overload: size(int)': call arguments did not match a supported operator, "
                  "function or macro signature for rule: self.a.size() > 0"),
    ]  # fmt: skip
    assert check(openapi, {"n": 1, "a": "x"}) == [("<nil>", 'Invalid value: "object": no such key: m evaluating rule: self.n / self.m > 0')]


def test_transitions() -> None:
    openapi = {"type": "object", "properties": {"n": node("self >= oldSelf", type="integer"), "m": node(
        {"rule": "!oldSelf.hasValue() ? self == 0 : self >= oldSelf.value()", "optionalOldSelf": True}, type="integer")}}  # fmt: skip
    assert check(openapi, {"n": 1, "m": 0}) == []
    assert check(openapi, {"n": 1, "m": 1}) == [
        ("m", 'Invalid value: 1: failed rule: !oldSelf.hasValue() ? self == 0 : self >= oldSelf.value()')
    ]
    assert [field for field, _ in check(openapi, {"n": 1, "m": 1}, {"n": 2, "m": 2})] == ["n", "m"]
    assert check(openapi, {"n": 3, "m": 3}, {"n": 2, "m": 2}) == []


def test_items_of_map_lists_are_followed() -> None:
    item = node("self.v >= oldSelf.v", properties={"k": {"type": "string"}, "v": INTEGER})
    keyed = {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    old = {"l": [{"k": "a", "v": 5}, {"k": "b", "v": 1}]}
    new = {"l": [{"k": "b", "v": 2}, {"k": "a", "v": 4}, {"k": "c", "v": 0}]}
    assert [field for field, _ in check({"type": "object", "properties": {"l": keyed}}, new, old)] == ["l[1]"]


def test_what_did_not_change_is_only_warned_of() -> None:
    openapi = {"type": "object", "properties": {"a": node("self < 5", type="integer"), "b": node("self < 5", type="integer")}}
    warnings: list[str] = []
    assert check(openapi, {"a": 9, "b": 9}, {"a": 9, "b": 1}, warnings) == [("b", 'Invalid value: 9: failed rule: self < 5')]
    assert warnings == ['a: Invalid value: 9: failed rule: self < 5']


def test_items_without_keys_ratchet_with_their_list() -> None:
    listed = {"type": "array", "items": node("self < 5", type="integer")}
    openapi = {"type": "object", "properties": {"l": listed, "n": INTEGER}}
    assert check(openapi, {"l": [9], "n": 2}, {"l": [9], "n": 1}) == []
    assert len(check(openapi, {"l": [9, 1]}, {"l": [9]})) == 1


def test_null_is_not_checked() -> None:
    assert check({"type": "object", "properties": {"n": node("self > 5", type="integer", nullable=True)}}, {"n": None}) == []


def test_rules_in_all_of() -> None:
    openapi = {
        "type": "object",
        "properties": {"n": INTEGER},
        "allOf": [{"properties": {"n": {"x-kubernetes-validations": [{"rule": "self > 1"}]}}}],
    }
    assert check(openapi, {"n": 1}) == [("n", 'Invalid value: 1: failed rule: self > 1')]


def test_embedded_resources_have_a_header() -> None:
    inner = node("self.kind == 'Pod' && self.metadata.name == 'x'") | {"x-kubernetes-embedded-resource": True}
    openapi = {"type": "object", "properties": {"e": inner}}
    assert check(openapi, {"e": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}}) == []


def test_the_budget_of_a_call() -> None:
    slow = node("self.all(a, self.all(b, self.all(c, a + b + c >= 0)))", type="array", items=INTEGER)
    openapi = {"type": "object", "properties": {"l": slow, "n": node("self > 0", type="integer")}}
    (found,) = check(openapi, {"l": list(range(200)), "n": 0})
    assert found[0] == "l"
    assert "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost" in found[1]


def test_the_budget_of_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RULES_COST", 300_000)
    rule = "self.all(a, self.all(b, a + b >= 0))"
    openapi = {"type": "object", "properties": {"l": node(*[rule] * 4, type="array", items=INTEGER)}}
    found: list[Cause] = rules.of(openapi).validate({"l": list(range(200))}, None)  # type: ignore[union-attr]
    assert [cause.message for cause in found] == [
        'Invalid value: "array": validation failed due to running out of cost budget, no further validation rules will be run'
    ]
