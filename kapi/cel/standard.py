"""The standard library: operators, conversions, times, optionals; and what other libraries use of it.

Costs are those of the runtime stock uses. Source: the CEL specification, "Standard definitions".
"""

import operator
import re
from collections.abc import Callable
from datetime import timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from kapi.cel import costs, values
from kapi.cel.values import HIGHEST, LOWEST, SECOND, UINT_END, Duration, EvaluationError, Optional, Timestamp, Uint, equal
from kapi.objects import patterns
from kapi.objects.causes import go_number

Add = Callable[..., None]
"""`Library.add` of kapi.cel.library."""


def pattern(text: str) -> Any:
    """A compiled regular expression."""
    try:
        return patterns.compiled(text)
    except ValueError as error:
        raise EvaluationError(str(error)) from None


def index(container: Any, key: Any) -> Any:
    """`container[key]`."""
    if isinstance(container, list):
        place = _place(key)
        if 0 <= place < len(container):
            return container[place]
        raise EvaluationError(f"index out of bounds: {place}")
    try:
        return container[key]
    except (KeyError, TypeError, IndexError):
        raise EvaluationError(f"no such key: {text(key)}") from None


def _place(key: Any) -> int:
    if isinstance(key, bool) or not isinstance(key, int | float):
        raise EvaluationError(f"unsupported index type '{values.kind(key).name}' in list")
    if key != int(key):
        raise EvaluationError(f"unsupported index value {key} in list")
    return int(key)


def look(container: Any, key: Any) -> Optional:
    """`container[?key]` and `container.?key`."""
    if isinstance(container, Optional):
        return look(container.value, key) if container.present else values.NONE
    try:
        return Optional(True, index(container, key))
    except EvaluationError:
        return values.NONE


def contains(item: Any, container: Any) -> bool:
    if isinstance(container, dict):
        return isinstance(item, str | int | float) and item in container
    if isinstance(container, list):
        return any(equal(item, other) for other in container)
    raise EvaluationError(values.NO_OVERLOAD)


def text(value: Any) -> str:
    """`string(value)`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return go_number(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None
    return str(value)


def declare(add: Add) -> None:
    whole, unsigned, span, moment = values.whole, values.unsigned, values.span, values.moment
    for name, act in (("+", operator.add), ("-", operator.sub), ("*", operator.mul), ("/", values.quotient), ("%", values.remainder)):
        add(f"_{name}_(int, int) int", lambda a, b, act=act: whole(act(a, b)))
        add(f"_{name}_(uint, uint) uint", lambda a, b, act=act: unsigned(act(int(a), int(b))))
    for name, compute in (("+", operator.add), ("-", operator.sub), ("*", operator.mul), ("/", values.ratio)):
        add(f"_{name}_(double, double) double", compute)
    add("_+_(string, string) string", operator.add, costs.both, costs.together)
    add("_+_(bytes, bytes) bytes", operator.add, costs.both, costs.together)
    add("_+_(list(A), list(A)) list(A)", values.add_lists, 1, costs.together)
    add("_+_(duration, duration) duration", lambda a, b: span(a.nanos + b.nanos))
    add("_+_(timestamp, duration) timestamp", lambda a, b: moment(a.nanos + b.nanos))
    add("_+_(duration, timestamp) timestamp", lambda a, b: moment(a.nanos + b.nanos))
    add("_-_(duration, duration) duration", lambda a, b: span(a.nanos - b.nanos))
    add("_-_(timestamp, duration) timestamp", lambda a, b: moment(a.nanos - b.nanos))
    add("_-_(timestamp, timestamp) duration", lambda a, b: span(a.nanos - b.nanos))
    add("-_(int) int", lambda a: whole(-a))
    add("-_(double) double", operator.neg)
    add("!_(bool) bool", operator.not_)
    add("_==_(A, A) bool", equal, costs.shorter)
    add("_!=_(A, A) bool", lambda a, b: not equal(a, b), costs.shorter)
    for name, order in (("<", operator.lt), ("<=", operator.le), (">", operator.gt), (">=", operator.ge)):
        for one in ("bool", "int", "uint", "double", "timestamp", "duration"):
            add(f"_{name}_({one}, {one}) bool", order)
        add(f"_{name}_(string, string) bool", order, costs.shorter)
        add(f"_{name}_(bytes, bytes) bool", order, costs.shorter)
        for one, others in (("int", "uint|double"), ("uint", "int|double"), ("double", "int|uint")):
            add(f"_{name}_({one}, {others}) bool", order)
    add("_in_(A, list(A)) bool", contains, costs.membership)
    add("_in_(A, map(A, B)) bool", contains)
    add("_[_](list(A), int) A", index)
    add("_[_](map(A, B), A) B", index)
    add("_[_](optional_type(list(A)), int) optional_type(A)", look)
    add("_[_](optional_type(map(A, B)), A) optional_type(B)", look)
    add("_[?_](list(A)|optional_type(list(A)), int) optional_type(A)", look)
    add("_[?_](map(A, B)|optional_type(map(A, B)), A) optional_type(B)", look)
    add("size(string|bytes|list(A)|map(A, B)) int", len)
    add("string|bytes|list(A)|map(A, B).size() int", len)
    _strings(add)
    _conversions(add)
    _times(add)
    _optionals(add)


def _strings(add: Add) -> None:
    add("string.contains(string) bool", operator.contains, costs.within)
    add("string.startsWith(string) bool", str.startswith, costs.edge)
    add("string.endsWith(string) bool", str.endswith, costs.edge)
    add("string.matches(string) bool", lambda a, b: pattern(b).search(a) is not None, costs.search)
    add("matches(string, string) bool", lambda a, b: pattern(b).search(a) is not None, costs.search)


def _conversions(add: Add) -> None:
    for name in ("int", "uint", "double", "string", "bytes", "bool", "duration", "timestamp", "dyn", "optional_type(A)"):
        if name not in ("dyn", "optional_type(A)"):
            add(f"{name}({name}) {name}", lambda value: value)
    add("dyn(A) dyn", lambda value: value)
    add("type(A) type", values.kind)
    add("int(uint) int", lambda a: values.whole(int(a)))
    add("int(double) int", lambda a: values.from_double(a, LOWEST, HIGHEST, "integer overflow"))
    add("int(string) int", lambda a: values.parse_number(a, "int", LOWEST, HIGHEST))
    add("int(timestamp) int", lambda a: a.nanos // SECOND)
    add("int(duration) int", lambda a: a.nanos)
    add("uint(int) uint", values.unsigned)
    add("uint(double) uint", lambda a: Uint(values.from_double(a, 0, UINT_END - 1, "unsigned integer overflow")))
    add("uint(string) uint", lambda a: Uint(values.parse_number(a, "uint", 0, UINT_END - 1)))
    add("double(int|uint) double", float)
    add("double(string) double", values.parse_double)
    add("string(bool|int|uint|double|timestamp|duration) string", text)
    add("string(bytes) string", text, costs.traversal, costs.size)
    add("bytes(string) bytes", str.encode, costs.traversal, costs.fourfold)
    add("bool(string) bool", values.parse_bool)
    add("timestamp(string) timestamp", values.parse_timestamp)
    add("timestamp(int) timestamp", lambda a: values.moment(a * SECOND))
    add("duration(string) duration", values.parse_duration)
    add("duration(int) duration", values.span)


_FIELDS: dict[str, Callable[[Any, int], int]] = {
    "getFullYear": lambda at, nanos: at.year,
    "getMonth": lambda at, nanos: at.month - 1,
    "getDate": lambda at, nanos: at.day,
    "getDayOfMonth": lambda at, nanos: at.day - 1,
    "getDayOfWeek": lambda at, nanos: at.isoweekday() % 7,
    "getDayOfYear": lambda at, nanos: at.timetuple().tm_yday - 1,
    "getHours": lambda at, nanos: at.hour,
    "getMinutes": lambda at, nanos: at.minute,
    "getSeconds": lambda at, nanos: at.second,
    "getMilliseconds": lambda at, nanos: nanos % SECOND // 10**6,
}


def _zone(name: str) -> tzinfo:
    found = re.fullmatch(r"([+-]?)(\d\d):(\d\d)", name)
    if found:
        return timezone(timedelta(hours=int(found[2]), minutes=int(found[3])) * (-1 if found[1] == "-" else 1))
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise EvaluationError(f"unknown time zone {name}") from None


def _times(add: Add) -> None:
    for name, read in _FIELDS.items():
        add(f"timestamp.{name}() int", lambda a, read=read: read(a.moment(), a.nanos))
        add(f"timestamp.{name}(string) int", lambda a, zone, read=read: read(a.moment().astimezone(_zone(zone)), a.nanos))
    for name, unit in (("getHours", 3600 * SECOND), ("getMinutes", 60 * SECOND), ("getSeconds", SECOND), ("getMilliseconds", 10**6)):
        add(f"duration.{name}() int", lambda a, unit=unit: values.quotient(a.nanos, unit))


def _value(held: Optional) -> Any:
    if held.present:
        return held.value
    raise EvaluationError("optional.none() dereference")


def _present(items: list[Any]) -> list[Any]:
    for one in items:
        if not isinstance(one, Optional):
            raise EvaluationError(f"value {one} is not optional")
    return [one.value for one in items if one.present]


def _optionals(add: Add) -> None:
    add("optional.of(A) optional_type(A)", lambda value: Optional(True, value))
    add("optional.none() optional_type(A)", lambda: values.NONE)
    add("optional.ofNonZeroValue(A) optional_type(A)", lambda value: Optional(True, value) if _nonzero(value) else values.NONE)
    add("optional_type(A).hasValue() bool", lambda held: held.present)
    add("optional_type(A).value() A", _value)
    add("optional_type(A).or(optional_type(A)) optional_type(A)", lambda held, other: held if held.present else other)
    add("optional_type(A).orValue(A) A", lambda held, other: held.value if held.present else other)
    add("list(A).first() optional_type(A)", lambda a: Optional(True, a[0]) if len(a) else values.NONE)
    add("list(A).last() optional_type(A)", lambda a: Optional(True, a[-1]) if len(a) else values.NONE)
    add("optional.unwrap(list(optional_type(A))) list(A)", _present)
    add("list(optional_type(A)).unwrapOpt() list(A)", _present)


def _nonzero(value: Any) -> bool:
    return value.nanos != 0 if isinstance(value, Timestamp | Duration) else bool(value)
