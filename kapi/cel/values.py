"""Values at run time, and the operations of the language itself: equality, order, checked arithmetic, conversion to strings.

int, float, str, bytes, bool, None, list and dict are themselves; uint, times, spans, optionals and types are the classes below. Nothing is
converted silently. A fault at run time is an EvaluationError with the words of the runtime stock uses.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from kapi.cel import types
from kapi.cel.types import Type
from kapi.objects import integers

LOWEST, HIGHEST, UINT_END = -(2**63), 2**63 - 1, 2**64
NO_OVERLOAD = "no such overload"
SECOND = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST, _LATEST = -62135596800 * SECOND, 253402300800 * SECOND - 1


class EvaluationError(Exception):
    """What went wrong while an expression ran."""


class Uint(int):
    """An unsigned 64 bit number."""


class SetList(list[Any]):
    """A list of x-kubernetes-list-type set: order does not count, addition is union."""

    def signs(self) -> dict[Any, int]:
        return {_sign(self.sign(item)): place for place, item in enumerate(self)}

    def sign(self, item: Any) -> Any:
        return item

    def like(self, other: list[Any]) -> bool:
        """Whether another list, which may be none of this kind, holds the same."""
        known = self.signs()
        places = [known.get(_sign(self.sign(item))) for item in other]
        return len(self) == len(other) and all(
            place is not None and equal(self[place], item) for place, item in zip(places, other, strict=True)
        )


class MapList(SetList):
    """A list of x-kubernetes-list-type map; `keys` name its items. Items added replace those of the same keys."""

    keys: tuple[str, ...] = ()

    def sign(self, item: Any) -> Any:
        return [item.get(key) for key in self.keys] if isinstance(item, dict) else item


@dataclass(frozen=True, order=True, slots=True)
class Duration:
    nanos: int

    def __str__(self) -> str:
        whole, rest = divmod(abs(self.nanos), SECOND)
        return f"{'-' if self.nanos < 0 else ''}{whole}{f'.{rest:09}'.rstrip('0') if rest else ''}s"


@dataclass(frozen=True, order=True, slots=True)
class Timestamp:
    """Nanoseconds since 1970."""

    nanos: int

    def __str__(self) -> str:
        rest = self.nanos % SECOND
        return self.moment().strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0") + (f".{rest:09}".rstrip("0") if rest else "") + "Z"

    def moment(self) -> datetime:
        return _EPOCH + timedelta(seconds=self.nanos // SECOND)


class Optional:
    """A value or nothing."""

    __slots__ = ("present", "value")

    def __init__(self, present: bool = False, value: Any = None) -> None:
        self.present, self.value = present, value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Optional) and self.present == other.present and equal(self.value, other.value)

    __hash__ = None  # type: ignore[assignment]


NONE = Optional()
KINDS: dict[type, Type] = {
    **{bool: types.BOOL, int: types.INT, Uint: types.UINT, float: types.DOUBLE, str: types.STRING, bytes: types.BYTES},
    **{type(None): Type("null_type"), Timestamp: Type("google.protobuf.Timestamp"), Duration: Type("google.protobuf.Duration")},
    **{Type: types.TYPE, Optional: Type("optional_type"), list: Type("list"), SetList: Type("list"), MapList: Type("list")},
    dict: Type("map"),
}
"""The type of each class of values; opaque ones add themselves."""
STATIC = {"null_type": "null", "google.protobuf.Timestamp": "timestamp", "google.protobuf.Duration": "duration"}
"""How the checker names types that values name otherwise."""
_NUMBERS = frozenset((int, Uint, float))


def kind(value: Any) -> Type:
    """What `type(value)` answers."""
    return KINDS.get(type(value)) or (KINDS[dict] if isinstance(value, Mapping) else types.DYN)


def opaque(name: str) -> Callable[[type], type]:
    """A class of values of the type `name`."""

    def add(made: type) -> type:
        KINDS[made] = Type(name)
        return made

    return add


def is_a(value: Any, wanted: Type) -> bool:
    """Whether a value matches this type of a signature."""
    name = kind(value).name
    return wanted == types.DYN or types.is_parameter(wanted) or STATIC.get(name, name) == wanted.name


def equal(a: Any, b: Any) -> bool:
    """Deep equality; numbers by value, true is not 1."""
    one, other = type(a), type(b)
    if one in _NUMBERS:
        return other in _NUMBERS and bool(a == b)
    if isinstance(a, SetList):
        return isinstance(b, list) and a.like(b)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(value, b[key]) for key, value in a.items())
    return one is other and bool(a == b)


def _sign(value: Any) -> Any:
    """Something hashable that equal values share."""
    if isinstance(value, list):
        return ("list", *map(_sign, value))
    if isinstance(value, dict):
        return ("map", frozenset((_sign(key), _sign(item)) for key, item in value.items()))
    return (isinstance(value, bool), value)


def add_lists(a: list[Any], b: list[Any]) -> list[Any]:
    if not isinstance(a, SetList):
        return [*a, *b]
    out = type(a)(a)
    out.__dict__.update(a.__dict__)
    known = a.signs()
    for item in b:
        place = known.get(_sign(out.sign(item)))
        if place is None:
            out.append(item)
        else:
            out[place] = item
    return out


def whole(value: int) -> int:
    if LOWEST <= value <= HIGHEST:
        return value
    raise EvaluationError("integer overflow")


def unsigned(value: int) -> Uint:
    if 0 <= value < UINT_END:
        return Uint(value)
    raise EvaluationError("unsigned integer overflow")


def moment(nanos: int) -> Timestamp:
    if _EARLIEST <= nanos <= _LATEST:
        return Timestamp(nanos)
    raise EvaluationError("timestamp overflow")


def span(nanos: int) -> Duration:
    if LOWEST <= nanos <= HIGHEST:
        return Duration(nanos)
    raise EvaluationError("duration overflow")


def quotient(a: int, b: int) -> int:
    """Division towards zero."""
    if b == 0:
        raise EvaluationError("division by zero")
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def remainder(a: int, b: int) -> int:
    if b == 0:
        raise EvaluationError("modulus by zero")
    return a - b * quotient(a, b)


def ratio(a: float, b: float) -> float:
    if b:
        return a / b
    return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1, b)


def from_double(value: float, low: int, high: int, error: str) -> int:
    if math.isfinite(value) and low <= int(value) <= high and abs(value) < 2**64 and not (high == HIGHEST and abs(value) >= 2**63):
        return int(value)
    raise EvaluationError(error)


def unconverted(name: str) -> EvaluationError:
    """The text cannot be converted to the type."""
    return EvaluationError(f"type conversion error from 'string' to '{name}'")


def parse_number(text: str, name: str, low: int, high: int) -> int:
    """The whole number of a text, by the name of its type."""
    if not re.fullmatch(r"[+-]?[0-9]+" if low else r"[0-9]+", text) or not low <= integers.parse(text) <= high:
        raise unconverted(name)
    return integers.parse(text)


def parse_double(text: str) -> float:
    if not re.fullmatch(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:inf(?:inity)?|nan))", text):
        raise unconverted("double")
    return float(text)


def parse_bool(text: str) -> bool:
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise unconverted("bool")


_STAMP = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)")


def parse_timestamp(text: str) -> Timestamp:
    """RFC 3339, to the nanosecond."""
    found = _STAMP.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        seconds = datetime.fromisoformat(found[1].upper() + found[3].upper().replace("Z", "+00:00")) - _EPOCH
    except ValueError:
        raise unconverted("google.protobuf.Timestamp") from None
    return moment((seconds.days * 86400 + seconds.seconds) * SECOND + int((found[2] or "0")[:9].ljust(9, "0")))


_UNITS = {"ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 10**6, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
_PART = r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)"


_SPAN = re.compile(rf"[+-]?(?:0|(?:{_PART})+)")


def parse_duration(text: str) -> Duration:
    """Go's spans: '1h30m', '-1.5s'."""
    if not _SPAN.fullmatch(text):
        raise unconverted("google.protobuf.Duration")
    nanos = 0
    for number, unit in re.findall(_PART, text):
        full, _, fraction = number.partition(".")
        fraction = fraction[:18]  # beyond that it is less than a nanosecond
        nanos += integers.parse(full or "0") * _UNITS[unit] + (int(fraction) * _UNITS[unit] // 10 ** len(fraction) if fraction else 0)
    return span(-nanos if text.startswith("-") else nanos)


def plain(value: Any) -> Any:
    """A value as JSON."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Uint):
        return int(value)
    return str(value) if isinstance(value, Timestamp | Duration) else value
