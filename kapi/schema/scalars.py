"""Texts that are more than texts: times, base64, quantities, numbers or strings. Each is checked as Go checks it.

Every function takes what JSON held and returns how stock writes it again; ValueError carries stock's words.
"""

import binascii
import re
from datetime import UTC, datetime
from typing import Any

from kapi.objects import quantity
from kapi.objects.caching import kept
from kapi.objects.quoting import time_quote

INT32 = range(-(2**31), 2**31)
INT64 = range(-(2**63), 2**63)
_DAY, _LAST_DAY = r"(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])", r"(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31"
_CLOCK = r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d"
CANONICAL_TIME = re.compile(rf"\d{{4}}-{_DAY}{_CLOCK}Z", re.ASCII)
CANONICAL_MICROTIME = re.compile(rf"\d{{4}}-(?:{_DAY}|{_LAST_DAY}){_CLOCK}\.\d{{6}}Z", re.ASCII)
"""The forms that times are written in, of nearly all days; results of other times are cached, but there are too many microseconds."""
RANGES = {"month": (1, 12), "hour": (0, 23), "minute": (0, 59), "second": (0, 59)}
SECONDS, MICROS = "2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05.000000Z07:00"
ELEMENTS = (
    ("2006", r"\d{4}", ""), ("-", "-", ""), ("01", r"\d\d", "month"), ("-", "-", ""), ("02", r"\d\d", ""), ("T", "T", ""),
    ("15", r"\d\d", "hour"), (":", ":", ""), ("04", r"\d\d", "minute"), (":", ":", ""), ("05", r"\d\d", "second"),
)  # fmt: skip
"""Elements of Go's layout 2006-01-02T15:04:05: its name, what it reads, what goes out of range."""
ZERO = datetime(1, 1, 1, tzinfo=UTC)
ZONE = re.compile(r"Z|[+-](\d\d):(\d\d)")


class TypeMismatch(ValueError):
    """The value is of a kind that Go cannot put there; `value` and `go` are the words for both."""

    def __init__(self, value: str, go: str) -> None:
        super().__init__(f"json: cannot unmarshal {value} into Go value of type {go}")
        self.value = value
        self.go = go


def described(value: Any) -> str:
    """What a JSON error calls a value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    return "object" if isinstance(value, dict) else "array"


def _string(value: Any, go: str = "string") -> str:
    if type(value) is not str:
        raise TypeMismatch(described(value), go)
    return value


def _time_error(layout: str, text: str, rest: str, element: str) -> ValueError:
    return ValueError(f"parsing time {time_quote(text)} as {time_quote(layout)}: cannot parse {time_quote(rest)} as {time_quote(element)}")


def _parsed(text: str, layout: str) -> datetime:
    """A time by Go's rules for the layout; raises ValueError in Go's words."""
    rest = text
    for element, pattern, ranged in ELEMENTS:
        found = re.match(pattern, rest, re.ASCII)
        if not found:
            raise _time_error(layout, text, rest, element)
        if ranged and not RANGES[ranged][0] <= int(found[0]) <= RANGES[ranged][1]:
            raise ValueError(f"parsing time {time_quote(text)}: {ranged} out of range")
        rest = rest[found.end() :]
    fraction = re.match(r"\.\d{6}(?!\d)" if layout == MICROS else r"[.,]\d+", rest, re.ASCII)
    if layout == MICROS and not fraction:
        raise _time_error(layout, text, rest, ".000000")
    rest = rest[fraction.end() :] if fraction else rest
    zone = ZONE.match(rest)
    if not zone:
        raise _time_error(layout, text, rest, "Z07:00")
    if rest[zone.end() :]:
        raise ValueError(f"parsing time {time_quote(text)}: extra text: {time_quote(rest[zone.end() :])}")
    digits = fraction[0][1:7].ljust(6, "0") if fraction else "000000"
    try:
        return datetime.fromisoformat(f"{text[:19]}.{digits}{zone[0].replace('Z', '+00:00')}").astimezone(UTC)
    except ValueError:
        raise ValueError(f"parsing time {time_quote(text)}: day out of range") from None


@kept(1024)
def _time(text: str) -> str | None:
    if CANONICAL_TIME.fullmatch(text) and text[:4] != "0001":
        return text
    at = _parsed(text, SECONDS)
    return None if at == ZERO else at.strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20)


def time(value: Any) -> str | None:
    """metav1.Time: RFC 3339, written in UTC and whole seconds; Go's zero time is null."""
    return _time(_string(value))


def microtime(value: Any) -> str | None:
    """metav1.MicroTime: RFC 3339 with exactly six decimals."""
    text = _string(value)
    if CANONICAL_MICROTIME.fullmatch(text) and text[:4] > "0001":
        return text
    at = _parsed(text, MICROS)
    return None if at == ZERO else at.strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27)


def duration(value: Any) -> str:
    """metav1.Duration: passed on as it is written."""
    return _string(value)


def _base64_error(text: str) -> ValueError:
    """The offset at which Go's decoder fails."""
    place, at = 0, 0
    while at < len(text):
        char, at = text[at], at + 1
        if char in "\r\n":
            continue
        if char == "=" and place == 2:
            rest = text[at:].lstrip("\r\n")
            at = len(text) - len(rest) + rest.startswith("=")
            break
        if char == "=" and place == 3:
            break
        if not re.match(r"[A-Za-z0-9+/]", char):
            return ValueError(f"illegal base64 data at input byte {at - 1}")
        place = (place + 1) % 4
    else:
        at -= place
    return ValueError(f"illegal base64 data at input byte {at}")


def base64(value: Any) -> str:
    """A []byte: standard base64 with padding, line breaks taken out."""
    value = _string(value, "[]uint8")
    try:
        raw = binascii.a2b_base64(value, strict_mode=True)
    except (binascii.Error, ValueError):
        value = value.replace("\r", "").replace("\n", "")
        try:
            raw = binascii.a2b_base64(value, strict_mode=True)
        except (binascii.Error, ValueError):
            raise _base64_error(value) from None
    return value if value[-1:] != "=" else binascii.b2a_base64(raw, newline=False).decode()


def intstr(value: Any) -> int | str:
    """An int32 or a text."""
    if type(value) is str:
        return value
    if type(value) is int:
        if value in INT32:
            return value
        raise TypeMismatch(f"number {value}", "int32")
    raise TypeMismatch(literal(value) if isinstance(value, float) else described(value), "int32")


def literal(value: float) -> str:
    """'number 1.5': a number Go reads as an integer and cannot."""
    return f"number {getattr(value, 'text', None) or value}"


def amount(value: Any) -> str:
    """A quantity, e.g. "100m" of "0.1"."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(quantity.BAD_FORMAT)
    return quantity.canonical(value.strip() if isinstance(value, str) else getattr(value, "text", value))
