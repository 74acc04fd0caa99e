"""API objects that pods refer to (ConfigMaps, Secrets, ServiceAccounts), fetched on demand and cached for a few seconds.

The node authorizer lets a kubelet read only objects its pods refer to, one at a time. Equal pods that start together share one request.
"""

import asyncio

from kapi.client.client import Client
from kapi.objects import errors, time
from kapi.objects.meta import Object
from kapi.objects.resource import Resource

FRESH = 2.0
"""Seconds a fetched object is reused."""
_KEPT = 256


class Sources:
    """`await sources.get(SECRETS, "default", "token")` -> the object or None."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[tuple[Resource, str, str], tuple[float, asyncio.Future[Object | None]]] = {}

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The object or None. Raises StatusError (except NotFound) and OSError."""
        key, now = (resource, namespace, name), time.now()
        known = self._known.get(key)
        if known is None or now - known[0] > FRESH or (known[1].done() and known[1].exception()):
            self._trim(now)
            known = self._known[key] = (now, asyncio.ensure_future(self._fetch(resource, namespace, name)))
        return await asyncio.shield(known[1])

    async def _fetch(self, resource: Resource, namespace: str, name: str) -> Object | None:
        try:
            found = await self._client.get(resource, name, namespace)
        except errors.NotFound:
            return None
        return {**found, "kind": resource.kind}

    def _trim(self, now: float) -> None:
        if len(self._known) > _KEPT:
            self._known = {k: v for k, v in self._known.items() if now - v[0] <= FRESH}
