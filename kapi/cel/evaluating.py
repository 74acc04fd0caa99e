"""What compiled expressions are made of: code that runs in a frame, what it costs, and how calls choose among overloads.

Every node becomes a Code: a closure over the closures of its parts. Costs are counted in the units of the runtime stock uses: what surely
runs is charged once, on entering; what depends on values when it happens. `max_cost` is the same for the largest values a schema allows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kapi import limits
from kapi.cel import types, values
from kapi.cel.costs import UNBOUNDED, SizeEstimate
from kapi.cel.library import Cost, Function, Overload, refusal
from kapi.cel.types import Type
from kapi.cel.values import EvaluationError

_FIXED = frozenset(("bool", "int", "uint", "double", "null", "timestamp", "duration", "type"))


class CostExceeded(EvaluationError):
    """The limit of one evaluation."""


class Frame:
    """One evaluation: its variables by slot, and what was spent."""

    __slots__ = ("limit", "slots", "spent")

    def __init__(self, slots: list[Any], limit: int) -> None:
        self.slots, self.limit, self.spent = slots, limit, 0

    def spend(self, cost: int) -> None:
        self.spent += cost
        if self.spent > self.limit:
            raise CostExceeded("operation cancelled: actual cost limit exceeded")


Run = Callable[[Frame], Any]


class Code(NamedTuple):
    """A compiled node."""

    type: Type
    run: Run
    cost: int = 0
    """Charged by the caller."""
    max_cost: int = 0
    size: int | None = None
    """The most elements or characters; None: by its type."""
    constant: bool = False
    attribute: bool = False
    """A variable or a part of one: what looks it up on the way pays less."""

    def extent(self) -> SizeEstimate:
        most = self.type.most if self.size is None else self.size
        if most is None:
            most = 1 if self.type.name in _FIXED or "." in self.type.name else UNBOUNDED
        held = self.type.params[0] if self.type.name == "list" and self.type.params else None
        item = UNBOUNDED if held is None or held.most is None else held.most
        return SizeEstimate(most, most if self.constant else 0, item, held.name if held else "")

    @property
    def looked_up(self) -> "Code":
        """The code where its own steps are not counted."""
        return self._replace(cost=0) if self.attribute else self


class Outcome(NamedTuple):
    value: Any
    error: EvaluationError | None
    cost: int


@dataclass(frozen=True, slots=True)
class Program:
    """An expression ready to run."""

    code: Code
    slots: Mapping[str, int]
    """Where variables lie."""
    depth: int
    used: frozenset[str]
    """Variables of the expression."""
    broken: str = ""
    """Why it cannot be run: a constant part of it raises an error."""

    def run(self, given: Mapping[str, Any], limit: int = limits.EXPRESSION_COST) -> Outcome:
        """The value or the error, and what it cost."""
        frame = Frame([None] * self.depth, limit)
        for name, slot in self.slots.items():
            if name in self.used:
                frame.slots[slot] = given[name]
        try:
            frame.spend(self.code.cost)
            return Outcome(self.code.run(frame), None, frame.spent)
        except EvaluationError as error:
            return Outcome(None, error, frame.spent)
        except RecursionError:
            return Outcome(None, EvaluationError("recursion limit exceeded"), frame.spent)


def entered(code: Code) -> Run:
    """Code that may or may not run, or runs often: it pays when it does."""
    run, cost = code.run, code.cost
    if not cost:
        return run

    def paid(frame: Frame) -> Any:
        frame.spend(cost)
        return run(frame)

    return paid


def truth(code: Code) -> Run:
    """Code whose value must be a bool."""
    run = entered(code)
    if code.type == types.BOOL:
        return run

    def checked(frame: Frame) -> Any:
        value = run(frame)
        if value is True or value is False:
            return value
        raise EvaluationError(values.NO_OVERLOAD)

    return checked


def decided(ends: bool, left: Run, right: Run) -> Run:
    """`||` (ends with true) and `&&` (ends with false): one side that decides makes up for an error of the other, else the first counts."""

    def run(frame: Frame) -> Any:
        try:
            if left(frame) is ends:
                return ends
        except CostExceeded:
            raise
        except EvaluationError as first:
            try:
                if right(frame) is ends:
                    return ends
            except CostExceeded:
                raise
            except EvaluationError:
                pass
            raise first from None
        return right(frame)

    return run


def chosen(condition: Run, yes: Run, no: Run) -> Run:
    return lambda frame: yes(frame) if condition(frame) else no(frame)


def otherwise(held: Run, other: Run, inside: bool) -> Run:
    """The value of an optional (or itself), else that of the other, which is evaluated only then."""

    def run(frame: Frame) -> Any:
        found = held(frame)
        if not isinstance(found, values.Optional):
            raise EvaluationError(values.NO_OVERLOAD)
        if not found.present:
            return other(frame)
        return found.value if inside else found

    return run


def call(name: str, found: Sequence[Overload], args: Sequence[Code]) -> tuple[Run, int, int]:
    """(what calls the overload that fits, what is charged on entering, the worst)."""
    runs = [arg.run for arg in args]
    entry = sum(arg.cost for arg in args)
    extents = [arg.extent() for arg in args]
    max_cost = sum(arg.max_cost for arg in args) + max(_most(overload.cost, extents) for overload in found)
    settled = len(found) == 1 and all(map(_certain, args, found[0].params))
    if not settled:
        return _dispatch(name, found, runs), entry, max_cost
    cost: Cost = found[0].cost
    if callable(cost) and all(arg.type.name in _FIXED for arg in args):
        cost = cost(*[1] * len(args))  # all of size one
    if callable(cost):
        return _metered(found[0].run, cost, runs), entry, max_cost
    return direct(found[0].run, runs), entry + cost, max_cost


def _certain(arg: Code, param: Type) -> bool:
    """Whether the argument's value needs no type check at run time."""
    return arg.type not in types.UNCHECKED or types.is_parameter(param) or param == types.DYN


def _most(cost: Cost, extents: Sequence[SizeEstimate]) -> int:
    return cost(*extents) if callable(cost) else cost


def direct(run: Function, args: Sequence[Run]) -> Run:
    if len(args) == 1:
        (one,) = args
        return lambda frame: run(one(frame))
    if len(args) == 2:
        left, right = args
        return lambda frame: run(left(frame), right(frame))
    return lambda frame: run(*[arg(frame) for arg in args])


def _metered(run: Function, cost: Function, args: Sequence[Run]) -> Run:
    def metered(frame: Frame) -> Any:
        given = [arg(frame) for arg in args]
        frame.spend(cost(*given))
        return run(*given)

    return metered


def _dispatch(name: str, found: Sequence[Overload], args: Sequence[Run]) -> Run:
    """Chooses by the types of the values, once for each combination of them."""
    known: dict[tuple[type, ...], Overload] = {}

    def choose(given: list[Any]) -> Overload:
        for overload in found:
            if all(map(values.is_a, given, overload.params)):
                return known.setdefault(tuple(map(type, given)), overload)
        raise refusal(name, given)

    def dispatch(frame: Frame) -> Any:
        given = [arg(frame) for arg in args]
        overload = known.get(tuple(map(type, given))) or choose(given)
        frame.spend(overload.cost(*given) if callable(overload.cost) else overload.cost)
        return overload.run(*given)

    return dispatch
