"""Parses decimal integers of any length, as Go's strconv.ParseInt does."""

import re

_DECIMAL = re.compile("([+-]?)([0-9]+)")
_DIGITS = 20
"""Digits of the largest 64-bit number."""


def parse(text: str) -> int:
    """The integer in `text`; one outside the range of 64 bits becomes 10**20 or -10**20, which are outside as well.

    Raises ValueError for any other text. int() will not do: it raises for 4,300 digits, even zeros, and accepts "1_0" and "١".
    """
    found = _DECIMAL.fullmatch(text)
    if found is None:
        raise ValueError("invalid syntax")
    digits = found[2].lstrip("0") or "0"  # not in the pattern, which would backtrack over each zero
    number = int(digits) if len(digits) <= _DIGITS else 10**_DIGITS
    return -number if found[1] == "-" else number
