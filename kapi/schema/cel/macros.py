"""Macros: has, comprehensions over lists and maps with one variable or two, bind, and those of optionals.

A macro takes the compiler, its call and the scope. Figures added to costs are those of the steps it stands for.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kapi.schema.cel import extensions, types, values
from kapi.schema.cel.costs import ENDLESS
from kapi.schema.cel.evaluating import Code, CostExceeded, Frame, Run, entered
from kapi.schema.cel.syntax import Call, Ident, Node, Select, qualified
from kapi.schema.cel.types import DYN, INT, Type, list_of, map_of, optional_of
from kapi.schema.cel.values import NO_OVERLOAD, EvaluationError, Optional

if TYPE_CHECKING:
    from kapi.schema.cel.compiling import Compiler, Scope

Macro = Callable[["Compiler", Call, "Scope"], Code]
Step = Callable[[Frame], Iterator[Any]]
NAMELESS = "argument must be a simple name"
_END = object()


def find(call: Call) -> Macro | None:
    """The macro a call is, if any."""
    if call.target is None:
        return _has if call.name == "has" and len(call.args) == 1 else None
    if qualified(call.target) == "cel" and call.name == "bind" and len(call.args) == 3:
        return _bind
    return _MACROS.get((call.name, len(call.args)))


def _has(compiler: "Compiler", call: Call, scope: "Scope") -> Code:
    field = call.args[0]
    if not isinstance(field, Select) or field.optional:
        return compiler.fault("invalid argument to has() macro", call.args[0].at)
    owner = compiler.code(field.operand, scope)
    compiler.field(owner.type, field.name, call.at)
    name, run = compiler.unescaped(owner.type, field.name), owner.run

    def has(frame: Frame) -> bool:
        held = run(frame)
        if isinstance(held, Optional):
            held = held.value
        return isinstance(held, dict) and name in held

    return Code(types.BOOL, has, owner.cost, owner.worst)


def _bind(compiler: "Compiler", call: Call, scope: "Scope") -> Code:
    value = compiler.code(call.args[1], scope)
    inner, (slot,) = compiler.names(call.args[:1], (value.type,), scope)
    body, run = compiler.code(call.args[2], inner), value.run

    def bound(frame: Frame) -> Any:
        frame.slots[slot] = run(frame)
        return body.run(frame)

    return Code(body.type, bound, value.cost + body.cost, value.worst + body.worst, body.size)


class _Loop:
    """The common part of comprehensions: the range, the names bound, the items."""

    def __init__(self, compiler: "Compiler", call: Call, scope: "Scope", names: int) -> None:
        assert call.target is not None
        self.range = compiler.code(call.target, scope)
        kind = self.range.type
        if kind.name not in ("list", "map") and kind not in types.LOOSE:
            told = f"expression of type '{kind}' cannot be range of a comprehension (must be list, map, or dynamic)"
            compiler.fault(told, call.target.at)
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

    def worst(self, step: int, before: int = 0) -> int:
        return min(ENDLESS, self.range.worst + before + self.count * step + 1)


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

    def macro(compiler: "Compiler", call: Call, scope: "Scope") -> Code:
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

        return Code(types.BOOL, run, loop.range.cost + 1, loop.worst(test.worst + step))

    return macro


def _exists_one(names: int) -> Macro:
    def macro(compiler: "Compiler", call: Call, scope: "Scope") -> Code:
        loop = _Loop(compiler, call, scope, names)
        test = compiler.predicate(call.args[names], loop.inner, "_?_:_", call.at)
        holds, items = entered(test), loop.start()

        def run(frame: Frame) -> bool:
            count = 0
            for _ in items(frame):
                if holds(frame):
                    frame.spend(2)
                    count += 1
            return count == 1

        return Code(types.BOOL, run, loop.range.cost + 2, loop.worst(test.worst + 2, 1))

    return macro


def _listing(names: int, filtered: bool) -> Macro:
    """map and transformList, with a condition or without."""

    def macro(compiler: "Compiler", call: Call, scope: "Scope") -> Code:
        loop = _Loop(compiler, call, scope, names)
        test = compiler.predicate(call.args[names], loop.inner, "_?_:_", call.at) if filtered else None
        made = compiler.code(call.args[-1], loop.inner)
        make, items, holds = made.run, loop.start(), entered(test) if test else None
        price = made.cost + 12

        def run(frame: Frame) -> list[Any]:
            out = []
            for _ in items(frame):
                if holds is None or holds(frame):
                    frame.spend(price)
                    out.append(make(frame))
            return out

        worst = loop.worst(made.worst + 12 + (test.worst if test else 0), 10)
        return Code(list_of(made.type), run, loop.range.cost + 1, worst, loop.count)

    return macro


def _filter(compiler: "Compiler", call: Call, scope: "Scope") -> Code:
    loop = _Loop(compiler, call, scope, 1)
    test = compiler.predicate(call.args[1], loop.inner, "_?_:_", call.at)
    holds, items = entered(test), loop.start()

    def run(frame: Frame) -> list[Any]:
        out = []
        for item in items(frame):
            if holds(frame):
                frame.spend(13)
                out.append(item)
        return out

    return Code(list_of(loop.item), run, loop.range.cost + 1, loop.worst(test.worst + 13, 10), loop.count)


def _transform_map(entries: bool, filtered: bool) -> Macro:
    """transformMap keeps the keys; transformMapEntry makes maps that are put together."""

    def macro(compiler: "Compiler", call: Call, scope: "Scope") -> Code:
        loop = _Loop(compiler, call, scope, 2)
        test = compiler.predicate(call.args[2], loop.inner, "_?_:_", call.at) if filtered else None
        made = compiler.code(call.args[-1], loop.inner)
        make, items, holds = entered(made), loop.start(), entered(test) if test else None

        def run(frame: Frame) -> dict[Any, Any]:
            out: dict[Any, Any] = {}
            for key in items(frame):
                if holds is not None and not holds(frame):
                    continue
                frame.spend(12)
                for name, value in make(frame).items() if entries else ((key, make(frame)),):
                    if name in out:
                        raise EvaluationError(f"insert failed: key {name} already exists")
                    out[name] = value
            return out

        kind = made.type if entries else map_of(_bound_types(loop.range.type)[0], made.type)
        return Code(kind, run, loop.range.cost + 1, loop.worst(made.worst + 12, 30), loop.count)

    return macro


def _sort_by(compiler: "Compiler", call: Call, scope: "Scope") -> Code:
    loop = _Loop(compiler, call, scope, 1)
    key = compiler.code(call.args[1], loop.inner)
    if key.type.name not in extensions.SORTABLE and key.type not in types.LOOSE:
        compiler.unmatched("@sortByAssociatedKeys", [loop.range.type, list_of(key.type)], True, call.at)
    keyed, items = entered(key), loop.start()

    def run(frame: Frame) -> list[Any]:
        listed, keys = [], []
        for item in items(frame):
            listed.append(item)
            keys.append(keyed(frame))
        return extensions.ordered(listed, keys)

    return Code(loop.range.type, run, loop.range.cost + 1, loop.worst(key.worst + 13, 10), loop.count)


def _optional(flat: bool) -> Macro:
    """optMap, optFlatMap."""

    def macro(compiler: "Compiler", call: Call, scope: "Scope") -> Code:
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
        return Code(kind, mapped, held.cost + 2, held.worst + body.worst + 4)

    return macro


_MACROS: dict[tuple[str, int], Macro] = {
    ("all", 2): _quantifier(1, False, 3),
    ("all", 3): _quantifier(2, False, 3),
    ("exists", 2): _quantifier(1, True, 4),
    ("exists", 3): _quantifier(2, True, 4),
    ("exists_one", 2): _exists_one(1),
    ("existsOne", 2): _exists_one(1),
    ("existsOne", 3): _exists_one(2),
    ("map", 2): _listing(1, False),
    ("map", 3): _listing(1, True),
    ("filter", 2): _filter,
    ("transformList", 3): _listing(2, False),
    ("transformList", 4): _listing(2, True),
    ("transformMap", 3): _transform_map(False, False),
    ("transformMap", 4): _transform_map(False, True),
    ("transformMapEntry", 3): _transform_map(True, False),
    ("transformMapEntry", 4): _transform_map(True, True),
    ("sortBy", 2): _sort_by,
    ("optMap", 2): _optional(False),
    ("optFlatMap", 2): _optional(True),
}


def simple_names(args: Sequence[Node]) -> list[str | None]:
    """The names arguments are, None where one is none."""
    return [arg.name if isinstance(arg, Ident) else None for arg in args]
