"""Faults of expressions about requests: where they are and what they say."""

import pytest

from kapi.cel import admission
from kapi.cel.checking import check
from kapi.cel.types import DYN, INT, Environment

FRAME = admission.frame(params=True, variables={"n": INT, "any": DYN})


@pytest.mark.parametrize(
    "text",
    [
        "object.a > 1 && oldObject == object",
        "object.items.all(i, i.name != '' && object.items.exists_one(j, j.name == i.name))",
        "request.userInfo.groups.exists(g, g == 'a') && request.operation in ['CREATE']",
        "namespaceObject.metadata.labels['a'] == params.data.b",
        "variables.n < 3 && variables.any.x",
        "authorizer.group('apps').resource('deployments').namespace('n').name('x').check('get').allowed()",
        "authorizer.path('/healthz').check('get').reason() == ''",
        "authorizer.requestResource.check('update').allowed()",
    ],
)
def test_good(text: str) -> None:
    assert check(text, FRAME, ("bool",))[0] == ""


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("object.a == other", "1:13: undeclared reference to 'other' (in container '')"),
        ("object.a.all(i, i > 1) && i > 2", "1:27: undeclared reference to 'i' (in container '')"),
        ("variables.m", "1:10: undefined field 'm'"),
        ("variables.n == 'a'", "1:13: found no matching overload for '_==_' applied to '(int, string)'"),
        ("request.user", "1:8: undefined field 'user'"),
        ("namespaceObject.spec.x", "1:21: undefined field 'x'"),
        ("a +", "1:4: Syntax error: mismatched input '<EOF>' expecting {"),
        ("", "1:0: Syntax error: mismatched input '<EOF>' expecting {"),
    ],
)
def test_bad(text: str, fault: str) -> None:
    assert check(text, FRAME)[0].startswith(f"compilation failed: ERROR: <input>:{fault}")


def test_the_place_is_shown() -> None:
    assert check("object.a\n  + )", FRAME)[0].endswith("\n |   + )\n | ....^")


@pytest.mark.parametrize(
    ("text", "returns", "fault"),
    [
        ("object.a", ("bool",), "must evaluate to bool but got dyn"),
        ("'a'", ("bool",), "must evaluate to bool but got string"),
        ("1", ("string", "null_type"), "must evaluate to one of [string null_type] but got int"),
        ("null", ("string", "null_type"), ""),
    ],
)
def test_what_an_expression_is_worth(text: str, returns: tuple[str, ...], fault: str) -> None:
    assert check(text, FRAME, returns)[0] == fault


def test_mutations() -> None:
    environment = Environment(FRAME, admission.messages)
    text = "Object{metadata: Object.metadata{labels: Object.metadata.labels{a: 'b'}}}"
    assert check(text, environment, ("Object",))[0] == ""
    text = "[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('b/c'), value: 1}]"
    assert check(text, environment, ("list(JSONPatch)",))[0] == ""
    assert "undefined field 'operation'" in check("[JSONPatch{operation: 'add'}]", environment)[0]
    assert "undeclared reference to 'Thing'" in check("Thing{a: 1}", environment)[0]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("'%q'.format([1]) == ''", "1:12: could not parse formatting clause: unrecognized formatting clause \"q\"\n"),
        ("'%d'.format(['x']) == ''", "1:14: error during formatting: decimal clause can only be used on integers, was given string\n"),
        ("'%s'.format([[1, ip('::1')]]) == ''",
         "1:20: error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, "
         "durations, and timestamps, was given net.IP\n"),
        ("'%s %s'.format([1]) == ''", "1:15: index 1 out of range\n"),
        ("'%s'.format([1, 2]) == ''", "1:12: too many arguments supplied to string.format (expected 1, got 2)\n"),
        ("'%'.format([1]) == ''", "1:11: unexpected end of string\n"),
        ("[1, dyn(2)] == [1, 2]", "1:8: expected type 'int' but found 'dyn'\n"),
        ("9223372036854775808 == nope", "1:1: invalid int literal\n"),
        ("1e999 > 0.0 || 99999999999999999999u == 1u", "1:16: invalid uint literal\n"),
        ("[1, 'a'] == nope", "1:13: undeclared reference to 'nope' (in container '')\n"),
        ("math.sign(1) == 1", "1:1: undeclared reference to 'math' (in container '')\n | math.sign(1) == 1\n | ^\n"
                              "ERROR: <input>:1:10: found no matching overload for 'sign' applied to '!error!.(int)'\n"),
        ("jsonpatch.escapeKey('a') == ''", "1:1: undeclared reference to 'jsonpatch' (in container '')\n"),
        ("'abc'.reverse() == 'cba'", "1:14: found no matching overload for 'reverse' applied to 'string.()'\n"),
        ("cel.bind(a, 1, a) == 1", "1:1: undeclared reference to 'cel' (in container '')\n"),
    ],
)  # fmt: skip
def test_steps_of_judging(text: str, fault: str) -> None:
    """What is read wrong is told before what is of the wrong type, and that before what is written out wrong."""
    assert check(text, {})[0].startswith(f"compilation failed: ERROR: <input>:{fault}")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("int('x') == 1", "type conversion error from 'string' to 'int'"),
        ("uint(-1) == 1u", "unsigned integer overflow"),
        ("'a'.find('(') == ''", "error parsing regexp: missing closing ): `(`"),
    ],
)
def test_constants_that_cannot_be(text: str, why: str) -> None:
    assert check(text, {})[0] == f"program instantiation failed: {why}"


def test_arguments_of_format_may_differ() -> None:
    assert check("'%s is %d'.format(['a', 1]) == ''", {})[0] == ""
