"""The proxy against an API in memory: what it writes when Services and EndpointSlices change."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from kapi.client import Client
from kapi.objects.meta import Object
from kapi.objects.resource import ENDPOINT_SLICES, NODES, SERVICES
from kapi.proxy.health import HealthChecks
from kapi.proxy.proxy import NftError, Proxy
from kapi.proxy.settings import Settings
from tests.fakes import FakeApi
from tests.proxy.making import endpoint, piece, service


class Kernel:
    """Takes scripts as nft would; refuses the next one on demand."""

    def __init__(self) -> None:
        self.scripts: list[str] = []
        self.refuses = False
        self.took = asyncio.Event()

    async def apply(self, script: str) -> None:
        if self.refuses:
            self.refuses = False
            raise NftError("no")
        self.scripts.append(script)
        self.took.set()

    async def next(self) -> str:
        await asyncio.wait_for(self.took.wait(), 5)
        self.took.clear()
        return self.scripts[-1]


class Story:
    def __init__(self) -> None:
        self.api, self.kernel = FakeApi(), Kernel()
        self.client = Client(self.api)

    async def slices(self, *endpoints: Object) -> Object:
        return self.api.set(ENDPOINT_SLICES, piece(), endpoints=list(endpoints))


@pytest.fixture
async def story() -> AsyncIterator[Story]:
    told = Story()
    await told.client.create(SERVICES, service())
    await told.client.create(ENDPOINT_SLICES, piece(endpoint("10.0.0.1")))
    proxy = Proxy(told.client, Settings(node_name="here"), told.kernel.apply)
    task = asyncio.create_task(proxy.run())
    await asyncio.wait_for(proxy.synced.wait(), 5)
    yield told
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_it_starts_with_everything_in_one_transaction(story: Story) -> None:
    first = await story.kernel.next()
    assert first.startswith("add table ip kapi\ndelete table ip kapi\n")
    assert "dnat to 10.0.0.1:8080" in first
    assert len(story.kernel.scripts) == 1


async def test_a_new_endpoint_rewrites_one_chain(story: Story) -> None:
    await story.kernel.next()
    await story.slices(endpoint("10.0.0.1"), endpoint("10.0.0.2"))
    script = await story.kernel.next()
    assert "delete table" not in script
    assert script.count("flush chain") == 1
    assert "10.0.0.2 . 8080" in script


async def test_a_refused_change_writes_everything_anew(story: Story) -> None:
    await story.kernel.next()
    story.kernel.refuses = True
    await story.slices(endpoint("10.0.0.7"))
    script = await story.kernel.next()
    assert "delete table ip kapi" in script
    assert "10.0.0.7:8080" in script
    assert "10.0.0.1" not in script


async def test_a_deleted_service_leaves_nothing(story: Story) -> None:
    await story.kernel.next()
    story.api.remove(SERVICES, service())
    script = await story.kernel.next()
    assert "delete element ip kapi service-ips { 10.96.0.10 . tcp . 80 }" in script
    assert "delete chain" in script


async def test_the_node_is_known_by_its_address(story: Story) -> None:
    await story.client.create(NODES, {"metadata": {"name": "elsewhere"}, "status": {"addresses": internal("192.0.2.77")}})
    await story.client.create(NODES, {"metadata": {"name": "me"}, "status": {"addresses": internal("127.0.0.3")}})
    spec = service(name="local", clusterIP="10.96.0.11", internalTrafficPolicy="Local")
    await story.client.create(SERVICES, spec)
    await story.client.create(ENDPOINT_SLICES, piece(endpoint("10.0.0.1", "elsewhere"), endpoint("10.0.0.2", "me"), service="local"))
    kernel = Kernel()
    proxy = Proxy(story.client, Settings(), kernel.apply)
    task = asyncio.create_task(proxy.run())
    script = await kernel.next()
    assert "-default/local/tcp/http meta l4proto tcp dnat to 10.0.0.2:8080" in script
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def internal(address: str) -> list[Object]:
    return [{"type": "InternalIP", "address": address}]


async def _get(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer.decode()


async def test_a_health_check_port_tells_whether_endpoints_are_here(unused_tcp_port: int) -> None:
    checks = HealthChecks("127.0.0.1")
    checks.update("default/web", unused_tcp_port, 2)
    answer = await _get(unused_tcp_port)
    assert answer.startswith("HTTP/1.1 200 OK")
    assert '"localEndpoints":2' in answer
    checks.update("default/web", unused_tcp_port, 0)
    assert (await _get(unused_tcp_port)).startswith("HTTP/1.1 503")
    checks.update("default/web", 0, 0)
    assert checks.ports == {}
    checks.close()
