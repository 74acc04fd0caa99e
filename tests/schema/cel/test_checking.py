"""Faults of expressions: where they are and what they say."""

import pytest

from kapi.schema.cel.checking import check

KNOWN = ("self", "oldSelf", "variables")


@pytest.mark.parametrize(
    "text",
    [
        "self.a > 1 && oldSelf == self",
        "self.items.all(i, i.name != '' && self.items.exists_one(j, j.name == i.name))",
        "self.m.all(k, v, k == v)",
        "self.items.map(i, i.a, i.b)",
        "cel.bind(x, self.a, x + x)",
        "optional.of(self.a).optMap(v, v + 1).orValue(0)",
        "type(self.a) == int && lists.range(2).sum() == 1",
        "variables.n.size() < 3",
    ],
)
def test_good(text: str) -> None:
    assert check(text, KNOWN, {"variables": ["n"]}) == ""


def test_an_unknown_name() -> None:
    assert check("self.a == other", KNOWN) == (
        "compilation failed: ERROR: <input>:1:11: undeclared reference to 'other' (in container '')\n | self.a == other\n | ..........^"
    )


def test_a_name_is_bound_only_inside() -> None:
    assert "undeclared reference to 'i'" in check("self.all(i, i > 1) && i > 2", KNOWN)


def test_an_unknown_field() -> None:
    assert check("variables.m", KNOWN, {"variables": ["n"]}) == (
        "compilation failed: ERROR: <input>:1:10: undefined field 'm'\n | variables.m\n | .........^"
    )


def test_syntax() -> None:
    assert check("a\n  + )", KNOWN).startswith("compilation failed: ERROR: <input>:2:5: Syntax error: mismatched input ')' expecting {")
    assert check("", KNOWN).startswith("compilation failed: ERROR: <input>:1:0: Syntax error: mismatched input '<EOF>' expecting {")
