"""Field selectors: operators, escapes, errors."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kapi.objects import fields


def test_operators() -> None:
    selector = fields.parse("spec.nodeName=n1,status.phase!=Running,metadata.name==a")
    assert selector.equals == {"spec.nodeName": "n1", "metadata.name": "a"}
    assert selector.matches({"spec.nodeName": "n1", "metadata.name": "a"})
    assert not selector.matches({"spec.nodeName": "n1", "metadata.name": "a", "status.phase": "Running"})
    assert fields.parse("").empty


def test_not_understood() -> None:
    with pytest.raises(ValueError, match="invalid selector: 'a=b,c'; can't understand 'c'"):
        fields.parse("a=b,c")
    with pytest.raises(ValueError, match="unescaped character in value: ="):
        fields.parse("a=b=c")
    with pytest.raises(ValueError, match="invalid escape sequence"):
        fields.parse("a=b\\x")


@given(st.text(min_size=1))
@settings(max_examples=40)
def test_an_escaped_value_reads_back(value: str) -> None:
    assert fields.parse(f"f={fields.escape(value)}").terms == (fields.Term("f", value),)
