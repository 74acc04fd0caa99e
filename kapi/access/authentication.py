"""Authentication: client certificates, an authenticating proxy, bearer tokens (token file, service accounts), or anonymous.

Verified tokens are cached until they expire or one of the objects they are bound to changes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kapi import limits
from kapi.access import token_file, websocket_token
from kapi.access.identity_headers import Headers, extra_of, headers_of
from kapi.access.tokens import Tokens, VerifiedToken
from kapi.objects import certificates, jwt, time
from kapi.objects.errors import Unauthorized
from kapi.objects.user import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User
from kapi.storage.store import Entry, Store

ANONYMOUS_USER = User(ANONYMOUS, (UNAUTHENTICATED,))
_EXTRA = "x-remote-extra-"


@dataclass(frozen=True)
class Settings:
    """The configured authenticators."""

    token_file: Path | None = None
    """Lines of: token,user,uid,"group1,group2"."""
    anonymous: bool = True
    """Whether a request without credentials goes on as system:anonymous."""
    proxy_issuer: str = "front-proxy-ca"
    """Common name of the CA of authenticating proxies; other certificates of that CA authenticate no one."""
    proxies: tuple[str, ...] = ("front-proxy-client",)
    """Common names of the proxies whose X-Remote-User, -Group and -Extra-* headers are trusted."""


class CachedToken(NamedTuple):
    """A verified token with the store entries it depends on. If one of them is replaced, the token is verified again."""

    verified: VerifiedToken
    entries: tuple[Entry | None, ...]

    def is_valid(self, store: Store) -> bool:
        """Whether the result still holds: by the clock, and by the entries it depends on."""
        verified = self.verified
        if not verified.begin <= time.now() <= verified.end:
            return False
        return all(store.get(key) is entry for key, entry in zip(verified.keys, self.entries, strict=True))


class Authenticator:
    """Determines the user of a request."""

    def __init__(self, settings: Settings, tokens: Tokens, store: Store) -> None:
        self._settings = settings
        self._tokens = tokens
        self._store = store
        self._static = token_file.read(settings.token_file) if settings.token_file else {}
        self._cached: dict[str, CachedToken] = {}
        """Verified tokens for this server's own audiences."""

    def authenticate(self, authorization: str = "", certificate: bytes | None = None, headers: Headers = ()) -> User:
        """The user by the Authorization header's value, the DER certificate TLS verified, and all headers. Raises Unauthorized."""
        bad: Exception | None = None
        if certificate:
            try:
                if user := self._certified(certificate, headers):
                    return user
            except ValueError as error:  # a token may still authenticate the request, but it is never anonymous
                bad = error
        if token := bearer(authorization) or websocket_token.token(headers):
            try:
                return self.authenticate_token(token, self._tokens.audiences).user
            except jwt.InvalidToken as error:
                raise Unauthorized from error
        if bad is None and self._settings.anonymous:
            return ANONYMOUS_USER
        raise Unauthorized from bad

    def _certified(self, certificate: bytes, headers: Headers) -> User | None:
        """The user of the certificate, or of an authenticating proxy's headers. Raises ValueError."""
        read = certificates.read(certificate)
        if not read.valid():
            raise ValueError("x509: certificate has expired or is not yet valid")
        if read.issuer != self._settings.proxy_issuer:
            return read.user
        return _proxied(headers) if read.user and read.user.name in self._settings.proxies else None

    def authenticate_token(self, token: str, audiences: tuple[str, ...]) -> VerifiedToken:
        """The verified token; also used by TokenReview. Raises jwt.InvalidToken."""
        if static := self._static.get(token):
            return VerifiedToken(static, audiences, 0.0, 0.0, ())
        own = audiences == self._tokens.audiences
        if own and (cached := self._cached.get(token)) and cached.is_valid(self._store):
            return cached.verified
        claims = jwt.unverified_claims(token)
        if not self._tokens.has_our_issuer(claims):
            raise jwt.InvalidToken(jwt.INVALID)
        verified = self._tokens.verify(token, claims, audiences)
        if own and len(token) <= limits.TOKEN_REMEMBERED_BYTES:
            if len(self._cached) >= limits.TOKENS_REMEMBERED:
                self._cached.clear()
            self._cached[token] = CachedToken(verified, tuple(map(self._store.get, verified.keys)))
        return verified


def bearer(authorization: str) -> str:
    """The token of an Authorization header: the word after "Bearer"; '' without one. What follows it is ignored, as in stock."""
    scheme, _, rest = authorization.strip().partition(" ")
    return rest.partition(" ")[0] if scheme.lower() == "bearer" else ""


def _proxied(headers: Headers) -> User | None:
    """The user that an authenticating proxy's headers name."""
    found = headers_of(headers, b"x-remote-")
    name = next((value for header, value in found if header == "x-remote-user" and value), "")
    if not name:
        return None
    groups = tuple(dict.fromkeys([*(value for header, value in found if header == "x-remote-group" and value), AUTHENTICATED]))
    return User(name, groups, next((value for header, value in found if header == "x-remote-uid"), ""), extra_of(found, _EXTRA))
