"""Types of expressions: what is written of them in signatures, which takes which, how messages name them.

`parse("list(map(string, T))")` reads a type; one capital letter is a type parameter. Where the fields of objects come from is for
kapi.cel.declaring.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Type:
    """A type by its name in messages; `params` of lists, maps, optionals and types of types."""

    name: str
    params: tuple["Type", ...] = ()
    fields: Mapping[str, "Type"] | None = field(default=None, compare=False, repr=False)
    """Fields of an object, by the names expressions use."""
    most: int | None = field(default=None, compare=False, repr=False)
    """The most elements (characters) a value can have, where its schema limits them."""

    def __str__(self) -> str:
        if self.name == FREE.name:
            return DYN.name
        return f"{self.name}({', '.join(map(str, self.params))})" if self.params else self.name

    def hold(self, most: int | None) -> "Type":
        return replace(self, most=most)


BOOL, INT, UINT, DOUBLE, STRING, BYTES = map(Type, ("bool", "int", "uint", "double", "string", "bytes"))
NULL, DYN, TIMESTAMP, DURATION = map(Type, ("null", "dyn", "timestamp", "duration"))
TYPE = Type("type")
FREE = Type("_")
"""What nothing has settled yet: the items of an empty list, what an empty optional would hold. Else like dyn."""
ERROR = Type("!error!")
"""The type of an erroneous expression; compatible with everything, so that it causes no further errors."""
UNCHECKED = (DYN, FREE, ERROR)
_TAKES_NULL = frozenset(("timestamp", "duration", "null"))
_SIMPLE = frozenset(("bool", "int", "uint", "double", "string", "bytes", "list", "map", "type"))


def list_of(item: Type) -> Type:
    return Type("list", (item,))


def map_of(key: Type, value: Type) -> Type:
    return Type("map", (key, value))


def optional_of(item: Type) -> Type:
    return Type("optional_type", (item,))


def is_parameter(kind: Type) -> bool:
    return len(kind.name) == 1 and kind.name.isupper()


@lru_cache(maxsize=512)
def parse(text: str) -> Type:
    """A type as signatures write it."""
    name, _, inner = text.strip().partition("(")
    return Type(name, tuple(map(parse, split(inner[:-1]))) if inner else ())


def split(text: str) -> list[str]:
    """The parts between commas that stand in no parentheses."""
    return [part.strip() for part in re.findall(r"(?:[^,(]|\([^()]*(?:\([^()]*\)[^()]*)*\))+", text)]


def accepts(wanted: Type, got: Type, bound: dict[str, Type]) -> bool:
    """Whether `got` may stand where `wanted` is declared; parameters are settled in `bound`, to the more general type."""
    if is_parameter(wanted):
        known = bound.setdefault(wanted.name, got)
        if not (accepts(known, got, bound) or accepts(got, known, bound)):
            return False
        bound[wanted.name] = general(known, got)
        return True
    if wanted in UNCHECKED or got in UNCHECKED:
        return True
    if got == NULL:
        return wanted.name in _TAKES_NULL or wanted.name not in _SIMPLE
    if wanted.name != got.name:
        return False
    return all(accepts(one, other, bound) for one, other in zip(wanted.params, got.params, strict=False))


def general(a: Type, b: Type) -> Type:
    """The less specific of two types of which one takes the other."""
    if a in (FREE, NULL) or b == DYN:
        return b
    if a.name == b.name and a.params:
        return replace(a, params=tuple(map(general, a.params, b.params)))
    return a


def same(a: Type, b: Type) -> bool:
    """Whether two types are one, as far as they are settled."""
    if a in (FREE, ERROR) or b in (FREE, ERROR):
        return True
    return a.name == b.name and len(a.params) == len(b.params) and all(map(same, a.params, b.params))


def assignable(wanted: Type, got: Type) -> bool:
    return accepts(wanted, got, {})


def bind(kind: Type, bound: Mapping[str, Type]) -> Type:
    """The type with its parameters filled in."""
    if is_parameter(kind):
        return bound.get(kind.name, FREE)
    return replace(kind, params=tuple(bind(param, bound) for param in kind.params)) if kind.params else kind


def join(kinds: Iterable[Type]) -> Type:
    """The one type of all, or dyn."""
    found = FREE
    for kind in kinds:
        if not (assignable(found, kind) or assignable(kind, found)):
            return DYN
        found = general(found, kind)
    return found


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables and functions of an expression."""

    variables: Mapping[str, Type]
    messages: Callable[[str], Type | None] = field(default=lambda name: None)
    """Types that can be made (`Object.spec{…}`), by name."""
