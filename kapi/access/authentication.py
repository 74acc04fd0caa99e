"""Who asks: a verified client certificate, a bearer token from the token file or of a service account, or nobody in particular.

A token that was understood is remembered until it ends or one of the objects it is bound to changes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from kapi.access import certificates, jwt, token_file
from kapi.access.tokens import Tokens, Understood
from kapi.objects import time
from kapi.objects.errors import Unauthorized
from kapi.objects.user import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User
from kapi.storage.store import Entry, Store

NOBODY = User(ANONYMOUS, (UNAUTHENTICATED,))
REMEMBERED = 4096
Headers = Iterable[tuple[bytes, bytes]]
"""As ASGI has them: names in lower case."""
_EXTRA = "x-remote-extra-"


@dataclass(frozen=True)
class Settings:
    """Who is let in."""

    token_file: Path | None = None
    """Lines of: token,user,uid,"group1,group2"."""
    anonymous: bool = True
    """Whether a request without credentials goes on as system:anonymous."""
    proxy_issuer: str = "front-proxy-ca"
    """Common name of the CA of authenticating proxies; other certificates of that CA speak for nobody."""
    proxies: tuple[str, ...] = ("front-proxy-client",)
    """The proxies whose X-Remote-User, -Group and -Extra-* headers are believed."""


class Known(NamedTuple):
    """A token that was understood, with the states that rests on: when one differs, the token is looked at anew."""

    meaning: Understood
    states: tuple[Entry | None, ...]


class Authenticator:
    """Tells who a request comes from."""

    def __init__(self, settings: Settings, tokens: Tokens, store: Store) -> None:
        self._settings = settings
        self._tokens = tokens
        self._store = store
        self._static = token_file.read(settings.token_file) if settings.token_file else {}
        self._known: dict[tuple[str, tuple[str, ...]], Known] = {}

    def authenticate(self, authorization: str = "", certificate: bytes | None = None, headers: Headers = ()) -> User:
        """The user by the Authorization header's value, the DER certificate TLS verified, and all headers. Raises Unauthorized."""
        if certificate and (user := self._certified(certificate, headers)):
            return user
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            if self._settings.anonymous:
                return NOBODY
            raise Unauthorized
        try:
            return self.understand(token, self._tokens.audiences).user
        except jwt.Refused as error:
            raise Unauthorized from error

    def _certified(self, certificate: bytes, headers: Headers) -> User | None:
        """Who the certificate speaks for, or who a proxy says is asking. Raises Unauthorized."""
        try:
            user, issuer = certificates.user(certificate), certificates.issuer(certificate)
        except ValueError as error:
            raise Unauthorized from error
        if issuer != self._settings.proxy_issuer:
            return user
        return _proxied(headers) if user and user.name in self._settings.proxies else None

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


def _proxied(headers: Headers) -> User | None:
    """The user an authenticating proxy names."""
    said = [(name.decode("latin-1"), value.decode()) for name, value in headers if name.startswith(b"x-remote-")]
    name = next((value for header, value in said if header == "x-remote-user" and value), "")
    if not name:
        return None
    groups = tuple(dict.fromkeys([*(value for header, value in said if header == "x-remote-group"), AUTHENTICATED]))
    extra: dict[str, list[str]] = {}
    for header, value in said:
        if header.startswith(_EXTRA):
            extra.setdefault(unquote(header.removeprefix(_EXTRA)), []).append(value)
    return User(name, groups, next((value for header, value in said if header == "x-remote-uid"), ""), extra)
