"""Who asks, and for what: the words authentication, authorization, admission and audit share."""

from dataclasses import dataclass, field
from typing import NamedTuple

ANONYMOUS = "system:anonymous"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
MASTERS = "system:masters"


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated (or anonymous) caller."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, list[str]] = field(default_factory=dict, hash=False)


class Attributes(NamedTuple):
    """One question to the authorizer: may `user` do `verb`? Either resource fields are set, or `path` (e.g. "/healthz")."""

    user: User
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Decision(NamedTuple):
    """The authorizer's answer."""

    allowed: bool
    reason: str = ""
