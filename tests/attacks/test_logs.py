"""The log of an API server that logs all it can: no request leaves a secret in it or forges a line, and failures do not fill it."""

import base64
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from kapi import limits
from tests.attacks.victim import Victim, running

pytestmark = pytest.mark.slow
HOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    with running(tmp_path_factory.mktemp("victim"), "--v", "10", "--log-format", "json") as running_victim:
        yield running_victim


def log_of(victim: Victim) -> str:
    """A line is written right behind its answer: by the time of another answer it is there."""
    victim.ask("GET", "/version")
    return (victim.directory / "log" / "apiserver.log").read_text()


def lines(victim: Victim, message: str) -> list[dict[str, Any]]:
    every = [json.loads(line) for line in log_of(victim).splitlines()]
    return [line for line in every if line["msg"] == message]


def test_no_secret_is_logged(victim: Victim) -> None:
    secret = "kept-to-oneself-0123456789"
    packed = base64.b64encode(secret.encode()).decode()
    victim.ask("GET", "/api/v1/pods", token=secret)
    victim.ask("GET", f"/api/v1/pods?access_token={secret}", token="")
    victim.ask("GET", f"/api/v1/namespaces/default/services/x/proxy/reset/{secret}")
    victim.ask("GET", "/api/v1/pods", headers={"Sec-WebSocket-Protocol": f"base64url.bearer.authorization.k8s.io.{packed}"}, token="")
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"password": packed}}
    assert victim.ask("POST", "/api/v1/namespaces/default/secrets", body)[0] == 201
    assert victim.ask("POST", "/api/v1/namespaces/default/secrets", {**body, "metadata": {"name": "S"}})[0] == 422
    assert victim.ask("POST", "/api/v1/namespaces/default/secrets", {**body, "data": {"password": secret}})[0] == 400
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": secret}}
    assert victim.ask("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)[0] == 201
    log_text = log_of(victim)
    assert [word for word in (secret, packed, victim.token) if word in log_text] == []
    assert {line["path"] for line in lines(victim, "Request")} >= {"/api/v1/pods", "/api/v1/namespaces/default/services/x/proxy/"}


def test_no_request_forges_a_line(victim: Victim) -> None:
    forged = "%0A2027-01-15T08:00:00.000Z%20INFO%20forged%0D%1B%5B2J%E2%80%A8"
    assert victim.ask("GET", f"/api/v1/namespaces/{forged}/pods")[0] == 200
    victim.ask("GET", "/version", headers={"User-Agent": "a\x7fb\x9bc", "Audit-ID": "x\ty"})
    raw = log_of(victim)
    assert "\nforged" not in raw
    assert all(line.isprintable() and line.startswith("{") for line in raw.split("\n") if line)


def test_requests_are_told_apart(victim: Victim) -> None:
    victim.ask("GET", "/api/v1/namespaces/default", headers={"Audit-ID": "mine", "User-Agent": "me/1"})
    (line,) = [line for line in lines(victim, "Request") if line["audit_id"] == "mine"]
    assert (line["user"], line["verb"], line["path"], line["code"]) == ("admin", "get", "/api/v1/namespaces/default", 200)
    assert (line["user_agent"], line["client"], line["v"]) == ("me/1", "127.0.0.1", 6)
    assert 0 < line["seconds"] < 1


def test_a_webhook_that_fails_520_times_is_logged_once(victim: Victim) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{nobody.getsockname()[1]}"
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
        hook = {
            "name": "w.example.com", "clientConfig": {"url": url}, "rules": [rule],
            "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore",
        }  # fmt: skip
        configuration = {"metadata": {"name": "w"}, "webhooks": [hook]}
        assert victim.ask("POST", HOOKS, configuration)[0] == 201
        for n in range(520):
            config = {"metadata": {"name": f"c{n}"}}
            assert victim.ask("POST", "/api/v1/namespaces/default/configmaps", config)[0] == 201
    (line,) = lines(victim, "Failed calling webhook, failing open")
    assert (line["webhook"], line["configuration"], line["level"]) == ("w.example.com", "w", "warning")
    assert 'failed calling webhook "w.example.com": failed to call webhook' in line["error"]


def test_garbage_does_not_fill_the_log(victim: Victim) -> None:
    before = len(lines(victim, ""))
    with victim.watched("300 connections with garbage, logged") as cost:
        for _ in range(300):
            with victim.connect() as line:
                line.sendall(b"\x00\x01 nonsense\r\n\r\n")
                while line.recv(4096):
                    """Until the server has closed it."""
    cost.check()
    assert len(lines(victim, "")) - before <= limits.LOG_LINES_A_MINUTE * 2


def test_a_long_header_is_cut(victim: Victim) -> None:
    victim.ask("GET", "/version", headers={"User-Agent": "u" * 60_000, "Audit-ID": "long"})
    (line,) = [line for line in lines(victim, "Request") if line["audit_id"] == "long"]
    assert line["user_agent"].endswith("… (60000 characters)")
    assert len(line["user_agent"]) < limits.LOG_VALUE_CHARS + 50
