"""A small extension API server of the tests: HTTPS in threads, trusts who a front proxy says asks, and serves one kind, Flunder.

Discovery in both forms, OpenAPI of both versions, create, get, list, watch, update, merge patch, delete, and an `attach` that upgrades the
connection and echoes. What was asked of it comes to `asked`.
"""

import base64
import hashlib
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from certs import making
from certs.spec import CertificateSpec

GROUP, VERSION = "wardle.example.com", "v1"
API = f"/apis/{GROUP}/{VERSION}"
VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]
KIND = {"group": GROUP, "version": VERSION, "kind": "Flunder"}
META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
TYPE = "com.example.wardle.v1.Flunder"


@dataclass
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, list[str]]
    body: bytes


@dataclass
class Extension:
    """The state of the server; `changed` is notified of every event."""

    aggregated: bool = True
    """Whether it has discovery in one document."""
    objects: dict[tuple[str, str], Any] = field(default_factory=dict)
    events: list[tuple[str, Any]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    closed: bool = False
    port: int = 0
    authority: bytes = b""
    """The CA of its certificate, PEM."""

    def note(self, type_: str, obj: Any) -> Any:
        with self.changed:
            self.events.append((type_, {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(len(self.events) + 1)}}))
            key = obj["metadata"]["namespace"], obj["metadata"]["name"]
            if type_ == "DELETED":
                del self.objects[key]
            else:
                self.objects[key] = self.events[-1][1]
            self.changed.notify_all()
            return self.events[-1][1]

    def since(self, number: int) -> list[tuple[str, Any]]:
        """The events after so many, as soon as there are any; none when the server ends."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.events) > number or self.closed)
            return self.events[number:]

    def last(self, path: str) -> Asked:
        """The last request for a path."""
        return next(one for one in reversed(self.asked) if one.path.partition("?")[0] == path)

    def user(self, path: str) -> tuple[str, list[str]]:
        """(name, groups) of who last asked for a path."""
        last = self.last(path)
        return last.headers["x-remote-user"][0], last.headers.get("x-remote-group", [])


def _resources() -> Any:
    attach = {"subresource": "attach", "responseKind": KIND, "verbs": ["create"]}
    return [{
        "resource": "flunders", "responseKind": KIND, "scope": "Namespaced", "singularResource": "flunder", "verbs": VERBS,
        "shortNames": ["fl"], "subresources": [attach],
    }]  # fmt: skip


DISCOVERY = {
    "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
    "items": [{"metadata": {"name": GROUP}, "versions": [{"version": VERSION, "resources": _resources(), "freshness": "Current"}]}],
}  # fmt: skip
LEGACY = {
    "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/{VERSION}",
    "resources": [
        {"name": "flunders", "singularName": "flunder", "namespaced": True, "kind": "Flunder", "verbs": VERBS, "shortNames": ["fl"]},
        {"name": "flunders/attach", "singularName": "", "namespaced": True, "kind": "Flunder", "verbs": ["create"]},
    ],
}  # fmt: skip


def _schema(prefix: str) -> Any:
    return {
        "type": "object", "description": "Flunder is a fish.",
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"$ref": prefix + META},
            "spec": {"type": "object", "properties": {"weight": {"type": "integer", "description": "How heavy it is."}}},
        },
        "x-kubernetes-group-version-kind": [KIND],
    }  # fmt: skip


def _operation(answer: Any) -> Any:
    return {"get": {"operationId": "readFlunder", "responses": {"200": answer}, "x-kubernetes-group-version-kind": KIND}}


PATH = f"{API}/namespaces/{{namespace}}/flunders/{{name}}"
OPENAPI2 = {
    "swagger": "2.0", "info": {"title": "wardle", "version": "v1"},
    "paths": {
        PATH: _operation({"description": "OK", "schema": {"$ref": f"#/definitions/{TYPE}"}}) | {"parameters": [{"$ref": "#/parameters/p"}]},
        "/healthz/": {"get": {"responses": {"200": {"description": "OK"}}}},
    },
    "parameters": {"p": {"name": "name", "in": "path", "required": True, "type": "string"}},
    "definitions": {TYPE: _schema("#/definitions/"), META: {"type": "object", "description": "Not ours."}, "unused": {"type": "object"}},
}  # fmt: skip
SCHEMAS = "#/components/schemas/"
OPENAPI3 = {
    "openapi": "3.0.0", "info": {"title": "wardle", "version": "v1"},
    "paths": {PATH: _operation({"description": "OK", "content": {"application/json": {"schema": {"$ref": SCHEMAS + TYPE}}}})},
    "components": {"schemas": {TYPE: _schema(SCHEMAS), META: {"type": "object", "properties": {"name": {"type": "string"}}}}},
}  # fmt: skip
INDEX = {"paths": {f"apis/{GROUP}/{VERSION}": {"serverRelativeURL": f"/openapi/v3/apis/{GROUP}/{VERSION}?hash=W"}}}
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    extension: Extension

    def setup(self) -> None:
        self.request.do_handshake()  # here, in the connection's own thread
        super().setup()

    def log_message(self, format: str, *args: Any) -> None:
        return

    def _say(self, code: int, obj: Any, media: str = "application/json", **headers: str) -> None:
        raw = json.dumps(obj).encode()
        self.send_response(code)
        for name, value in {"Content-Type": media, "Content-Length": str(len(raw)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def _status(self, code: int, reason: str, message: str = "") -> None:
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason}
        self._say(code, {**status, "message": message, "code": code})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _serve(self) -> None:
        headers: dict[str, list[str]] = {}
        for name, value in self.headers.items():
            headers.setdefault(name.lower(), []).append(value)
        upgrade = "upgrade" in headers
        body = b"" if upgrade else self._body()
        self.extension.asked.append(Asked(self.command, self.path, headers, body))
        subject = dict(pair for part in self.connection.getpeercert()["subject"] for pair in part)
        if subject["commonName"] != "front-proxy-client" or "x-remote-user" not in headers:
            self._status(401, "Unauthorized")
        elif upgrade:
            self._echo(headers["upgrade"][0])
        else:
            self._answer(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_HEAD = _serve

    def _echo(self, protocol: str) -> None:
        """Lines come back in capital letters; of a WebSocket the first message does."""
        lines = ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", f"Upgrade: {protocol}"]
        if key := self.headers.get("Sec-WebSocket-Key"):
            digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
            lines.append(f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}")
        self.wfile.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.close_connection = True
        if key:
            length = self.rfile.read(2)[1] & 127
            mask, masked = self.rfile.read(4), self.rfile.read(length)
            shown = bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked)).upper()
            self.wfile.write(bytes((0x82, length)) + shown + b"\x88\0")
            return
        while data := self.rfile.readline():
            self.wfile.write(data.upper())

    def _answer(self, body: bytes) -> None:
        path = urlsplit(self.path).path
        fixed: dict[str, Any] = {
            API: LEGACY, "/openapi/v2": OPENAPI2, "/openapi/v3": INDEX, f"/openapi/v3{API}": OPENAPI3, "/healthz": "ok",
        }  # fmt: skip
        if path == "/apis":
            one = self.extension.aggregated and "as=APIGroupDiscoveryList" in (self.headers.get("Accept") or "")
            self._say(200, DISCOVERY if one else {"kind": "APIGroupList", "groups": []}, AGGREGATED if one else "application/json")
        elif path in fixed:
            self._say(200, fixed[path])
        elif path.startswith(API + "/"):
            self._resource(path.removeprefix(API + "/").split("/"), parse_qs(urlsplit(self.path).query), body)
        else:
            self._status(404, "NotFound")

    def _resource(self, words: list[str], query: dict[str, list[str]], body: bytes) -> None:
        namespace = ""
        if words[0] == "namespaces":
            namespace, words = words[1], words[2:]
        name = words[1] if len(words) > 1 else ""
        extension = self.extension
        if self.command == "POST":
            obj = {**json.loads(body), "apiVersion": f"{GROUP}/{VERSION}", "kind": "Flunder"}
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            obj["metadata"] = {"creationTimestamp": stamp, "uid": "u", **obj["metadata"], "namespace": namespace}
            self._say(201, extension.note("ADDED", obj))
        elif not name and "watch" in query:
            self._watch(namespace)
        elif not name:
            items = [obj for (where, _), obj in sorted(extension.objects.items()) if namespace in ("", where)]
            whole = {"kind": "FlunderList", "apiVersion": f"{GROUP}/{VERSION}", "items": items}
            self._say(200, {**whole, "metadata": {"resourceVersion": str(len(extension.events))}})
        elif (namespace, name) not in extension.objects:
            self._status(404, "NotFound", f'flunders.{GROUP} "{name}" not found')
        elif self.command == "GET":
            self._say(200, extension.objects[namespace, name])
        elif self.command == "DELETE":
            self._say(200, extension.note("DELETED", extension.objects[namespace, name]))
        else:
            old, given = extension.objects[namespace, name], json.loads(body)
            self._say(200, extension.note("MODIFIED", {**old, **given, "metadata": old["metadata"] | given.get("metadata", {})}))

    def _watch(self, namespace: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        sent = 0
        while new := self.extension.since(sent):
            sent += len(new)
            for type_, obj in new:
                if namespace in ("", obj["metadata"]["namespace"]):
                    line = json.dumps({"type": type_, "object": obj}).encode() + b"\n"
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        return  # the other side hung up


@contextmanager
def serving(pki: Path, directory: Path, host: str, port: int = 0, extension: Extension | None = None) -> Iterator[Extension]:
    """An extension server of the cluster with these certificates; its own are written to `directory`.

    Its certificate is that of the Service `wardle` in namespace `default`.
    """
    extension = extension or Extension()
    extension.closed = False
    now, ca_key, key = time.time(), making.new_key(), making.new_key()
    extension.authority = making.authority(CertificateSpec("ca", "fish", issuer=""), ca_key, now)
    spec = CertificateSpec("wardle", "wardle", usages=("server",), hosts=("wardle.default.svc",))
    (directory / "wardle.crt").write_bytes(making.certificate(spec, key, extension.authority, ca_key, now))
    (directory / "wardle.key").write_bytes(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "wardle.crt", directory / "wardle.key")
    context.load_verify_locations(pki / "front-proxy-ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    server = _Server((host, port), type("Handler", (_Handler,), {"extension": extension}))
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    extension.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield extension
    finally:
        with extension.changed:
            extension.closed = True
            extension.changed.notify_all()
        server.shutdown()
        thread.join()
        server.server_close()


def service(extension: Extension, address: str = "") -> list[Any]:
    """Objects that lead to the server: a Service with an EndpointSlice of this address, or one of type ExternalName."""
    meta = {"name": "wardle", "namespace": "default"}
    if not address:
        return [{"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"type": "ExternalName", "externalName": "localhost"}}]
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": [{"addresses": [address]}],
        "metadata": {**meta, "labels": {"kubernetes.io/service-name": "wardle"}}, "ports": [{"name": "", "port": extension.port}],
    }  # fmt: skip
    return [{"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"port": 443}]}}, slice_]


def api_service(port: int, authority: bytes = b"", **more: Any) -> Any:
    """The APIService of the server; without an authority any certificate will do."""
    trust = {"caBundle": base64.b64encode(authority).decode()} if authority else {"insecureSkipTLSVerify": True}
    spec = {"group": GROUP, "version": VERSION, "groupPriorityMinimum": 100, "versionPriority": 10, **trust, **more}
    spec["service"] = {"namespace": "default", "name": "wardle", "port": port}
    return {
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": f"{VERSION}.{GROUP}"}, "spec": spec,
    }  # fmt: skip
