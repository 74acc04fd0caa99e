"""Random expressions on random values: an expression compiles or says why not, and its evaluation has a value or an error of CEL."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from kapi.cel.compiling import CompilationError, compiled
from kapi.cel.library import library
from kapi.cel.types import DYN
from kapi.cel.values import EvaluationError

NAMES = sorted({name for name, method in library().overloads if method and name.isidentifier()})
GLOBALS = sorted({name for name, method in library().overloads if not method and name.replace(".", "").isidentifier()})
OPERATORS = ("+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in")
MACROS = ("all", "exists", "exists_one", "map", "filter", "optMap", "optFlatMap", "transformList", "transformMap", "transformMapEntry")
LITERALS = (
    "0", "1", "-1", "9223372036854775807", "-9223372036854775808", "0u", "18446744073709551615u", "0.0", "-0.0", "1e308", "(1.0 / 0.0)",
    "(0.0 / 0.0)", "true", "false", "null", "''", "'a'", "'ä\\n'", "'\\U0001F600'", "r'\\d+('", "'(a*)*b'", "b''", "b'\\xff'", "[]", "{}",
    "[1, 'a', null]", "{'a': 1}", "{1: 2.5, true: null}", "duration('1h')", "duration('-2562047h')", "timestamp('2026-01-01T00:00:00Z')",
    "timestamp('9999-12-31T23:59:59Z')", "quantity('1Gi')", "quantity('1e100')", "ip('::1')", "cidr('10.0.0.0/8')", "url('https://a/b?c')",
    "semver('1.2.3')", "type(1)", "optional.none()", "optional.of(1)", "format.dns1123Label()", "'%d %s %x %.3e %b'", "'%'",
    "'10.0.0.0/33'", "'1.2'", "'2026-02-31T00:00:00Z'", "'UTC'", "'No/Where'", "x", "y", "x.a", "x[0]", "x.?a", "x[?'a']", "y.b.c",
)  # fmt: skip
"""Values that are small, large, or not quite right for somebody."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("a", "b", "c", "")), inner, max_size=3),
    max_leaves=8,
)


FORMS = (
    "({0}) {operator} ({1})", "!({0})", "-({0})", "({0}) ? ({1}) : ({2})", "({0}).{method}()", "({0}).{method}({1})",
    "({0}).{method}({1}, {2})", "{function}({0})", "{function}({0}, {1})", "({0}).{macro}(v, {1})", "({0}).{macro}(i, v, {1}, {2})",
    "cel.bind(v, {0}, {1})", "has(({0}).a)", "({0})[{1}]", "({0})[?{1}]", "({0}).?b", "[{0}, {1}]", "{{{0}: {1}}}", "[?{0}]",
    "{{?{0}: {1}}}",
)  # fmt: skip


@st.composite
def expressions(draw: DrawFn, depth: int = 3) -> str:
    """An expression of parts; those of any type (`dyn`) pass the checks of types, and meet the overloads as they run."""
    if not depth or draw(st.booleans()):
        text: str = draw(st.sampled_from((*LITERALS, "v", "i")))
    else:
        names = {"operator": OPERATORS, "method": NAMES, "function": GLOBALS, "macro": MACROS}
        parts = [draw(expressions(depth - 1)) for _ in range(3)]
        text = draw(st.sampled_from(FORMS)).format(*parts, **{name: draw(st.sampled_from(some)) for name, some in names.items()})
    return f"dyn({text})" if draw(st.booleans()) else text


TOKENS = st.lists(st.sampled_from((*LITERALS, *OPERATORS, *NAMES, *MACROS, *"()[]{}.,?:!-'\"\\ \n", "has(", ".?", "[?")), max_size=12)


def evaluated(text: str, x: Any, y: Any) -> None:
    try:
        program = compiled(text, {"x": DYN, "y": DYN})
    except CompilationError:
        return
    outcome = program.run({"x": x, "y": y})
    assert outcome.error is None or isinstance(outcome.error, EvaluationError)


@given(expressions(), JSON, JSON)
def test_a_random_expression(text: str, x: Any, y: Any) -> None:
    evaluated(text, x, y)


@given(TOKENS, JSON)
def test_random_tokens(parts: list[str], x: Any) -> None:
    evaluated("".join(parts), x, None)


@given(st.text(max_size=40))
def test_random_text(text: str) -> None:
    evaluated(text, 1, 2)
