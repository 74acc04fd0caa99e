"""Sets of indexes as text."""

import pytest

from kapi.controllers import indexes


@pytest.mark.parametrize(("text", "wanted"), [("", set()), ("1,3-5,7", {1, 3, 4, 5, 7}), ("3,4", {3, 4}), ("0-9", set(range(8)))])
def test_parse(text: str, wanted: set[int]) -> None:
    assert indexes.parse(text, 8) == wanted


def test_text() -> None:
    assert indexes.text([7, 1, 3, 5, 4]) == "1,3-5,7"
    assert indexes.text([3, 4]) == "3,4"
    assert indexes.text([]) == ""
