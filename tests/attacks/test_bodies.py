"""Bodies of 3 MB in all their forms: nothing in them is read so slowly, or grows so large, that others notice."""

import gzip
from collections.abc import Callable, Iterable

import pytest

from tests.attacks.requests import DEFINITIONS, MAPS, PODS, PROTOBUF, YAML, config_map, create
from tests.attacks.victim import Victim

pytestmark = pytest.mark.slow
START = b'{"metadata":{"name":"body"},'


def listed(items: Iterable[bytes]) -> bytes:
    return START + b'"x":[' + b",".join(items) + b"]}"


JSON: dict[str, Callable[[], bytes]] = {
    "a million empty objects": lambda: listed([b"{}"] * 950_000),
    "a million empty lists": lambda: listed([b"[]"] * 950_000),
    "as many values as a body may have": lambda: listed([b'{"a":1}'] * 44_000),
    "700,000 finalizers": lambda: b'{"metadata":{"name":"body","finalizers":[' + b",".join([b'"a"'] * 700_000) + b"]}}",
    "as many bad finalizers as there may be": lambda: b'{"metadata":{"name":"body","finalizers":[' + b",".join([b'"-"'] * 89_000) + b"]}}",
    "88,000 unknown fields": lambda: START + b",".join(b'"u%d":1' % i for i in range(88_000)) + b"}",
    "88,000 times the same key": lambda: START + b'"data":{' + b",".join([b'"k":"v"'] * 88_000) + b"}}",
    "88,000 bad labels": lambda: b'{"metadata":{"name":"body","labels":{' + b",".join(b'"-k%d":"-"' % i for i in range(88_000)) + b"}}}",
    "88,000 labels": lambda: b'{"metadata":{"name":"body","labels":{' + b",".join(b'"k%d":"v"' % i for i in range(88_000)) + b"}}}",
    "a label of 2.9 MB": lambda: b'{"metadata":{"name":"body","labels":{"k":"' + b"v" * 2_900_000 + b'"}}}',
    "a name of 2.9 MB": lambda: b'{"metadata":{"name":"' + b"x/" * 1_450_000 + b'"}}',
    "a list without its end": lambda: listed([b"[]"] * 88_000)[:-2],
    "a text without its end": lambda: START + b'"x":"' + b"a" * 2_900_000,
    "a million levels": lambda: START + b'"x":' + b"[" * 1_400_000,
    "a number of 2.9 million digits": lambda: START + b'"x":' + b"9" * 2_900_000 + b"}",
    "690 numbers of 4,200 digits": lambda: listed([b"9" * 4200] * 690),
    "450,000 halves of surrogate pairs": lambda: START + b'"data":{"a":"' + b"\\ud800" * 450_000 + b'"}}',
    "10,000 owners that all control": lambda: (
        b'{"metadata":{"name":"body","ownerReferences":['
        + b",".join(b'{"apiVersion":"v1","kind":"Pod","name":"p%d","uid":"u%d","controller":true}' % (i, i) for i in range(10_000))
        + b"]}}"
    ),
}


@pytest.mark.parametrize("what", JSON)
def test_json(victim: Victim, what: str) -> None:
    with victim.watched(f"JSON: {what}") as cost:
        status, _ = victim.ask("POST", f"{MAPS}?fieldValidation=Strict", JSON[what]())
    assert status in (201, 400, 409, 413, 422)
    cost.check()


HEAD = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yaml}\n"
DOCUMENTS: dict[str, Callable[[], bytes]] = {
    "700,000 items": lambda: HEAD + b"x:\n" + b"- a\n" * 700_000,
    "a million items in one line": lambda: HEAD + b"x: [" + b"a," * 1_400_000 + b"]",
    "as many keys as there may be": lambda: HEAD + b"data:\n" + b"".join(b"  k%d: v\n" % i for i in range(44_000)),
    "a text of 320,000 lines": lambda: HEAD + b"data:\n  a: |\n" + b"    line\n" * 320_000,
    "900,000 aliases": lambda: HEAD + b"a: &a [x]\nb: [" + b"*a," * 900_000 + b"]",
    "40,000 anchors": lambda: HEAD + b"x: [" + b",".join(b"&a%d x" % i for i in range(40_000)) + b"]",
    "5,000 keys merged 5,000 times": lambda: (
        b"a: &a {" + b",".join(b"k%d: v" % i for i in range(5000)) + b"}\nb:\n" + b"- {<<: *a}\n" * 5000
    ),
    "a billion laughs": lambda: b"".join(
        b"l%d: &l%d [%s]\n" % (i, i, b",".join([b"*l%d" % (i - 1)] * 10 if i else [b"ha"])) for i in range(12)
    ),
    "3 million levels": lambda: b"[" * 2_900_000,
    "2,400 levels of lines": lambda: b"".join(b" " * i + b"a:\n" for i in range(2400)),
    "a number of 2.9 million digits": lambda: HEAD + b"x: " + b"9" * 2_900_000,
    "a hexadecimal number as long": lambda: HEAD + b"x: 0x" + b"f" * 2_900_000,
}


@pytest.mark.parametrize("what", DOCUMENTS)
def test_yaml(victim: Victim, what: str) -> None:
    with victim.watched(f"YAML: {what}") as cost:
        status, _ = victim.ask("POST", f"{MAPS}?dryRun=All", DOCUMENTS[what](), headers=YAML)
    assert status in (201, 400, 413, 422)
    cost.check()


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def envelope(message: bytes, kind: str = "ConfigMap", api_version: bytes = b"v1") -> bytes:
    return b"k8s\0" + field(1, field(1, api_version) + field(2, kind.encode())) + field(2, message)


def nested_schemas(levels: int) -> bytes:
    """A definition whose schema says `not` so many times around a long description."""
    schema = field(4, b"d" * 2_900_000)
    for _ in range(levels):
        schema = field(28, schema)
    version = field(1, b"v1") + field(4, field(1, schema))
    return envelope(field(1, NAME) + field(2, field(7, version)), "CustomResourceDefinition", b"apiextensions.k8s.io/v1")


NAME = field(1, b"pb")
MESSAGES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a million containers": (PODS, lambda: envelope(field(1, NAME) + field(2, field(2, b"") * 1_400_000), "Pod")),
    "a million unknown fields": (MAPS, lambda: envelope(field(1, NAME) + (varint(100 << 3) + b"\1") * 900_000)),
    "a million finalizers": (MAPS, lambda: envelope(field(1, NAME + field(14, b"a") * 900_000))),
    "120,000 bad finalizers": (MAPS, lambda: envelope(field(1, NAME + field(14, b"-") * 120_000))),
    "40,000 keys": (MAPS, lambda: envelope(field(1, NAME) + b"".join(field(2, field(1, b"k%d" % i)) for i in range(40_000)))),
    "a varint without an end": (MAPS, lambda: b"k8s\0" + b"\x80" * 2_900_000),
    "50 schemas in each other": (DEFINITIONS, lambda: nested_schemas(50)),
    "250 schemas in each other": (DEFINITIONS, lambda: nested_schemas(250)),
    "3,000 schemas in each other": (DEFINITIONS, lambda: nested_schemas(3000)),
}


@pytest.mark.parametrize("what", MESSAGES)
def test_protobuf(victim: Victim, what: str) -> None:
    path, body = MESSAGES[what]
    with victim.watched(f"protobuf: {what}") as cost:
        status, _ = victim.ask("POST", f"{path}?dryRun=All", body(), headers=PROTOBUF)
    assert status in (201, 400, 403, 413, 422)
    cost.check()


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (b"\x08\x05", "ObjectMeta"),
        (field(1, b"\x08\x05"), "Name"),
        (field(1, field(7, b"x")), "Generation"),
        (field(1, field(8, b"\x0a\0")), "Seconds"),
    ],
)
def test_wrong_wire_types(victim: Victim, message: bytes, name: str) -> None:
    status, answer = victim.ask("POST", MAPS, envelope(message), headers=PROTOBUF)
    assert status == 400
    assert answer["message"].startswith('ConfigMap in version "v1" cannot be handled as a ConfigMap: proto: wrong wireType = ')
    assert answer["message"].endswith(f" for field {name}")


def test_gzip_without_its_end(victim: Victim) -> None:
    packed = gzip.compress(b'{"metadata":{"name":"cut"}}')
    for missing in (1, 4, 8, 12):
        status, answer = victim.ask("POST", MAPS, packed[:-missing], headers={"Content-Encoding": "gzip"})
        assert (status, answer["message"]) == (400, "unable to read gzip body: unexpected EOF")
    assert victim.ask("POST", MAPS, packed, headers={"Content-Encoding": "gzip"})[0] == 201


def test_a_gzip_bomb(victim: Victim) -> None:
    bomb = gzip.compress(b" " * (600 << 20), 1)
    assert len(bomb) < 3 << 20
    with victim.watched("gzip: 600 MB of spaces in 2.6 MB") as cost:
        status, _ = victim.ask("POST", MAPS, bomb, headers={"Content-Encoding": "gzip"})
    assert status == 413
    cost.check()


@pytest.mark.parametrize(("what", "query", "headers"), [
    ("YAML", "", {"Accept": "application/yaml"}),
    ("indented", "?pretty=1", {}),
    ("packed", "", {"Accept-Encoding": "gzip"}),
    ("a Table", "", {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}),
])  # fmt: skip
def test_answers(victim: Victim, what: str, query: str, headers: dict[str, str]) -> None:
    create(victim, MAPS, {**config_map("large"), "data": {f"k{i}": "value" for i in range(40_000)}})
    with victim.watched(f"answer: 40,000 keys, {what}") as cost:
        assert victim.ask("GET", f"{MAPS}/large{query}", headers=headers)[0] == 200
    cost.check()
    with victim.watched(f"answer: a list with 40,000 keys, {what}") as cost:
        assert victim.ask("GET", f"{MAPS}{query}", headers=headers)[0] == 200
    cost.check()


def test_labels_are_not_kept(victim: Victim) -> None:
    """What was read of one request is not held for ever."""
    with victim.watched("40 labels of 2.5 MB, one after the other") as cost:
        for number in range(40):
            label = f"{number}" * 1_000_000
            assert victim.ask("POST", MAPS, config_map("kept", labels={"k": label}))[0] == 422
    cost.check()
