"""Who asks: a verified client certificate, a bearer token from the token file or of a service account, or nobody in particular.

A token that was understood is remembered until it ends or one of the objects it is bound to changes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kapi import limits
from kapi.access import token_file
from kapi.access.identity_headers import Headers, extra_of, headers_of
from kapi.access.tokens import Tokens, Understood
from kapi.objects import certificates, jwt, time
from kapi.objects.errors import Unauthorized
from kapi.objects.user import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User
from kapi.storage.store import Entry, Store

NOBODY = User(ANONYMOUS, (UNAUTHENTICATED,))
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

    def holds(self, store: Store) -> bool:
        """Whether it means the same now: by the clock, which may have been set, and by what it is bound to."""
        meaning = self.meaning
        if not meaning.begin <= time.now() <= meaning.end:
            return False
        return all(store.get(key) is entry for key, entry in zip(meaning.keys, self.states, strict=True))


class Authenticator:
    """Tells who a request comes from."""

    def __init__(self, settings: Settings, tokens: Tokens, store: Store) -> None:
        self._settings = settings
        self._tokens = tokens
        self._store = store
        self._static = token_file.read(settings.token_file) if settings.token_file else {}
        self._known: dict[str, Known] = {}
        """Tokens that came for this server's own audiences."""

    def authenticate(self, authorization: str = "", certificate: bytes | None = None, headers: Headers = ()) -> User:
        """The user by the Authorization header's value, the DER certificate TLS verified, and all headers. Raises Unauthorized."""
        bad: Exception | None = None
        if certificate:
            try:
                if user := self._certified(certificate, headers):
                    return user
            except ValueError as error:  # a token may still tell who asks, but nobody is anonymous with a bad certificate
                bad = error
        if token := bearer(authorization):
            try:
                return self.understand(token, self._tokens.audiences).user
            except jwt.Refused as error:
                raise Unauthorized from error
        if bad is None and self._settings.anonymous:
            return NOBODY
        raise Unauthorized from bad

    def _certified(self, certificate: bytes, headers: Headers) -> User | None:
        """Who the certificate speaks for, or who a proxy says is asking. Raises ValueError."""
        said = certificates.read(certificate)
        if not said.valid():
            raise ValueError("x509: certificate has expired or is not yet valid")
        if said.issuer != self._settings.proxy_issuer:
            return said.user
        return _proxied(headers) if said.user and said.user.name in self._settings.proxies else None

    def understand(self, token: str, audiences: tuple[str, ...]) -> Understood:
        """The user of a bearer token, for TokenReview too. Raises jwt.Refused."""
        if static := self._static.get(token):
            return Understood(static, audiences, 0.0, 0.0, ())
        own = audiences == self._tokens.audiences
        if own and (known := self._known.get(token)) and known.holds(self._store):
            return known.meaning
        said = jwt.claims(token)
        if not self._tokens.concerns(said):
            raise jwt.Refused(jwt.INVALID)
        meaning = self._tokens.understand(token, said, audiences)
        if own and len(token) <= limits.TOKEN_REMEMBERED_BYTES:
            if len(self._known) >= limits.TOKENS_REMEMBERED:
                self._known.clear()
            self._known[token] = Known(meaning, tuple(map(self._store.get, meaning.keys)))
        return meaning


def bearer(authorization: str) -> str:
    """The token of an Authorization header: the word after "Bearer"; '' without one. What follows it is ignored, as in stock."""
    scheme, _, rest = authorization.strip().partition(" ")
    return rest.partition(" ")[0] if scheme.lower() == "bearer" else ""


def _proxied(headers: Headers) -> User | None:
    """The user an authenticating proxy names."""
    said = headers_of(headers, b"x-remote-")
    name = next((value for header, value in said if header == "x-remote-user" and value), "")
    if not name:
        return None
    groups = tuple(dict.fromkeys([*(value for header, value in said if header == "x-remote-group" and value), AUTHENTICATED]))
    return User(name, groups, next((value for header, value in said if header == "x-remote-uid"), ""), extra_of(said, _EXTRA))
