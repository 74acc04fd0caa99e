"""Webhooks that attack the server which calls them."""

import base64
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kapi import limits
from tests.attacks import peers
from tests.attacks.victim import Victim

pytestmark = pytest.mark.slow
MAPS = "/api/v1/namespaces/default/configmaps"
HOOKS = "/apis/admissionregistration.k8s.io/v1/{}webhookconfigurations"
RULES = [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]
TLS = tuple[ssl.SSLContext, bytes]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TLS:
    return peers.authority(tmp_path_factory.mktemp("peer"), "127.0.0.1")


@contextmanager
def webhook(victim: Victim, tls: TLS, say: peers.Say, *, kind: str = "validating", count: int = 1) -> Iterator[None]:
    """So many webhooks that are asked before a ConfigMap is made, all at one peer."""
    with peers.answering(say, "127.0.0.1", tls[0]) as peer:
        client = {"url": f"https://127.0.0.1:{peer.port}/", "caBundle": base64.b64encode(tls[1]).decode()}
        fixed: dict[str, Any] = {"clientConfig": client, "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": RULES}
        hooks = [{"name": f"h{i}.example.com", "timeoutSeconds": 20, **fixed} for i in range(count)]
        assert victim.ask("POST", HOOKS.format(kind), {"metadata": {"name": "h"}, "webhooks": hooks})[0] == 201
        try:
            yield
        finally:
            victim.ask("DELETE", HOOKS.format(kind) + "/h")


def create(victim: Victim) -> tuple[int, str]:
    code, body = victim.ask("POST", MAPS, {"metadata": {"generateName": "m-"}})
    return code, body.get("message", "")


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
UNBOUNDED = {
    "header lines": peers.saying(OK, again=b"X-Y: " + b"z" * 1000 + b"\r\n", times=300_000),
    "one header": peers.saying(OK, b"X: ", again=peers.MEGABYTE, times=300),
    "1xx answers": peers.saying(again=b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, times=10_000),
    "body": peers.saying(OK, b"\r\n", again=b" " * (1 << 20), times=400),
    "chunks": peers.saying(CHUNKED, again=b"100000\r\n" + b" " * (1 << 20) + b"\r\n", times=400),
    "chunk extension": peers.saying(CHUNKED, b"2\r\n{}\r\n2;a=", again=peers.MEGABYTE, times=300),
    "trailers": peers.saying(CHUNKED, b"2\r\n{}\r\n0\r\n", again=b"X: " + b"y" * 1000 + b"\r\n", times=300_000),
}


@pytest.mark.parametrize("what", UNBOUNDED)
def test_answers_without_end(victim: Victim, tls: TLS, what: str) -> None:
    with webhook(victim, tls, UNBOUNDED[what]), victim.watched(f"webhook: endless {what}") as cost:
        for _ in range(3):
            code, message = create(victim)
            assert code == 500
            assert message.endswith(("http: response body too large", f"headers exceeded {limits.PEER_HEAD_BYTES} bytes; aborted"))
    cost.check()
    assert cost.megabytes <= 40


def whole(body: bytes) -> peers.Say:
    return peers.saying(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)


LARGE = limits.WEBHOOK_ANSWER_BYTES - 100
BOMBS = {
    "values": b"[" + b"{}," * (LARGE // 3) + b"{}]",
    "nested lists": b"[" * (LARGE // 2) + b"]" * (LARGE // 2),
    "nested objects": b'{"a":' * (LARGE // 6) + b"1" + b"}" * (LARGE // 6),
    "no JSON": b"x" * LARGE,
    "almost JSON": b'{"kind":"' + b"x" * LARGE,
    "no kind": b'{"a":"' + b"x" * LARGE + b'"}',
    "just allowed values": b"[" + b"1," * (limits.WEBHOOK_ANSWER_VALUES - 1) + b"1]",
}


@pytest.mark.parametrize("what", BOMBS)
def test_answers_that_are_dear_to_read(victim: Victim, tls: TLS, what: str) -> None:
    with webhook(victim, tls, whole(BOMBS[what])), victim.watched(f"webhook: {what}, 4 MB") as cost:
        for _ in range(3):
            code, message = create(victim)
            assert code == 500
            assert len(message) < 2 * limits.PEER_TEXT_BYTES
    cost.check()


def test_many_large_answers_at_once(victim: Victim, tls: TLS) -> None:
    with webhook(victim, tls, whole(b" " * LARGE), count=40), victim.watched("40 webhooks answer 4 MB each, at once") as cost:
        assert create(victim)[0] == 500
    cost.check()
    with webhook(victim, tls, whole(b"{}")):
        assert "Object 'Kind' is missing in '{}'" in create(victim)[1], "what was taken is given back"


def test_slow_answers(victim: Victim, tls: TLS) -> None:
    """One byte at a time: there is one time for the whole answer, not one between two bytes."""

    def drip(line: socket.socket) -> None:
        line.sendall(OK + b"Content-Length: 1000\r\n\r\n")
        line.settimeout(0.2)
        for _ in range(1000):
            line.sendall(b" ")
            try:
                if not line.recv(1):
                    return
            except TimeoutError:
                continue

    with webhook(victim, tls, drip), victim.watched("webhook: an answer of one byte in 200 ms") as cost:
        line = HOOKS.format("validating") + "/h"
        patch = [{"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 1}]
        assert victim.ask("PATCH", line, patch, headers={"Content-Type": "application/json-patch+json"})[0] == 200
        code, message = create(victim)
        assert (code, message.endswith("context deadline exceeded")) == (500, True)
    cost.check()


def test_an_object_stays_where_it_was_sent(victim: Victim, tls: TLS) -> None:
    """The answer to whoever creates in default: an object in kube-system."""
    assert victim.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "elsewhere"}})[0] == 201
    patch = base64.b64encode(b'[{"op":"replace","path":"/metadata/namespace","value":"elsewhere"}]').decode()

    def say(line: socket.socket) -> None:
        response = b'{"allowed":true,"patch":"%s"}' % patch.encode()
        body = b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","response":%s}' % response
        line.sendall(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    with peers.answering(say, "127.0.0.1", tls[0]) as peer:
        client = {"url": f"https://127.0.0.1:{peer.port}/", "caBundle": base64.b64encode(tls[1]).decode()}
        hook = {
            "name": "h.example.com", "clientConfig": client, "sideEffects": "None", "admissionReviewVersions": ["v1beta1"], "rules": RULES,
        }  # fmt: skip
        assert victim.ask("POST", HOOKS.format("mutating"), {"metadata": {"name": "h"}, "webhooks": [hook]})[0] == 201
        assert create(victim) == (400, "the namespace of the provided object does not match the namespace sent on the request")
        assert victim.ask("DELETE", HOOKS.format("mutating") + "/h")[0] == 200
    code, found = victim.ask("GET", "/api/v1/namespaces/elsewhere/configmaps")
    assert (code, found["items"]) == (200, [])
