"""The functions of expressions: a table of signatures, made of the libraries that stock enables for every expression.

`add("string.contains(string) bool", function, cost)` declares one overload; `int|double` stands for one overload each. Costs are
numbers or functions (kapi.cel.costs). A library of others was measured: Google's C++ runtime cannot hold
opaque types (Quantity, IP) and meters no costs, the Rust and the pure Python one check no types; so the runtime is our own.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from typing import Any, NamedTuple

from kapi.cel import authorizing, extensions, kubernetes, network, standard, types, values
from kapi.cel.types import Type
from kapi.cel.values import NO_OVERLOAD, EvaluationError

Function = Callable[..., Any]
Cost = int | Callable[..., int]

_SIGNATURE = re.compile(r"(.+?)\(((?:[^()]|\([^()]*(?:\([^()]*\)[^()]*)*\))*)\) (\S.*)")
_NAMESPACES = frozenset(("sets", "lists", "optional", "strings", "ip", "format", "jsonpatch"))


class Overload(NamedTuple):
    params: tuple[Type, ...]
    result: Type
    run: Function
    cost: Cost
    size: Function | None = None
    """How large the result may be, of the SizeEstimates of the arguments."""


class Library:
    """Overloads by name and by whether they are methods (whose target is the first parameter)."""

    def __init__(self) -> None:
        self.overloads: dict[tuple[str, bool], list[Overload]] = {}

    def add(self, signature: str, run: Function, cost: Cost = 1, size: Function | None = None) -> None:
        found = _SIGNATURE.fullmatch(signature)
        if found is None:
            raise ValueError(signature)
        called, params, result = found.groups()
        target, _, name = called.rpartition(".")
        method = bool(target) and target not in _NAMESPACES
        listed = [target, *types.split(params)] if method else types.split(params)
        made = self.overloads.setdefault((name if method else called, method), [])
        for choice in product(*(part.split("|") for part in listed)):
            made.append(Overload(tuple(map(types.parse, choice)), types.parse(result), run, cost, size))

    def named(self, name: str) -> bool:
        return (name, True) in self.overloads or (name, False) in self.overloads


@cache
def library() -> Library:
    """Everything an expression may call, made when the first expression is compiled."""
    made = Library()
    for part in (standard, extensions, kubernetes, network, authorizing):
        part.declare(made.add)
    return made


def refusal(name: str, arguments: Sequence[Any]) -> EvaluationError:
    """No overload takes these values."""
    if not name[0].isalpha():
        return EvaluationError(NO_OVERLOAD)
    return EvaluationError(f"{NO_OVERLOAD}: {name}({', '.join(values.kind(value).name for value in arguments)})")
