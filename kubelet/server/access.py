"""Who may use the kubelet's server: holders of a client certificate of the cluster's CA, or of a token the API server knows.

What they may do is asked of the API server (SubjectAccessReview on nodes/…), except of system:masters, who may all.
"""

from typing import Any

from kapi.client.client import Client
from kapi.http import server
from kapi.objects import errors, time
from kapi.objects.resource import Resource
from kapi.objects.user import MASTERS, User

TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", False)
ACCESS_REVIEWS = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", False)
_REMEMBERED_SECONDS = 120.0
_PROXY = ("proxy",)
# the first part of the path: subresources of nodes, any of which will do; all else is proxy
_SUBRESOURCES = {
    "stats": ("stats",), "metrics": ("metrics",), "logs": ("log",), "checkpoint": ("checkpoint",), "pods": ("pods", *_PROXY),
    "runningpods": ("pods", *_PROXY), "healthz": ("healthz", *_PROXY), "configz": ("configz", *_PROXY),
}  # fmt: skip
_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def subject(fields: dict[str, Any]) -> User:
    """The user a verified certificate names; `fields` as ssl's getpeercert gives them."""
    found = [pair for group in fields.get("subject", ()) for pair in group]
    name = next((value for key, value in found if key == "commonName"), "")
    return User(name, (*(value for key, value in found if key == "organizationName"), "system:authenticated"))


class Access:
    """Asks the API server, and remembers its answers for a while."""

    def __init__(self, client: Client, node: str) -> None:
        self._client, self._node = client, node
        self._known: dict[tuple[str, ...], float] = {}

    async def check(self, scope: dict[str, Any], path: str) -> None:
        """Return when the caller may. Raises Unauthorized, Forbidden."""
        user = await self._who(scope)
        if MASTERS in user.groups:
            return
        verb, part = _VERBS.get(scope["method"], "get"), path.split("/")[1]
        subresources = _SUBRESOURCES.get(part, _PROXY)
        for subresource in subresources:
            if await self._may(user, verb, subresource):
                return
        text = f"Forbidden (user={user.name}, verb={verb}, resource=nodes, subresource(s)=[{' '.join(subresources)}])"
        raise errors.Forbidden(text)

    async def _may(self, user: User, verb: str, subresource: str) -> bool:
        key = (user.name, *user.groups, verb, subresource)
        if self._known.get(key, 0.0) > time.now():
            return True
        attributes = {"verb": verb, "version": "v1", "resource": "nodes", "subresource": subresource, "name": self._node}
        spec = {"user": user.name, "groups": list(user.groups), "uid": user.uid, "resourceAttributes": attributes}
        answer = await self._client.create(
            ACCESS_REVIEWS, {"apiVersion": ACCESS_REVIEWS.api_version, "kind": ACCESS_REVIEWS.kind, "spec": spec}
        )
        if not (answer.get("status") or {}).get("allowed"):
            return False
        self._known[key] = time.now() + _REMEMBERED_SECONDS
        return True

    async def _who(self, scope: dict[str, Any]) -> User:
        fields = scope.get("extensions", {}).get(server.SUBJECT)
        if fields:
            return subject(fields())
        header = next((v.decode("latin-1") for k, v in scope["headers"] if k == b"authorization"), "")
        if not header.startswith("Bearer "):
            raise errors.Unauthorized
        review = {
            "apiVersion": TOKEN_REVIEWS.api_version,
            "kind": TOKEN_REVIEWS.kind,
            "spec": {"token": header.removeprefix("Bearer ").strip()},
        }
        status = (await self._client.create(TOKEN_REVIEWS, review)).get("status") or {}
        if not status.get("authenticated"):
            raise errors.Unauthorized
        return User(status["user"].get("username", ""), tuple(status["user"].get("groups") or ()), status["user"].get("uid", ""))
