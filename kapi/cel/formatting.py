"""`'%s is %d'.format([…])`: what it makes, and what of it is known to be wrong before it runs.

Numbers are written as in American English: 1,234.500000 and 1.5 × 10⁰³. Source: the strings library of cel-go, version 2.
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from kapi.cel import types, values
from kapi.cel.standard import text
from kapi.cel.syntax import ListOf, MapOf, Maybe, Node
from kapi.cel.types import Type
from kapi.cel.values import STATIC, Duration, EvaluationError, Timestamp
from kapi.objects.quoting import go_quote

_PLACES = 6
_PART = re.compile(r"%(?:(?P<escaped>%)|(?:\.(?P<places>\d+))?(?P<verb>.)?)", re.DOTALL)
_NOT_NUMBERS = ("NaN", "Infinity", "-Infinity")
_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_FORMATTABLE = frozenset(("list", "map", "int", "uint", "double", "bool", "string", "timestamp", "bytes", "duration", "type", "null"))


class _Verb(NamedTuple):
    words: str
    """What it can only be used on."""
    kinds: frozenset[str]
    texts: bool = False
    """Texts are looked at when they are known: some are numbers."""


_HEX = _Verb("only integers, byte buffers, and strings can be formatted as hex", frozenset(("int", "uint", "string", "bytes")))
_VERBS = {
    "s": _Verb("string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps",
               _FORMATTABLE),
    "d": _Verb("decimal clause can only be used on integers", frozenset(("int", "uint"))),
    "f": _Verb("fixed-point clause can only be used on doubles", frozenset(("double",)), texts=True),
    "e": _Verb("scientific clause can only be used on doubles", frozenset(("double",)), texts=True),
    "b": _Verb("only integers and bools can be formatted as binary", frozenset(("int", "uint", "bool"))),
    "o": _Verb("octal clause can only be used on integers", frozenset(("int", "uint"))),
    "x": _HEX, "X": _HEX,
}  # fmt: skip
_TYPE_NAMES = {static: dynamic for dynamic, static in STATIC.items()}


class FormatFault(EvaluationError):
    """What is wrong with a pattern, or with a written `part` of its arguments."""

    def __init__(self, words: str, part: Node | None = None) -> None:
        super().__init__(words)
        self.part = part


def formatted(pattern: str, given: list[Any]) -> str:
    """The text. Raises EvaluationError."""
    return "".join(part if isinstance(part, str) else _clause(part, given[part.place]) for part in _parts(pattern, len(given)))


class _Clause(NamedTuple):
    verb: str
    places: int
    place: int
    """Of its argument."""


def _parts(pattern: str, count: int) -> Iterator[str | _Clause]:
    """The plain texts of a pattern and its clauses, which have `count` arguments. Raises FormatFault."""
    start = place = 0
    for found in _PART.finditer(pattern):
        yield pattern[start : found.start()]
        start = found.end()
        if found["escaped"]:
            yield "%"
            continue
        if found.end() == len(pattern) and not found["verb"]:
            raise FormatFault("unexpected end of string")
        if place >= count:
            raise FormatFault(f"index {place} out of range")
        verb = found["verb"]
        if verb not in _VERBS:
            raise FormatFault(f'could not parse formatting clause: unrecognized formatting clause "{verb}"')
        yield _Clause(verb, _PLACES if found["places"] is None else int(found["places"]), place)
        place += 1
    yield pattern[start:]


# before it runs -----------------------------------------------------------------------------------------------------------------


def check(pattern: str, items: list[Node], kind_of: Callable[[Node], Type]) -> None:
    """Judge a written pattern with a written list of arguments. Raises FormatFault."""
    used = 0
    for part in _parts(pattern, len(items)):
        if isinstance(part, str):
            continue
        used += 1
        verb, bad = _VERBS[part.verb], items[part.place]
        if part.verb == "s":
            bad = _unformattable(bad, kind_of) or bad
        kind = kind_of(bad)
        if not _fits(kind, verb):
            name = _TYPE_NAMES.get(kind.name, kind.name)
            raise FormatFault(f"error during formatting: {verb.words}, was given {name}", bad)
    if len(items) > used:
        raise FormatFault(f"too many arguments supplied to string.format (expected {used}, got {len(items)})")


def _fits(kind: Type, verb: _Verb) -> bool:
    return kind in types.UNCHECKED or kind.name in verb.kinds or (verb.texts and kind == types.STRING)


def _unformattable(node: Node, kind_of: Callable[[Node], Type]) -> Node | None:
    """The part of an argument that no text is made of."""
    if not _fits(kind_of(node), _VERBS["s"]):
        return node
    inner: list[Node] = []
    if isinstance(node, ListOf):
        inner = node.items
    elif isinstance(node, MapOf):
        inner = [part for entry in node.entries for part in entry]
    plain = (part.value if isinstance(part, Maybe) else part for part in inner)
    return next((found for part in plain if (found := _unformattable(part, kind_of))), None)


# while it runs ------------------------------------------------------------------------------------------------------------------


def _clause(clause: _Clause, value: Any) -> str:
    verb, kind = clause.verb, values.kind(value).name
    known = _VERBS[verb]
    if STATIC.get(kind, kind) not in known.kinds and not (known.texts and value in _NOT_NUMBERS):
        raise EvaluationError(f"error during formatting: {known.words}, was given {kind}")
    if verb == "s":
        return _shown(value, inside=False)
    if verb in "fe":
        number = float(value.replace("Infinity", "inf")) if isinstance(value, str) else value
        return _fixed(number, clause.places) if verb == "f" else _scientific(number)
    if isinstance(value, str | bytes):
        digits = (value.encode() if isinstance(value, str) else value).hex()
        return digits.upper() if verb == "X" else digits
    return f"{int(value):{verb}}"


def _fixed(number: float, places: int) -> str:
    if math.isfinite(number):
        return f"{number:,.{places}f}"
    return "NaN" if math.isnan(number) else "∞" if number > 0 else "-∞"


def _scientific(number: float) -> str:
    if not math.isfinite(number):
        return _fixed(number, _PLACES)
    digits, _, power = f"{number:.{_PLACES}e}".partition("e")
    return f"{digits}\u202f×\u202f10{power.removeprefix('+').translate(_RAISED)}"


def _shown(value: Any, *, inside: bool) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_shown(item, inside=True) for item in value)}]"
    if isinstance(value, dict):
        pairs = sorted((_shown(key, inside=True), _shown(item, inside=True)) for key, item in value.items())
        return f"{{{', '.join(f'{key}:{item}' for key, item in pairs)}}}"
    if value is None:
        return "null"
    if not inside:
        return text(value)
    if isinstance(value, str):
        return go_quote(value)
    if isinstance(value, bytes):
        return f"b{go_quote(text(value))}"
    if isinstance(value, Timestamp | Duration):
        return f'{"timestamp" if isinstance(value, Timestamp) else "duration"}("{value}")'
    if isinstance(value, Type):
        return f"type({value})"
    if isinstance(value, float):
        return _fixed(value, _PLACES) if math.isfinite(value) else go_quote(_fixed(value, _PLACES))
    if not isinstance(value, int):
        raise EvaluationError(f"error during formatting: no formatting function for {values.kind(value).name}")
    return text(value)
