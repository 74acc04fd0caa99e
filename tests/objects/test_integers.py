"""Numbers in texts, in particular of very many digits."""

import time

import pytest

from kapi.objects import integers, names, patch, quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("-0", 0), ("+7", 7), ("-12", -12), ("007", 7), ("9" * 20, 10**20 - 1), ("0" * 5000, 0), ("-" + "0" * 5000 + "3", -3)],
)
def test_numbers(text: str, number: int) -> None:
    assert integers.parse(text) == number


def test_a_number_of_many_digits_is_out_of_every_range() -> None:
    assert integers.parse("9" * 1_000_000) > 2**64
    assert integers.parse("-" + "9" * 1_000_000) < -(2**64)


@pytest.mark.parametrize("text", ["", "-", "1_0", " 1", "1 ", "\u0661", "1.0", "0x1"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match="invalid syntax"):
        integers.parse(text)


def test_many_zeros_take_no_time() -> None:
    """Where they were a part of the pattern each was tried as the first digit: 20,000 took 1.3 s."""
    began = time.thread_time()
    with pytest.raises(ValueError, match="invalid syntax"):
        integers.parse("0" * 1_000_000 + "x")
    assert integers.parse("0" * 1_000_000) == 0
    assert time.thread_time() - began < 0.2


def test_quantities() -> None:
    with pytest.raises(ValueError, match="quantities must match the regular expression"):
        quantity.parse("9" * 5000)
    assert quantity.compare("0" * 5000 + "1", "1") == 0
    assert quantity.compare("1e" + "0" * 5000 + "3", "1k") == 0


def test_other_texts() -> None:
    assert names.parse_cidr("10.0.0.0/" + "9" * 5000) is None
    operation = {"op": "replace", "path": "/a/" + "0" * 5000 + "1", "value": 3}
    assert patch.json_patch({"a": [1, 2]}, [operation]) == {"a": [1, 3]}
