"""CEL texts and the trees they make."""

import pytest

from kapi.cel.syntax import Call, Ident, ListOf, Literal, MapOf, Maybe, Message, Node, Select, SyntaxFault, literal, parse


def shown(node: Node) -> str:
    """A tree as a Lisp would print it."""
    match node:
        case Literal():
            return node.text
        case Ident():
            return node.name
        case Select():
            return f"({'.?' if node.optional else '.'} {shown(node.operand)} {node.name})"
        case Call():
            parts = [node.name, *([shown(node.target)] if node.target else []), *map(shown, node.args)]
            return f"({' '.join(parts)})"
        case Maybe():
            return f"?{shown(node.value)}"
        case ListOf():
            return f"[{' '.join(map(shown, node.items))}]"
        case MapOf():
            return f"{{{' '.join(f'{shown(key)}: {shown(value)}' for key, value in node.entries)}}}"
        case Message():
            return f"{node.name}{{{' '.join(f'{key}: {shown(value)}' for key, value in node.entries)}}}"
    raise AssertionError(node)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("1 + 2 * 3", "(_+_ 1 (_*_ 2 3))"),
        ("a && b || !c", "(_||_ (_&&_ a b) (!_ c))"),
        ("a ? b : c ? d : e", "(_?_:_ a b (_?_:_ c d e))"),
        ("self.items.all(i, i.size() < 3)", "(all (. self items) i (_<_ (size i) 3))"),
        ("'x' in [\"a\", r'b\\']", "(_in_ 'x' [\"a\" r'b\\'])"),
        ("a[0].?b == -1.5e3", "(_==_ (.? (_[_] a 0) b) -1.5e3)"),
        ("{'a': 1, ?'b': x}", "{'a': 1 ?'b': x}"),
        ("a.b.C{d: 1, ?e: x}", "a.b.C{d: 1 e: ?x}"),
        ("[1, ?a[?0]]", "[1 ?(_[?_] a 0)]"),
        ("- 1 - -1", "(_-_ -1 -1)"),
        ("-a", "(-_ a)"),
        ("has(object.metadata) // why", "(has (. object metadata))"),
        ("'''two\nlines'''", "'''two\nlines'''"),
        ("0xFFu", "0xFFu"),
        ("(a)", "a"),
    ],
)
def test_tree(text: str, tree: str) -> None:
    assert shown(parse(text)) == tree


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("a b", 2, "extraneous input 'b' expecting <EOF>"),
        ("a b c", 2, "mismatched input 'b' expecting <EOF>"),
        ("f(1", 3, "mismatched input '<EOF>' expecting ')'"),
        ("a @ b", 2, "token recognition error at: '@'"),
        ("for", 0, "reserved identifier: for"),
        ("a ? b", 5, "mismatched input '<EOF>' expecting ':'"),
    ],
)
def test_fault(text: str, at: int, message: str) -> None:
    with pytest.raises(SyntaxFault) as caught:
        parse(text)
    assert (caught.value.at, caught.value.message) == (at, message)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("0x1f", 31),
        ("-7", -7),
        ("7u", (7,)),
        (".5e1", 5.0),
        (r"'a\n\x41\101\u00e9'", "a\nAA\u00e9"),
        (r"r'\d'", r"\d"),
        (r"b'\xff\u00e9'", b"\xff\xc3\xa9"),
        ('"""a"b"""', 'a"b'),
    ],
)
def test_literal(text: str, value: object) -> None:
    assert literal(text) == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = 1", [(2, "Syntax error: token recognition error at: '= '"), (4, "Syntax error: extraneous input '1' expecting <EOF>")]),
        ("f(a b + 1)", [(4, "Syntax error: mismatched input 'b' expecting ')'"),
                        (9, "Syntax error: extraneous input ')' expecting <EOF>")]),
        ("f(a b)", [(4, "Syntax error: extraneous input 'b' expecting ')'")]),
        ("if + while", [(0, "reserved identifier: if"), (5, "reserved identifier: while")]),
        ("a.if", []),
        ("'open", [(0, "Syntax error: token recognition error at: ''open'"),
                   (5, "Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', "
                       "NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}")]),
    ],
)  # fmt: skip
def test_all_faults(text: str, told: list[tuple[int, str]]) -> None:
    if told:
        with pytest.raises(SyntaxFault) as caught:
            parse(text)
        assert [(at, message) for message, at in caught.value.all] == told
    else:
        assert parse(text)


def test_faults_are_not_counted_for_ever() -> None:
    with pytest.raises(SyntaxFault) as caught:
        parse("@" * 10_000)
    assert len(caught.value.all) <= 31
