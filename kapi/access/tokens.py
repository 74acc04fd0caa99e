"""Tokens of service accounts: issued for the /token subresource, and understood when they come back.

A token is bound to its service account and possibly to a pod, node or secret (KEP-1205): it ends with them. Legacy tokens, made
of a Secret of type kubernetes.io/service-account-token, are understood as well.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from kapi.access import jwt, rules
from kapi.access.jwt import Claims, Refused
from kapi.objects import causes, errors, time
from kapi.objects.user import AUTHENTICATED, User
from kapi.storage.store import Store

Object = dict[str, Any]

ISSUER = "https://kubernetes.default.svc.cluster.local"
LEGACY_ISSUER = "kubernetes/serviceaccount"
PREFIX = "system:serviceaccount:"
GROUP = "system:serviceaccounts"
CREDENTIAL = "authentication.kubernetes.io/credential-id"

DEFAULT_SECONDS = 3600
SHORTEST_SECONDS = 600
LONGEST_SECONDS = 1 << 32
EXTENDED_FROM_SECONDS = 3607
"""The lifetime kubelets ask for: such a token of a pod is good for a year, and used after 3,607 s it is only counted as stale."""
EXTENDED_SECONDS = 365 * 86400
LEEWAY = 60.0
"""Seconds a deleted object's tokens outlive its deletionTimestamp."""
_LEGACY = "kubernetes.io/serviceaccount/"


@dataclass(frozen=True)
class Settings:
    """What tokens depend on."""

    issuer: str = ISSUER
    audiences: tuple[str, ...] = ()
    """What the server itself is called in `aud`; the issuer when empty."""
    signing_key: Path | None = None
    verifying_keys: tuple[Path, ...] = ()
    """PEM files; the signing key is always among them."""


class Understood(NamedTuple):
    """What a good token means."""

    user: User
    audiences: tuple[str, ...]
    """Those of the asked ones it is good for."""
    end: float
    """Seconds since the epoch; 0 never."""
    keys: tuple[str, ...]
    """What it is bound to: good as long as these do not change."""


class Tokens:
    """Issues and checks the tokens of service accounts."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.issuer = settings.issuer
        self.audiences = settings.audiences or (settings.issuer,)
        self._signing = jwt.Keys((settings.signing_key,) if settings.signing_key else ())
        self._keys = jwt.Keys((*settings.verifying_keys, *((settings.signing_key,) if settings.signing_key else ())))
        self._store = store

    # --- issuing

    def request(self, namespace: str, name: str, wanted: Object) -> Object:
        """The answer to a TokenRequest (defaulted and pruned) for the service account. Raises Invalid, NotFound, BadRequest, Conflict."""
        spec: Object = {**(wanted.get("spec") or {})}
        spec["audiences"] = list(spec.get("audiences") or self.audiences)
        if spec.get("expirationSeconds") is None:
            spec["expirationSeconds"] = DEFAULT_SECONDS
        account = self._found("serviceaccounts", namespace, name)
        _validate(spec["expirationSeconds"])
        bound = self._bound(namespace, name, spec.get("boundObjectRef"))
        now = int(time.now())
        said = self._claims(account, bound, spec, now)
        metadata: Object = {"name": name, "namespace": namespace, **(wanted.get("metadata") or {})}
        metadata.setdefault("creationTimestamp", time.stamp())
        status = {"token": self.sign(said), "expirationTimestamp": time.stamp(now + spec["expirationSeconds"])}
        return {**wanted, "metadata": metadata, "spec": spec, "status": status}

    def sign(self, said: Claims) -> str:
        keys = self._signing.all()
        if not keys:
            raise errors.InternalError("no key for service account tokens is set")
        return keys[0].sign(said)

    def _found(self, plural: str, namespace: str, name: str) -> Object:
        entry = self._store.get(f"/core/{plural}/{namespace}/{name}" if namespace else f"/core/{plural}/{name}")
        if entry is None:
            raise errors.not_found(plural, "", name)
        return entry.obj

    def _bound(self, namespace: str, account: str, reference: Object | None) -> dict[str, Object]:
        """Claim name -> object, of what the token is bound to, e.g. {"pod": …, "node": …}."""
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

    def legacy(self, account: Object, secret: str) -> str:
        """The token for a Secret of type kubernetes.io/service-account-token: it has no end."""
        meta = account["metadata"]
        said = {
            "iss": LEGACY_ISSUER,
            _LEGACY + "namespace": meta["namespace"],
            _LEGACY + "secret.name": secret,
            _LEGACY + "service-account.name": meta["name"],
            _LEGACY + "service-account.uid": meta.get("uid", ""),
            "sub": f"{PREFIX}{meta['namespace']}:{meta['name']}",
        }
        return self.sign(said)

    # --- checking

    def concerns(self, said: Claims) -> bool:
        """Whether this is a service account token of ours at all."""
        return said.get("iss") in (self.issuer, LEGACY_ISSUER)

    def understand(self, token: str, said: Claims, audiences: tuple[str, ...]) -> Understood:
        """What the token means. Raises Refused."""
        self._keys.check(token)
        if said.get("iss") == LEGACY_ISSUER:
            return self._understand_legacy(said)
        now = time.now()
        if not isinstance(end := said.get("exp"), int | float) or now > end:
            raise Refused("service account token has expired")
        if now < (said.get("nbf") or 0):
            raise Refused("service account token is not valid yet")
        meant = said.get("aud") or ()
        meant = (meant,) if isinstance(meant, str) else tuple(meant)
        shared = tuple(audience for audience in audiences if audience in meant)
        if not shared:
            raise Refused(f"token audiences {rules.listed(meant)} is invalid for the target audiences {rules.listed(audiences)}")
        user, keys = self._user(said)
        return Understood(user, shared, min([float(end), *self._deadlines(keys)]), keys)

    def _user(self, said: Claims) -> tuple[User, tuple[str, ...]]:
        private = said.get("kubernetes.io") or {}
        namespace, account = private.get("namespace", ""), private.get("serviceaccount") or {}
        if not namespace or not account.get("name"):
            raise Refused("invalid bearer token")
        keys = [self._alive("service account", f"/core/serviceaccounts/{namespace}/{account['name']}", account)]
        extra = {CREDENTIAL: [f"JTI={said['jti']}"]} if said.get("jti") else {}
        for kind in ("secret", "pod", "node"):
            if not (reference := private.get(kind)):
                continue
            key = f"/core/nodes/{reference['name']}" if kind == "node" else f"/core/{kind}s/{namespace}/{reference['name']}"
            if kind != "node" or "pod" not in private:
                keys.append(self._alive(kind, key, reference))
            if kind != "secret":
                extra[f"authentication.kubernetes.io/{kind}-name"] = [reference["name"]]
                extra[f"authentication.kubernetes.io/{kind}-uid"] = [reference.get("uid", "")]
        return account_user(namespace, account["name"], account.get("uid", ""), extra), tuple(keys)

    def _alive(self, what: str, key: str, reference: Object) -> str:
        """The key, if the object a token is bound to is there, is the same, and is not long deleted. Raises Refused."""
        entry = self._store.get(key)
        meta = entry.obj["metadata"] if entry else {}
        if entry is None or meta.get("uid") != reference.get("uid"):
            raise Refused(f"{what} {reference.get('name')} has been deleted" if entry is None else f"{what} UID has changed")
        if (gone := meta.get("deletionTimestamp")) and time.parse(gone) + LEEWAY < time.now():
            raise Refused(f"{what} {reference.get('name')} has been deleted")
        return key

    def _deadlines(self, keys: tuple[str, ...]) -> Iterator[float]:
        """When the token ends with objects that are being deleted."""
        for key in keys:
            entry = self._store.get(key)
            if entry and (gone := entry.obj["metadata"].get("deletionTimestamp")):
                yield time.parse(gone) + LEEWAY

    def _understand_legacy(self, said: Claims) -> Understood:
        namespace, account = said.get(_LEGACY + "namespace", ""), said.get(_LEGACY + "service-account.name", "")
        secret_key = f"/core/secrets/{namespace}/{said.get(_LEGACY + 'secret.name', '')}"
        secret = self._store.get(secret_key)
        if secret is None or secret.obj["metadata"].get("deletionTimestamp"):
            raise Refused("service account token has been invalidated")
        uid = said.get(_LEGACY + "service-account.uid", "")
        key = self._alive("service account", f"/core/serviceaccounts/{namespace}/{account}", {"name": account, "uid": uid})
        return Understood(account_user(namespace, account, uid, {}), self.audiences, 0.0, (key, secret_key))

    # --- for others who check

    def key_set(self) -> Object:
        """What /openid/v1/jwks shows."""
        return {"keys": [key.public() for key in self._keys.all()]}


def account_user(namespace: str, name: str, uid: str, extra: dict[str, list[str]]) -> User:
    """The user a service account acts as."""
    return User(f"{PREFIX}{namespace}:{name}", (GROUP, f"{GROUP}:{namespace}", AUTHENTICATED), uid, extra)


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
