"""Whole numbers in texts of clients, however many digits they have."""

import re

_DECIMAL = re.compile("([+-]?)([0-9]+)")
_DIGITS = 20
"""Of the largest numbers of 64 bits."""


def parse(text: str) -> int:
    """The decimal number of a text; for one that no 64 bits hold, a number that they do not hold either.

    Raises ValueError for any other text. int() also refuses 4,300 digits, even of zeros, and takes "1_0" and digits of other scripts.
    """
    found = _DECIMAL.fullmatch(text)
    if found is None:
        raise ValueError("invalid syntax")
    digits = found[2].lstrip("0") or "0"  # not in the pattern, which would try each of the zeros as the first digit
    number = int(digits) if len(digits) <= _DIGITS else 10**_DIGITS
    return -number if found[1] == "-" else number
