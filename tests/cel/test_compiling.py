"""What expressions are worth, what compilers and runtimes say of bad ones. A table of the kind the CEL conformance suite has."""

from typing import Any

import pytest

from kapi.cel import types, values
from kapi.cel.compiling import CompilationError, compiled
from kapi.cel.types import DYN, Environment, Type
from kapi.cel.values import NONE, Duration, EvaluationError, Optional, Timestamp, Uint, equal

X: dict[str, Any] = {
    "n": 1,
    "s": "text",
    "l": [1, 2, 3],
    "m": {"a": 1, "b": 2},
    "d": 1.5,
    "z": None,
    "o": [{"k": "a", "v": 1}, {"k": "b", "v": 2}],
}


def run(text: str, given: Any = None, kind: Type = DYN) -> Any:
    outcome = compiled(text, {"x": kind}).run({"x": X if given is None else given})
    if outcome.error is not None:
        raise outcome.error
    return outcome.value


VALUES: list[tuple[str, Any]] = [
    # numbers
    ("1 + 2 * 3 - 4 / 2 % 3", 5),
    ("-7 / 2", -3),
    ("-7 % 3", -1),
    ("7u - 2u", Uint(5)),
    ("1.0 / 0.0 > 1e300", True),
    ("0.1 + 0.2 == 0.3", False),
    ("1 < 1.5 && 2u > 1 && 1.0 <= 1u", True),
    ("dyn(1) == 1.0 && dyn(1u) == 1", True),
    ("dyn(1) == true", False),
    ("-9223372036854775808", -(2**63)),
    ("int(1.9) + int('7') + int(3u)", 11),
    ("uint(3) + uint('4')", Uint(7)),
    ("double('1.5') + double(2)", 3.5),
    ("string(1) + string(2u) + string(1.0) + string(true) + string(1e100) + string(0.00001)", "121true1e+1001e-05"),
    ("string(123456.0) + ' ' + string(1234567.0)", "123456 1.234567e+06"),
    ("bool('true') && !bool('f')", True),
    # text and bytes
    ("'a' + 'b' < 'b'", True),
    ("size('äöü') == 3 && size(b'äöü') == 6 && 'ä'.size() == 1", True),
    ("string(b'abc') + string(bytes('d'))", "abcd"),
    ("'hello'.startsWith('he') && 'hello'.endsWith('lo') && 'hello'.contains('ll')", True),
    ("'hello'.matches('^h.*o$') && !matches('hello', '^e')", True),
    ("'hello'.charAt(1) + 'hello'.charAt(5)", "e"),
    ("'hello'.indexOf('l') + 'hello'.lastIndexOf('l') + 'hello'.indexOf('l', 3) + 'hello'.lastIndexOf('l', 2) + 'a'.indexOf('z')", 9),
    ("['a', 'b'].join() + ['a', 'b'].join('-')", "aba-b"),
    ("'AbÄ'.lowerAscii() + 'aBä'.upperAscii() + '  x '.trim()", "abÄABäx"),
    ("'banana'.replace('a', 'o') + 'banana'.replace('a', 'o', 1)", "bononobonana"),
    ("'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c'] && 'ab'.split('') == ['a', 'b']", True),
    ("'hello'.substring(3) + 'hello'.substring(1, 3)", "loel"),
    ("strings.quote('a\"b')", '"a\\"b"'),
    ("'%s|%d|%.2f|%x|%X|%o|%b|%e|%%'.format(['a', 7, 1.5, 255, 255, 8, 5, 1234.5])", "a|7|1.50|ff|FF|10|101|1.234500\u202f×\u202f10⁰³|%"),
    ("'%s'.format([[dyn('a'), dyn(1), dyn(2.5), dyn(null)]])", '["a", 1, 2.500000, null]'),
    ("'%f %.1f %e %f'.format([1234567.5, -0.25, 0.00015, '-Infinity'])", "1,234,567.500000 -0.2 1.500000\u202f×\u202f10⁻⁰⁴ -∞"),
    ("'%s %s %x'.format([{true: b'x'}, [type(1)], 'Az'])", '{true:b"x"} [type(int)] 417a'),
    ("'abc123def456'.find('[0-9]+') + 'abc'.find('z')", "123"),
    ("'aaa'.findAll('aa') == ['aa'] && 'a-a'.findAll('a', 1) == ['a'] && 'a'.findAll('b') == []", True),
    ("'é1ü'.findAll('[0-9]*') == ['', '1', '', '']  && 'éé'.findAll('.') == ['é', 'é']", True),
    ("'a1b2c3'.findAll('[0-9]') == ['1', '2', '3'] && 'a1b2c3'.findAll('[0-9]', 2) == ['1', '2']", True),
    # lists and maps
    ("[1, 2] + [3] == [1, 2, 3] && 2 in [1, 2] && !(5 in [1])", True),
    ("x.l[0] + x['l'][2] + x.m['a']", 5),
    ("dyn([[1], [2]]) == [[1.0], [2.0]]", True),
    ("{'a': 1, 'b': 2} == {'b': 2, 'a': 1} && 'a' in {'a': 1}", True),
    ("{1: 'a'}[1] + {'k': 'v'}.k", "av"),
    ("[3, 1, 2].sort() == [1, 2, 3] && ['b', 'a'].isSorted() == false && [1, 1].isSorted()", True),
    ("[1, 2].sum() + [4, 9].max() + [4, 9].min() + [5, 6, 5].indexOf(5) + [5, 6, 5].lastIndexOf(5)", 18),
    ("[duration('1m'), duration('1s')].sum() == duration('61s')", True),
    ("[1, 2, 3, 4].slice(1, 3) == [2, 3] && [[1], [2, 3]].flatten() == [1, 2, 3] && [1, 2, 1].distinct() == [1, 2]", True),
    ("lists.range(3).reverse() == [2, 1, 0]", True),
    ("x.o.sortBy(e, -e.v).map(e, e.k) == ['b', 'a']", True),
    ("sets.contains([1, 2], [2]) && sets.intersects([1], [1, 2]) && sets.equivalent([1, 1, 2], [2, 1])", True),
    # comprehensions
    ("x.l.all(i, i > 0) && x.l.exists(i, i == 3) && x.l.exists_one(i, i == 2) && x.l.existsOne(i, i > 2)", True),
    ("x.l.map(i, i * 2).filter(i, i > 2) == [4, 6] && x.l.map(i, i > 1, i + 1) == [3, 4]", True),
    ("x.m.all(k, x.m[k] > 0) && x.m.all(k, v, v > 0)", True),
    ("x.m.exists(k, v, k == 'b' && v == 2) && x.l.existsOne(i, v, i == 1 && v == 2)", True),
    ("x.l.transformList(i, v, i * v) == [0, 2, 6] && x.l.transformList(i, v, i > 0, v) == [2, 3]", True),
    ("x.m.transformMap(k, v, v + 1) == {'a': 2, 'b': 3} && x.m.transformMap(k, v, v > 1, k) == {'b': 'b'}", True),
    ("x.l.transformMapEntry(i, v, {string(v): i}) == {'1': 0, '2': 1, '3': 2}", True),
    ("[1, 0, 2].exists(i, 2 / i == 1)", True),
    ("[1, 0].all(i, i > 5 && 1 / i > 0)", False),
    # logic
    ("true || 1 / 0 == 0", True),
    ("1 / 0 == 0 || true", True),
    ("false && 1 / 0 == 0", False),
    ("1 / 0 == 0 && false", False),
    ("x.n > 0 ? 'yes' : 'no'", "yes"),
    # fields, optionals
    ("has(x.n) && !has(x.none) && has(x.z) && !has(x.m.c)", True),
    ("x.z == null", True),
    ("x.?n.orValue(0) + x.?none.orValue(5) + x.l[?0].orValue(0) + x.l[?9].orValue(0)", 7),
    ("x.?m.?a.hasValue() && !x.?m.c.hasValue() && optional.none() == x.?none", True),
    ("x.?n.optMap(v, v + 1).value() + x.?m.optFlatMap(v, v.?b).value()", 4),
    ("optional.of(1).or(optional.of(2)).value() + optional.none().or(optional.of(2)).value()", 3),
    ("[3, 4].first().value() == 3 && [3, 4].last().value() == 4 && !['a'].filter(x, x == '').first().hasValue()", True),
    ("[optional.of(7), optional.none()].unwrapOpt() + optional.unwrap([optional.of(8)])", [7, 8]),
    ("optional.of(5).orValue(1 / 0) + optional.of(5).or(optional.of(1 / 0)).value()", 10),
    ("optional.ofNonZeroValue('').hasValue() || optional.ofNonZeroValue(1).hasValue()", True),
    ("[?x.?n, ?x.?none] == [1] && {?'a': x.?n, ?'b': x.?none} == {'a': 1}", True),
    # types
    ("type(1) == int && type('a') == string && type([1]) == list && type({}) == map && type(null) == null_type && type(int) == type", True),
    ("type(timestamp(0)) == google.protobuf.Timestamp && type(ip('::1')) == net.IP", True),
    # times
    ("timestamp('2023-05-28T00:00:00Z') - duration('1h') == timestamp('2023-05-27T23:00:00Z')", True),
    ("timestamp('2023-12-25T10:20:30.123Z').getFullYear() + timestamp('2023-12-25T10:20:30.123Z').getMilliseconds()", 2146),
    ("timestamp('2023-12-25T00:00:00Z').getMonth() + timestamp('2023-12-25T00:00:00Z').getDate()", 36),
    ("timestamp('2023-12-25T00:00:00Z').getHours('America/New_York') + timestamp('2023-12-25T00:00:00Z').getHours('+02:30')", 21),
    ("timestamp('2023-12-24T00:00:00Z').getDayOfWeek() + timestamp('2023-01-02T00:00:00Z').getDayOfYear()", 1),
    ("string(duration('1h30m')) + string(duration('-1.5s')) + string(timestamp(0))", "5400s-1.5s1970-01-01T00:00:00Z"),
    ("duration('90m').getHours() + duration('90m').getMinutes() + duration('1.5s').getMilliseconds()", 1591),
    ("timestamp('2023-01-01T00:00:00Z') - timestamp('2022-12-31T00:00:00Z') == duration('24h')", True),
    ("int(timestamp('1970-01-01T00:01:00Z'))", 60),
    # Kubernetes' own
    ("quantity('1.5Gi').isGreaterThan(quantity('1500M')) && quantity('100m').isLessThan(quantity('1'))", True),
    ("isQuantity('1Gi') && !isQuantity('1GG')", True),
    ("quantity('50k').compareTo(quantity('50000')) == 0 && sign(quantity('-1')) == -1 && !quantity('50m').isInteger()", True),
    ("quantity('50k').add(20).sub(quantity('10')).asInteger() == 50010 && quantity('50m').asApproximateFloat() == 0.05", True),
    ("quantity('1Ki') == quantity('1024')", True),
    ("semver('1.2.3').compareTo(semver('1.2.10')) == -1", True),
    ("semver('1.0.0-rc.1').isLessThan(semver('1.0.0')) && semver('1.2.3').minor() == 2", True),
    ("isSemver('1.2.3') && !isSemver('v1.0') && isSemver('v1.0', true) && semver('01.1', true).major() == 1", True),
    ("ip('192.168.0.1').family() + ip('2001:db8::1').family()", 10),
    ("isIP('::1') && !isIP('127.0.0.256')", True),
    ("ip.isCanonical('2001:db8::abcd') && !ip.isCanonical('2001:DB8::ABCD') && !isIP('01.2.3.4')", True),
    ("ip('127.0.0.1').isLoopback() && ip('0.0.0.0').isUnspecified()", True),
    ("ip('224.0.0.1').isLinkLocalMulticast() && ip('fe80::1').isLinkLocalUnicast()", True),
    ("ip('192.168.0.1').isGlobalUnicast() && !ip('255.255.255.255').isGlobalUnicast()", True),
    ("cidr('192.168.0.0/16').containsIP(ip('192.168.1.1')) && !cidr('192.168.0.0/24').containsIP('192.168.1.1')", True),
    ("cidr('192.168.0.0/16').containsCIDR('192.168.10.0/24') && !cidr('192.168.1.0/24').containsCIDR(cidr('192.168.0.0/16'))", True),
    ("string(cidr('10.1.2.3/8').masked()) + string(cidr('10.1.2.3/8').ip())", "10.0.0.0/810.1.2.3"),
    ("cidr('10.1.2.3/8').prefixLength()", 8),
    ("cidr('10.0.0.1/8') == cidr('10.0.0.1/8').masked()", False),
    ("url('https://user@example.com:80/a%20b?k=1&k=2').getHost() + url('https://example.com:80/').getPort()", "example.com:8080"),
    ("url('https://[::1]:80/a').getHostname() + url('/path').getEscapedPath() + url('http://a/?k=1').getQuery().k[0]", "::1/path1"),
    ("isURL('https://example.com') && !isURL('../relative') && url('https://a').getScheme() == 'https'", True),
    ("format.dns1123Label().validate('ok').hasValue()", False),
    ("format.named('uuid').value().validate('x').value()", ["does not match the UUID format"]),
    ("format.named('nothing').hasValue()", False),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), VALUES, ids=[text for text, _ in VALUES])
def test_value(text: str, value: Any) -> None:
    assert equal(run(text), value)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("1 / 0", "division by zero"),
        ("1 % 0", "modulus by zero"),
        ("9223372036854775807 + x.n", "integer overflow"),
        ("-(-9223372036854775807 - x.n)", "integer overflow"),
        ("1u - 2u", "unsigned integer overflow"),
        ("uint(-x.n)", "unsigned integer overflow"),
        ("int(1e30)", "integer overflow"),
        ("x.none", "no such key: none"),
        ("x.m['c']", "no such key: c"),
        ("{[1]: 2}", "unsupported key type: list"),
        ("[?dyn(1)]", "cannot initialize optional list element from non-optional value 1"),
        ("{?'a': dyn(1)}", "cannot initialize optional entry 'a' from non-optional value 1"),
        ("x.l[3]", "index out of bounds: 3"),
        ("x.l[-1]", "index out of bounds: -1"),
        ("x.s + x.n", "no such overload"),
        ("x.n.startsWith('a')", "no such overload: startsWith(int, string)"),
        ("x.n && true", "no such overload"),
        ("x.n.all(i, true)", "no such overload"),
        ("[].min()", "min called on empty list"),
        ("'abc'.substring(4)", "index out of range: 4"),
        ("'abc'.substring(2, 1)", "invalid substring range. start: 2, end: 1"),
        ("int('x')", "type conversion error from 'string' to 'int'"),
        ("uint('-1')", "type conversion error from 'string' to 'uint'"),
        ("int('9223372036854775808')", "type conversion error from 'string' to 'int'"),
        ("bool(x.s) || double(x.s) > 1.0", "type conversion error from 'string' to 'bool'"),
        ("timestamp(x.s) > timestamp(0)", "type conversion error from 'string' to 'google.protobuf.Timestamp'"),
        ("duration(x.s)", "type conversion error from 'string' to 'google.protobuf.Duration'"),
        ("'%d'.format([x.s])", "error during formatting: decimal clause can only be used on integers, was given string"),
        ("'%s'.format([[dyn(ip('::1'))]])", "error during formatting: no formatting function for net.IP"),
        ("url('::').getScheme()", 'URL parse error during conversion from string: parse "::": missing protocol scheme'),
        ("optional.none().value()", "optional.none() dereference"),
        ("'a'.matches(x.s + '[')", "error parsing regexp: missing closing ]: `[`"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "timestamp overflow"),
        ("quantity('1.5').asInteger()", "cannot convert value to integer"),
        ("ip('fe80::1%eth0')", 'IP address "fe80::1%eth0" with zone value is not allowed'),
        ("ip('::ffff:1.2.3.4')", 'IPv4-mapped IPv6 address "::ffff:1.2.3.4" is not allowed'),
        ("semver('three')", "No Major.Minor.Patch elements found"),
        ("[1, 2].slice(1, 5)", "cannot slice(1, 5), list is length 2"),
    ],
)
def test_error(text: str, error: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        run(text)
    assert str(caught.value) == error


POD = Type("Pod", fields={"name": types.STRING, "n": types.INT, "l": types.list_of(types.STRING), "__if__": types.INT})


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x.nam == 'a'", "1:2: undefined field 'nam'"),
        ("has(x.nam)", "1:4: undefined field 'nam'"),
        ("x.n + x.name", "1:5: found no matching overload for '_+_' applied to '(int, string)'"),
        ("x.name == 1", "1:8: found no matching overload for '_==_' applied to '(string, int)'"),
        ("x.n.size()", "1:9: found no matching overload for 'size' applied to 'int.()'"),
        ("x.n.b", "1:4: type 'int' does not support field selection"),
        ("x.n.all(i, true)", "1:2: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)"),
        ("x.l.all(i, i)", "1:8: found no matching overload for '_&&_' applied to '(bool, string)'"),
        ("x.l.all(i.b, true)", "1:10: argument must be a simple name"),
        ("x.l.exists(i, i > 1)", "1:17: found no matching overload for '_>_' applied to '(string, int)'"),
        ("foo(1)", "1:4: undeclared reference to 'foo' (in container '')"),
        ("x.name.foo()", "1:11: undeclared reference to 'foo' (in container '')"),
        ("y", "1:1: undeclared reference to 'y' (in container '')"),
        ("[1, 'a']", "1:5: expected type 'int' but found 'string'"),
        ("[?1]", "1:3: expected type 'optional_type(int)' but found 'int'"),
        ("{?'a': 'b'}", "1:8: expected type 'optional_type(string)' but found 'string'"),
        ("x.n ? 1 : 2", "1:5: found no matching overload for '_?_:_' applied to '(int, int, int)'"),
        ("has(x)", "1:5: invalid argument to has() macro"),
        ("'a'.matches('(')", "1:13: invalid matches argument"),
        ("duration('1y') > duration('1s')", "1:10: invalid duration argument"),
        ("x.l + [1]", "1:5: found no matching overload for '_+_' applied to '(list(string), list(int))'"),
        ("x == 1", "1:3: found no matching overload for '_==_' applied to '(Pod, int)'"),
        ("Pod{name: 'a'}", "1:4: undeclared reference to 'Pod' (in container '')"),
    ],
)
def test_fault(text: str, fault: str) -> None:
    with pytest.raises(CompilationError) as caught:
        compiled(text, {"x": POD})
    assert str(caught.value).partition("\n")[0] == f"ERROR: <input>:{fault}"


def test_all_faults_are_told_in_their_order() -> None:
    with pytest.raises(CompilationError) as caught:
        compiled("x.nam == 1 &&\nz > 1", {"x": POD})
    assert str(caught.value) == (
        "ERROR: <input>:1:2: undefined field 'nam'\n | x.nam == 1 &&\n | .^\n"
        "ERROR: <input>:2:1: undeclared reference to 'z' (in container '')\n | z > 1\n | ^"
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("x.l", "list(string)"),
        ("[]", "list(dyn)"),
        ("x.n > 1 ? [] : [1]", "list(int)"),
        ("x.n > 1 ? dyn(1) : 1", "dyn"),
        ("{'a': []}", "map(string, list(dyn))"),
        ("optional.none().orValue(1)", "int"),
        ("x.?name", "optional_type(string)"),
        ("x.l.map(i, size(i))", "list(int)"),
        ("dyn(1) + 1", "int"),
        ("dyn(x).l.map(i, i)", "list(dyn)"),
        ("null", "null"),
        ("type(1)", "type"),
    ],
)
def test_type(text: str, kind: str) -> None:
    assert str(compiled(text, {"x": POD}).code.type) == kind


def test_escaped_fields() -> None:
    assert run("x.__if__ + x.n", {"if": 1, "n": 2}, POD) == 3


def test_messages() -> None:
    made = Type("Object", fields={"spec": DYN, "n": types.INT})
    program = compiled("Object{spec: 'a', ?n: optional.none()}", Environment({}, {"Object": made}.get))
    assert program.run({}).value == {"spec": "a"}
    with pytest.raises(CompilationError, match="expected type of field 'n' is 'int' but provided type is 'string'"):
        compiled("Object{n: 'a'}", Environment({}, {"Object": made}.get))


def test_cost_is_counted_and_limited() -> None:
    program = compiled("x.l.all(i, x.l.all(j, i != j || i == j))", {"x": DYN})
    outcome = program.run({"x": {"l": list(range(30))}})
    assert outcome.value is True
    assert outcome.cost > 30 * 30
    assert str(program.run({"x": {"l": list(range(30))}}, 500).error) == "operation cancelled: actual cost limit exceeded"


def test_the_worst_cost_follows_the_sizes_of_types() -> None:
    def max_cost(most: int) -> int:
        return compiled("x.all(i, i != '')", {"x": types.list_of(types.STRING.hold(10)).hold(most)}).code.max_cost

    assert max_cost(10) < max_cost(1000) < max_cost(100_000)


def test_only_what_is_used_must_be_given() -> None:
    program = compiled("x + 1", {"x": types.INT, "y": types.INT})
    assert program.used == {"x"}
    assert program.run({"x": 1}).value == 2


def test_deep_expressions_are_refused() -> None:
    with pytest.raises(CompilationError, match="recursion limit"):
        compiled("(" * 5000 + "1" + ")" * 5000, {})


def test_values_compare() -> None:
    assert equal(Optional(True, 1), Optional(True, 1.0))
    assert not equal(NONE, Optional(True, None))
    assert str(Timestamp(1_500_000_000)) == "1970-01-01T00:00:01.5Z"
    assert values.plain({"a": [Uint(1), Duration(5)]}) == {"a": [1, "0.000000005s"]}
