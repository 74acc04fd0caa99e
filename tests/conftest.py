"""What many tests start from: a whole API server in this process, over a memory store, and a client of it without a socket."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings

from kapi.api.app import App
from kapi.apiserver import assembly
from kapi.apiserver.assembly import Server
from kapi.apiserver.settings import Settings, certificates
from kapi.apiserver.status_controllers import StatusControllers
from kapi.client.client import Client
from kapi.client.local import LocalTransport
from kapi.objects.user import MASTERS, User
from tests.moments import turn

settings.register_profile("kapi", deadline=None)  # a busy machine is no fault of a law
settings.load_profile("kapi")

ADMIN = User("admin", (MASTERS, "system:authenticated"))


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a cluster's keys and certificates."""
    return certificates(Settings(data_dir=tmp_path_factory.mktemp("cluster")))


@pytest.fixture
async def server(pki: Path) -> AsyncIterator[Server]:
    """An API server without a socket, with nothing in it but what is there from the beginning."""
    made = await assembly.assemble(Settings(data_dir=pki.parent, storage="memory:"), pki)
    yield made
    await made.app.rest.store.close()


@pytest.fixture
async def app(server: Server) -> App:
    """The application of `server`."""
    return server.app


@pytest.fixture
async def client(app: App) -> AsyncIterator[Client]:
    """The administrator's client of `app`."""
    made = Client(LocalTransport(app, ADMIN), agent="test")
    yield made
    await made.close()


@pytest.fixture
async def kept(server: Server, client: Client) -> AsyncIterator[Client]:
    """`client` of a server whose status controllers have gone round once."""
    tasks = StatusControllers(server.app.rest, server.app.catalogue, server.health.parts, server.app.aggregation).start()
    while any(map(server.health.parts.wrong, ("flow control kept", "API services kept", "identity kept"))):
        await turn()
    yield client
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for _ in range(3):  # connections that were under way are closed
        await turn()
