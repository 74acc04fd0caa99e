"""The administrator's client, in a cluster where pods can be created."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kapi.apiserver.assembly import Server
from kapi.client.client import Client
from kapi.objects.resource import SERVICE_ACCOUNTS
from tests.api.webhook import Webhook, serving


@pytest.fixture
async def api(client: Client) -> Client:
    """`client`, with the service account of the namespace default there (its controller does not run here)."""
    await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default", "namespace": "default"}})
    return client


@pytest.fixture
async def hook(tmp_path: Path, server: Server) -> AsyncIterator[Webhook]:
    """A server of webhooks, of which `server` knows nothing yet."""
    async with serving(tmp_path, server) as made:
        yield made
