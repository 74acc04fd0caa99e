"""Rules in definitions: what is wrong with them, where, and what they may cost."""

from typing import Any

import pytest

from kapi.objects.meta import Object
from kapi.registry.kinds.apiextensions import custom_schema

AT = "schema"
RULE = f"{AT}.properties[spec].x-kubernetes-validations[0]"


def found(spec: Object, **rule: Any) -> list[tuple[str, str]]:
    """The causes of a definition whose spec has these properties and this rule."""
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": spec, "x-kubernetes-validations": [rule]}}}
    return [(cause.field, cause.message) for cause in custom_schema.validate(AT, schema, False)]


SPEC: Object = {
    "n": {"type": "integer"},
    "s": {"type": "string", "maxLength": 10},
    "long": {"type": "string"},
    "l": {"type": "array", "items": {"type": "string"}},
    "short": {"type": "array", "items": {"type": "string", "maxLength": 10}, "maxItems": 10},
}


def test_good() -> None:
    rule = "self.n < 5 && self.short.all(i, i.startsWith('a'))"
    assert found(SPEC, rule=rule, messageExpression="'n is %d'.format([self.n])", fieldPath=".n", reason="FieldValueInvalid") == []


@pytest.mark.parametrize(
    ("rule", "field", "message"),
    [
        ({"rule": " "}, "rule", "Required value: rule is not specified"),
        ({"rule": "true", "message": " "}, "message", 'Invalid value: " ": must be non-empty if specified'),
        ({"rule": "true", "message": "a\nb"}, "message", 'Invalid value: "a\\nb": must not contain line breaks'),
        ({"rule": "true ||\nfalse"}, "message", "Required value: must be specified if rule contains line breaks"),
        (
            {"rule": "true", "messageExpression": " "}, "messageExpression",
            "Required value: must be non-empty if specified",
        ),
        (
            {"rule": "true", "reason": "Other"}, "reason",
            'Unsupported value: "Other": supported values: "FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", '
            '"FieldValueRequired"',
        ),
        ({"rule": "true", "fieldPath": ".x"}, "fieldPath", 'Invalid value: ".x": must be a valid path'),
        (
            {"rule": "true", "optionalOldSelf": True}, "optionalOldSelf",
            "Invalid value: true: may not be set if oldSelf is not used in rule",
        ),
        (
            {"rule": "self.long.matches('a+') && self.long.contains(self.long)"}, "rule",
            "Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, "
            "maxProperties, and maxLength where arrays, maps, and strings are declared)",
        ),
    ],
)  # fmt: skip
def test_words(rule: Object, field: str, message: str) -> None:
    assert (f"{RULE}.{field}", message) in found(SPEC, **rule)


def test_a_rule_that_does_not_compile() -> None:
    ((field, message),) = found(SPEC, rule="self.m > 1")
    assert field == f"{RULE}.rule"
    assert message == (
        'Invalid value: {"Rule":"self.m \\u003e 1","Message":"","MessageExpression":"","Reason":null,"FieldPath":"",'
        '"OptionalOldSelf":null}: '
        "compilation failed: ERROR: <input>:1:5: undefined field 'm'\n | self.m > 1\n | ....^"
    )


def test_what_rules_are_worth() -> None:
    assert "cel expression must evaluate to a bool" in found(SPEC, rule="self.n")[0][1]
    assert "messageExpression must evaluate to a string" in found(SPEC, rule="true", messageExpression="self.n")[0][1]
    assert "messageExpression compilation failed: ERROR: <input>:1:5: undefined field 'x'" in found(
        SPEC, rule="true", messageExpression="self.x"
    )[0][1]


def test_an_expensive_schema() -> None:
    fields = [field for field, _ in found(SPEC, rule="self.l.all(a, self.l.all(b, a == b))")]
    assert fields == [f"{RULE}.rule", f"{RULE}.rule", AT]


def test_old_values_that_are_not_found_again() -> None:
    item = {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}
    causes = found({"l": {"type": "array", "maxItems": 5, "items": item}}, rule="true")
    listed = f"{AT}.properties[spec].properties[l]"
    assert causes == [(
        f"{listed}.items.x-kubernetes-validations[0].rule",
        f'Invalid value: "self >= oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema within {listed}',
    )]  # fmt: skip


def test_nothing_is_compiled_above_what_is_wrong() -> None:
    assert [field for field, _ in found({"n": {"type": "nothing"}}, rule="self.m")] == [f"{AT}.properties[spec].properties[n].type"]


def test_texts_of_unknown_length_are_dear() -> None:
    """What stock says to somebody's messageExpression that puts numbers into a sentence."""
    at = f"{RULE}.messageExpression"
    causes = found(SPEC, rule="self.n < 1", messageExpression="'n (' + string(self.n) + ') is too large'")
    assert [field for field, _ in causes] == [at, at, AT]
    assert causes[0][1].startswith("Forbidden: estimated messageExpression cost exceeds budget by factor of more than 100x (try")
    assert causes[1][1] == "Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
