"""Text to a Program: reads, checks types and names, and makes the code, in one walk over the tree.

`compiled("self.a > 1", {"self": type})` raises CompilationError with the words of the compiler stock uses. What types and variables there
are is the caller's (an Environment); values are kapi.cel.values.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kapi import limits
from kapi.cel import escaping, formatting, macros, standard, syntax, types, values
from kapi.cel.compiler import PARSING, VALIDATING, Compiler, Scope
from kapi.cel.evaluating import Code, Frame, Program, chosen, decided, entered, truth
from kapi.cel.library import library
from kapi.cel.syntax import Call, Ident, ListOf, Literal, MapOf, Maybe, Message, Node, Select
from kapi.cel.types import BOOL, DYN, Environment, Type, assignable, list_of, map_of, optional_of
from kapi.cel.values import EvaluationError, Optional

_NAMES = {kind.name: kind for kind in values.KINDS.values()} | {"dyn": DYN}
_LITERAL_CHECKS: dict[str, Callable[[str], Any]] = {
    "matches": standard.pattern,
    "duration": values.parse_duration,
    "timestamp": values.parse_timestamp,
}


class CompilationError(Exception):
    """What is wrong with an expression, with places and carets."""


def compiled(text: str, environment: Environment | Mapping[str, Type]) -> Program:
    """The program of an expression. Raises CompilationError."""
    if len(text) > limits.EXPRESSION_LENGTH:
        why = f"expression code point size exceeds limit: size: {len(text)}, limit {limits.EXPRESSION_LENGTH}"
        raise CompilationError(f"ERROR: <input>:-1:0: {why}")
    env = environment if isinstance(environment, Environment) else Environment(environment)
    try:
        tree = syntax.parse(text)
    except syntax.SyntaxFault as fault:
        raise CompilationError("\n".join(shown(text, message, at) for message, at in fault.all)) from None
    except RecursionError:
        raise CompilationError(shown(text, "Syntax error: expression recursion limit exceeded: 250", 0)) from None
    compiler = Compiler(env, _NODES)
    code = compiler.code(tree, compiler.scope)
    if found := compiler.sorted_faults():
        raise CompilationError("\n".join(shown(text, message, at) for at, message in found))
    slots = {name: slot for name, (slot, _) in compiler.scope.items()}
    return Program(code, slots, compiler.depth, frozenset(compiler.used), compiler.broken)


def shown(text: str, message: str, at: int) -> str:
    """The message with its place, the line and a caret under it."""
    if not text:
        return f"ERROR: <input>:1:0: {message}"
    line = text.count("\n", 0, at)
    start = text.rfind("\n", 0, at) + 1
    return f"ERROR: <input>:{line + 1}:{at - start + 1}: {message}\n | {text.split(chr(10))[line]}\n | {'.' * (at - start)}^"


def _literal(compiler: Compiler, node: Literal, scope: Scope) -> Code:
    try:
        value: Any = syntax.literal(node.text)
        if isinstance(value, tuple):
            value = values.unsigned(value[0])
        elif type(value) is int:
            value = values.whole(value)
    except (ValueError, EvaluationError):
        return compiler.fault(f"invalid {syntax.number_kind(node.text)} literal", node.at, PARSING)
    kind = types.parse(values.STATIC.get(values.kind(value).name, values.kind(value).name))
    return Code(kind, lambda frame: value, size=len(value) if isinstance(value, str | bytes) else None, constant=True)


def _ident(compiler: Compiler, node: Ident, scope: Scope) -> Code:
    found = scope.get(node.name)
    if found is not None:
        return _variable(compiler, node.name, *found)
    if node.name in _NAMES:
        return _type(node.name)
    return compiler.fault(f"undeclared reference to '{node.name}' (in container '')", node.at)


def _variable(compiler: Compiler, name: str, slot: int, kind: Type) -> Code:
    compiler.used.add(name)
    return Code(kind, lambda frame: frame.slots[slot], 1, 1, attribute=True)


def _type(name: str) -> Code:
    kind = _NAMES[name]
    return Code(types.TYPE, lambda frame: kind, 0, 1)


def _select(compiler: Compiler, node: Select, scope: Scope) -> Code:
    whole = syntax.qualified(node)
    if whole in scope:
        return _variable(compiler, whole, *scope[whole])
    if whole in _NAMES and whole.partition(".")[0] not in scope:
        return _type(whole)
    owner = compiler.code(node.operand, scope)
    kind, run = compiler.field(owner.type, node.name, node.at), owner.run
    name = compiler.unescaped(owner.type, node.name)
    if node.optional or owner.type.name == "optional_type":
        wrapped = kind if owner.type.name == "optional_type" else optional_of(kind)
        return Code(wrapped, lambda frame: standard.look(run(frame), name), owner.cost + 1, owner.max_cost + 1)

    def select(frame: Frame) -> Any:
        held = run(frame)
        try:
            return held[name]
        except (KeyError, TypeError):
            if isinstance(held, Optional):
                return standard.look(held, name)
            raise EvaluationError(f"no such key: {name}") from None

    return Code(kind, select, owner.cost + 1, owner.max_cost + 1, attribute=owner.attribute)


def _call(compiler: Compiler, node: Call, scope: Scope) -> Code:
    special = _OPERATORS.get(node.name) if node.target is None else None
    if special is not None:
        return special(compiler, node, scope)
    macro = macros.find(node)
    if macro is not None:
        return macro(compiler, node, scope)
    args = [compiler.code(arg, scope) for arg in node.args]
    _check_literal(compiler, node)
    if node.target is None:
        return compiler.resolve(node.name, False, args, node.at)
    full = f"{syntax.qualified(node.target)}.{node.name}"
    if (full, False) in library().overloads and _allowed(compiler.env, full):
        return compiler.resolve(full, False, args, node.at)
    if node.name == "format":
        _check_format(compiler, node)
    return compiler.resolve(node.name, True, [compiler.code(node.target, scope), *args], node.at)


def _allowed(env: Environment, function: str) -> bool:
    """Functions of JSON patches are there where patches can be made."""
    return not function.startswith("jsonpatch.") or env.messages("JSONPatch") is not None


def _check_format(compiler: Compiler, node: Call) -> None:
    """A literal format string must match its literal arguments."""
    listed = node.args[0] if len(node.args) == 1 else None
    if not isinstance(node.target, Literal) or not isinstance(listed, ListOf) or any(isinstance(item, Maybe) for item in listed.items):
        return
    pattern = syntax.literal(node.target.text)
    compiler.mixed_literals.pop(id(listed), None)
    if isinstance(pattern, str):
        try:
            formatting.check(pattern, listed.items, lambda part: compiler.kinds[id(part)])
        except formatting.FormatFault as fault:
            compiler.fault(str(fault), node.at if fault.part is None else fault.part.at, VALIDATING)


def _check_literal(compiler: Compiler, node: Call) -> None:
    """Literal patterns, durations and timestamps must be valid."""
    check, last = _LITERAL_CHECKS.get(node.name), node.args[-1] if node.args else None
    if check is not None and isinstance(last, Literal) and isinstance(value := syntax.literal(last.text), str):
        try:
            check(value)
        except EvaluationError:
            compiler.fault(f"invalid {node.name} argument", last.at, VALIDATING)


def _logic(compiler: Compiler, node: Call, scope: Scope) -> Code:
    left, right = (compiler.code(arg, scope) for arg in node.args)
    if not (assignable(BOOL, left.type) and assignable(BOOL, right.type)):
        return compiler.unmatched(node.name, [left.type, right.type], False, node.at)
    run = decided(node.name == "_||_", truth(left._replace(cost=0)), truth(right))
    return Code(BOOL, run, left.cost, left.max_cost + right.max_cost)


def _conditional(compiler: Compiler, node: Call, scope: Scope) -> Code:
    condition, yes, no = (compiler.code(arg, scope) for arg in node.args)
    if not assignable(BOOL, condition.type) or not (assignable(yes.type, no.type) or assignable(no.type, yes.type)):
        return compiler.unmatched(node.name, [condition.type, yes.type, no.type], False, node.at)
    run = chosen(truth(condition._replace(cost=0)), entered(yes.looked_up), entered(no.looked_up))
    size = max(yes.extent().most, no.extent().most)
    return Code(types.join((yes.type, no.type)), run, condition.cost, condition.max_cost + max(yes.max_cost, no.max_cost), size)


def _list(compiler: Compiler, node: ListOf, scope: Scope) -> Code:
    items = [item.value if isinstance(item, Maybe) else item for item in node.items]
    parts = [(isinstance(item, Maybe), compiler.code(value, scope)) for item, value in zip(node.items, items, strict=True)]
    kinds = [_inside(compiler, code.type, items[i].at) if maybe else code.type for i, (maybe, code) in enumerate(parts)]
    _check_element_types(compiler, kinds, node.items, node)
    constant = all(code.constant and not maybe for maybe, code in parts)
    runs = [(maybe, code.run) for maybe, code in parts]
    plain = [run for _, run in runs]

    def simple(frame: Frame) -> list[Any]:
        return [run(frame) for run in plain]

    def careful(frame: Frame) -> list[Any]:
        made = [(maybe, _optional(run(frame), "list element") if maybe else run(frame)) for maybe, run in runs]
        return [value.value if maybe else value for maybe, value in made if not maybe or value.present]

    make = careful if any(maybe for maybe, _ in parts) else simple
    cost, max_cost = sum(code.cost for _, code in parts), sum(code.max_cost for _, code in parts)
    held = types.join(kinds).hold(None)
    return Code(list_of(held), make, 0 if constant else cost + 10, max_cost + 10, len(parts), constant)


def _inside(compiler: Compiler, kind: Type, at: int) -> Type:
    """The type of an optional element; one that cannot be optional is a fault."""
    if kind.name != "optional_type" and kind.name not in [loose.name for loose in types.UNCHECKED]:
        compiler.fault(f"expected type '{optional_of(kind)}' but found '{kind}'", at)
        return kind
    return kind.params[0] if kind.name == "optional_type" and kind.params else DYN


def _optional(value: Any, what: str) -> Optional:
    if not isinstance(value, Optional):
        raise EvaluationError(f"cannot initialize optional {what} from non-optional value {value}")
    return value


def _check_element_types(compiler: Compiler, kinds: Sequence[Type], nodes: Sequence[Node], whole: Node) -> None:
    """Elements of a literal must be of one type."""
    for kind, node in zip(kinds, nodes, strict=True):
        if not types.same(kinds[0], kind):
            compiler.mixed_literals.setdefault(id(whole), (node.at, f"expected type '{kinds[0]}' but found '{kind}'"))


def _map(compiler: Compiler, node: MapOf, scope: Scope) -> Code:
    parts = []
    for key, value in node.entries:
        maybe = isinstance(key, Maybe)
        parts.append((maybe, compiler.code(key.value if isinstance(key, Maybe) else key, scope), compiler.code(value, scope)))
    at = [value.at for _, value in node.entries]
    kinds = [_inside(compiler, value.type, at[i]) if maybe else value.type for i, (maybe, _, value) in enumerate(parts)]
    _check_element_types(compiler, [key.type for _, key, _ in parts], [key for key, _ in node.entries], node)
    _check_element_types(compiler, kinds, [value for _, value in node.entries], node)
    runs = [(maybe, key.run, value.run) for maybe, key, value in parts]
    kind = map_of(types.join(key.type for _, key, _ in parts), types.join(kinds))
    constant = all(key.constant and value.constant and not maybe for maybe, key, value in parts)
    cost = 0 if constant else sum(key.cost + value.cost for _, key, value in parts) + 30
    max_cost = sum(key.max_cost + value.max_cost for _, key, value in parts) + 30
    return Code(kind, _entries(runs), cost, max_cost, len(parts), constant)


def _entries(runs: Sequence[tuple[bool, Any, Any]]) -> Callable[[Frame], dict[Any, Any]]:
    def make(frame: Frame) -> dict[Any, Any]:
        out = {}
        for maybe, key, value in runs:
            name, held = _key(key(frame)), value(frame)
            if not maybe:
                out[name] = held
            elif (found := _optional(held, f"entry '{name}'")).present:
                out[name] = found.value
        return out

    return make


def _key(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:
        raise EvaluationError(f"unsupported key type: {values.kind(value).name}") from None
    return value


def _message(compiler: Compiler, node: Message, scope: Scope) -> Code:
    kind = compiler.env.messages(node.name)
    if kind is None or kind.fields is None:
        return compiler.fault(f"undeclared reference to '{node.name}' (in container '')", node.at)
    runs, cost, max_cost = [], 40, 40
    for name, value in node.entries:
        maybe = isinstance(value, Maybe)
        code = compiler.code(value.value if isinstance(value, Maybe) else value, scope)
        given = _inside(compiler, code.type, value.value.at) if isinstance(value, Maybe) else code.type
        wanted = compiler.field(kind, name, value.at)
        if not assignable(wanted, given):
            compiler.fault(f"expected type of field '{name}' is '{wanted}' but provided type is '{given}'", value.at)
        real = escaping.unescape(name)
        runs.append((maybe, lambda frame, real=real: real, code.run))
        cost, max_cost = cost + code.cost, max_cost + code.max_cost
    return Code(kind, _entries(runs), cost, max_cost)


_NODES: dict[type[Node], Callable[[Compiler, Any, Scope], Code]] = {
    **{Literal: _literal, Ident: _ident, Select: _select, Call: _call},
    **{ListOf: _list, MapOf: _map, Message: _message},
}
_OPERATORS: dict[str, Callable[[Compiler, Call, Scope], Code]] = {"_&&_": _logic, "_||_": _logic, "_?_:_": _conditional}
