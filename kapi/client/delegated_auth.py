"""Delegated authentication and authorization for the ports of components: TokenReview and SubjectAccessReview by the API server.

Responses are not cached here.
"""

from kapi.client.client import Client
from kapi.objects import certificates, errors
from kapi.objects.meta import Object
from kapi.objects.user import MASTERS, User

_REVIEWS = {"TokenReview": "authentication.k8s.io", "SubjectAccessReview": "authorization.k8s.io"}


async def authenticate(client: Client, certificate: bytes | None, authorization: str) -> User | None:
    """The user of a verified DER certificate or of the header's bearer token; None: there is neither.

    Raises Unauthorized, StatusError, OSError.
    """
    if certificate and (user := _certified(certificate)):
        return user
    kind, _, token = authorization.partition(" ")
    if kind != "Bearer":
        return None
    status = await _review(client, "TokenReview", {"token": token.strip()})
    if not status.get("authenticated"):
        raise errors.Unauthorized
    user = status["user"]
    return User(user.get("username", ""), tuple(user.get("groups") or ()), user.get("uid", ""))


def _certified(certificate: bytes) -> User | None:
    """The user of a certificate. Raises Unauthorized, also if it expired since the connection was opened."""
    try:
        parsed = certificates.read(certificate)
    except ValueError as error:
        raise errors.Unauthorized from error
    if not parsed.valid():
        raise errors.Unauthorized
    return parsed.user


async def authorize(client: Client, user: User, attributes: Object) -> bool:
    """Whether the user may, e.g. {"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}. Raises StatusError, OSError."""
    if MASTERS in user.groups:
        return True
    spec = {"user": user.name, "groups": list(user.groups), "uid": user.uid, **attributes}
    return bool((await _review(client, "SubjectAccessReview", spec)).get("allowed"))


async def _review(client: Client, kind: str, spec: Object) -> Object:
    version = f"{_REVIEWS[kind]}/v1"
    review = await client.post(f"/apis/{version}/{kind.lower()}s", {"apiVersion": version, "kind": kind, "spec": spec})
    return review.get("status") or {}
