"""Quantities: the exact value, the canonical text, the laws of order and addition."""

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from kapi.objects import quantity

CANONICAL = {
    "0": "0", "-0": "0", "0Ki": "0", "1": "1", "0.5": "500m", "1500m": "1500m", "1000m": "1", "2000": "2k",
    "1.5Gi": "1536Mi", "1024Mi": "1Gi", "1536Mi": "1536Mi", "1Ki": "1Ki", "512": "512", "0.5Ki": "512",
    "1000Ki": "1000Ki", "1e3": "1e3", "1000e0": "1e3", "12E6": "12E6", "12000E3": "12e6", "1.0001": "1000100u",
    "0.1n": "1n", "100Mi": "100Mi", "-5m": "-5m", "9223372036854775807": "9223372036854775807",
    "16Ei": "9223372036854775807", ".5Gi": "512Mi", "1k": "1k", "+3": "+3", "1.500": "1.500", " 7 ": "7",
}  # fmt: skip

BAD = {
    "": quantity.BAD_FORMAT, "x": quantity.BAD_FORMAT, "1.2.3": quantity.BAD_FORMAT, "1 Gi": quantity.BAD_FORMAT,
    "5i": quantity.BAD_SUFFIX, "1ee": quantity.BAD_SUFFIX, "1KiB": quantity.BAD_FORMAT,
}  # fmt: skip

@pytest.mark.parametrize(("text", "expected"), CANONICAL.items())
def test_canonical(text: str, expected: str) -> None:
    assert quantity.canonical(text) == expected


@pytest.mark.parametrize(("text", "message"), BAD.items())
def test_refused_with_stocks_text(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="quantit") as caught:
        quantity.parse(text)
    assert str(caught.value) == message


def test_numbers_are_quantities_too() -> None:
    assert quantity.canonical(2) == "2"
    assert quantity.canonical(0.25) == "250m"
    assert quantity.parse(None) == quantity.ZERO


def test_values_round_up() -> None:
    assert quantity.milli("1m") == 1
    assert quantity.milli("100u") == 1
    assert quantity.value("1500m") == 2
    assert quantity.value("64Mi") == 64 << 20
    assert quantity.value("-1500m") == -2


def test_round_up_keeps_what_is_fine_enough() -> None:
    assert quantity.round_up("100m") == "100m"
    assert quantity.round_up("0.1m") == "1m"
    assert quantity.round_up("1Gi") == "1Gi"


def test_a_sum_is_written_as_its_first_nonzero_part() -> None:
    assert quantity.add("1Gi", "24M") == "1097741824"
    assert quantity.add("1Gi", "1Ki") == "1048577Ki"
    assert quantity.add("24M", "1Ki") == "24001024"
    assert quantity.add("0", "64Mi") == "64Mi"
    assert quantity.add("64Mi", "64Mi") == "128Mi"
    assert quantity.subtract("1", "250m") == "750m"


texts = st.builds(
    lambda sign, whole, fraction, suffix: f"{sign}{whole}{fraction}{suffix}",
    st.sampled_from(["", "-"]),
    st.integers(0, 10**12),
    st.one_of(st.just(""), st.integers(0, 999).map(lambda n: f".{n}")),
    st.sampled_from(["", "n", "u", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "E-2"]),
)


@given(texts)
@settings(max_examples=60)
def test_canonical_text_is_stable_and_keeps_the_value(text: str) -> None:
    once = quantity.canonical(text)
    assert quantity.canonical(once) == once
    assert quantity.compare(once, text) == 0


@given(texts, texts)
@example("1Gi", "8589934591Gi")
@settings(max_examples=60)
def test_adding_is_undone_by_subtracting(a: str, b: str) -> None:
    assume(abs(quantity.value(quantity.add(a, b))) < 2**63 - 1)  # beyond it a quantity is read as the largest there is
    assert quantity.compare(quantity.subtract(quantity.add(a, b), b), a) == 0
    assert quantity.compare(quantity.add(a, b), quantity.add(b, a)) == 0


@given(texts, texts, texts)
@settings(max_examples=60)
def test_order_is_total(a: str, b: str, c: str) -> None:
    assert quantity.compare(a, b) == -quantity.compare(b, a)
    if quantity.compare(a, b) <= 0 and quantity.compare(b, c) <= 0:
        assert quantity.compare(a, c) <= 0
