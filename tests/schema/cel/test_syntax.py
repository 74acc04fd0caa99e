"""CEL texts and the trees they make."""

import pytest

from kapi.schema.cel.syntax import Call, Group, Ident, Literal, Node, Select, SyntaxFault, parse


def shown(node: Node) -> str:
    """A tree as a Lisp would print it."""
    match node:
        case Literal():
            return node.text
        case Ident():
            return node.name
        case Select():
            return f"(. {shown(node.operand)} {node.name})"
        case Call():
            parts = [node.name, *([shown(node.target)] if node.target else []), *map(shown, node.args)]
            return f"({' '.join(parts)})"
        case Group():
            return f"[{' '.join(map(shown, node.items))}]"
    raise AssertionError(node)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("1 + 2 * 3", "(_+_ 1 (_*_ 2 3))"),
        ("a && b || !c", "(_||_ (_&&_ a b) (!_ c))"),
        ("a ? b : c ? d : e", "(_?_:_ a b (_?_:_ c d e))"),
        ("self.items.all(i, i.size() < 3)", "(all (. self items) i (_<_ (size i) 3))"),
        ("'x' in [\"a\", r'b\\']", "(_in_ 'x' [\"a\" r'b\\'])"),
        ("a[0].?b == -1.5e3", "(_==_ (. (_[_] a 0) b) (-_ 1.5e3))"),
        ("{'a': 1, ?'b': x}", "['a' 1 'b' x]"),
        ("a.b.C{d: 1}", "[1]"),
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
