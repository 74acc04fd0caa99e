"""Legacy service account tokens, stored in Secrets: checked against the current Secret and account. Texts are stock's."""

import base64
import binascii
import hmac
from collections.abc import Callable
from typing import NamedTuple

from kapi.objects import account_tokens, errors, time
from kapi.objects.jwt import Claims, InvalidToken
from kapi.objects.meta import Object
from kapi.storage.store import Store

Use = Callable[[str, str, str, str], None]
"""(namespace, name, uid of a Secret, day in UTC): called when its token is used."""


class Account(NamedTuple):
    """The service account a token speaks for."""

    namespace: str
    name: str
    uid: str


_MISSING = {
    "sub": "sub claim is missing",
    account_tokens.NAMESPACE: "namespace claim is missing",
    account_tokens.SECRET: "secretName claim is missing",
    account_tokens.NAME: "serviceAccountName claim is missing",
    account_tokens.UID: "serviceAccountUID claim is missing",
}


def check(store: Store, token: str, claims: Claims, use: Use) -> tuple[Account, tuple[str, ...]]:
    """The account, and the store keys that the result depends on. The signature has been verified. Raises InvalidToken."""
    for claim, missing in _MISSING.items():
        if not isinstance(claims.get(claim), str) or not claims[claim]:
            raise InvalidToken(missing)
    account = Account(claims[account_tokens.NAMESPACE], claims[account_tokens.NAME], claims[account_tokens.UID])
    if claims["sub"] != f"{account_tokens.USER}{account.namespace}:{account.name}":
        raise InvalidToken("sub claim is invalid")
    secret_key, secret = _secret(store, token, account.namespace, claims[account_tokens.SECRET])
    key = _account(store, account)
    labels = secret["metadata"].get("labels") or {}
    _note(secret, labels, use)
    if labels.get(account_tokens.INVALID_SINCE):
        name = f"{account.namespace}/{secret['metadata']['name']}"
        raise InvalidToken(
            f"the token in secret {name} for service account {account.namespace}/{account.name} has been marked invalid. Use tokens from "
            f"the TokenRequest API or manually created secret-based tokens, or remove the '{account_tokens.INVALID_SINCE}' label from the "
            "secret to temporarily allow use of this token"
        )
    return account, (key, secret_key)


def _secret(store: Store, token: str, namespace: str, name: str) -> tuple[str, Object]:
    """The store key and object of the Secret, which must have this token. Raises InvalidToken."""
    key = f"/core/secrets/{namespace}/{name}"
    secret = entry.obj if (entry := store.get(key)) else None
    if secret is None or secret["metadata"].get("deletionTimestamp"):
        raise InvalidToken("Token has been invalidated")
    try:
        held = base64.b64decode((secret.get("data") or {}).get("token") or "")
    except binascii.Error:
        held = b""
    if not hmac.compare_digest(held, token.encode()):
        raise InvalidToken("Token does not match server's copy")
    return key, secret


def _account(store: Store, account: Account) -> str:
    key = f"/core/serviceaccounts/{account.namespace}/{account.name}"
    if (entry := store.get(key)) is None:
        raise InvalidToken(errors.not_found("serviceaccounts", "", account.name).message)
    meta = entry.obj["metadata"]
    if meta.get("deletionTimestamp"):
        raise InvalidToken(f"ServiceAccount {account.namespace}/{account.name} has been deleted")
    if meta.get("uid") != account.uid:
        raise InvalidToken(f"ServiceAccount UID ({meta.get('uid')}) does not match claim ({account.uid})")
    return key


def _note(secret: Object, labels: dict[str, str], use: Use) -> None:
    """Report the use once a day. A label of tomorrow is accepted too, as clocks of several servers may differ."""
    now = time.now()
    today, tomorrow = (time.stamp(at)[:10] for at in (now, now + 86400))
    if labels.get(account_tokens.LAST_USED) not in (today, tomorrow):
        meta = secret["metadata"]
        use(meta["namespace"], meta["name"], meta["uid"], today)
