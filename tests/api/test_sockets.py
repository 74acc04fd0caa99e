"""The API server behind its socket: TLS, certificates and tokens, watches over HTTP and WebSocket, streams that end."""

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from kapi.api.app import App
from kapi.api.protobuf_events import messages
from kapi.apiserver import assembly
from kapi.apiserver.settings import Settings
from kapi.client import config
from kapi.client.client import Client
from kapi.objects import errors
from kapi.objects.resource import CONFIG_MAPS
from tests import descriptors
from tests.api.asking import MAPS, config_map
from tests.moments import turn

pytestmark = pytest.mark.slow
PROTOBUF = "application/vnd.kubernetes.protobuf"


@dataclass
class Served:
    """A server that listens."""

    app: App
    pki: Path
    port: int

    @property
    def token(self) -> str:
        return (self.pki.parent / "tokens.csv").read_text().partition(",")[0]

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.pki / "ca.crt"))

    def client(self, name: str = "admin") -> Client:
        """A client with the certificate of one of the cluster's identities."""
        endpoint = config.from_kubeconfig(self.pki / f"{name}.conf")
        return config.connect(replace(endpoint, server=f"https://127.0.0.1:{self.port}"), agent="test")

    def websocket(self, path: str, **options: Any) -> connect:
        headers = {"Authorization": f"Bearer {self.token}"}
        return connect(f"wss://127.0.0.1:{self.port}{path}", ssl=self.tls(), additional_headers=headers, **options)

    async def raw(self, request: str) -> bytes:
        """The whole answer to a request, the connection being closed behind it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls())
        writer.write(request.replace("\n", "\r\n").encode())
        try:
            return await asyncio.wait_for(reader.read(), 2)
        finally:
            writer.close()
            await writer.wait_closed()


@pytest.fixture
async def served(pki: Path) -> AsyncIterator[Served]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = Settings(data_dir=pki.parent, storage="memory:", port=port, bind_address="127.0.0.1")
    async with assembly.serving(settings, pki) as server:
        yield Served(server.app, pki, port)


@pytest.fixture
async def admin(served: Served) -> AsyncIterator[Client]:
    made = served.client()
    yield made
    await made.close()


async def test_certificates_say_who_calls(served: Served, admin: Client) -> None:
    review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    assert "system:masters" in (await admin.post(review, {}))["status"]["userInfo"]["groups"]
    scheduler = served.client("scheduler")
    try:
        assert (await scheduler.post(review, {}))["status"]["userInfo"]["username"] == "system:kube-scheduler"
        with pytest.raises(errors.Forbidden, match='User "system:kube-scheduler" cannot create resource "configmaps"'):
            await scheduler.create(CONFIG_MAPS, config_map("a"))
    finally:
        await scheduler.close()


async def test_tokens_say_who_calls(served: Served) -> None:
    request = "GET /api/v1/nodes HTTP/1.1\nHost: x\nConnection: close\nAuthorization: Bearer {}\n\n"
    assert (await served.raw(request.format(served.token))).startswith(b"HTTP/1.1 200 OK\r\n")
    refused = await served.raw(request.format("nonsense"))
    assert refused.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert b'"reason":"Unauthorized"' in refused
    nobody = await served.raw("GET /api/v1/nodes HTTP/1.1\nHost: x\nConnection: close\n\n")
    assert b'nodes is forbidden: User \\"system:anonymous\\" cannot list resource' in nobody


async def test_head_has_no_body(served: Served) -> None:
    answer = await served.raw(f"HEAD /version HTTP/1.1\nHost: x\nConnection: close\nAuthorization: Bearer {served.token}\n\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert body == b""


async def test_a_watch(admin: Client) -> None:
    since = (await admin.list(CONFIG_MAPS, "default"))["metadata"]["resourceVersion"]
    async with asyncio.timeout(5), aclosing(admin.watch(CONFIG_MAPS, "default", version=since)) as events:  # type: ignore[type-var]
        for name in ("a", "b"):
            await admin.create(CONFIG_MAPS, config_map(name))
            type_, obj = await anext(events)
            assert (type_, obj["metadata"]["name"]) == ("ADDED", name)


async def message(talk: ClientConnection) -> Any:
    async with asyncio.timeout(5):
        return orjson.loads(await talk.recv())


async def test_a_watch_over_websocket(served: Served, admin: Client) -> None:
    await admin.create(CONFIG_MAPS, config_map("a"))
    async with served.websocket(f"{MAPS}?watch=true&resourceVersion=0") as talk:
        assert (await message(talk))["object"]["metadata"]["name"] == "a"
        await admin.delete(CONFIG_MAPS, "a", namespace="default")
        last = await message(talk)
        assert (last["type"], last["object"]["kind"]) == ("DELETED", "ConfigMap")


async def test_a_watch_in_protobuf_over_websocket(served: Served, admin: Client) -> None:
    """A binary message for each event, without the length that frames have over plain HTTP."""
    await admin.create(CONFIG_MAPS, config_map("a"))
    await admin.create(CONFIG_MAPS, config_map("b", {"k": "x" * 100_000}))
    headers = {"Authorization": f"Bearer {served.token}", "Accept": PROTOBUF}
    url = f"wss://127.0.0.1:{served.port}{MAPS}?watch=true&resourceVersion=0"
    async with connect(url, ssl=served.tls(), additional_headers=headers) as talk, asyncio.timeout(5):
        for name, size in (("a", 0), ("b", 100_000)):
            event: Any = descriptors.message(f"{descriptors.META}WatchEvent", await talk.recv(decode=False))
            found = descriptors.read(event.f_object.f_raw, "io.k8s.api.core.v1.ConfigMap")
            assert (event.f_type, found["metadata"]["name"]) == ("ADDED", name)
            assert len(found.get("data", {}).get("k", "")) == size


async def test_frames_in_protobuf_are_whole(served: Served, admin: Client) -> None:
    """Events large and small, as many at once as there are, then the end of the watch."""
    version = (await admin.list(CONFIG_MAPS, "default"))["metadata"]["resourceVersion"]
    path = f"{MAPS}?watch=true&resourceVersion={version}&timeoutSeconds=1"
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=served.tls())
    head = f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {served.token}\r\nAccept: {PROTOBUF};stream=watch\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode())
    sizes = [10, 300_000, 20, 200_000, 30]
    for index, size in enumerate(sizes):
        await admin.create(CONFIG_MAPS, config_map(f"m{index}", {"k": "x" * size}))
    got = await reader.read(-1)
    writer.close()
    assert f"content-type: {PROTOBUF};stream=watch".encode() in got
    events = [descriptors.message(f"{descriptors.META}WatchEvent", message) for message in messages(_dechunked(got))]
    found = [descriptors.read(event.f_object.f_raw, "io.k8s.api.core.v1.ConfigMap") for event in events]
    assert [len(one["data"]["k"]) for one in found] == sizes


def _dechunked(answer: bytes) -> bytes:
    """The body of a chunked answer."""
    rest, out = answer.partition(b"\r\n\r\n")[2], b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        out, rest = out + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return out


def hidden(token: str) -> str:
    """A token as browsers send it: among the subprotocols."""
    return "base64url.bearer.authorization.k8s.io." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


def stranger(served: Served, path: str, *protocols: str) -> connect:
    """A WebSocket without any header that names a user."""
    return connect(f"wss://127.0.0.1:{served.port}{path}", ssl=served.tls(), subprotocols=[Subprotocol(p) for p in protocols])


async def test_a_token_among_the_subprotocols(served: Served, admin: Client) -> None:
    await admin.create(CONFIG_MAPS, config_map("a"))
    watch = f"{MAPS}?watch=true&resourceVersion=0"
    async with stranger(served, watch, hidden(served.token), "mine") as talk:
        assert talk.subprotocol == "mine"
        assert (await message(talk))["object"]["metadata"]["name"] == "a"
    for code, protocols in ((401, (hidden("nonsense"), "mine")), (401, (hidden(served.token),)), (403, ("mine",)),
                            (401, (hidden("a"), hidden("b"), "mine")), (401, (f"{hidden('')}*", "mine"))):  # fmt: skip
        with pytest.raises(InvalidStatus) as refused:
            async with stranger(served, watch, *protocols):
                pass
        assert refused.value.response.status_code == code, protocols


async def test_a_token_is_for_websockets_only(served: Served) -> None:
    head = f"Host: x\nConnection: close\nSec-WebSocket-Protocol: {hidden(served.token)}, mine\n\n"
    assert (await served.raw(f"GET {MAPS} HTTP/1.1\n{head}")).startswith(b"HTTP/1.1 403")


async def test_who_hangs_up_is_forgotten(served: Served, admin: Client) -> None:
    """The gauge of watches under way falls again, for both kinds."""

    def count() -> int:
        lines = served.app.metrics.lines(served.app.rest.store, served.app.catalogue)
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith("apiserver_longrunning_requests{"))

    since = (await admin.list(CONFIG_MAPS, "default"))["metadata"]["resourceVersion"]
    async with served.websocket(f"{MAPS}?watch=true&resourceVersion=0"), aclosing(
        admin.watch(CONFIG_MAPS, "default", version=since)
    ) as events:  # type: ignore[type-var]
        await admin.create(CONFIG_MAPS, config_map("a"))
        await anext(events)
        assert count() == 2
    async with asyncio.timeout(5):
        while count():
            await turn()  # a gauge tells nobody that it has changed


async def test_upgrades_where_there_is_nothing_to_upgrade(served: Served) -> None:
    upgrade = "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"
    head = f"Host: x\nAuthorization: Bearer {served.token}\n{upgrade}\n"
    answer = await served.raw(f"GET /api/v1/namespaces/default/pods/nothing/exec?command=ls HTTP/1.1\n{head}")
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b'pods \\"nothing\\" not found' in answer
    answer = await served.raw(f"GET /api/v1/namespaces/default HTTP/1.1\n{head}")
    assert b"default" in answer
