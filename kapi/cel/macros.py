"""Macros: has, comprehensions over lists and maps with one variable or two, and those of optionals.

A macro takes the compiler, its call and the scope. Figures added to costs are those of the steps it stands for.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from kapi.cel import extensions, types, values
from kapi.cel.compiler import PARSING, Compiler, Scope
from kapi.cel.costs import UNBOUNDED
from kapi.cel.evaluating import Code, CostExceeded, Frame, Run, entered
from kapi.cel.syntax import Call, Select
from kapi.cel.types import DYN, INT, Type, list_of, map_of, optional_of
from kapi.cel.values import NO_OVERLOAD, EvaluationError, Optional

Macro = Callable[[Compiler, Call, Scope], Code]
_END = object()


def find(call: Call) -> Macro | None:
    """The macro a call is, if any."""
    if call.target is None:
        return _has if call.name == "has" and len(call.args) == 1 else None
    return _MACROS.get((call.name, len(call.args)))


def _has(compiler: Compiler, call: Call, scope: Scope) -> Code:
    field = call.args[0]
    if not isinstance(field, Select) or field.optional:
        return compiler.fault("invalid argument to has() macro", call.args[0].at, PARSING)
    owner = compiler.code(field.operand, scope)
    compiler.field(owner.type, field.name, call.at)
    name, run = compiler.unescaped(owner.type, field.name), owner.run

    def has(frame: Frame) -> bool:
        held = run(frame)
        if isinstance(held, Optional):
            held = held.value
        return isinstance(held, dict) and name in held

    return Code(types.BOOL, has, owner.cost, owner.max_cost)


class _Loop:
    """The common part of comprehensions: the range, the names bound, the items."""

    def __init__(self, compiler: Compiler, call: Call, scope: Scope, names: int) -> None:
        assert call.target is not None
        self.range = compiler.code(call.target, scope)
        kind = self.range.type
        if kind.name not in ("list", "map") and kind not in types.UNCHECKED:
            message = f"expression of type '{kind}' cannot be range of a comprehension (must be list, map, or dynamic)"
            compiler.fault(message, call.target.at)
        self.keyed = kind.name == "map"
        first, second = _bound_types(kind)
        kinds = (first, second) if names == 2 else (first if self.keyed else second,)
        self.item = kinds[-1]
        self.inner, self.slots = compiler.names(call.args[:names], kinds, scope)

    @property
    def count(self) -> int:
        return self.range.extent().most

    def start(self) -> Callable[[Frame], Iterable[Any]]:
        """Binds the variables of each item in turn, and yields the item (of a map: the key)."""
        run, slots = self.range.run, self.slots

        def one(frame: Frame) -> Iterator[Any]:
            held, place = _iterable(run(frame)), slots[0]
            for item in held:
                frame.slots[place] = item
                yield item

        def two(frame: Frame) -> Iterator[Any]:
            held = _iterable(run(frame))
            for key, item in held.items() if isinstance(held, dict) else enumerate(held):
                frame.slots[slots[0]], frame.slots[slots[1]] = key, item
                yield key

        return one if len(slots) == 1 else two

    def max_cost(self, step: int, before: int = 0) -> int:
        return min(UNBOUNDED, self.range.max_cost + before + self.count * step + 1)


def _bound_types(kind: Type) -> tuple[Type, Type]:
    if kind.name == "list":
        return INT, kind.params[0] if kind.params else DYN
    return (kind.params[0], kind.params[1]) if kind.name == "map" and kind.params else (DYN, DYN)


def _iterable(held: Any) -> Any:
    if isinstance(held, list | dict):
        return held
    raise EvaluationError(NO_OVERLOAD)


def _quantifier(names: int, ends: bool, step: int) -> Macro:
    """all (ends with false), exists (ends with true): errors count only when nothing decides."""

    def macro(compiler: Compiler, call: Call, scope: Scope) -> Code:
        loop = _Loop(compiler, call, scope, names)
        test = compiler.predicate(call.args[names], loop.inner, "_||_" if ends else "_&&_", call.at)
        holds, items = test.run, loop.start()
        price = test.cost + step

        def run(frame: Frame) -> bool:
            failed: EvaluationError | None = None
            left = iter(items(frame))
            for _ in left:
                frame.spend(price)
                try:
                    if (holds(frame) is True) is ends:
                        frame.spend(step - 1 if next(left, _END) is not _END else 0)
                        return ends
                except CostExceeded:
                    raise
                except EvaluationError as error:
                    failed = failed or error
            if failed is not None:
                raise failed
            return not ends

        return Code(types.BOOL, run, loop.range.cost + 1, loop.max_cost(test.max_cost + step))

    return macro


class _Form(NamedTuple):
    """A comprehension that gathers what it takes of its range."""

    gather: Callable[[Iterator[tuple[Any, Any]]], Any]
    """The result, of the items taken (of a map: their keys) with what was made of them."""
    kind: Callable[[Type, Type, Type], Type]
    """Its type, of those of the range, of its items and of what is made."""
    step: int
    """What it costs to take an item."""
    names: int = 1
    tested: bool = False
    """Only elements that satisfy the condition are taken."""
    makes: bool = True
    """The last argument makes something of each item."""


def _gathering(form: _Form) -> Macro:
    def macro(compiler: Compiler, call: Call, scope: Scope) -> Code:
        loop = _Loop(compiler, call, scope, form.names)
        test = compiler.predicate(call.args[form.names], loop.inner, "_?_:_", call.at) if form.tested else None
        made = compiler.code(call.args[-1], loop.inner) if form.makes else Code(loop.item, lambda frame: None)
        make, items, holds, price = made.run, loop.start(), entered(test) if test else None, made.cost + form.step

        def taken(frame: Frame) -> Iterator[tuple[Any, Any]]:
            for item in items(frame):
                if holds is None or holds(frame):
                    frame.spend(price)
                    yield item, make(frame)

        kind, gather = form.kind(loop.range.type, loop.item, made.type), form.gather
        max_cost = loop.max_cost(made.max_cost + form.step + (test.max_cost if test else 0), 1 if kind == types.BOOL else 10)
        return Code(kind, lambda frame: gather(taken(frame)), loop.range.cost + 1 + (kind == types.BOOL), max_cost, loop.count)

    return macro


def _merged(taken: Iterator[tuple[Any, Any]]) -> dict[Any, Any]:
    out: dict[Any, Any] = {}
    for _, entries in taken:
        for key, value in entries.items():
            if key in out:
                raise EvaluationError(f"insert failed: key {key} already exists")
            out[key] = value
    return out


def _sorted(taken: Iterator[tuple[Any, Any]]) -> list[Any]:
    items, keys = [], []
    for item, key in taken:
        items.append(item)
        keys.append(key)
    return extensions.ordered(items, keys)


_ONE = _Form(lambda taken: sum(1 for _ in taken) == 1, lambda over, item, made: types.BOOL, 2, tested=True, makes=False)
_MAP = _Form(lambda taken: [made for _, made in taken], lambda over, item, made: list_of(made), 12)
_FILTER = _Form(lambda taken: [item for item, _ in taken], lambda over, item, made: list_of(item), 13, tested=True, makes=False)
_KEYED = _Form(dict, lambda over, item, made: map_of(_bound_types(over)[0], made), 12, names=2)
_ENTRIES = _Form(_merged, lambda over, item, made: made, 12, names=2)


def _sort_by(compiler: Compiler, call: Call, scope: Scope) -> Code:
    code = _gathering(_Form(_sorted, lambda over, item, made: Type("sorted", (over, made)), 13))(compiler, call, scope)
    over, key = code.type.params
    if key.name not in extensions.SORTABLE and key not in types.UNCHECKED:
        compiler.unmatched("@sortByAssociatedKeys", [over, list_of(key)], True, call.at)
    return code._replace(type=over)


def _optional(flat: bool) -> Macro:
    """optMap, optFlatMap."""

    def macro(compiler: Compiler, call: Call, scope: Scope) -> Code:
        assert call.target is not None
        held = compiler.code(call.target, scope)
        inside = held.type.params[0] if held.type.name == "optional_type" and held.type.params else DYN
        inner, (slot,) = compiler.names(call.args[:1], (inside,), scope)
        body, run = compiler.code(call.args[1], inner), held.run
        act: Run = entered(body)

        def mapped(frame: Frame) -> Any:
            value = run(frame)
            if not isinstance(value, Optional):
                raise EvaluationError(NO_OVERLOAD)
            if not value.present:
                return values.NONE
            frame.slots[slot] = value.value
            return act(frame) if flat else Optional(True, act(frame))

        kind = body.type if flat else optional_of(body.type)
        return Code(kind, mapped, held.cost + 2, held.max_cost + body.max_cost + 4)

    return macro


_MACROS: dict[tuple[str, int], Macro] = {
    ("all", 2): _quantifier(1, False, 3),
    ("all", 3): _quantifier(2, False, 3),
    ("exists", 2): _quantifier(1, True, 4),
    ("exists", 3): _quantifier(2, True, 4),
    ("exists_one", 2): _gathering(_ONE),
    ("existsOne", 2): _gathering(_ONE),
    ("existsOne", 3): _gathering(_ONE._replace(names=2)),
    ("map", 2): _gathering(_MAP),
    ("map", 3): _gathering(_MAP._replace(tested=True)),
    ("filter", 2): _gathering(_FILTER),
    ("transformList", 3): _gathering(_MAP._replace(names=2)),
    ("transformList", 4): _gathering(_MAP._replace(names=2, tested=True)),
    ("transformMap", 3): _gathering(_KEYED),
    ("transformMap", 4): _gathering(_KEYED._replace(tested=True)),
    ("transformMapEntry", 3): _gathering(_ENTRIES),
    ("transformMapEntry", 4): _gathering(_ENTRIES._replace(tested=True)),
    ("sortBy", 2): _sort_by,
    ("optMap", 2): _optional(False),
    ("optFlatMap", 2): _optional(True),
}
