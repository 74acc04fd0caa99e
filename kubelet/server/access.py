"""Authentication and authorization of the kubelet's server: client certificates of the cluster's CA, or tokens the API server accepts.

Authorization is a SubjectAccessReview on nodes/SUBRESOURCE, except for system:masters, who are always allowed.
"""

from time import monotonic
from typing import Any

from kapi import limits
from kapi.client import delegated_auth
from kapi.client.client import Client
from kapi.http import server
from kapi.objects import errors
from kapi.objects.user import User

_REMEMBERED_SECONDS = 120.0
_PROXY = ("proxy",)
# the first part of the path: subresources of nodes, any of which will do; all else is proxy
_SUBRESOURCES = {
    "stats": ("stats",), "metrics": ("metrics",), "logs": ("log",), "checkpoint": ("checkpoint",), "pods": ("pods", *_PROXY),
    "runningpods": ("pods", *_PROXY), "healthz": ("healthz", *_PROXY), "configz": ("configz", *_PROXY),
}  # fmt: skip
_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Access:
    """Delegates to the API server (TokenReview, SubjectAccessReview) and caches its decisions."""

    def __init__(self, client: Client, node: str) -> None:
        self._client, self._node = client, node
        self._known: dict[tuple[str, ...], float] = {}

    async def check(self, scope: dict[str, Any], path: str) -> None:
        """Return if the caller is authorized. Raises Unauthorized, Forbidden."""
        certificate, headers = scope.get("extensions", {}).get(server.CERTIFICATE), dict(scope["headers"])
        user = await delegated_auth.authenticate(self._client, certificate, headers.get(b"authorization", b"").decode("latin-1"))
        if user is None:
            raise errors.Unauthorized
        connection = scope.get("extensions", {}).get(server.CONNECTION)
        if connection is not None:
            connection.set_long_running()  # no request here has a body that is waited for
            if connection.user != user.name:
                connection.set_user(user.name)
        verb, part = _VERBS.get(scope["method"], "get"), path.split("/")[1]
        subresources = _SUBRESOURCES.get(part, _PROXY)
        for subresource in subresources:
            if await self._may(user, verb, subresource):
                return
        text = f"Forbidden (user={user.name}, verb={verb}, resource=nodes, subresource(s)=[{' '.join(subresources)}])"
        raise errors.Forbidden(text)

    async def _may(self, user: User, verb: str, subresource: str) -> bool:
        key = (user.name, *user.groups, verb, subresource)
        if self._known.get(key, 0.0) > monotonic():
            return True
        attributes = {"verb": verb, "version": "v1", "resource": "nodes", "subresource": subresource, "name": self._node}
        if not await delegated_auth.authorize(self._client, user, {"resourceAttributes": attributes}):
            return False
        if len(self._known) >= limits.REMEMBERED_CALLERS:
            self._known.clear()
        self._known[key] = monotonic() + _REMEMBERED_SECONDS
        return True
