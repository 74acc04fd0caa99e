"""Service account tokens: issued by TokenRequest, and verified when they are presented.

A token is bound to its service account and possibly to a pod, node or secret (KEP-1205), and is invalid once they are deleted. Tokens in
Secrets (`kapi.access.legacy_tokens`) are verified as well.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from kapi.access import legacy_tokens, rules
from kapi.objects import account_tokens, causes, errors, jwt, time
from kapi.objects.jwt import Claims, InvalidToken
from kapi.objects.meta import Object
from kapi.objects.user import AUTHENTICATED, User
from kapi.storage.store import Store

ISSUER = "https://kubernetes.default.svc.cluster.local"
PREFIX = "system:serviceaccount:"
GROUP = "system:serviceaccounts"
CREDENTIAL = "authentication.kubernetes.io/credential-id"

DEFAULT_SECONDS = 3600
SHORTEST_SECONDS = 600
LONGEST_SECONDS = 1 << 32
EXTENDED_FROM_SECONDS = 3607
"""The lifetime kubelets request. Stock extends such a pod's token to a year and treats its use after 3,607 s as stale only."""
EXTENDED_SECONDS = 365 * 86400
DAY = 86400.0
LEEWAY = 60.0
"""Allowed clock skew in seconds, for a token's times and for the deletionTimestamp of the objects it is bound to."""


@dataclass(frozen=True)
class Settings:
    """Issuer, audiences and keys."""

    issuer: str = ISSUER
    audiences: tuple[str, ...] = ()
    """The API server's own audiences; the issuer if empty."""
    signing_key: Path | None = None
    verifying_keys: tuple[Path, ...] = ()
    """PEM files; the signing key is always among them."""


class VerifiedToken(NamedTuple):
    """The result of verifying a token."""

    user: User
    audiences: tuple[str, ...]
    """The requested audiences that the token is valid for."""
    begin: float
    end: float
    """The result is valid from `begin` to `end`, in seconds since the epoch."""
    keys: tuple[str, ...]
    """Store keys of the objects it is bound to; the result is valid until one of them changes."""


class Tokens:
    """Issues and verifies service account tokens."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.issuer = settings.issuer
        self.audiences = settings.audiences or (settings.issuer,)
        self._signing = jwt.Keys((settings.signing_key,) if settings.signing_key else ())
        self._keys = jwt.Keys((*settings.verifying_keys, *((settings.signing_key,) if settings.signing_key else ())))
        self._store = store
        self.note_use: legacy_tokens.Use = lambda namespace, name, uid, day: None
        """Called when the token of a Secret is used on a day that its last-used label does not have yet."""

    # --- issuing

    def request(self, namespace: str, name: str, wanted: Object) -> Object:
        """The TokenRequest with its status. Raises Invalid, NotFound, BadRequest, Conflict."""
        spec: Object = {**(wanted.get("spec") or {})}
        spec["audiences"] = list(spec.get("audiences") or self.audiences)
        if spec.get("expirationSeconds") is None:
            spec["expirationSeconds"] = DEFAULT_SECONDS
        account = self._found("serviceaccounts", namespace, name)
        _validate(spec["expirationSeconds"])
        bound = self._bound(namespace, name, spec.get("boundObjectRef"))
        now = int(time.now())
        claims = self._claims(account, bound, spec, now)
        metadata: Object = {"name": name, "namespace": namespace, **(wanted.get("metadata") or {})}
        metadata.setdefault("creationTimestamp", time.stamp())
        status = {"token": self.sign(claims), "expirationTimestamp": time.stamp(now + spec["expirationSeconds"])}
        return {**wanted, "metadata": metadata, "spec": spec, "status": status}

    def sign(self, claims: Claims) -> str:
        keys = self._signing.all()
        if not keys:
            raise errors.InternalError("no key for service account tokens is set")
        return keys[0].sign(claims)

    def _found(self, plural: str, namespace: str, name: str) -> Object:
        entry = self._store.get(f"/core/{plural}/{namespace}/{name}" if namespace else f"/core/{plural}/{name}")
        if entry is None:
            raise errors.not_found(plural, "", name)
        return entry.obj

    def _bound(self, namespace: str, account: str, reference: Object | None) -> dict[str, Object]:
        """The objects the token is bound to, by claim name, e.g. {"pod": …, "node": …}."""
        if not reference:
            return {}
        kind, group_version, name = reference.get("kind", ""), reference.get("apiVersion", ""), reference.get("name", "")
        if group_version != "v1" or kind not in ("Pod", "Secret", "Node"):
            group, _, version = group_version.rpartition("/")
            raise errors.BadRequest(f"cannot bind token to object of type {group}/{version}, Kind={kind}")
        obj = self._found(f"{kind.lower()}s", "" if kind == "Node" else namespace, name)
        bound = {kind.lower(): obj}
        if kind == "Pod":
            running = (obj.get("spec") or {}).get("serviceAccountName") or ""
            if running != account:
                text = f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount name.'
                raise errors.BadRequest(text)
            if node := self._store.get(f"/core/nodes/{(obj.get('spec') or {}).get('nodeName') or ''}"):
                bound["node"] = node.obj
        uid = obj["metadata"].get("uid")
        if reference.get("uid") and reference["uid"] != uid:
            why = f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
            raise errors.conflict(kind, "", name, why + "The object might have been deleted and then recreated")
        return bound

    def _claims(self, account: Object, bound: dict[str, Object], spec: Object, now: int) -> Claims:
        meta = account["metadata"]
        private: Object = {"namespace": meta["namespace"], "serviceaccount": _reference(account)}
        private.update({kind: _reference(obj) for kind, obj in bound.items()})
        seconds = spec["expirationSeconds"]
        extended = "pod" in bound and seconds == EXTENDED_FROM_SECONDS and set(spec["audiences"]) <= set(self.audiences)
        if extended:
            private["warnafter"] = now + seconds
            seconds = EXTENDED_SECONDS
        return {
            "aud": spec["audiences"],
            "exp": now + seconds,
            "iat": now,
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": private,
            "nbf": now,
            "sub": f"{PREFIX}{meta['namespace']}:{meta['name']}",
        }

    # --- checking

    def has_our_issuer(self, claims: Claims) -> bool:
        """Whether the token claims to be a service account token of this server."""
        return claims.get("iss") in (self.issuer, account_tokens.ISSUER)

    def verify(self, token: str, claims: Claims, audiences: tuple[str, ...]) -> VerifiedToken:
        """Verify the signature, times, audiences and bound objects. Raises InvalidToken."""
        self._keys.check(token)
        if claims.get("iss") == account_tokens.ISSUER:
            return self._verify_legacy(token, claims, audiences)
        now = time.now()
        end, begin = _moment(claims, "exp") + LEEWAY, max(_moment(claims, name, 0.0) - LEEWAY for name in ("nbf", "iat"))
        if now > end:
            raise InvalidToken("service account token has expired")
        if now < begin:
            raise InvalidToken("service account token is not valid yet")
        shared = _shared(claims.get("aud"), audiences)
        user, keys = self._user(claims)
        return VerifiedToken(user, shared, begin, min([end, *self._deadlines(keys)]), keys)

    def _user(self, claims: Claims) -> tuple[User, tuple[str, ...]]:
        private = _object(claims, "kubernetes.io")
        namespace, account = private.get("namespace"), _object(private, "serviceaccount")
        name, uid = account.get("name"), account.get("uid")
        if not all(isinstance(text, str) and text for text in (namespace, name, uid)):
            raise InvalidToken(jwt.INVALID)
        keys = [self._account(str(namespace), str(name), str(uid))]
        extra = {CREDENTIAL: [f"JTI={claims['jti']}"]} if claims.get("jti") else {}
        for kind in ("secret", "pod", "node"):
            if private.get(kind) is None:
                continue
            reference = _object(private, kind)
            held, held_uid = str(reference.get("name")), str(reference.get("uid"))
            if kind != "node" or private.get("pod") is None:
                collection_key = f"nodes/{held}" if kind == "node" else f"{kind}s/{namespace}/{held}"
                keys.append(self._bound_to(kind, f"/core/{collection_key}", held_uid))
            if kind != "secret":
                extra[f"authentication.kubernetes.io/{kind}-name"] = [held]
                extra[f"authentication.kubernetes.io/{kind}-uid"] = [held_uid]
        return account_user(str(namespace), str(name), str(uid), extra), tuple(keys)

    def _account(self, namespace: str, name: str, uid: str) -> str:
        """The store key of the account, which must exist with this uid. Raises InvalidToken."""
        key = f"/core/serviceaccounts/{namespace}/{name}"
        if (entry := self._store.get(key)) is None:
            raise InvalidToken(errors.not_found("serviceaccounts", "", name).message)
        meta = entry.obj["metadata"]
        if _is_deleted(meta):
            raise InvalidToken(f"service account {namespace}/{name} has been deleted")
        if meta.get("uid") != uid:
            raise InvalidToken(f"service account UID ({meta.get('uid')}) does not match claim ({uid})")
        return key

    def _bound_to(self, kind: str, key: str, uid: str) -> str:
        """The store key of a bound object, which must exist with this uid and not be deleted. Raises InvalidToken."""
        entry = self._store.get(key)
        meta = entry.obj["metadata"] if entry else {}
        if entry is None or _is_deleted(meta):
            raise InvalidToken("service account token has been invalidated")
        if meta.get("uid") != uid:
            raise InvalidToken(f"{kind} UID ({meta.get('uid')}) does not match service account {kind} ref claim ({uid})")
        return key

    def _deadlines(self, keys: tuple[str, ...]) -> Iterator[float]:
        """When the token becomes invalid because of bound objects that are terminating."""
        for key in keys:
            entry = self._store.get(key)
            if entry and (gone := entry.obj["metadata"].get("deletionTimestamp")):
                yield time.parse(gone) + LEEWAY

    def _verify_legacy(self, token: str, claims: Claims, audiences: tuple[str, ...]) -> VerifiedToken:
        """A token in a Secret. It has the server's own audiences. The result is valid for a day, so that its use is noted daily."""
        shared = _shared(list(self.audiences), audiences)
        account, keys = legacy_tokens.check(self._store, token, claims, self.note_use)
        begin = time.now() // DAY * DAY
        return VerifiedToken(account_user(account.namespace, account.name, account.uid, {}), shared, begin, begin + DAY - 1, keys)

    # --- published keys

    def key_set(self) -> Object:
        """The JSON Web Key Set of /openid/v1/jwks."""
        return {"keys": [key.public() for key in self._keys.all()]}


def account_user(namespace: str, name: str, uid: str, extra: dict[str, list[str]]) -> User:
    """The user a service account acts as."""
    return User(f"{PREFIX}{namespace}:{name}", (GROUP, f"{GROUP}:{namespace}", AUTHENTICATED), uid, extra)


def _is_deleted(meta: Object) -> bool:
    deleted = meta.get("deletionTimestamp")
    return bool(deleted) and time.parse(deleted) + LEEWAY < time.now()


def _object(claims: Object, name: str) -> Object:
    """A claim that must be an object. Raises InvalidToken."""
    value = claims.get(name)
    if not isinstance(value, dict):
        raise InvalidToken(jwt.INVALID)
    return value


def _moment(claims: Claims, name: str, default: float | None = None) -> float:
    """A claim that must be a NumericDate (RFC 7519). Raises InvalidToken."""
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidToken(jwt.INVALID)
    return float(value)


def _shared(token_audiences: Any, audiences: tuple[str, ...]) -> tuple[str, ...]:
    """The requested audiences that are in the token's `aud`. Raises InvalidToken if none is."""
    token_audiences = [token_audiences] if isinstance(token_audiences, str) else token_audiences
    if not isinstance(token_audiences, list) or not all(isinstance(audience, str) for audience in token_audiences):
        raise InvalidToken(jwt.INVALID)
    if not (shared := tuple(audience for audience in audiences if audience in token_audiences)):
        raise InvalidToken(f"token audiences {rules.listed(token_audiences)} is invalid for the target audiences {rules.listed(audiences)}")
    return shared


def _reference(obj: Object) -> Object:
    return {"name": obj["metadata"]["name"], "uid": obj["metadata"].get("uid", "")}


def _validate(seconds: int) -> None:
    field, detail = "spec.expirationSeconds", ""
    if seconds < SHORTEST_SECONDS:
        detail = "may not specify a duration less than 10 minutes"
    elif seconds > LONGEST_SECONDS:
        detail = "may not specify a duration larger than 2^32 seconds"
    if detail:
        raise errors.invalid("TokenRequest", "authentication.k8s.io", "", [causes.invalid(field, seconds, detail)])
