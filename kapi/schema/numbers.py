"""Numbers in custom objects: which are whole, and whether they match the type, format and bounds of their schema.

A whole number is judged by bounds that are cut to whole numbers, a float by the bounds as they are. Faults of a type's range have no
path of their own. Source: kube-openapi's numberValidator (v1.36).
"""

import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from kapi.objects.causes import go_number
from kapi.objects.meta import Object

LARGEST_WHOLE = 2**53 - 1
"""A float beyond may stand for more than one whole number."""
_NEAR = 1e-9
_RANGES = {"int32": (-(2**31), 2**31), "uint32": (0, 2**32), "uint64": (0, 2**64)}
_INT64 = (-(2**63), 2**63)


class Fault(NamedTuple):
    value: Any
    """The value in the message; None for a number outside the range of its type."""
    text: str


NumberCheck = Callable[[Any, str], Iterator[Fault]]
"""(value, path): what is wrong."""


def whole(value: float) -> bool:
    """Whether a float counts as an integer: it differs from one by less than the relative tolerance `_NEAR`."""
    if value != value or abs(value) > LARGEST_WHOLE:
        return False
    near = float(int(value))
    return near == value or abs(value - near) / (abs(value) + abs(near)) < _NEAR


def in_range(value: Any, kind: str, form: str) -> bool:
    """Whether a type and format can hold a number."""
    if kind == "integer":
        low, end = _RANGES.get(form, _INT64)
        return float(value).is_integer() and low <= value < end
    if form in ("float", "float32"):
        try:
            struct.pack("<f", value)
        except OverflowError:
            return False
    return True


def bounds_check(given: Object, kind: str) -> NumberCheck | None:
    """The check of numbers of a schema of one type ('' for several or none); None where every number is valid."""
    form = given.get("format") or ""
    bounds = [_multiple(given["multipleOf"])] if given.get("multipleOf") is not None else []
    bounds += [_bound(given, field, exclusive) for field, exclusive in _BOUNDS if given.get(field) is not None]
    if not bounds and kind != "integer" and form not in ("float", "float32"):
        return None

    def check(value: Any, path: str) -> Iterator[Fault]:
        yield from _ranged(value, "Checked", kind, form, path)
        for bound in bounds:
            keyword, limit, act = bound
            wrong = list(_ranged(limit, keyword, kind, form, path))
            yield from wrong
            as_whole = type(value) is int and not wrong
            yield from act(value if as_whole else float(value), int(limit) if as_whole else float(limit), path)

    return check


def _ranged(value: Any, what: str, kind: str, form: str, path: str) -> Iterator[Fault]:
    if not in_range(value, kind, form):
        shown = f"with format {form}" if form else "(default format)"
        yield Fault(None, f"{what} value must be of type {kind} {shown} in {path}")


_Bound = tuple[str, Any, Callable[[Any, Any, str], Iterator[Fault]]]
_BOUNDS = (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum"))


def _multiple(step: Any) -> _Bound:
    def act(value: Any, step: Any, path: str) -> Iterator[Fault]:
        if step < 0:
            yield Fault(step, f"factor MultipleOf declared for {path} must be positive: {go_number(step)}")
        elif step == 0 or not (value % step == 0 if type(step) is int else whole(1 / step * value if step < 1 else value / step)):
            yield Fault(value, f"{path} in body should be a multiple of {go_number(step)}")

    return "MultipleOf", step, act


def _bound(given: Object, field: str, exclusive: str) -> _Bound:
    upper, strict = field == "maximum", bool(given.get(exclusive))
    words = ("less" if upper else "greater") + (" than" if strict else " than or equal to")

    def act(value: Any, limit: Any, path: str) -> Iterator[Fault]:
        over = value > limit if upper else value < limit
        if over or (strict and value == limit):
            yield Fault(value, f"{path} in body should be {words} {go_number(limit)}")

    return f"{field.capitalize()} boundary", given[field], act
