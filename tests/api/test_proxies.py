"""proxy, log and exec through a server over TLS, to peers that say exactly what the test wants."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson
import pytest
from websockets.exceptions import ConnectionClosedOK, InvalidStatus
from websockets.typing import Subprotocol

from kapi import limits
from kapi.api import proxies
from kapi.api.kubelets import Kubelets
from kapi.api.request import Request, target
from kapi.apiserver import assembly
from kapi.apiserver.settings import Settings
from kapi.client.client import Client
from kapi.objects import errors
from kapi.objects.meta import Object
from kapi.objects.resource import ENDPOINT_SLICES, NODES, PODS, SERVICE_ACCOUNTS, SERVICES
from tests.api.asking import pod
from tests.api.test_sockets import Served
from tests.attacks.peers import own_address

pytestmark = pytest.mark.slow
NS = "/api/v1/namespaces/default"
TOO_LARGE = f"server response headers exceeded {limits.PEER_HEAD_BYTES} bytes; aborted"
Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Backend:
    """A peer: `say` is written once a request's head has come, unless `handle` does something else."""

    def __init__(self) -> None:
        self.say = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        self.handle: Handle | None = None
        self.heads: list[str] = []
        self.gone = asyncio.Event()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
            if self.handle is not None:
                await self.handle(reader, writer)
            else:
                writer.write(self.say)
                await writer.drain()
        writer.close()
        self.gone.set()

    @property
    def first_line(self) -> str:
        return self.heads[-1].partition("\r\n")[0]

    def header(self, name: str) -> list[str]:
        lines = (line.partition(": ") for line in self.heads[-1].split("\r\n")[1:])
        return [value for key, _, value in lines if key == name]


@asynccontextmanager
async def listening(host: str) -> AsyncIterator[Backend]:
    made = Backend()
    server = await asyncio.start_server(made.serve, host, 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    await server.wait_closed()


@pytest.fixture
async def served(pki: Path) -> AsyncIterator[Served]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = Settings(data_dir=pki.parent, storage="memory:", port=port, bind_address="127.0.0.1")
    async with assembly.serving(settings, pki) as server:
        server.app.kubelets = Kubelets()  # plain HTTP
        yield Served(server.app, pki, port)


@pytest.fixture
async def admin(served: Served) -> AsyncIterator[Client]:
    made = served.client()
    await made.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default", "namespace": "default"}})
    yield made
    await made.close()


@pytest.fixture
async def backend(served: Served) -> AsyncIterator[Backend]:
    async with listening(own_address()) as made:
        yield made


async def placed(client: Client, name: str, *addresses: str, port: int = 80, node: str = "") -> Object:
    """A pod whose status says that it has these addresses."""
    made = pod(name, node=node)
    made["spec"]["containers"][0]["ports"] = [{"containerPort": port, "name": "web"}]
    await client.create(PODS, made)
    status = {"podIPs": [{"ip": a} for a in addresses], "podIP": addresses[0] if addresses else None}
    return await client.patch(PODS, name, {"status": status}, namespace="default", subresource="status")


async def proxied(client: Client, path: str, method: str = "GET", body: bytes = b"", headers: dict[str, str] | None = None) -> Any:
    """(status, message of a Status or the body)."""
    code, _, raw = await client.raw(method, path, body, headers or {}, retries=0)
    with suppress(orjson.JSONDecodeError):
        return code, orjson.loads(raw)["message"]
    return code, raw.decode()


# who may be asked -----------------------------------------------------------------------------------------------------------------------

NOT_ALLOWED = [
    "", "127.0.0.1", "127.1.2.3", "0.0.0.0", "169.254.169.254", "224.0.0.1", "239.1.1.1", "255.255.255.255", "::", "::1", "fe80::1",
    "ff02::1", "ff05::2", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:0.0.0.0", "::ffff:169.254.0.1", "0:0:0:0:0:ffff:127.0.0.1",
    "127.000.000.001", "0127.0.0.1", "127.1", "0x7f.0.0.1", "2130706433", "localhost", "fe80::1%eth0", "10.0.0.1%0", "10.0.0.256",
    "10.0.0.1/8", " 10.0.0.1", "10.0.0.1\n", "１27.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_ALLOWED)
def test_addresses_that_are_not_for_proxies(text: str) -> None:
    with pytest.raises(errors.BadRequest, match=r"^address not allowed$"):
        proxies.proxyable(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [("10.0.0.1", "10.0.0.1"), ("010.0.0.1", "10.0.0.1"), ("fd00::1", "fd00::1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("8.8.8.8", "8.8.8.8")],
)
def test_addresses_that_are(text: str, address: str) -> None:
    assert proxies.proxyable(text) == address


async def test_a_pod_only_at_an_address_for_everybody(served: Served, admin: Client, backend: Backend) -> None:
    await placed(admin, "good", own_address(), port=backend.port)
    for port in ("", f":{backend.port}", ":web"):
        assert await proxied(admin, f"{NS}/pods/good{port}/proxy/x") == (200, "ok")
    assert backend.first_line == "GET /x HTTP/1.1"
    for i, address in enumerate(("127.0.0.1", "::1", "169.254.169.254", "::ffff:127.0.0.1")):
        await placed(admin, f"bad-{i}", address, port=served.port)
        assert await proxied(admin, f"{NS}/pods/https:bad-{i}:{served.port}/proxy/healthz") == (400, "address not allowed")
    await placed(admin, "none")
    assert await proxied(admin, f"{NS}/pods/none/proxy/") == (400, "address not allowed")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ftp:good:80", (400, 'invalid pod request "ftp:good:80"')),
        (":80", (400, 'invalid pod request ":80"')),
        ("a:good:80:", (400, 'invalid pod request "a:good:80:"')),
        ("good:99999", (503, "error trying to reach service: dial tcp: address 99999: invalid port")),
        ("good:-1", (503, "error trying to reach service: dial tcp: address -1: invalid port")),
        ("good:nothing", (503, "error trying to reach service: dial tcp: lookup tcp/nothing: unknown port")),
        ("absent", (404, 'pods "absent" not found')),
    ],
)
async def test_names_of_pods(admin: Client, name: str, said: tuple[int, str]) -> None:
    await placed(admin, "good", own_address())
    assert await proxied(admin, f"{NS}/pods/{name}/proxy/") == said


async def test_a_service_only_to_its_pods(served: Served, admin: Client, backend: Backend) -> None:
    own = own_address()
    ports = [{"port": 80, "name": "web"}, {"port": 81, "name": "other"}]
    await admin.create(SERVICES, {"metadata": {"name": "s", "namespace": "default"}, "spec": {"ports": ports}})
    await placed(admin, "mine", own, port=backend.port)
    await placed(admin, "elsewhere", "10.1.2.3")
    path = f"{NS}/services/s:web/proxy/"
    none = (503, 'no endpoints available for service "s:web"')

    async def point(**endpoint: Any) -> None:
        slice_ = {
            "metadata": {"name": "s-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "s"}}, "addressType": "IPv4",
            "ports": [{"name": "web", "port": backend.port}], "endpoints": [{"addresses": [own], **endpoint}],
        }  # fmt: skip
        await admin.create(ENDPOINT_SLICES, slice_)

    assert await proxied(admin, path) == none
    wrong: list[Object] = [
        {}, {"targetRef": {"kind": "Pod", "name": "absent", "namespace": "default"}},
        {"targetRef": {"kind": "Pod", "name": "elsewhere", "namespace": "default"}},
        {"targetRef": {"kind": "Pod", "name": "mine", "namespace": "kube-system"}}, {"targetRef": {"kind": "Pod", "namespace": "default"}},
        {"targetRef": {"kind": "Pod", "name": "mine", "namespace": "default"}, "conditions": {"ready": False}},
    ]  # fmt: skip
    for endpoint in wrong:
        await point(**endpoint)
        assert await proxied(admin, path) == none, endpoint
        await admin.delete(ENDPOINT_SLICES, "s-1", namespace="default")
    assert backend.heads == []
    await point(targetRef={"kind": "Pod", "name": "mine", "namespace": "default"})
    assert await proxied(admin, path) == (200, "ok")
    assert await proxied(admin, f"{NS}/services/http:s:80/proxy/") == (200, "ok")
    assert await proxied(admin, f"{NS}/services/s/proxy/") == (503, 'no endpoints available for service "s"'), "no port without a name"
    assert await proxied(admin, f"{NS}/services/s:82/proxy/") == (503, 'no service port 82 found for service "s"')
    await admin.patch(PODS, "mine", {"status": {"podIPs": None, "podIP": None}}, namespace="default", subresource="status")
    assert await proxied(admin, path) == none


async def test_a_service_elsewhere_has_no_endpoints(admin: Client) -> None:
    spec = {"type": "ExternalName", "externalName": "localhost"}
    await admin.create(SERVICES, {"metadata": {"name": "s", "namespace": "default"}, "spec": spec})
    assert (await proxied(admin, f"{NS}/services/s:80/proxy/"))[0] == 503


async def test_a_node_at_its_kubelet_or_an_address_for_everybody(served: Served, admin: Client, backend: Backend) -> None:
    async with listening("127.0.0.1") as kubelet:
        for name, address in (("near", "127.0.0.1"), ("far", own_address())):
            status = {
                "addresses": [{"type": "InternalIP", "address": address}], "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port}},
            }  # fmt: skip
            await admin.create(NODES, {"metadata": {"name": name}, "status": status})
        for name in ("near", f"near:{kubelet.port}", f"https:near:{kubelet.port}", "http:near:"):
            assert await proxied(admin, f"/api/v1/nodes/{name}/proxy/pods") == (200, "ok")
        assert await proxied(admin, f"/api/v1/nodes/near:{served.port}/proxy/healthz") == (400, "address not allowed")
        assert await proxied(admin, f"/api/v1/nodes/https:near:{served.port}/proxy/healthz") == (400, "address not allowed")
        assert await proxied(admin, f"/api/v1/nodes/far:{backend.port}/proxy/x") == (200, "ok")


# what is asked --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("proxy-x/proxy/a", "/a"),
        ("proxy/proxy/proxy/b", "/proxy/b"),
        ("x/proxy/", "/"),
        ("x/proxy", ""),
        ("x/proxy/a/", "/a/"),
        ("x/proxy/a/../b//c/.", "/b/c"),
        ("x/proxy/../../../../etc/passwd", "/etc/passwd"),
        ("x/proxy/%2e%2e/%2e%2e/y", "/y"),
        ("x/proxy/a%2fb%2F%2fc", "/a/b/c"),
        ("x/proxy//evil.example/y", "/evil.example/y"),
        ("x/proxy/%3Fq%23f%20%25", "/%3Fq%23f%20%25"),
        ("x/proxy/%0d%0aX:%20y", "/%0D%0AX:%20y"),
        ("x/proxy/%ff/%c3%bc", "/%FF/%C3%BC"),
    ],
)
def test_paths(path: str, sent: str) -> None:
    raw = f"{NS}/services/{path}"
    scope = {"method": "GET", "path": unquote(raw), "raw_path": raw.encode(), "headers": [], "query_string": b""}

    async def unused(*_: Any) -> Any:
        raise AssertionError

    request = Request(scope, unused, unused)
    request.target = target(request.path)
    assert proxies.proxied(request) == sent


async def test_a_name_may_hold_the_word_proxy(admin: Client, backend: Backend) -> None:
    await placed(admin, "proxy", own_address(), port=backend.port)
    await placed(admin, "proxy-x", own_address(), port=backend.port)
    assert await proxied(admin, f"{NS}/pods/proxy/proxy/a/proxy/b?c=d&e=%2F") == (200, "ok")
    assert backend.first_line == "GET /a/proxy/b?c=d&e=%2F HTTP/1.1"
    assert await proxied(admin, f"{NS}/pods/proxy-x/proxy/a") == (200, "ok")
    assert backend.first_line == "GET /a HTTP/1.1"


async def test_the_root_is_a_directory(served: Served, admin: Client, backend: Backend) -> None:
    await placed(admin, "p", own_address(), port=backend.port)
    code, headers, _ = await admin.raw("GET", f"{NS}/pods/p/proxy?a=b", b"", {}, retries=0)
    assert (code, headers["location"]) == (301, f"{NS}/pods/p/proxy/?a=b")
    assert backend.heads == []
    assert await proxied(admin, f"{NS}/pods/p/proxy", "POST", b"x") == (200, "ok")
    assert backend.first_line == "POST / HTTP/1.1"


async def test_what_a_backend_is_told_of_the_caller(served: Served, admin: Client, backend: Backend) -> None:
    await placed(admin, "p", own_address(), port=backend.port)
    head = (
        f"GET {NS}/pods/p/proxy/x HTTP/1.1\nHost: x\nAuthorization: Bearer {served.token}\nX-Remote-User: root\nX-Remote-Group: g\n"
        "X-Remote-Extra-A: b\nConnection: X-Private, close\nX-Private: 1\nProxy-Authorization: Basic x\nKeep-Alive: 5\nTE: trailers\n"
        "Impersonate-User: admin\nImpersonate-Group: system:masters\nX-Forwarded-For: 1.2.3.4\nCookie: a=b\n"
        "Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.c2VjcmV0, chat\n\n"
    )
    assert (await served.raw(head)).startswith(b"HTTP/1.1 200 OK\r\n")
    sent = {line.partition(": ")[0] for line in backend.heads[-1].split("\r\n")[1:-2]}
    assert sent == {"host", "connection", "cookie", "x-forwarded-for", "x-forwarded-uri", "sec-websocket-protocol"}
    assert backend.header("connection") == ["close"]
    assert backend.header("sec-websocket-protocol") == ["chat"]
    assert backend.header("x-forwarded-for") == ["1.2.3.4, 127.0.0.1"]
    assert backend.header("x-forwarded-uri") == [f"{NS}/pods/p/proxy/x"]
    assert backend.header("host") == ["x"]


async def test_what_the_caller_is_told_of_a_backend(served: Served, admin: Client, backend: Backend) -> None:
    await placed(admin, "p", own_address(), port=backend.port)
    backend.say = (
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Hop\r\nX-Hop: 1\r\n"
        b"X-Tab: a\tb\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nKeep-Alive: 9\r\nAccess-Control-Allow-Origin: *\r\n\r\nok"
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nevil!"
    )
    answer = await served.raw(f"GET {NS}/pods/p/proxy/x HTTP/1.1\nHost: x\nConnection: close\nAuthorization: Bearer {served.token}\n\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert (lines[0], body) == (b"HTTP/1.1 200 OK", b"ok")
    assert {line.partition(b":")[0] for line in lines[1:]} == {b"content-length", b"x-tab", b"set-cookie", b"connection"}
    assert [line for line in lines if line.startswith(b"set-cookie")] == [b"set-cookie: a=b", b"set-cookie: c=d"]


async def test_links_lead_through_the_proxy(served: Served, admin: Client, backend: Backend) -> None:
    await placed(admin, "p", own_address(), port=backend.port)
    path = f"{NS}/pods/p/proxy"
    for location, led in (("/in?a=b", f"{path}/in?a=b"), (f"http://{own_address()}:{backend.port}/in", f"{path}/in"),
                          (f"http://127.0.0.1:{served.port}/in", f"http://127.0.0.1:{served.port}{path}/in"),
                          ("http://elsewhere/in", "http://elsewhere/in"), ("in", "in")):  # fmt: skip
        backend.say = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
        code, headers, _ = await admin.raw("GET", f"{path}/x/y", b"", {}, retries=0)
        assert (code, headers["location"]) == (302, led)
    page = b"<a href='/in'>" + b"x" * 200_000 + b"<img src=/i.png>"
    for packed, encoding in ((page, ""), (gzip.compress(page), "Content-Encoding: gzip\r\n")):
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n{encoding}Content-Length: {len(packed)}\r\n\r\n"
        backend.say = head.encode() + packed
        code, headers, body = await admin.raw("GET", f"{path}/x/", b"", {}, retries=0)
        body = gzip.decompress(body) if encoding and body[:2] == b"\x1f\x8b" else body
        assert (code, "content-length" in headers) == (200, False)
        assert body == f'<a href="{path}/in">'.encode() + b"x" * 200_000 + f'<img src="{path}/i.png">'.encode()
    backend.say = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\n<a href='/'>"
    assert await proxied(admin, f"{path}/x") == (200, "<a href='/'>")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method(admin: Client, backend: Backend, method: str) -> None:
    await placed(admin, "p", own_address(), port=backend.port)
    assert await proxied(admin, f"{NS}/pods/p/proxy/x", method) == (200, "ok")
    assert backend.first_line == f"{method} /x HTTP/1.1"


SPLIT = (b"\x00", b"\r", b"\n", b"\r\n ", b"\x01", b"\x7f")
"""What would be a line of its own to some clients, in the middle of a header."""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"", "error trying to reach service: EOF"),
        (b"nonsense\r\n\r\n", "error trying to reach service: malformed HTTP response: "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "error trying to reach service: malformed HTTP response: "),
        (b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n", 'error trying to reach service: malformed HTTP status code "999"'),
        (b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "error trying to reach service: backend tried to switch protocol"),
        *((b"HTTP/1.1 200 OK\r\nX: a" + bad + b"b: c\r\n\r\n", "service: malformed HTTP response: ") for bad in SPLIT),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (1 << 18), TOO_LARGE),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * (1 << 21), TOO_LARGE),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * (1 << 17), TOO_LARGE),
    ],
    ids=["nothing", "no HTTP", "chunks", "status", "101", *map(repr, SPLIT), "many headers", "long header", "1xx"],
)
async def test_answers_that_are_none(admin: Client, backend: Backend, said: bytes, told: str) -> None:
    await placed(admin, "p", own_address(), port=backend.port)
    backend.say = said
    code, text = await proxied(admin, f"{NS}/pods/p/proxy/")
    assert code == 503
    assert told in text


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1;" + b"x" * (1 << 21),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: " + b"x" * (1 << 21),
    ],
    ids=["length", "chunks", "extensions", "trailers"],
)
async def test_an_answer_cut_off_is_seen_to_be(admin: Client, backend: Backend, said: bytes) -> None:
    await placed(admin, "p", own_address(), port=backend.port)
    backend.say = said
    with pytest.raises(ConnectionError):
        await proxied(admin, f"{NS}/pods/p/proxy/")


@pytest.mark.parametrize(
    ("said", "got"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, "")),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", (304, "")),
        (b"HTTP/1.0 200 OK\r\n\r\nup to the end", (200, "up to the end")),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nT: x\r\n\r\n", (200, "ok")),
    ],
)
async def test_answers_of_every_sort(admin: Client, backend: Backend, said: bytes, got: tuple[int, str]) -> None:
    await placed(admin, "p", own_address(), port=backend.port)
    backend.say = said
    assert await proxied(admin, f"{NS}/pods/p/proxy/") == got


async def test_head(served: Served, admin: Client, backend: Backend) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
        await reader.read()  # and stay

    await placed(admin, "p", own_address(), port=backend.port)
    backend.handle = answer
    said = await served.raw(f"HEAD {NS}/pods/p/proxy/ HTTP/1.1\nHost: x\nConnection: close\nAuthorization: Bearer {served.token}\n\n")
    assert said == b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\nconnection: close\r\n\r\n"


async def test_bodies_pass_as_they_are(admin: Client, backend: Backend) -> None:
    """More than the API takes itself, and without being unpacked."""
    sent = bytes(range(256)) * 20_000

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int(backend.header("content-length")[0])
        body = await reader.readexactly(length)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()

    await placed(admin, "p", own_address(), port=backend.port)
    backend.handle = echo
    code, _, raw = await admin.raw("PUT", f"{NS}/pods/p/proxy/", sent, {"Content-Encoding": "gzip"}, retries=0)
    assert (code, raw == sent) == (200, True)
    assert backend.header("content-encoding") == ["gzip"]


async def test_who_hangs_up_is_hung_up_on(served: Served, admin: Client, backend: Backend) -> None:
    """Also while the backend has not answered."""
    waiting = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting.set()
        assert await reader.read() == b""

    await placed(admin, "p", own_address(), port=backend.port)
    backend.handle = wait
    _, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=served.tls())
    writer.write(f"GET {NS}/pods/p/proxy/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.token}\r\n\r\n".encode())
    await asyncio.wait_for(waiting.wait(), 10)
    writer.close()
    await asyncio.wait_for(backend.gone.wait(), 10)


# upgrades -------------------------------------------------------------------------------------------------------------------------------


def upgrade(served: Served, path: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {served.token}", "Connection: Upgrade", "Upgrade: chat", "", ""]
    return "\r\n".join(lines).encode()


async def test_an_upgrade_is_spliced_once_it_is_granted(served: Served, admin: Client, backend: Backend) -> None:
    async def chat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\nX: y\r\n\r\nhello ")
        while data := await reader.read(100):
            writer.write(data.upper())
            await writer.drain()

    await placed(admin, "p", own_address(), port=backend.port)
    backend.handle = chat
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=served.tls())
    writer.write(upgrade(served, f"{NS}/pods/p/proxy/chat") + b"early")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"X: y\r\n" in head
    assert await asyncio.wait_for(reader.readexactly(11), 10) == b"hello EARLY"
    writer.write(b"more")
    assert await asyncio.wait_for(reader.readexactly(4), 10) == b"MORE"
    assert backend.header("upgrade") == ["chat"]
    assert backend.header("authorization") == []
    writer.close()
    await asyncio.wait_for(backend.gone.wait(), 10)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nX: y\r\n\r\nno", (b"HTTP/1.1 403 Forbidden", b"no")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", (b"HTTP/1.1 500 ", b"invalid upgrade response: status code 200")),
        (b"", (b"HTTP/1.1 500 ", b"error dialing backend: EOF")),
        (b"HTTP/1.1 101 S\r\nX: " + b"x" * (1 << 21), (b"HTTP/1.1 500 ", TOO_LARGE.encode())),
    ],
)
async def test_an_upgrade_that_is_not_granted(
    served: Served, admin: Client, backend: Backend, said: bytes, answer: tuple[bytes, bytes]
) -> None:
    await placed(admin, "p", own_address(), port=backend.port)
    backend.say = said
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=served.tls())
    writer.write(upgrade(served, f"{NS}/pods/p/proxy/chat"))
    got = await asyncio.wait_for(reader.read(), 10)
    assert got.startswith(answer[0])
    assert answer[1] in got
    writer.close()


# kubelets -------------------------------------------------------------------------------------------------------------------------------


async def on_node(client: Client, kubelet: Backend) -> None:
    """The pod p on a node whose kubelet this is."""
    status = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port}}}
    await client.create(NODES, {"metadata": {"name": "n"}, "status": status})
    await placed(client, "p", "10.0.0.1", node="n")


async def test_what_a_kubelet_says_of_logs(served: Served, admin: Client) -> None:
    async with listening("127.0.0.1") as kubelet:
        await on_node(admin, kubelet)
        kubelet.say = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n6\r\nline 1\r\n0\r\n\r\n"
        assert await proxied(admin, f"{NS}/pods/p/log") == (200, "line 1")
        assert kubelet.first_line == "GET /containerLogs/default/p/c HTTP/1.1"
        kubelet.say = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nnot"
        assert await proxied(admin, f"{NS}/pods/p/log") == (400, "not")
        kubelet.say = b"HTTP/1.1 500 X\r\n\r\n" + b"x" * 3_000_000
        code, text = await proxied(admin, f"{NS}/pods/p/log")
        assert (code, len(text)) == (500, limits.PEER_TEXT_BYTES)
        kubelet.say = b""
        url = f"http://127.0.0.1:{kubelet.port}/containerLogs/default/p/c"
        assert await proxied(admin, f"{NS}/pods/p/log") == (500, f'Get "{url}": EOF')
    refused = f'Get "{url}?tailLines=1": dial tcp 127.0.0.1:{kubelet.port}: connect: connection refused'
    assert await proxied(admin, f"{NS}/pods/p/log?tailLines=1") == (500, refused)


@pytest.mark.parametrize(("protocol", "told"), [
    ("", [b"", b"line 1\n\xff"]), ("binary.k8s.io", [b"", b"line 1\n\xff"]), ("base64.binary.k8s.io", ["", "bGluZSAxCv8="]),
])  # fmt: skip
async def test_logs_over_websocket(served: Served, admin: Client, protocol: str, told: list[str | bytes]) -> None:
    """An empty message comes first, also when there is nothing to follow yet."""
    async with listening("127.0.0.1") as kubelet:
        await on_node(admin, kubelet)
        more = asyncio.Event()

        async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
            await more.wait()
            writer.write(b"line 1\n\xff")

        kubelet.handle = follow
        offered = [Subprotocol(protocol)] if protocol else None
        async with asyncio.timeout(5), served.websocket(f"{NS}/pods/p/log?follow=true", subprotocols=offered) as talk:
            assert talk.subprotocol == (protocol or None)
            assert await talk.recv() == told[0]
            more.set()
            assert await talk.recv() == told[1]
            with pytest.raises(ConnectionClosedOK):
                await talk.recv()
        assert "/containerLogs/default/p/c?follow=true" in kubelet.first_line


async def test_logs_that_a_websocket_does_not_get(served: Served, admin: Client) -> None:
    async with listening("127.0.0.1") as kubelet:
        await on_node(admin, kubelet)
        for said, protocol, code in ((b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", "binary.k8s.io", 404),
                                     (kubelet.say, "channel.k8s.io", 403)):  # fmt: skip
            kubelet.say = said
            with pytest.raises(InvalidStatus) as refused:
                async with served.websocket(f"{NS}/pods/p/log", subprotocols=[Subprotocol(protocol)]):
                    pass
            assert refused.value.response.status_code == code


async def test_a_kubelet_that_is_not_there(served: Served, admin: Client) -> None:
    async with listening("127.0.0.1") as kubelet:
        await on_node(admin, kubelet)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=served.tls())
    writer.write(upgrade(served, f"{NS}/pods/p/exec?command=ls&container=c"))
    got = await asyncio.wait_for(reader.read(), 10)
    assert got.startswith(b"HTTP/1.1 500 ")
    assert f"error dialing backend: dial tcp 127.0.0.1:{kubelet.port}: connect: connection refused".encode() in got
    writer.close()
