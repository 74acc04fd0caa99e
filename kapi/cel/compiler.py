"""What every step of a compilation shares: the variables in sight, what is wrong so far, the types of fields, overloads.

The steps themselves are the functions of kapi.cel.compiling (a node) and kapi.cel.macros (a macro); they are given the compiler.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kapi import limits
from kapi.cel import escaping, standard, types
from kapi.cel.evaluating import Code, Frame, call, direct, entered, otherwise, truth
from kapi.cel.library import library
from kapi.cel.syntax import Ident, Node
from kapi.cel.types import BOOL, DYN, Environment, Type, assignable, optional_of
from kapi.cel.values import EvaluationError

Scope = dict[str, tuple[int, Type]]
"""Variable -> its slot and type."""
_CONVERSIONS = frozenset(("bool", "bytes", "double", "duration", "int", "string", "timestamp", "uint"))
"""Calls of these with constants are made once."""
_PATTERNS = frozenset(("find", "findAll"))
"""Calls whose second argument is a regular expression, compiled before anything runs."""
PARSING, CHECKING, VALIDATING = range(3)
"""Steps of stock's compiler: reading with its macros, types, then what is written out. One with faults is the last."""
NAMELESS = "argument must be a simple name"


class Compiler:
    """One expression on its way to code; `nodes` is what makes code of each type of node."""

    def __init__(self, env: Environment, nodes: Mapping[type[Node], Callable[["Compiler", Any, Scope], Code]]) -> None:
        self._nodes = nodes
        self.env = env
        self.scope: Scope = {name: (slot, kind) for slot, (name, kind) in enumerate(env.variables.items())}
        self.depth = len(self.scope)
        self.faults: dict[int, list[tuple[int, str]]] = {PARSING: [], CHECKING: [], VALIDATING: []}
        self.mixed_literals: dict[int, tuple[int, str]] = {}
        """Literals whose elements are of several types, by their nodes."""
        self.used: set[str] = set()
        self.broken = ""
        self.kinds: dict[int, Type] = {}
        """Types of the nodes compiled so far."""

    def code(self, node: Node, scope: Scope) -> Code:
        code = self._nodes[type(node)](self, node, scope)
        self.kinds[id(node)] = code.type
        return code

    def fault(self, message: str, at: int, step: int = CHECKING) -> Code:
        """Notes what is wrong and goes on."""
        self.faults[step].append((at, message))
        return Code(types.ERROR, lambda frame: None)

    def sorted_faults(self) -> list[tuple[int, str]]:
        """What is wrong, by place: of the first step at which anything is."""
        self.faults[VALIDATING] += self.mixed_literals.values()
        found = next((faults for faults in self.faults.values() if faults), [])
        return sorted(dict.fromkeys(found), key=lambda fault: fault[0])

    def names(self, args: Sequence[Node], kinds: Sequence[Type], scope: Scope) -> tuple[Scope, list[int]]:
        """A scope in which the arguments, which must be names, are variables; and their slots."""
        inner, slots = dict(scope), []
        for arg, name, kind in zip(args, simple_names(args), kinds, strict=True):
            if name is None:
                self.fault(NAMELESS, arg.at, PARSING)
            inner[name or ""] = (self.depth, kind)
            slots.append(self.depth)
            self.depth += 1
        return inner, slots

    def predicate(self, node: Node, scope: Scope, operator: str, at: int) -> Code:
        """Code that must be a bool for the operator a macro uses it with."""
        code = self.code(node, scope)
        if not assignable(BOOL, code.type):
            given = [code.type, DYN, DYN] if operator == "_?_:_" else [BOOL, code.type]
            self.unmatched(operator, given, False, at)
        return code._replace(run=truth(code._replace(cost=0)))

    def unmatched(self, name: str, kinds: Sequence[Type], method: bool, at: int) -> Code:
        args = ", ".join(map(str, kinds[1:] if method else kinds))
        return self.fault(f"found no matching overload for '{name}' applied to '{f'{kinds[0]}.' if method else ''}({args})'", at)

    def field(self, owner: Type, name: str, at: int) -> Type:
        """The type of `owner.name`."""
        if owner.name == "map":
            return owner.params[1].hold(None) if owner.params else DYN
        if owner.name == "optional_type" and owner.params:
            return optional_of(self.field(owner.params[0], name, at))
        if owner.fields is None:
            if owner not in types.UNCHECKED:
                self.fault(f"type '{owner}' does not support field selection", at)
                return types.ERROR
            return types.ERROR if owner == types.ERROR else DYN
        found = owner.fields.get(name)
        if found is None:
            self.fault(f"undefined field '{name}'", at)
        return found or types.ERROR

    def unescaped(self, owner: Type, name: str) -> str:
        """The name a field has in the value: those of typed objects are escaped in expressions."""
        inside = owner.params[0] if owner.name == "optional_type" and owner.params else owner
        return escaping.unescape(name) if inside.fields is not None else name

    def resolve(self, name: str, method: bool, args: Sequence[Code], at: int) -> Code:
        """A call; the overload is chosen by the types of its arguments."""
        known = library()
        found, kind = [], None
        for overload in known.overloads.get((name, method), ()):
            bound: dict[str, Type] = {}
            if len(overload.params) == len(args) and all(
                types.accepts(param, arg.type, bound) for param, arg in zip(overload.params, args, strict=True)
            ):
                found.append(overload)
                result = types.bind(overload.result, bound)
                kind = result if kind is None or kind == result else DYN
        if kind is None:
            if not known.named(name):
                return self.fault(f"undeclared reference to '{name}' (in container '')", at)
            return self.unmatched(name, [arg.type for arg in args], method, at)
        if name in ("_[_]", "_[?_]"):
            args = [args[0], args[1].looked_up]
        run, cost, max_cost = call(name, found, args)
        if method and name in ("or", "orValue"):
            run, cost = otherwise(args[0].run, entered(args[1]), name == "orValue"), args[0].cost
        if name == "_in_" and args[1].constant:
            run = direct(found[0].run, [arg.run for arg in args])
        sizes = [overload.size(*(arg.extent() for arg in args)) for overload in found if overload.size]
        constant = not method and name in _CONVERSIONS and args[0].constant
        if constant or (name in _PATTERNS and args[1].constant):
            self.try_out(name, args, run)
        return Code(kind, run, 0 if constant else cost, max_cost, max(sizes, default=None), constant, name == "_[_]" and args[0].attribute)

    def try_out(self, name: str, args: Sequence[Code], run: Any) -> None:
        """Run what is constant once: an error is one of the whole program."""
        frame = Frame([], limits.EXPRESSION_COST)
        try:
            if name in _PATTERNS:
                standard.pattern(args[1].run(frame))
            else:
                run(frame)
        except EvaluationError as error:
            self.broken = self.broken or str(error)


def simple_names(args: Sequence[Node]) -> list[str | None]:
    """The names arguments are, None where one is none."""
    return [arg.name if isinstance(arg, Ident) else None for arg in args]
