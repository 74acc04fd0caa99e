"""Service account tokens of pods (TokenRequest), cached for 80% of their lifetime, at most a day."""

import random

from kapi.client.client import Client
from kapi.objects import time
from kapi.objects.meta import Object
from kapi.objects.resource import SERVICE_ACCOUNTS

DAY = 24 * 3600.0
_SHARE = 0.8


class Tokens:
    """`await tokens.get(pod, source)` -> the token. Raises StatusError, OSError."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[tuple[str, str, int], tuple[str, float]] = {}

    async def get(self, pod: Object, source: Object) -> str:
        meta = pod["metadata"]
        audience, seconds = source.get("audience") or "", int(source.get("expirationSeconds") or 3600)
        key = (meta["uid"], audience, seconds)
        known = self._known.get(key)
        if known is not None and time.now() < known[1]:
            return known[0]
        token, expires = await self._request(pod, audience, seconds)
        now = time.now()
        life = min(expires - now, DAY / _SHARE) * _SHARE
        self._known[key] = (token, now + life - random.uniform(0, 10))
        return token

    async def _request(self, pod: Object, audience: str, seconds: int) -> tuple[str, float]:
        meta = pod["metadata"]
        bound = {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]}
        spec: Object = {"audiences": [audience] if audience else None, "expirationSeconds": seconds, "boundObjectRef": bound}
        path = SERVICE_ACCOUNTS.path(meta["namespace"], pod["spec"].get("serviceAccountName") or "default", "token")
        request = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {}, "spec": spec}
        response = await self._client.post(path, request)
        return response["status"]["token"], time.parse(response["status"]["expirationTimestamp"])

    def forget(self, uid: str) -> None:
        """Drop the tokens of a removed pod."""
        self._known = {k: v for k, v in self._known.items() if k[0] != uid}
