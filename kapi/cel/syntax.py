"""CEL text to a tree. Evaluating and checking trees is for others.

`parse("a.b + 1")` is Call("_+_", None, [Select(Ident("a"), "b"), Literal("1")]). A bad text raises SyntaxFault with the words of the parser
that stock uses (an ANTLR grammar). Source of the grammar: the CEL specification, "Syntax".
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

RESERVED = frozenset(("as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
                      "namespace", "return", "var", "void", "while"))  # fmt: skip
STARTERS = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
END = "<EOF>"

_QUOTED = r"'''(?:[^\\]|\\.)*?'''|\"\"\"(?:[^\\]|\\.)*?\"\"\"|'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\""
_RAW = r"'''.*?'''|\"\"\".*?\"\"\"|'[^'\n]*'|\"[^\"\n]*\""
_TOKEN = re.compile(
    r"(?P<space>\s+|//[^\n]*)"
    r"|(?P<string>(?:[rR][bB]?|[bB][rR])(?:" + _RAW + r")|[bB]?(?:" + _QUOTED + r"))"
    r"|(?P<number>\d+\.\d+(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|0[xX][0-9a-fA-F]+[uU]?|\d+[uU]?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*|`[^`\n]+`)"
    r"|(?P<mark>==|!=|<=|>=|&&|\|\||[-+*/%<>!?:.,()\[\]{}])",
    re.DOTALL,
)


class Token(NamedTuple):
    kind: str
    text: str
    at: int


class SyntaxFault(Exception):
    """What is wrong with a text, and where; `all`: this and what else was found, by place, in the compiler's words."""

    def __init__(self, message: str, at: int, words: str = "Syntax error: ") -> None:
        super().__init__(message)
        self.message, self.at = message, at
        self.all = [(f"{words}{message}", at)]


@dataclass(slots=True)
class Node:
    at: int


@dataclass(slots=True)
class Literal(Node):
    text: str = ""


@dataclass(slots=True)
class Ident(Node):
    name: str = ""


@dataclass(slots=True)
class Select(Node):
    """`operand.name`, or `operand.?name`; `at` is the place of the dot."""

    operand: Node
    name: str = ""
    optional: bool = False


@dataclass(slots=True)
class Call(Node):
    """A function, a method of `target`, or an operator by its name in the specification ("_+_", "_?_:_", "_[_]"); `at`: its '('."""

    name: str
    target: Node | None = None
    args: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Maybe(Node):
    """`?value`: an entry of a list, map or message that is there when the optional holds something."""

    value: Node


@dataclass(slots=True)
class ListOf(Node):
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class MapOf(Node):
    """Keys (perhaps Maybe) with their values."""

    entries: list[tuple[Node, Node]] = field(default_factory=list)


@dataclass(slots=True)
class Message(Node):
    """`Type.Name{field: value}`."""

    name: str = ""
    entries: list[tuple[str, Node]] = field(default_factory=list)


_STARTED = re.compile(r"[=&|].?|[rRbB]{0,2}(?:'''.*|\"\"\".*|'[^'\n]*\n?|\"[^\"\n]*\n?)|`[^`]*|.", re.DOTALL)
"""How far the reader goes in what turns out to be no token."""
_MOST_FAULTS = 30


def tokens(text: str, faults: list[SyntaxFault]) -> list[Token]:
    """All tokens and an end; invalid characters are reported to `faults` and skipped."""
    out: list[Token] = []
    place = 0
    while place < len(text) and len(faults) < _MOST_FAULTS:
        found = _TOKEN.match(text, place)
        if found is None:
            found = _STARTED.match(text, place)
            assert found is not None
            faults.append(SyntaxFault(f"token recognition error at: '{found[0]}'", place))
            place = found.end()
            continue
        if found.lastgroup != "space":
            out.append(Token(found.lastgroup or "", found.group(), place))
        place = found.end()
    out.append(Token("end", END, len(text)))
    return out


def parse(text: str) -> Node:
    """The tree of an expression. Raises SyntaxFault."""
    faults: list[SyntaxFault] = []
    parser = _Parser(tokens(text, faults), faults)
    tree: Node | None = None
    try:
        tree = parser.expression()
        parser.finish()
    except SyntaxFault as fault:
        faults.append(fault)
    if faults or tree is None:
        faults.sort(key=lambda fault: fault.at)
        faults[0].all = [message for fault in faults for message in fault.all]
        raise faults[0]
    return tree


_LEVELS = (("||",), ("&&",), ("<", "<=", ">=", ">", "==", "!=", "in"), ("+", "-"), ("*", "/", "%"))


_RESUMING = frozenset((*(mark for level in _LEVELS for mark in level), ".", "[", "]", ")", "}", "?", ":", ","))
"""What may follow a part of an expression."""


class _Parser:
    """Recursive descent, one method per level of the grammar."""

    def __init__(self, found: list[Token], faults: list[SyntaxFault]) -> None:
        self.found, self.faults = found, faults
        self.place = 0

    @property
    def next(self) -> Token:
        return self.found[self.place]

    def take(self) -> Token:
        token = self.next
        self.place += 1
        return token

    def accept(self, text: str) -> bool:
        if self.next.text == text and self.next.kind in ("mark", "name"):
            self.place += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise SyntaxFault(f"mismatched input '{self.next.text}' expecting '{text}'", self.next.at)

    def close(self, text: str) -> None:
        """The end of something in brackets. Where it is not, that is noted, and reading goes on where it makes sense again."""
        if self.accept(text):
            return
        token = self.next
        if token.kind == "end" or len(self.faults) >= _MOST_FAULTS:
            self.expect(text)
        after = self.found[self.place + 1]
        if after.text == text and after.kind == "mark":
            self.faults.append(SyntaxFault(f"extraneous input '{token.text}' expecting '{text}'", token.at))
            self.place += 2
            return
        self.faults.append(SyntaxFault(f"mismatched input '{token.text}' expecting '{text}'", token.at))
        while self.next.kind != "end" and not (self.next.text in _RESUMING and self.next.kind in ("mark", "name")):
            self.place += 1

    def finish(self) -> None:
        token = self.next
        if token.kind != "end":
            what = "extraneous" if self.found[self.place + 1].kind == "end" else "mismatched"
            raise SyntaxFault(f"{what} input '{token.text}' expecting {END}", token.at)

    def expression(self) -> Node:
        tree = self.binary(0)
        at = self.next.at
        if not self.accept("?"):
            return tree
        yes = self.binary(0)
        self.expect(":")
        return Call(at, "_?_:_", None, [tree, yes, self.expression()])

    def binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self.unary()
        tree = self.binary(level + 1)
        while self.next.text in _LEVELS[level] and self.next.kind in ("mark", "name"):
            token = self.take()
            tree = Call(token.at, f"_{token.text}_", None, [tree, self.binary(level + 1)])
        return tree

    def unary(self) -> Node:
        token = self.next
        if token.kind == "mark" and token.text in "!-":
            self.take()
            if token.text == "-" and self.next.kind == "number":
                self.found[self.place] = Token("number", "-" + self.next.text, token.at)
                return self.member()
            return Call(token.at, f"{token.text}_", None, [self.unary()])
        return self.member()

    def member(self) -> Node:
        tree = self.primary()
        while True:
            at = self.next.at
            if self.accept("."):
                optional = self.accept("?")
                name, opened = self.name(), self.next.at
                call = not optional and self.accept("(")
                tree = Call(opened, name, tree, self.arguments(")")) if call else Select(at, tree, name, optional)
            elif self.accept("["):
                operator = "_[?_]" if self.accept("?") else "_[_]"
                tree = Call(at, operator, None, [tree, self.expression()])
                self.close("]")
            elif self.next.text == "{" and (name := qualified(tree)):
                self.take()
                tree = Message(at, name, self.fields())
            else:
                return tree

    def name(self) -> str:
        token = self.next
        if token.kind != "name":
            raise SyntaxFault(f"no viable alternative at input '.{'' if token.kind == 'end' else token.text}'", token.at)
        self.take()
        return token.text.strip("`")

    def primary(self) -> Node:
        token = self.next
        if token.kind in ("string", "number") or token.text in ("true", "false", "null"):
            self.take()
            return Literal(token.at, token.text)
        if token.kind == "name" and token.text != "in":
            self.take()
            if token.text in RESERVED:
                self.faults.append(SyntaxFault(f"reserved identifier: {token.text}", token.at, ""))
            at = self.next.at
            return Call(at, token.text, None, self.arguments(")")) if self.accept("(") else Ident(token.at, token.text)
        if self.accept("."):
            return self.primary()
        if self.accept("("):
            tree = self.expression()
            self.close(")")
            return tree
        if self.accept("["):
            return ListOf(token.at, self.arguments("]"))
        if self.accept("{"):
            return MapOf(token.at, self.entries())
        raise self.unexpected(token)

    def unexpected(self, token: Token) -> SyntaxFault:
        after = self.found[self.place + 1] if token.kind != "end" else token
        starts = after.kind in ("string", "number", "name") or after.text in ("[", "{", "(", ".", "-", "!")
        return SyntaxFault(f"{'extraneous' if starts else 'mismatched'} input '{token.text}' expecting {STARTERS}", token.at)

    def arguments(self, close: str) -> list[Node]:
        out: list[Node] = []
        while not self.accept(close):
            out.append(self.maybe(self.expression))
            if not self.accept(","):
                self.close(close)
                break
        return out

    def maybe(self, read: Callable[[], Node]) -> Node:
        at = self.next.at
        return Maybe(at, read()) if self.accept("?") else read()

    def entries(self) -> list[tuple[Node, Node]]:
        out: list[tuple[Node, Node]] = []
        while not self.accept("}"):
            key = self.maybe(self.expression)
            self.expect(":")
            out.append((key, self.expression()))
            if not self.accept(","):
                self.close("}")
                break
        return out

    def fields(self) -> list[tuple[str, Node]]:
        out: list[tuple[str, Node]] = []
        while not self.accept("}"):
            at, optional, name = self.next.at, self.accept("?"), self.name()
            self.expect(":")
            value = self.expression()
            out.append((name, Maybe(at, value) if optional else value))
            if not self.accept(","):
                self.close("}")
                break
        return out


def qualified(tree: Node | None) -> str:
    """'a.b' for the name it may be, else ''."""
    if isinstance(tree, Ident):
        return tree.name
    if isinstance(tree, Select) and not tree.optional and (owner := qualified(tree.operand)):
        return f"{owner}.{tree.name}"
    return ""


_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_ESCAPED = re.compile(r"\\(?:[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.))", re.DOTALL)


def literal(text: str) -> bool | int | float | str | bytes | tuple[int] | None:
    """What a literal means; a uint is a tuple of one. Raises ValueError."""
    if text in ("true", "false", "null"):
        return {"true": True, "false": False}.get(text)
    if text[-1] in "'\"":
        return _quoted(text)
    if text[-1] in "uU":
        return (int(text[:-1], 0),)
    if "x" not in text and "X" not in text and re.search("[.eE]", text):
        return float(text)
    return int(text, 16 if "x" in text.lower() else 10)


def number_kind(text: str) -> str:
    """What a number is written as."""
    if text[-1] in "uU":
        return "uint"
    return "double" if "x" not in text.lower() and re.search("[.eE]", text) else "int"


def _quoted(text: str) -> str | bytes:
    start = min(place for place in map(text.find, "'\"") if place >= 0)
    marks = text[:start].lower()
    width = 3 if text[start : start + 3] in ("'''", '"""') and len(text) - start >= 6 else 1
    body = text[start + width : -width]
    if "b" not in marks:
        return body if "r" in marks else _ESCAPED.sub(lambda found: chr(_code(found)), body)
    if "r" in marks:
        return body.encode()
    out, place = b"", 0
    for found in _ESCAPED.finditer(body):
        code = _code(found)
        out += body[place : found.start()].encode() + (chr(code).encode() if found[2] or found[3] else bytes([code]))
        place = found.end()
    return out + body[place:].encode()


def _code(found: re.Match[str]) -> int:
    for group, base in ((1, 16), (2, 16), (3, 16), (4, 8)):
        if found[group]:
            return int(found[group], base)
    return _ESCAPES.get(found[5], ord(found[5]))
