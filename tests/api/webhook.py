"""A webhook to call: a real HTTPS server, with a certificate of its own CA.

It answers as the test wants, and remembers what it was asked.
"""

import asyncio
import base64
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from certs import making
from certs.spec import CertificateSpec
from kapi.apiserver.assembly import Server
from kapi.objects.meta import Object

Answer = Callable[[Object], Object | Awaitable[Object]]
HOSTS = ("127.0.0.1", "localhost", "hook.default.svc")


def allow(request: Object) -> Object:
    return {"allowed": True}


def deny(message: str = "", **status: Any) -> Answer:
    status |= {"message": message} if message else {}
    return lambda request: {"allowed": False, **({"status": status} if status else {})}


def patching(*operations: Object) -> Answer:
    patch = base64.b64encode(orjson.dumps(operations)).decode()
    return lambda request: {"allowed": True, "patchType": "JSONPatch", "patch": patch}


def add(path: str, value: Any) -> Object:
    return {"op": "add", "path": path, "value": value}


class Webhook:
    """`answers` has what each path says; what is asked of it comes to `asked`."""

    def __init__(self, directory: Path) -> None:
        self.answers: dict[str, Answer] = {}
        self.raw: dict[str, bytes] = {}
        """Whole HTTP answers, instead."""
        self.asked: list[tuple[str, Object]] = []
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._directory = directory
        self.ca, ca_key = _authority()
        key, now = making.new_key(), time.time()
        wish = CertificateSpec("hook", "hook", usages=("server",), hosts=HOSTS)
        (directory / "hook.crt").write_bytes(making.certificate(wish, key, self.ca, ca_key, now))
        (directory / "hook.key").write_bytes(key)

    async def start(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._directory / "hook.crt", self._directory / "hook.key")
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def client(self, path: str) -> Object:
        """The clientConfig of one of its paths."""
        return {"url": f"https://127.0.0.1:{self.port}{path}", "caBundle": base64.b64encode(self.ca).decode()}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length"))
                writer.write(await self._answer(head.split()[1], orjson.loads(await reader.readexactly(length))))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, target: str, review: Object) -> bytes:
        self.asked.append((target, review))
        path = target.partition("?")[0]
        if path in self.raw:
            return self.raw[path]
        said = self.answers[path](review["request"])
        response = await said if isinstance(said, Awaitable) else said
        whole = {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": {"uid": review["request"]["uid"], **response}}
        return http(200, orjson.dumps(whole))


@asynccontextmanager
async def serving(directory: Path, server: Server) -> AsyncIterator[Webhook]:
    """A server of webhooks, of which `server` knows nothing yet; its connections are closed before it ends."""
    made = Webhook(directory)
    await made.start()
    yield made
    await server.caller.close()
    await made.stop()


def http(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body


def _authority() -> tuple[bytes, bytes]:
    key = making.new_key()
    return making.authority(CertificateSpec("ca", "webhooks", issuer=""), key, time.time()), key
