"""The administrator's client, in a cluster where pods can be created."""

import pytest

from kapi.client.client import Client
from kapi.objects.resource import SERVICE_ACCOUNTS


@pytest.fixture
async def api(client: Client) -> Client:
    """`client`, with the service account of the namespace default there (its controller does not run here)."""
    await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default", "namespace": "default"}})
    return client
