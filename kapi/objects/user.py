"""Users, request attributes and decisions: types shared by authentication, authorization, admission and audit."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

ANONYMOUS = "system:anonymous"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
MASTERS = "system:masters"
CONTROLLERS = "kapi:controllers"
"""The group of the one process that runs all controllers: it holds the permissions of every controller's own account."""
NODES, NODE = "system:nodes", "system:node:"
"""The group of kubelets, and the prefix of their user names."""


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated (or anonymous) user."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, list[str]] = field(default_factory=dict, hash=False)

    def info(self) -> dict[str, Any]:
        """The user as a UserInfo of authentication.k8s.io/v1."""
        given = (("username", self.name), ("uid", self.uid), ("groups", list(self.groups)), ("extra", self.extra))
        return {key: value for key, value in given if value}


def node_of(user: User) -> str | None:
    """The node name of a kubelet's user; None for other users, "" for a kubelet without a node name."""
    return user.name.removeprefix(NODE) if user.name.startswith(NODE) and NODES in user.groups else None


class Attributes(NamedTuple):
    """The attributes of a request for authorization: either resource fields, or `path` (e.g. "/healthz")."""

    user: User
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    selected: tuple[tuple[str, str], ...] = ()
    """(field, value) pairs that the field selector of a list, watch or deletecollection requires to be equal."""


class Decision(NamedTuple):
    """The decision of an authorizer."""

    allowed: bool
    reason: str = ""
