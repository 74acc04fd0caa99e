"""CEL text to a tree. Evaluating and checking trees is for others.

`parse("a.b + 1")` is Call("_+_", None, [Select(Ident("a"), "b"), Literal()]). A bad text raises SyntaxFault with the words of the parser
that stock uses (an ANTLR grammar). Source of the grammar: the CEL specification, "Syntax".
"""

import re
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
    """What is wrong with a text, and where."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.message, self.at = message, at


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
    """`operand.name`; `at` is the place of the dot."""

    operand: Node
    name: str = ""


@dataclass(slots=True)
class Call(Node):
    """A function, a method of `target`, or an operator by its name in the specification ("_+_", "_?_:_", "_[_]")."""

    name: str
    target: Node | None = None
    args: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Group(Node):
    """A list, a map (keys and values in turn) or the fields of a message."""

    items: list[Node] = field(default_factory=list)


def tokens(text: str) -> list[Token]:
    """All tokens and an end. Raises SyntaxFault."""
    out: list[Token] = []
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise SyntaxFault(f"token recognition error at: '{text[place]}'", place)
        if found.lastgroup != "space":
            out.append(Token(found.lastgroup or "", found.group(), place))
        place = found.end()
    out.append(Token("end", END, len(text)))
    return out


def parse(text: str) -> Node:
    """The tree of an expression. Raises SyntaxFault."""
    parser = _Parser(tokens(text))
    tree = parser.expression()
    parser.finish()
    return tree


_LEVELS = (("||",), ("&&",), ("<", "<=", ">=", ">", "==", "!=", "in"), ("+", "-"), ("*", "/", "%"))


class _Parser:
    """Recursive descent, one method per level of the grammar."""

    def __init__(self, found: list[Token]) -> None:
        self.found = found
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
            return Call(token.at, f"{token.text}_", None, [self.unary()])
        return self.member()

    def member(self) -> Node:
        tree = self.primary()
        while True:
            at = self.next.at
            if self.accept("."):
                self.accept("?")
                name = self.name()
                tree = Call(at, name, tree, self.arguments(")")) if self.accept("(") else Select(at, tree, name)
            elif self.accept("["):
                self.accept("?")
                tree = Call(at, "_[_]", None, [tree, self.expression()])
                self.expect("]")
            elif self.next.text == "{" and _names_type(tree):
                self.take()
                tree = Group(at, self.entries("}", names=True))
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
                raise SyntaxFault(f"reserved identifier: {token.text}", token.at)
            return Call(token.at, token.text, None, self.arguments(")")) if self.accept("(") else Ident(token.at, token.text)
        if self.accept("."):
            return self.primary()
        if self.accept("("):
            tree = self.expression()
            self.expect(")")
            return tree
        if self.accept("["):
            return Group(token.at, self.arguments("]"))
        if self.accept("{"):
            return Group(token.at, self.entries("}"))
        raise self.unexpected(token)

    def unexpected(self, token: Token) -> SyntaxFault:
        after = self.found[self.place + 1] if token.kind != "end" else token
        starts = after.kind in ("string", "number", "name") or after.text in ("[", "{", "(", ".", "-", "!")
        return SyntaxFault(f"{'extraneous' if starts else 'mismatched'} input '{token.text}' expecting {STARTERS}", token.at)

    def arguments(self, close: str) -> list[Node]:
        out: list[Node] = []
        while not self.accept(close):
            self.accept("?")
            out.append(self.expression())
            if not self.accept(","):
                self.expect(close)
                break
        return out

    def entries(self, close: str, *, names: bool = False) -> list[Node]:
        out: list[Node] = []
        while not self.accept(close):
            self.accept("?")
            if names:
                self.name()
            else:
                out.append(self.expression())
            self.expect(":")
            out.append(self.expression())
            if not self.accept(","):
                self.expect(close)
                break
        return out


def _names_type(tree: Node) -> bool:
    """Whether what stands before '{' may be the name of a message."""
    return isinstance(tree, Ident) or (isinstance(tree, Select) and _names_type(tree.operand))
