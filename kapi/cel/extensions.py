"""Libraries of the CEL project that Kubernetes includes: strings, lists, sets.

Source: the extensions of cel-go (strings version 2, lists version 3, sets), their names, errors and costs.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from kapi.cel import costs, values
from kapi.cel.formatting import formatted
from kapi.cel.standard import Add
from kapi.cel.values import EvaluationError, equal
from kapi.objects.quoting import plain_quote

SORTABLE = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
_UPPER = {code: code - 32 for code in range(97, 123)}
_LOWER = {code: code + 32 for code in range(65, 91)}
_LONGEST = 10_000_000


def declare(add: Add) -> None:
    add("string.charAt(int) string", _char_at)
    for name, find in (("indexOf", str.find), ("lastIndexOf", str.rfind)):
        add(f"string.{name}(string) int", find, costs.walk)
    add("string.indexOf(string, int) int", lambda a, b, start: a.find(b, _within(a, start)), costs.walk)
    add("string.lastIndexOf(string, int) int", lambda a, b, last: a.rfind(b, 0, _within(a, last) + len(b)), costs.walk)
    add("list(string).join() string", "".join, costs.joined, costs.joined_size)
    add("list(string).join(string) string", lambda items, mark: mark.join(items), costs.joined, costs.joined_size)
    add("string.lowerAscii() string", lambda a: a.translate(_LOWER), costs.traversal, costs.size)
    add("string.upperAscii() string", lambda a: a.translate(_UPPER), costs.traversal, costs.size)
    add("string.trim() string", str.strip, costs.traversal, costs.size)
    add("string.replace(string, string) string", str.replace, costs.twice, costs.replaced)
    add("string.replace(string, string, int) string", lambda a, b, c, n: a.replace(b, c, max(n, -1)), costs.twice, costs.replaced)
    add("string.split(string) list(string)", lambda a, mark: _split(a, mark, -1), costs.twice, costs.size)
    add("string.split(string, int) list(string)", _split, costs.twice, costs.size)
    add("string.substring(int) string", lambda a, start: a[_within(a, start) :], costs.traversal, costs.size)
    add("string.substring(int, int) string", _substring, costs.traversal, costs.size)
    add("string.format(list(dyn)) string", formatted, costs.traversal)
    add("strings.quote(string) string", plain_quote, costs.traversal, costs.quoted)
    _lists(add)
    add("sets.contains(list(T), list(T)) bool", lambda a, b: all(any(equal(one, other) for other in a) for one in b), costs.crossed)
    add("sets.intersects(list(T), list(T)) bool", lambda a, b: any(any(equal(one, other) for other in a) for one in b), costs.crossed)
    add("sets.equivalent(list(T), list(T)) bool", _equivalent, costs.crossed)


def _equivalent(a: list[Any], b: list[Any]) -> bool:
    def within(one: list[Any], other: list[Any]) -> bool:
        return all(any(equal(item, known) for known in other) for item in one)

    return within(a, b) and within(b, a)


def _within(whole: str, place: int) -> int:
    if 0 <= place <= len(whole):
        return place
    raise EvaluationError(f"index out of range: {place}")


def _char_at(whole: str, place: int) -> str:
    return whole[_within(whole, place) :][:1]


def _substring(whole: str, start: int, end: int) -> str:
    if start > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    return whole[_within(whole, start) : _within(whole, end)]


def _split(whole: str, mark: str, limit: int) -> list[str]:
    if limit == 0:
        return []
    if mark:
        return whole.split(mark, limit - 1 if limit > 0 else -1)
    return list(whole) if limit < 0 or limit >= len(whole) else [*whole[: limit - 1], whole[limit - 1 :]]


def _lists(add: Add) -> None:
    for item in SORTABLE:
        add(f"list({item}).isSorted() bool", lambda a: all(not one > other for one, other in pairwise(a)), costs.walk)
        add(f"list({item}).min() {item}", lambda a: _best(a, "min", min), costs.walk)
        add(f"list({item}).max() {item}", lambda a: _best(a, "max", max), costs.walk)
        add(f"list({item}).sort() list({item})", ordered, costs.squared, costs.size)
    add("list(int).sum() int", lambda a: values.whole(sum(a)), costs.walk)
    add("list(uint).sum() uint", lambda a: values.unsigned(sum(map(int, a))), costs.walk)
    add("list(double).sum() double", lambda a: float(sum(a)), costs.walk)
    add("list(duration).sum() duration", lambda a: values.span(sum(one.nanos for one in a)), costs.walk)
    add("list(A).indexOf(A) int", lambda a, item: next((i for i, one in enumerate(a) if equal(one, item)), -1), costs.walk)
    add("list(A).lastIndexOf(A) int", lambda a, item: next((i for i in range(len(a) - 1, -1, -1) if equal(a[i], item)), -1), costs.walk)
    add("list(T).slice(int, int) list(T)", _slice, costs.size, costs.size)
    add("list(list(T)).flatten() list(T)", lambda a: flat(a, 1), costs.size)
    add("list(dyn).flatten(int) list(dyn)", flat, costs.size)
    add("list(T).distinct() list(T)", _distinct, costs.squared, costs.size)
    add("list(T).reverse() list(T)", lambda a: a[::-1], costs.size, costs.size)
    add("lists.range(int) list(int)", _range)


def _best(items: list[Any], name: str, choose: Callable[[list[Any]], Any]) -> Any:
    if not items:
        raise EvaluationError(f"{name} called on empty list")
    return choose(items)


def ordered(items: list[Any], keys: list[Any] | None = None) -> list[Any]:
    """The items sorted by their keys (themselves)."""
    by = items if keys is None else keys
    if by and values.kind(by[0]).name in ("list", "map", "null_type", "optional_type"):
        raise EvaluationError("list elements must be comparable")
    if any(type(key) is not type(by[0]) for key in by):
        raise EvaluationError("list elements must have the same type")
    return [items[place] for place in sorted(range(len(items)), key=by.__getitem__)]


def _slice(items: list[Any], start: int, end: int) -> list[Any]:
    message = f"cannot slice({start}, {end}), "
    if start < 0 or end < 0:
        raise EvaluationError(message + "negative indexes not supported")
    if start > end:
        raise EvaluationError(message + "start index must be less than or equal to end index")
    if len(items) < end:
        raise EvaluationError(message + f"list is length {len(items)}")
    return items[start:end]


def flat(items: list[Any], depth: int) -> list[Any]:
    if depth < 0:
        raise EvaluationError("level must be non-negative")
    out: list[Any] = []
    for item in items:
        if isinstance(item, list) and depth:
            out += flat(item, depth - 1)
        else:
            out.append(item)
    return out


def _distinct(items: list[Any]) -> list[Any]:
    out: list[Any] = []
    for item in items:
        if not any(equal(item, known) for known in out):
            out.append(item)
    return out


def _range(count: int) -> list[int]:
    if count < 0:
        raise EvaluationError(f"lists.range: size must be non-negative, got {count}")
    if count > _LONGEST:
        raise EvaluationError(f"lists.range: size {count} exceeds maximum allowed ({_LONGEST})")
    return list(range(count))
