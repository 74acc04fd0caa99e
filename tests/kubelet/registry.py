"""A registry on loopback: the pull half of the OCI distribution API over plain HTTP, optionally behind a password."""

import base64
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Registry(ThreadingHTTPServer):
    """Serves one image under any name and tag; `pulls` counts questions for its manifest."""

    daemon_threads = True

    def __init__(self, archive: bytes, login: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.wanted = "Basic " + base64.b64encode(login.encode()).decode() if login else ""
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            self.blobs = {m.name.rpartition("/")[2]: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]
        (self.top,) = json.loads(self.blobs["index.json"])["manifests"]
        self.pulls = 0

    def image(self, name: str) -> str:
        """What a pod calls it, e.g. image("team/app:1")."""
        return f"127.0.0.1:{self.server_address[1]}/{name}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Registry

    def do_GET(self) -> None:
        if self.server.wanted and self.headers.get("Authorization") != self.server.wanted:
            self._answer(401, b"", "text/plain")
            return
        kind, _, reference = self.path.rpartition("/")
        if "none" in self.path:
            self._answer(404, b"", "text/plain")
        elif kind.endswith("/manifests"):
            self.server.pulls += 1
            self._answer(200, self.server.blobs[self.server.top["digest"][7:]], self.server.top["mediaType"])
        else:
            self._answer(200, self.server.blobs.get(reference[7:], b""), "application/octet-stream")

    do_HEAD = do_GET

    def _answer(self, status: int, body: bytes, media: str) -> None:
        self.send_response(status)
        headers = {"Content-Type": media, "Content-Length": str(len(body)), "WWW-Authenticate": 'Basic realm="tests"'}
        if status == 200:
            headers["Docker-Content-Digest"] = self.server.top["digest"]
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Tests say enough."""


@contextmanager
def serving(archive: bytes, login: str = "") -> Iterator[Registry]:
    with Registry(archive, login) as registry:
        thread = threading.Thread(target=registry.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield registry
        finally:
            registry.shutdown()
            thread.join()
