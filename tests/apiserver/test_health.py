"""Health checks: what each asks, and how they are answered."""

import asyncio
import io
import logging

import pytest

from certs import files
from kapi.api.app import App
from kapi.apiserver import health
from kapi.apiserver.assembly import Server
from kapi.client.client import Client
from kapi.objects import time
from tests.api.asking import ask


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/livez/ping", "/readyz/etcd", "/readyz/informer-sync"])
async def test_health(kept: Client, path: str) -> None:
    answer = await ask(kept, "GET", path)
    assert (answer.code, answer.body) == (200, b"ok")
    assert answer.headers["content-type"].startswith("text/plain")


async def test_health_in_words(kept: Client) -> None:
    lines = (await ask(kept, "GET", "/readyz?verbose")).body.decode().splitlines()
    assert lines[0] == "[+]ping ok"
    assert "[+]poststarthook/rbac/bootstrap-roles ok" in lines
    assert lines[-1] == "readyz check passed"
    lines = (await ask(kept, "GET", "/livez?verbose&exclude=etcd&exclude=nothing&exclude=else")).body.decode().splitlines()
    assert "[+]etcd excluded: ok" in lines
    assert lines[-2] == 'warn: some health checks cannot be excluded: no matches for "else","nothing"'


async def test_every_check_asks_something(server: Server) -> None:
    """Each names a part that is asked, or one that the start finishes."""
    for part in {*health.checks("livez").values(), *health.checks("readyz").values()} - health.ASKED.keys():
        assert server.health.parts.wrong(part) == (health.UNFINISHED if part.endswith(" kept") else ""), part


async def test_checks_make_no_documents(app: App, kept: Client) -> None:
    await ask(kept, "GET", "/readyz")
    assert not [key for key in app.catalogue.kept if key[:1] == ("openapi",)]


async def test_what_is_not_done_yet(client: Client) -> None:
    answer = await ask(client, "GET", "/livez")
    assert answer.code == 500
    assert b"[-]poststarthook/apiservice-status-local-available-controller failed: reason withheld\n" in answer.body
    assert answer.body.endswith(b"livez check failed\n")
    single = await ask(client, "GET", "/livez/poststarthook/apiservice-status-local-available-controller")
    assert (single.code, single.body) == (500, b"internal server error: not finished\n")


async def test_work_that_ended(server: Server, kept: Client) -> None:
    async def breaks() -> None:
        raise ValueError

    task = asyncio.create_task(breaks())
    server.health.parts.goes_on("API services kept", task)
    await asyncio.wait([task])
    path = "/livez/poststarthook/apiservice-status-remote-available-controller"
    assert (await ask(kept, "GET", path)).body == b"internal server error: stopped\n"


async def test_a_store_that_fails(app: App, kept: Client) -> None:
    app.rest.store.healthy = False
    answer = await ask(kept, "GET", "/readyz")
    assert answer.code == 500
    assert b"[-]etcd failed: reason withheld" in answer.body
    assert (await ask(kept, "GET", "/readyz/etcd")).code == 500
    assert (await ask(kept, "GET", "/readyz?exclude=etcd&exclude=etcd-readiness")).code == 200


async def test_a_certificate_that_ended(server: Server, kept: Client) -> None:
    time.set_clock(lambda: files.expiry(server.health.certificate) + 1)
    try:
        assert b"[-]loopback-serving-certificate failed" in (await ask(kept, "GET", "/livez")).body
    finally:
        time.set_clock(None)


async def test_a_log_that_cannot_be_written(kept: Client) -> None:
    handler = logging.StreamHandler(io.StringIO())
    logging.root.addHandler(handler)
    handler.stream.close()
    try:
        assert (await ask(kept, "GET", "/livez/log")).body == b"internal server error: logging blocked\n"
    finally:
        logging.root.removeHandler(handler)


async def test_a_server_that_stops(server: Server, kept: Client) -> None:
    server.health.closing = True
    assert (await ask(kept, "GET", "/readyz")).code == 500
    assert (await ask(kept, "GET", "/livez")).code == 200


async def test_a_check_of_nothing(client: Client) -> None:
    assert (await ask(client, "GET", "/livez/nothing")).code == 404
