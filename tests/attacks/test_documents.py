"""Documents about many definitions: OpenAPI in all forms and discovery, asked for many times at once."""

import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from kapi.objects.meta import Object
from tests.attacks.requests import DEFINITIONS, definition, properties
from tests.attacks.victim import Victim

pytestmark = pytest.mark.slow
PROTOBUF = {"Accept": "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"}
AGGREGATED = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
PACKED = {"Accept-Encoding": "gzip"}
GROUP = "/openapi/v3/apis/attack.example.com/v1"
ASKED: dict[str, tuple[str, dict[str, str]]] = {
    "OpenAPI 2": ("/openapi/v2", {}),
    "OpenAPI 2 in gzip": ("/openapi/v2", PACKED),
    "OpenAPI 2 in protobuf": ("/openapi/v2", PROTOBUF),
    "OpenAPI 3, the index": ("/openapi/v3", {}),
    "OpenAPI 3, the group": (GROUP, {}),
    "OpenAPI 3, the group in gzip": (GROUP, PACKED),
    "aggregated discovery": ("/apis", AGGREGATED),
    "discovery of the group": ("/apis/attack.example.com/v1", PACKED),
}


def field(number: int) -> Object:
    """A field as operators have them."""
    text = {"type": "string", "description": f"Field {number} of a realistic length, so that all of them make a realistic definition. " * 2}
    listed = {"type": "array", "x-kubernetes-list-type": "atomic", "items": text}
    return properties(name=text, listed=listed, count={"type": "integer", "format": "int32", "minimum": 0}, **{f"other{number}": text})


def schema(fields: int) -> Object:
    return properties(spec=properties(**{f"field{i}": field(i) for i in range(fields)}), status=properties(ready={"type": "boolean"}))


def define(victim: Victim, count: int, fields: int, prefix: str) -> None:
    """So many definitions, which are all served afterwards."""
    line = http.client.HTTPSConnection("127.0.0.1", victim.port, context=victim.tls(), timeout=60)
    headers = {"Authorization": f"Bearer {victim.token}", "Content-Type": "application/json"}
    for number in range(count):
        line.request("POST", DEFINITIONS, json.dumps(definition(f"{prefix}{number}", schema(fields))), headers)
        answer = line.getresponse()
        assert answer.status == 201, answer.read()
        answer.read()
    path = f"/apis/attack.example.com/v1/{prefix.lower()}{count - 1}s"
    for _ in range(600):
        line.request("GET", path, headers=headers)
        answer = line.getresponse()
        answer.read()
        if answer.status == 200:
            break
    else:
        raise AssertionError(f"{path} is not served")
    line.close()


def ask(victim: Victim, path: str, headers: dict[str, str]) -> int:
    """Bytes of an answer, read and thrown away: this side is not what is measured."""
    line = http.client.HTTPSConnection("127.0.0.1", victim.port, context=victim.tls(), timeout=120)
    line.request("GET", path, headers={"Authorization": f"Bearer {victim.token}"} | headers)
    answer = line.getresponse()
    assert answer.status == 200
    size = 0
    while piece := answer.read(1 << 20):
        size += len(piece)
    line.close()
    return size


@pytest.fixture(scope="module", autouse=True)
def defined(victim: Victim) -> None:
    with victim.watched("300 definitions of 16 KB", bystander=False) as cost:
        used = []
        for batch in range(6):  # the cheapest counts: others on the machine make all of them dearer
            before = victim.cpu()
            define(victim, 50, 20, f"Usual{batch}x")
            used.append((victim.cpu() - before) / 50)
        cost.note = f"{1e3 * min(used):.1f} to {1e3 * max(used):.1f} ms each"
    victim.defined = cost, min(used)  # type: ignore[attr-defined]
    define(victim, 200, 100, "Large")


def test_what_a_definition_costs(victim: Victim) -> None:
    cost, seconds = victim.defined  # type: ignore[attr-defined]
    assert cost.megabytes <= 300
    assert cost.held <= 50
    assert seconds <= 0.01


@pytest.mark.timeout(600)
@pytest.mark.parametrize("what", ASKED)
def test_a_document_asked_for_many_times_at_once(victim: Victim, what: str) -> None:
    path, headers = ASKED[what]
    with victim.watched(what) as cost, ThreadPoolExecutor(20) as pool:
        sizes = set(pool.map(lambda _: ask(victim, path, headers), range(20 if headers else 5)))
    cost.note = f"{sizes} bytes"
    assert len(sizes) == 1
    cost.check()


def test_twenty_readers_while_definitions_come(victim: Victim) -> None:
    with victim.watched("OpenAPI 2 while definitions come", bystander=True) as cost, ThreadPoolExecutor(20) as pool:
        asking: list[Any] = [pool.submit(ask, victim, "/openapi/v2", PACKED) for _ in range(20)]
        define(victim, 5, 50, "Late")
        assert all(one.result() for one in asking)
    cost.check()
