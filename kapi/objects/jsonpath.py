"""JSONPath as additionalPrinterColumns use it: `find(".status.conditions[?(@.type=='Ready')].status", obj)`.

Fields, quoted fields, indexes, slices, wildcards, descent and filters on one field. Source: client-go's jsonpath (v1.36).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kapi import limits
from kapi.objects import integers
from kapi.objects.caching import kept

Step = Callable[[Any], Iterable[Any]]
_PASSED = object()
"""A step was applied to a value of a wrong type."""
_STEP = re.compile(
    r"\.\.(?P<deep>[^.\[\]]+)"
    r"|\.(?P<name>(?:\\.|[^.\[\]\\])+)"
    r"|\[\?\((?P<filter>.*?)\)\]"
    r"|\[(?P<quoted>'(?:\\.|[^'])*'|\"(?:\\.|[^\"])*\")\]"
    r"|\[(?P<slice>-?\d*:-?\d*)\]"
    r"|\[(?P<index>-?\d+)\]"
    r"|(?P<all>\[\*\])"
)
_FILTER = re.compile(r"\s*@(?P<left>[^=!<>\s]*)\s*(?:(?P<sign>==|!=|<=|>=|<|>)\s*(?P<right>.+?)\s*)?")
_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: bool(a == b),
    "!=": lambda a, b: bool(a != b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}


def find(path: str, obj: Any) -> list[Any]:
    """The values at a path; none if it does not exist, is invalid, or has too many matches."""
    found, left = [obj], limits.JSONPATH_VISITS
    for step in _steps(path):
        reached: list[Any] = []
        for inner in (inner for value in found for inner in step(value)):
            left -= 1
            if not left:
                return []
            if inner is not _PASSED:
                reached.append(inner)
        found = reached
    return found


@kept(2048)
def _steps(path: str) -> tuple[Step, ...]:
    at, out = 0, []
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            return (lambda value: (),)
        out.append(_step(step))
        at = step.end()
    return tuple(out)


def _step(found: re.Match[str]) -> Step:
    if found["deep"]:
        return lambda value: _deep(value, found["deep"])
    if found["name"] == "*" or found["all"]:
        return _all
    if name := found["name"] or (found["quoted"] or "")[1:-1]:
        plain = re.sub(r"\\(.)", r"\1", name)
        return lambda value: [value[plain]] if isinstance(value, dict) and plain in value else []
    if found["filter"]:
        return _filter(found["filter"])
    if found["slice"]:
        start, _, end = found["slice"].partition(":")
        cut = slice(integers.parse(start) if start else None, integers.parse(end) if end else None)
        return lambda value: value[cut] if isinstance(value, list) else []
    at = integers.parse(found["index"])
    return lambda value: [value[at]] if isinstance(value, list) and -len(value) <= at < len(value) else []


def _all(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _deep(value: Any, name: str) -> Iterator[Any]:
    yield value[name] if isinstance(value, dict) and name in value else _PASSED
    for inner in _all(value):
        yield from _deep(inner, name)


def _filter(text: str) -> Step:
    """Items of a list for which `@.type=="Ready"` holds, or that have the field (a filter without operator)."""
    found = _FILTER.fullmatch(text)
    if found is None:
        return lambda value: ()
    left, sign, right = found["left"], found["sign"], found["right"]

    def holds(item: Any) -> bool:
        have = find(left, item)
        if not have or not sign:
            return bool(have)
        try:
            return _SIGNS[sign](have[0], _literal(right))
        except TypeError:
            return False

    return lambda value: [item for item in value if holds(item)] if isinstance(value, list) else []


def _literal(text: str) -> Any:
    if text[0] in "'\"":
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        return integers.parse(text) if re.fullmatch(r"-?\d+", text) else float(text)
    except ValueError:
        return text
