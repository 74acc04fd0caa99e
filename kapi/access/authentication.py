"""Who asks: a verified client certificate, a bearer token from the token file or of a service account, or nobody in particular.

A token that was understood is remembered until it ends or one of the objects it is bound to changes.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kapi.access import certificates, jwt
from kapi.access.tokens import Tokens, Understood
from kapi.objects import time
from kapi.objects.errors import Unauthorized
from kapi.objects.user import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User
from kapi.storage.store import Entry, Store

NOBODY = User(ANONYMOUS, (UNAUTHENTICATED,))
REMEMBERED = 4096


@dataclass(frozen=True)
class Settings:
    """Who is let in."""

    token_file: Path | None = None
    """Lines of: token,user,uid,"group1,group2"."""
    anonymous: bool = True
    """Whether a request without credentials goes on as system:anonymous."""


class Known(NamedTuple):
    """A token that was understood, with the states that rests on: when one differs, the token is looked at anew."""

    meaning: Understood
    states: tuple[Entry | None, ...]


class Authenticator:
    """Tells who a request comes from."""

    def __init__(self, settings: Settings, tokens: Tokens, store: Store) -> None:
        self._anonymous = settings.anonymous
        self._tokens = tokens
        self._store = store
        self._static = _read(settings.token_file) if settings.token_file else {}
        self._known: dict[tuple[str, tuple[str, ...]], Known] = {}

    def authenticate(self, authorization: str = "", certificate: bytes | None = None) -> User:
        """The user by the value of the Authorization header and the DER certificate TLS verified. Raises Unauthorized."""
        if certificate and (user := certificates.user(certificate)):
            return user
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            if self._anonymous:
                return NOBODY
            raise Unauthorized
        try:
            return self.understand(token, self._tokens.audiences).user
        except jwt.Refused as error:
            raise Unauthorized from error

    def understand(self, token: str, audiences: tuple[str, ...]) -> Understood:
        """The user of a bearer token, for TokenReview too. Raises jwt.Refused."""
        if static := self._static.get(token):
            return Understood(static, audiences, 0.0, ())
        if (known := self._known.get((token, audiences))) and self._holds(known):
            return known.meaning
        said = jwt.claims(token)
        if not self._tokens.concerns(said):
            raise jwt.Refused("invalid bearer token")
        meaning = self._tokens.understand(token, said, audiences)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[token, audiences] = Known(meaning, tuple(map(self._store.get, meaning.keys)))
        return meaning

    def _holds(self, known: Known) -> bool:
        end, keys = known.meaning.end, known.meaning.keys
        if end and time.now() > end:
            return False
        return all(self._store.get(key) is entry for key, entry in zip(keys, known.states, strict=True))


def _read(path: Path) -> dict[str, User]:
    """The users of a token file. Raises OSError, ValueError."""
    users: dict[str, User] = {}
    with path.open(newline="") as file:
        for row in csv.reader(file, skipinitialspace=True):
            if not row or row[0].startswith("#"):
                continue
            if len(row) < 3:
                raise ValueError(f"token file '{path}' must have at least 3 columns (token, user name, user uid), found {len(row)}")
            groups = tuple(group.strip() for group in row[3].split(",") if group.strip()) if len(row) > 3 else ()
            users[row[0]] = User(row[1], (*groups, *(() if AUTHENTICATED in groups else (AUTHENTICATED,))), row[2])
    return users
