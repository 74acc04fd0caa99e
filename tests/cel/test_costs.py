"""What expressions cost: the figures stock's own tests hold stable, before they run (worst) and while they do."""

from typing import Any

import pytest

from kapi.cel.compiling import compiled
from kapi.cel.declaring import adapter, declared
from kapi.objects.meta import Object

S: Object = {"type": "string"}
INT: Object = {"type": "integer"}
ANY: Object = {"x-kubernetes-int-or-string": True}
PAIR: Object = {"type": "object", "required": ["required"], "properties": {"required": S, "optional": S}}


def item(kind: str) -> Object:
    known = {"any": ANY, "pair": PAIR}
    return known.get(kind) or ({"type": "string", "format": kind} if kind.startswith("d") else {"type": kind})


def array(kind: str | Object, most: int | None = None) -> Object:
    inner = item(kind) if isinstance(kind, str) else kind
    return {"type": "array", "items": inner} | ({} if most is None else {"maxItems": most})


def mapping(kind: str, most: int | None = None) -> Object:
    return {"type": "object", "additionalProperties": item(kind)} | ({} if most is None else {"maxProperties": most})


def text(most: int | None = None, **more: Any) -> Object:
    return {**S, **more} | ({} if most is None else {"maxLength": most})


def fields(**properties: Object) -> Object:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("openapi", "rule", "worst"),
    [
        (array("number"), "self.all(x, true)", 4718591),
        (array("number", 10), "self.all(x, true)", 32),
        (array("string"), "self.all(x, true)", 3145727),
        (array("boolean"), "self.all(x, true)", 1887437),
        (array(array("number")), "self.all(x, true)", 3145727),
        (array("pair"), "self.all(x, true)", 555128),
        (array("any"), "self.all(x, true)", 4718591),
        (array("duration"), "self.all(x, true)", 2359295),
        (array("date"), "self.all(x, true)", 725936),
        (array("date-time"), "self.all(x, true)", 428963),
        (mapping("number"), "self.all(x, true)", 1348169),
        (mapping("string"), "self.all(x, true)", 1179647),
        (mapping("string", 3), "self.all(x, true)", 11),
        (mapping("pair"), "self.all(x, true)", 428963),
        (array("number", 10), "self.all(x, self.all(y, true))", 352),
        (array("number", 10), "self.all(x, self.all(y, self.all(z, true)))", 3552),
        (array("number"), "self.all(x, x == 0.0)", 6291454),
        (array(mapping("number"), 12), "self.all(x, x.y == 25.2)", 74),
        (array("number"), "self[1] == 0.0", 2),
        (array("string"), "self[1] == self[1]", 314577),
        (array("any"), "self[0] == 5", 3),
        (array("pair"), "self[0] == null", 2),
        (array("duration"), "self[0].getHours() == 2", 4),
        (mapping("number"), "self['x'] == 0.0", 2),
        (mapping("string"), "self.all(x, x.contains(self[x]))", 2752507),
        (text(), "self.contains('test')", 314574),
        (text(), "self.startsWith('test')", 2),
        (text(4), "size(self + 'hello') > size('hello')", 7),
        (text(), "self.matches('x')", 314574),
        (text(), "''.matches('(((((((((())))))))))[0-9]')", 7),
        (text(), "self.find('[0-9]+') == ''", 629147),
        (text(0), "self == 'x'", 1),
        (text(0, format="byte"), "self == b'x'", 1),
        (array(text(10), 10), "self.join(' ') == 'aa bb'", 43),
        (array(text(10), 10), "self.isSorted() == true", 52),
        (fields(a=text(4), b=text(2), c=text(4)), "self.a.replace(self.b, self.c) == 'does not matter'", 12),
        (fields(a=text(10), b=text(10)), "self.a.split(self.b) == []", 22),
    ],
)
def test_worst(openapi: Object, rule: str, worst: int) -> None:
    found = declared(openapi)
    assert found is not None
    assert compiled(rule, {"self": found.type}).code.max_cost == worst


KEYED = {**array({**fields(k=S, v=S, v2=S)}), "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
SCHEMA = fields(
    n=INT, s=S, d=text(format="duration"), l=array("integer"), long=array("integer"), any=ANY, map=mapping("integer"), keyed=KEYED,
    a=fields(b=INT),
)  # fmt: skip
VALUE = {
    "n": 5, "s": "Rook takes 👑", "d": "1h2m3s4ms", "l": [1, 2, 3], "long": [1, 1, 2, 2, 3, 3, 4, 5], "any": "25%", "map": {"b": 1, "d": 2},
    "keyed": [{"k": "a1", "v": "b1"}, {"k": "a2", "v": "b2"}, {"k": "a3", "v": "b3", "v2": "z"}], "a": {"b": 1},
}  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "cost"),
    [
        ("self.n == self.n", 5),
        ("type(self.n) == int", 4),
        ("self.n + 1 == 5 + 1", 5),
        ("self.s.startsWith('Rook')", 4),
        ("self.s.matches('^[^0-9]*$')", 8),
        ("size(self.s) == 12", 4),
        ("self.s.indexOf('o') == 1", 4),
        ("self.s.replace(' ', 'x') == 'Rookxtakesx👑'", 7),
        ("self.s.split(' ') == ['Rook', 'takes', '👑']", 6),
        ("self.s.substring(4, 10).trim() == 'takes'", 6),
        ("self.d == duration('1h2m') + duration('3s4ms')", 4),
        ("self.s in ['Rook takes 👑', 'x']", 2),
        ("1 in self.l", 5),
        ("self.l[0] in self.l", 8),
        ("self.l + [4, 5] == [1, 2, 3, 4, 5]", 4),
        ("has(self.a.b)", 2),
        ("'b' in self.map", 3),
        ("self.map.all(k, self.map[k] > 0)", 17),
        ("self.map.exists_one(k, self.map[k] == 2)", 14),
        ("size(self.map.filter(k, self.map[k] > 1)) == 1", 26),
        ("self.keyed.all(m, m.k.startsWith('a'))", 21),
        ("self.keyed.all(m, !has(m.v2) || m.v2 == 'z')", 21),
        ("self.keyed.exists(m, m.k.endsWith('1'))", 13),
        ("!self.keyed.exists(m, m.v == 'x')", 25),
        ("self.keyed.exists(m, has(m.v2) && m.v2 == 'z')", 21),
        ("self.keyed.map(m, m.v).exists(v, v == 'b1')", 55),
        ("self.keyed.map(m, has(m.v2) && m.v2 == 'z', m.v2).size() == 1", 25),
        ("!self.long.all(e, e < 2)", 21),
        ("self.long.exists(e, e > 2)", 36),
        ("size(self.long.filter(e, e % 2 == 0)) == 3", 68),
        ("self.long.map(e, e * 20).filter(e, e > 50).exists(e, e == 60)", 194),
        ("type(self.any) == int ? self.any == 1 : self.any == '25%'", 7),
        ("self.any == '25%' || self.any == 1", 3),
        ("url('https:://kubernetes.io/') != url('http://x.b')", 5),
        ("ip('2001:db8:3333:4444:5555:6666:7777:8888').family() == 6", 6),
        ("cidr('192.168.0.0/16').containsIP('192.168.0.1')", 5),
        ("cidr('192.168.0.0/16').containsCIDR('192.168.0.0/30')", 7),
    ],
)
def test_spent(rule: str, cost: int) -> None:
    found, act = declared(SCHEMA), adapter(SCHEMA)
    assert found is not None
    assert act is not None
    outcome = compiled(rule, {"self": found.type}).run({"self": act(VALUE)})
    assert (outcome.value, outcome.cost) == (True, cost)
