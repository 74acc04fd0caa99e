"""`kubectl get componentstatuses`: how the scheduler, the controller manager and the store are right now."""

import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from kapi.api import components
from kapi.api.app import App
from kapi.client import health
from kapi.client.client import Client
from kapi.http import simple_server
from kapi.storage.entry import Change
from tests.api.asking import TABLE, ask

COMPONENTS = "/api/v1/componentstatuses"


@pytest.fixture
async def ports(app: App, client: Client, pki: Path, unused_tcp_port_factory: Callable[[], int]) -> AsyncIterator[dict[str, int]]:
    """The scheduler's health port is served, the controller manager's is not."""
    found = {name: unused_tcp_port_factory() for name in ("scheduler", "controller-manager")}

    def probe(port: int) -> Callable[[], Awaitable[components.Health]]:
        return lambda: components.probe(port)

    app.components.update({name: probe(port) for name, port in found.items()})
    async with health.serving(client, "127.0.0.1", found["scheduler"], pki):
        yield found


def conditions(listed: Any) -> dict[str, Any]:
    return {item["metadata"]["name"]: item["conditions"] for item in listed["items"]}


async def test_all_are_asked(client: Client, ports: dict[str, int]) -> None:
    answer = await ask(client, "GET", COMPONENTS)
    assert answer.headers["warning"] == '299 - "v1 ComponentStatus is deprecated in v1.19+"'
    assert (answer.json["kind"], answer.json["apiVersion"], answer.json["metadata"]) == ("ComponentStatusList", "v1", {})
    port = ports["controller-manager"]
    refused = f'Get "https://127.0.0.1:{port}/healthz": dial tcp 127.0.0.1:{port}: connect: connection refused'
    assert conditions(answer.json) == {
        "scheduler": [{"type": "Healthy", "status": "True", "message": "ok"}],
        "controller-manager": [{"type": "Healthy", "status": "False", "message": refused}],
        "etcd-0": [{"type": "Healthy", "status": "True", "message": "ok"}],
    }


async def test_as_a_table(client: Client, ports: dict[str, int]) -> None:
    table = (await ask(client, "GET", COMPONENTS, accept=TABLE)).json
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Status", "Message", "Error"]
    rows = [["scheduler", "Healthy"], ["controller-manager", "Unhealthy"], ["etcd-0", "Healthy"]]
    assert [row["cells"][:2] for row in table["rows"]] == rows


async def test_one(client: Client, ports: dict[str, int]) -> None:
    answer = await ask(client, "GET", f"{COMPONENTS}/scheduler")
    assert answer.json == {
        "kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": "scheduler"},
        "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}],
    }  # fmt: skip
    assert (await ask(client, "GET", f"{COMPONENTS}/nobody")).said == (500, "", "Component not found: nobody")


async def test_selected(client: Client, ports: dict[str, int]) -> None:
    for query, names in (("fieldSelector=metadata.name%3Detcd-0", {"etcd-0"}), ("labelSelector=a%3Db", set())):
        assert conditions((await ask(client, "GET", f"{COMPONENTS}?{query}")).json).keys() == names


async def test_a_store_that_takes_nothing(app: App, client: Client, ports: dict[str, int]) -> None:
    app.rest.store._refuse([Change("/core/configmaps/default/a", b"")], sqlite3.OperationalError("disk I/O error"))
    found = conditions((await ask(client, "GET", COMPONENTS)).json)["etcd-0"]
    assert found == [{"type": "Healthy", "status": "False", "error": "the store cannot be written"}]


async def test_an_answer_without_end_is_cut(unused_tcp_port: int, pki: Path) -> None:
    async def reply(request: simple_server.Request) -> bytes:
        return simple_server.response(200, b"x" * 1_000_000)

    server = simple_server.listen("127.0.0.1", unused_tcp_port, reply, lambda: health._tls(pki))
    try:
        assert await components.probe(unused_tcp_port) == (True, "x" * 10240, "")
    finally:
        server.close()


async def test_a_failure_is_said(unused_tcp_port: int, pki: Path) -> None:
    async def reply(request: simple_server.Request) -> bytes:
        return simple_server.response(500, b"not well")

    server = simple_server.listen("127.0.0.1", unused_tcp_port, reply, lambda: health._tls(pki))
    try:
        assert await components.probe(unused_tcp_port) == (False, "HTTP probe failed with statuscode: 500", "")
    finally:
        server.close()


async def test_silence_is_not_health(unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kapi.limits.COMPONENT_HEALTH_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", unused_tcp_port)):
        well, said, _ = await components.probe(unused_tcp_port)
    assert (well, said) == (False, f'Get "https://127.0.0.1:{unused_tcp_port}/healthz": context deadline exceeded')
