"""Extension API servers that attack the server in front of them: by its checks, by the documents it fetches, by what it passes on."""

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kapi import limits
from tests.attacks import peers
from tests.attacks.identities import identity
from tests.attacks.victim import Victim

pytestmark = pytest.mark.slow
APIS = "/apis/apiregistration.k8s.io/v1/apiservices"
GROUP = "bad.example.com"
API = f"/apis/{GROUP}/v1"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
AGGREGATED = OK.replace(b"json", b"json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
LARGE = limits.AGGREGATED_OPENAPI_BYTES
Answers = dict[str, peers.Say]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return peers.authority(tmp_path_factory.mktemp("peer"), "bad.default.svc")[0]


class Bad(peers.Peer):
    """A peer that says something else for each path, and counts what it is asked."""

    def __init__(self, answers: Answers, tls: ssl.SSLContext) -> None:
        self.answers, self.asked = answers, list[str]()
        super().__init__(peers.silent, "127.0.0.1", tls)

    def heard(self, head: bytes, line: socket.socket) -> None:
        words = head.split(b" ")
        if len(words) < 2:
            return  # it was left before it had asked
        path = words[1].partition(b"?")[0].decode()
        self.asked.append(path)
        say = next((say for prefix, say in self.answers.items() if path.startswith(prefix)), whole(b"{}"))
        say(line)


def whole(body: bytes, head: bytes = OK) -> peers.Say:
    return peers.saying(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)


@contextmanager
def registered(victim: Victim, tls: ssl.SSLContext, answers: Answers) -> Iterator[Bad]:
    """A bad server behind an APIService. What it does not answer otherwise is `{}`."""
    bad = Bad(answers, tls)
    meta = {"name": "bad", "namespace": "default"}
    service = {"metadata": meta, "spec": {"type": "ExternalName", "externalName": "localhost"}}
    spec = {"group": GROUP, "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 1, "insecureSkipTLSVerify": True}
    obj = {"metadata": {"name": f"v1.{GROUP}"}, "spec": {**spec, "service": {**meta, "port": bad.port}}}
    assert victim.ask("POST", "/api/v1/namespaces/default/services", service)[0] == 201
    assert victim.ask("POST", APIS, obj)[0] == 201
    try:
        yield bad
    finally:
        victim.ask("DELETE", f"{APIS}/v1.{GROUP}")
        victim.ask("DELETE", "/api/v1/namespaces/default/services/bad")
        bad.close()


def until(what: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What it returns once that is something."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)
    return found


def condition(victim: Victim) -> Any:
    return ((victim.ask("GET", f"{APIS}/v1.{GROUP}")[1].get("status") or {}).get("conditions") or [{}])[0]


def freshness(victim: Victim) -> str:
    _, found = victim.ask("GET", "/apis", headers={"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"})
    return str(next(g["versions"][0]["freshness"] for g in found["items"] if g["metadata"]["name"] == GROUP))


ENDLESS = {
    "header lines": peers.saying(OK, again=b"X-Y: " + b"z" * 1000 + b"\r\n", times=300_000),
    "one header": peers.saying(OK, b"X: ", again=peers.MEGABYTE, times=300),
    "1xx answers": peers.saying(again=b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 1000, times=10_000),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_checks_of_heads_without_end(victim: Victim, tls: ssl.SSLContext, what: str) -> None:
    with victim.watched(f"APIService: endless {what}") as cost, registered(victim, tls, {"/": ENDLESS[what]}) as bad:
        found = until(lambda: condition(victim).get("reason") and condition(victim))
        assert found["reason"] == "FailedDiscoveryCheck"
        assert "aborted" in found["message"] or "malformed HTTP response" in found["message"]
        until(lambda: len(bad.asked) > 2)
    cost.check()
    assert cost.megabytes <= 24


DOCUMENTS: dict[str, tuple[str, peers.Say]] = {
    "discovery without end": ("/apis", peers.saying(AGGREGATED, b"\r\n", again=b" " * (1 << 20), times=300)),
    "discovery of many values": ("/apis", whole(b'{"items":[' + b"{}," * 330_000 + b"{}]}", AGGREGATED)),
    "discovery nested": ("/apis", whole(b'{"items":' + b"[" * 500_000 + b"]" * 500_000 + b"}", AGGREGATED)),
    "discovery of a wrong shape": ("/apis", whole(b'{"items":[{"versions":[{"resources":[{"verbs":7}]}]}]}', AGGREGATED)),
    "junk": ("/apis", whole(b"x" * 100_000, AGGREGATED)),
}


@pytest.mark.parametrize("what", DOCUMENTS)
def test_bad_discovery(victim: Victim, tls: ssl.SSLContext, what: str) -> None:
    path, say = DOCUMENTS[what]
    answers = {f"{API}": whole(b"{}"), "/openapi": whole(b"{}"), path: say}
    with victim.watched(f"APIService: {what}") as cost, registered(victim, tls, answers) as bad:
        until(lambda: condition(victim).get("reason") == "Passed")
        until(lambda: bad.asked.count("/apis") > 1)
        assert freshness(victim) == "Stale"
    cost.check()


def deep(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def spec2(item: bytes, definitions: bytes = b"{}") -> bytes:
    return b'{"swagger":"2.0","paths":{"%s/x":%s},"definitions":%s}' % (API.encode(), item, definitions)


FISH = b",".join(b'"d%d":{"type":"object","properties":{"a":{"$ref":"#/definitions/d%d"}}}' % (i, i + 1) for i in range(12_000))
SPECS = {
    "without end": peers.saying(OK, b"\r\n", again=b" " * (1 << 20), times=300),
    "100 MB": peers.saying(OK + b"Content-Length: %d\r\n\r\n" % (100 << 20), again=b" " * (1 << 20), times=100),
    "in chunks without end": peers.saying(CHUNKED, again=b"100000\r\n" + b" " * (1 << 20) + b"\r\n", times=200),
    "as large as may be": whole(spec2(b'{"get":{"description":"' + b"x" * (LARGE - 200) + b'"}}')),
    "of many values": whole(spec2(b'{"get":{"x-a":[' + b"{}," * (LARGE // 3 - 100) + b"{}]}}")),
    "of values in a text": whole(spec2(b'{"get":{"description":"' + b"," * 80_000 + b'","x-a":[' + b"1," * 5000 + b"1]}}")),
    "nested": whole(spec2(deep(900))),
    "of a wrong shape": whole(spec2(b'{"get":{"parameters":[7],"responses":{"200":{"schema":[]}}}}')),
    "of 12,000 types": whole(spec2(b'{"get":{"responses":{"200":{"schema":{"$ref":"#/definitions/d0"}}}}}', b"{" + FISH + b"}")),
}
SHARED = b",".join([b'{"$ref":"#/parameters/p"}'] * 40_000)
SPECS["of one parameter 40,000 times"] = whole(
    b'{"swagger":"2.0","paths":{"%s/x":{"get":{"parameters":[%s]}}},"parameters":{"p":{"description":"%s"}}}'
    % (API.encode(), SHARED, b"x" * 1_000_000)
)
KEPT = {"as large as may be", "of values in a text", "of 12,000 types"}


@pytest.mark.parametrize("what", SPECS)
def test_bad_openapi(victim: Victim, tls: ssl.SSLContext, what: str) -> None:
    answers = {"/openapi/v2": SPECS[what]}
    with victim.watched(f"APIService: OpenAPI {what}") as cost, registered(victim, tls, answers) as bad:
        until(lambda: "/openapi/v2" in bad.asked)
        until(lambda: freshness(victim) == "Current")
        if what in KEPT:
            until(lambda: f"{API}/x" in paths(victim))
        there = paths(victim)
        assert "/api/v1/namespaces" in there
        assert (f"{API}/x" in there) is (what in KEPT)
    cost.check()


def paths(victim: Victim) -> list[str]:
    """What the OpenAPI document tells of."""
    code, document = victim.ask("GET", "/openapi/v2", headers={"Accept": "application/json"})
    assert code == 200
    return list(document["paths"])


def test_what_is_kept_of_all_is_bounded(victim: Victim, tls: ssl.SSLContext) -> None:
    versions = [f"v{i}" for i in range(1, 9)]
    paths = ",".join(f'"/apis/{GROUP}/{v}/x":{{"get":{{"description":"{"x" * 400_000}"}}}}' for v in versions)
    answers = {"/openapi/v2": whole(b'{"swagger":"2.0","paths":{%s},"definitions":{}}' % paths.encode())}
    with victim.watched("APIService: OpenAPI of eight versions") as cost, registered(victim, tls, answers) as bad:
        service = {"name": "bad", "namespace": "default", "port": bad.port}
        for version in versions[1:]:
            spec = {"group": GROUP, "version": version, "groupPriorityMinimum": 1, "versionPriority": 1, "insecureSkipTLSVerify": True}
            obj = {"metadata": {"name": f"{version}.{GROUP}"}, "spec": {**spec, "service": service}}
            assert victim.ask("POST", APIS, obj)[0] == 201
        until(lambda: bad.asked.count("/openapi/v2") >= 2)
        victim.ask("GET", "/openapi/v2", headers={"Accept": "application/json"})
        for version in versions[1:]:
            victim.ask("DELETE", f"{APIS}/{version}.{GROUP}")
    cost.check()


@pytest.fixture
def available(victim: Victim, tls: ssl.SSLContext) -> Iterator[Bad]:
    """A server that passes its check; `answers` may be changed then."""
    with registered(victim, tls, {}) as bad:
        until(lambda: condition(victim).get("reason") == "Passed")
        yield bad


def test_only_registered_apis_are_labels(victim: Victim, available: Bad) -> None:
    for i in range(50):
        victim.ask("GET", f"{API}/things{i}/{i}/sub{i}")
    metrics = victim.ask("GET", "/metrics")[1].decode()
    assert f'aggregator_unavailable_apiservice{{name="v1.{GROUP}"}} 0' in metrics
    assert "things" not in metrics


@pytest.mark.parametrize("what", ENDLESS)
def test_answers_without_end(victim: Victim, available: Bad, what: str) -> None:
    available.answers = {f"{API}/things": ENDLESS[what]}
    with victim.watched(f"aggregated API: endless {what}") as cost:
        for _ in range(5):
            code, text = victim.ask("GET", f"{API}/things")
            assert code == 503
            assert text.startswith(b"error trying to reach service: ")
    cost.check()
    assert cost.megabytes <= 24


def test_bodies_pass_in_parts(victim: Victim, available: Bad) -> None:
    size = 100
    available.answers = {f"{API}/things": peers.saying(OK + b"Content-Length: %d\r\n\r\n" % (size << 20), again=peers.MEGABYTE, times=size)}
    with victim.watched(f"aggregated API: a body of {size} MB") as cost, victim.connect() as line:
        line.sendall(f"GET {API}/things HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {victim.token}\r\n\r\n".encode())
        peers.read(line, size << 20)
    cost.check()
    assert cost.megabytes <= 24


def test_a_server_that_hangs_harms_nobody_else(victim: Victim, available: Bad) -> None:
    available.answers = {"/": peers.silent}
    with victim.watched("aggregated API: 50 requests that hang") as cost:
        lines = [victim.connect() for _ in range(50)]
        for line in lines:
            line.sendall(f"GET {API}/things?timeout=1s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {victim.token}\r\n\r\n".encode())
        for line in lines:
            answer = http.client.HTTPResponse(line)
            answer.begin()
            assert answer.status == 504
            assert json.loads(answer.read())["reason"] == "Timeout"
            line.close()
    cost.check()
    assert cost.megabytes <= 32


def test_a_name_with_a_line_break(victim: Victim, available: Bad) -> None:
    """No user is told in a header that would be two."""
    before = len(available.asked)
    certificate = identity(victim, "eve\r\nX-Remote-Group: system:masters", "system:masters")
    code, text = victim.ask("GET", f"{API}/things", certificate=certificate)
    assert (code, text) == (503, b'error trying to reach service: net/http: invalid header field value for "X-Remote-User"\n')
    assert f"{API}/things" not in available.asked[before:]
