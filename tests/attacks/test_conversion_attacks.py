"""Conversion webhooks that attack the server which calls them, or are slow and dead while others are at work; and long lists to convert."""

import base64
import http.client
import json
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.attacks import peers
from tests.attacks.test_webhooks_attacks import BOMBS, CHUNKED, TLS, UNBOUNDED, tls, whole
from tests.attacks.victim import Victim

pytestmark = pytest.mark.slow
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
MAPS = "/api/v1/namespaces/default/configmaps"
OLD, NEW = (f"/apis/convert.example.com/{version}/namespaces/default/things" for version in ("v1", "v2"))
FAILED = "conversion webhook for convert.example.com/v1, Kind=Thing failed: "


@contextmanager
def things(victim: Victim, port: int, ca: bytes) -> Iterator[None]:
    """A kind of two versions whose conversions are asked of the peer at a port."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{"name": name, "served": True, "storage": name == "v1", "schema": schema} for name in ("v1", "v2")]
    client = {"url": f"https://127.0.0.1:{port}/", "caBundle": base64.b64encode(ca).decode()}
    spec = {
        "group": "convert.example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"}, "versions": versions,
        "conversion": {"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]}},
    }  # fmt: skip
    assert victim.ask("POST", CRDS, {"metadata": {"name": "things.convert.example.com"}, "spec": spec})[0] == 201
    while victim.ask("GET", OLD)[0] != 200:
        time.sleep(0.05)
    try:
        yield
    finally:
        victim.ask("DELETE", f"{CRDS}/things.convert.example.com")
        while victim.ask("GET", f"{CRDS}/things.convert.example.com")[0] != 404:
            time.sleep(0.05)


def thing(version: str, size: int = 10, **meta: Any) -> dict[str, Any]:
    meta = meta or {"generateName": "t-"}
    return {"apiVersion": f"convert.example.com/{version}", "kind": "Thing", "metadata": meta, "data": "x" * size}


class _Converting(BaseHTTPRequestHandler):
    """Converts as the strategy None would, but what is marked as bad."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        request = asked["request"]
        wanted = request["desiredAPIVersion"]
        made = [obj if "bad" in obj["metadata"].get("labels", {}) else {**obj, "apiVersion": wanted} for obj in request["objects"]]
        response = {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": made}
        body = json.dumps({"apiVersion": asked["apiVersion"], "kind": asked["kind"], "response": response}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def converting(context: ssl.SSLContext) -> Iterator[int]:
    """The port of a webhook that works."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Converting)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


ANSWERS = {
    "100 MB": peers.saying(CHUNKED, again=b"100000\r\n" + b" " * (1 << 20) + b"\r\n", times=100),
    "a redirect": peers.saying(b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
    "endless headers": UNBOUNDED["header lines"],
    **{what: whole(BOMBS[what]) for what in ("values", "nested lists", "no JSON")},
}


@pytest.mark.parametrize("what", ANSWERS)
def test_answers_that_are_none(victim: Victim, tls: TLS, what: str) -> None:
    with peers.answering(ANSWERS[what], "127.0.0.1", tls[0]) as peer, things(victim, peer.port, tls[1]):
        assert victim.ask("POST", OLD, thing("v1", name="t"))[0] == 201
        with victim.watched(f"conversion: {what}") as cost:
            for _ in range(3):
                code, said = victim.ask("GET", f"{NEW}/t")
                assert (code, said["message"].startswith(FAILED)) == (500, True), said
    cost.check()


def test_a_dead_webhook_harms_nobody_else(victim: Victim, tls: TLS) -> None:
    """Sixty reads and sixty large writes wait for it: other large writes go on, and what may wait is bounded."""
    with ThreadPoolExecutor(120) as pool, peers.answering(peers.silent, "127.0.0.1", tls[0]) as peer, things(victim, peer.port, tls[1]):
        assert victim.ask("POST", OLD, thing("v1", 200_000, name="t"))[0] == 201
        with victim.watched("conversion: 120 requests wait") as cost:
            reads = [pool.submit(victim.ask, "GET", f"{NEW}/t") for _ in range(60)]
            writes = [pool.submit(victim.ask, "POST", NEW, thing("v2", 500_000)) for _ in range(60)]
            while sum(write.done() for write in writes) < 40:
                time.sleep(0.1)
            began = time.monotonic()
            for i in range(10):
                assert victim.ask("POST", MAPS, {"metadata": {"name": f"m{i}"}, "data": {"a": "x" * 500_000}})[0] == 201
            assert time.monotonic() - began < 10
            codes = {write.result()[0] for write in writes if write.done()}
        assert codes == {429}
    assert {asked.result()[0] for asked in [*reads, *writes]} == {429, 500}
    cost.check()


def test_a_long_list(victim: Victim, tls: TLS) -> None:
    """A thousand objects of 20 KB: neither held in memory together nor converted in one go."""
    with converting(tls[0]) as port, things(victim, port, tls[1]), ThreadPoolExecutor(4) as pool:
        made = pool.map(lambda i: victim.ask("POST", OLD, thing("v1", 20_000, name=f"t{i:03}"))[0], range(1000))
        assert set(made) == {201}
        with victim.watched("conversion: a list of 1000 objects of 20 KB") as cost:
            code, found = victim.ask("GET", NEW)
        assert (code, len(found["items"])) == (200, 1000)
        assert {item["apiVersion"] for item in found["items"]} == {"convert.example.com/v2"}
        assert [item["metadata"]["name"] for item in found["items"]] == [f"t{i:03}" for i in range(1000)]
        cost.check()
        for accept in ("application/yaml", "application/json;as=Table;g=meta.k8s.io;v=v1"):
            assert victim.ask("GET", f"{NEW}?limit=20", headers={"Accept": accept})[0] == 200
        patch = {"Content-Type": "application/merge-patch+json"}
        assert victim.ask("PATCH", f"{OLD}/t990", {"metadata": {"labels": {"bad": ""}}}, headers=patch)[0] == 200
        with pytest.raises(http.client.IncompleteRead):  # it has begun, and must not look whole
            victim.ask("GET", NEW)
        assert victim.ask("DELETE", OLD)[0] == 200


__all__ = ["tls"]
