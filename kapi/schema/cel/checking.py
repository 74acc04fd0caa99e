"""What can be said of an expression without evaluating it: its syntax, and whether it speaks of known names.

Types of values are not checked. Texts are those of the compiler stock uses, place and all.
"""

from collections.abc import Collection, Iterator, Mapping

from kapi.schema.cel import syntax
from kapi.schema.cel.syntax import Call, Group, Ident, Node, Select

EVERYWHERE = frozenset((
    "bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type", "dyn", "timestamp", "duration", "google",
    "math", "strings", "sets", "lists", "cel", "optional", "optional_type", "base64", "kubernetes", "net", "resource", "url", "ip", "cidr",
    "format", "quantity", "semver", "regex", "json", "ext", "__result__",
))  # fmt: skip
"""Types and namespaces of functions."""
MACROS = frozenset(("all", "exists", "exists_one", "existsOne", "map", "filter", "optMap", "optFlatMap", "sortBy", "transformList",
                    "transformMap", "transformMapEntry"))  # fmt: skip
"""Methods whose first arguments are names they bind."""


def check(text: str, known: Collection[str], fields: Mapping[str, Collection[str]] | None = None) -> str:
    """'' for a good expression, else 'compilation failed: ERROR: …'. `fields` lists what the named objects have."""
    try:
        tree = syntax.parse(text)
    except syntax.SyntaxFault as fault:
        return "compilation failed: " + _shown(text, f"Syntax error: {fault.message}", fault.at)
    faults = [_shown(text, message, at) for message, at in _faults(tree, frozenset(known) | EVERYWHERE, fields or {})]
    return "compilation failed: " + "\n".join(faults) if faults else ""


def _shown(text: str, message: str, at: int) -> str:
    """The message with its place, the line and a caret under it."""
    if not text:
        return f"ERROR: <input>:1:0: {message}"
    line = text.count("\n", 0, at)
    start = text.rfind("\n", 0, at) + 1
    shown = text.split("\n")[line]
    return f"ERROR: <input>:{line + 1}:{at - start + 1}: {message}\n | {shown}\n | {'.' * (at - start)}^"


def _faults(node: Node, known: frozenset[str], fields: Mapping[str, Collection[str]]) -> Iterator[tuple[str, int]]:
    match node:
        case Ident():
            if node.name not in known:
                yield f"undeclared reference to '{node.name}' (in container '')", node.at
        case Select():
            owner = node.operand
            if isinstance(owner, Ident) and owner.name in known and owner.name in fields and node.name not in fields[owner.name]:
                yield f"undefined field '{node.name}'", node.at
            yield from _faults(owner, known, fields)
        case Call():
            if node.target is not None:
                yield from _faults(node.target, known, fields)
            args, inner = _bound(node, known)
            for arg in args:
                yield from _faults(arg, inner, fields)
        case Group():
            for item in node.items:
                yield from _faults(item, known, fields)


def _bound(call: Call, known: frozenset[str]) -> tuple[list[Node], frozenset[str]]:
    """The arguments that are expressions, and the names known in them."""
    binds = call.target is not None and (call.name in MACROS or (call.name == "bind" and isinstance(call.target, Ident)))
    if not binds:
        return call.args, known
    names = 2 if len(call.args) > 2 and call.name not in ("map", "bind", "sortBy") else 1
    bound = [arg.name for arg in call.args[:names] if isinstance(arg, Ident)]
    return call.args[len(bound) :], known | frozenset(bound)
