"""Quantities: "100m", "1Gi", "1e3". Parsed to an exact count of nano-units, printed as stock prints them.

A quantity keeps its format (decimal suffix, binary suffix, exponent) and is printed in it. Parsing is cached, because texts such as "100m"
and "64Mi" repeat. Functions accept JSON values: strings and numbers.
Source of the rules: the Quantity type of the Kubernetes API (finest step 1n, rounding away from zero).
"""

from functools import lru_cache
from typing import NamedTuple

from kapi import limits
from kapi.objects import integers
from kapi.objects.caching import kept

PATTERN = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
BAD_FORMAT = f"quantities must match the regular expression '{PATTERN}'"
BAD_NUMBER = "unable to parse numeric part of quantity"
BAD_SUFFIX = "unable to parse quantity's suffix"

DECIMAL, BINARY, EXPONENT = "DecimalSI", "BinarySI", "DecimalExponent"

_NANO = 10**9
_LARGEST = 2**63 - 1
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_NAMES = {exponent: name for name, exponent in _DECIMAL.items()}
_BINARY_NAMES = {exponent: name for name, exponent in _BINARY.items()}
_LARGEST_EXPONENT = 4096

Raw = str | int | float


class Quantity(NamedTuple):
    """`nano` is the value in billionths; `text` is set only if stock keeps the original spelling."""

    nano: int
    format: str = DECIMAL
    text: str = ""

    def __str__(self) -> str:
        return self.text or to_text(self.nano, self.format)

    def milli(self) -> int:
        return round_away(self.nano, 10**6)

    def value(self) -> int:
        return round_away(self.nano, _NANO)

    def plus(self, other: "Quantity") -> "Quantity":
        return Quantity(self.nano + other.nano, self.format if self.nano else other.format)

    def minus(self, other: "Quantity") -> "Quantity":
        return Quantity(self.nano - other.nano, self.format if self.nano else other.format)


ZERO = Quantity(0)


def round_away(number: int, unit: int) -> int:
    """number / unit, rounded away from zero."""
    return -(-number // unit) if number >= 0 else number // unit


def _digits_end(text: str, start: int) -> int:
    while start < len(text) and text[start] in "0123456789":
        start += 1
    return start


def _split(text: str) -> tuple[str, str, str]:
    """(integer digits without leading zeros, fraction digits, suffix); the sign is handled by the caller."""
    end = _digits_end(text, 0)
    whole, fraction = text[:end].lstrip("0"), ""
    if end < len(text) and text[end] == ".":
        stop = _digits_end(text, end + 1)
        fraction, end = text[end + 1 : stop], stop
    suffix = text[end:]
    stop = len(suffix) - len(suffix.lstrip("eEinumkKMGTP"))
    if suffix[stop : stop + 1] in ("+", "-"):
        stop += 1
    if _digits_end(suffix, stop) != len(suffix):
        raise ValueError(BAD_FORMAT)
    return whole, fraction, suffix


def _suffix(suffix: str) -> tuple[int, str]:
    """(exponent, format); powers of ten, or of two in binary format."""
    if suffix in _DECIMAL:
        return _DECIMAL[suffix], DECIMAL
    if suffix in _BINARY:
        return _BINARY[suffix], BINARY
    if len(suffix) > 1 and suffix[0] in "eE":
        try:
            exponent = integers.parse(suffix[1:])
        except ValueError:
            raise ValueError(BAD_SUFFIX) from None
        if abs(exponent) <= _LARGEST_EXPONENT:
            return exponent, EXPONENT
    raise ValueError(BAD_SUFFIX)


def _kept(text: str, digits: str, fraction: str, exponent: int, format: str) -> bool:
    """Whether stock keeps the original text: it fits its fast path and looks canonical."""
    if format == BINARY:
        fits = not fraction and 14 - len(digits) - exponent * 3 // 10 >= 0 and (int(digits) << exponent) <= _LARGEST
        return fits and bool(int(digits) & 7)
    scale = exponent - len(fraction)
    return len(digits) <= 18 and scale >= -9 and scale % 3 == 0 and not digits.endswith("000") and digits[0] != "0"


@kept(4096)
def _parse(text: str) -> Quantity:
    if not text:
        raise ValueError(BAD_FORMAT)
    negative = text[0] == "-"
    whole, fraction, suffix = _split(text[1:] if text[0] in "+-" else text)
    exponent, format = _suffix(suffix)
    digits = (whole or "0") + fraction
    if len(digits) > limits.QUANTITY_DIGITS:
        raise ValueError(BAD_FORMAT)
    number = int(digits) * _NANO
    if format == BINARY:
        number <<= exponent
        exponent = 0
    shift = exponent - len(fraction)
    nano = number * 10**shift if shift >= 0 else round_away(number, 10**-shift)
    if format == BINARY:
        nano = min(nano, _LARGEST * _NANO)
        if 0 < nano < _NANO:
            format = DECIMAL
    keep = _kept(text, digits, fraction, _BINARY.get(suffix, exponent), format)
    return Quantity(-nano if negative else nano, format, text if keep else "")


def parse(raw: Raw | None) -> Quantity:
    """The quantity; None is zero. Raises ValueError with stock's message."""
    if raw is None:
        return ZERO
    return _parse(raw.strip() if isinstance(raw, str) else str(raw))


def _decimal_text(nano: int, format: str) -> str:
    exponent = -9
    while nano % 1000 == 0:
        nano //= 1000
        exponent += 3
    if format == EXPONENT:
        return f"{nano}e{exponent}" if exponent else str(nano)
    if exponent > 18:
        nano, exponent = nano * 10 ** (exponent - 18), 18
    return f"{nano}{_DECIMAL_NAMES[exponent]}"


def to_text(nano: int, format: str = DECIMAL) -> str:
    """The canonical text: no fraction, the largest suffix without loss."""
    if nano == 0:
        return "0"
    if format != BINARY or abs(nano) < 1024 * _NANO or nano % _NANO:
        return _decimal_text(nano, DECIMAL if format == BINARY else format)
    number, exponent = nano // _NANO, 0
    while number % 1024 == 0 and exponent < 60:
        number //= 1024
        exponent += 10
    return f"{number}{_BINARY_NAMES.get(exponent, '')}"


@kept(4096)
def _canonical(text: str) -> str:
    return str(parse(text))


def canonical(raw: Raw) -> str:
    """The text stock returns for a written quantity: "0.5" becomes "500m". Raises ValueError."""
    return _canonical(raw.strip() if isinstance(raw, str) else str(raw))


@lru_cache(maxsize=1024)
def _rounded(text: str, unit: int) -> str:
    quantity = parse(text)
    nano = round_away(quantity.nano, unit) * unit
    return str(quantity) if nano == quantity.nano else to_text(nano, quantity.format)


def round_up(raw: Raw, scale: int = -3) -> str:
    """The text rounded away from zero to a power of ten; stock rounds resources to milli when it sets defaults."""
    text = raw if isinstance(raw, str) else str(raw)
    return (_rounded if len(text) <= limits.KEPT_TEXT else _rounded.__wrapped__)(text, 10 ** (9 + scale))


def milli(raw: Raw | None) -> int:
    """Thousandths, rounded up: the unit of CPU."""
    return parse(raw).milli()


def value(raw: Raw | None) -> int:
    """Whole units, rounded up: the unit of bytes and pods."""
    return parse(raw).value()


def compare(a: Raw | None, b: Raw | None) -> int:
    """-1, 0 or 1."""
    x, y = parse(a).nano, parse(b).nano
    return (x > y) - (x < y)


def add(a: Raw | None, b: Raw | None) -> str:
    return str(parse(a).plus(parse(b)))


def subtract(a: Raw | None, b: Raw | None) -> str:
    return str(parse(a).minus(parse(b)))
