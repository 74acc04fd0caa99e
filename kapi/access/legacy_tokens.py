"""Service account tokens that a Secret holds, against the Secret and the account as they are now. Texts are stock's."""

import base64
import binascii
import hmac
from collections.abc import Callable
from typing import NamedTuple

from kapi.objects import account_tokens, errors, time
from kapi.objects.jwt import Claims, Refused
from kapi.objects.meta import Object
from kapi.storage.store import Store

Use = Callable[[str, str, str, str], None]
"""Called with namespace, name and uid of a Secret and the day, in UTC, on which its token was used."""


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


def check(store: Store, token: str, said: Claims, use: Use) -> tuple[Account, tuple[str, ...]]:
    """The account and the keys the answer rests on. The signature is good already. Raises Refused."""
    for claim, missing in _MISSING.items():
        if not isinstance(said.get(claim), str) or not said[claim]:
            raise Refused(missing)
    account = Account(said[account_tokens.NAMESPACE], said[account_tokens.NAME], said[account_tokens.UID])
    if said["sub"] != f"{account_tokens.USER}{account.namespace}:{account.name}":
        raise Refused("sub claim is invalid")
    secret_key, secret = _secret(store, token, account.namespace, said[account_tokens.SECRET])
    key = _account(store, account)
    labels = secret["metadata"].get("labels") or {}
    _note(secret, labels, use)
    if labels.get(account_tokens.INVALID_SINCE):
        name = f"{account.namespace}/{secret['metadata']['name']}"
        raise Refused(
            f"the token in secret {name} for service account {account.namespace}/{account.name} has been marked invalid. Use tokens from "
            f"the TokenRequest API or manually created secret-based tokens, or remove the '{account_tokens.INVALID_SINCE}' label from the "
            "secret to temporarily allow use of this token"
        )
    return account, (key, secret_key)


def _secret(store: Store, token: str, namespace: str, name: str) -> tuple[str, Object]:
    """The Secret, which holds this very token."""
    key = f"/core/secrets/{namespace}/{name}"
    secret = entry.obj if (entry := store.get(key)) else None
    if secret is None or secret["metadata"].get("deletionTimestamp"):
        raise Refused("Token has been invalidated")
    try:
        held = base64.b64decode((secret.get("data") or {}).get("token") or "")
    except binascii.Error:
        held = b""
    if not hmac.compare_digest(held, token.encode()):
        raise Refused("Token does not match server's copy")
    return key, secret


def _account(store: Store, account: Account) -> str:
    key = f"/core/serviceaccounts/{account.namespace}/{account.name}"
    if (entry := store.get(key)) is None:
        raise Refused(errors.not_found("serviceaccounts", "", account.name).message)
    meta = entry.obj["metadata"]
    if meta.get("deletionTimestamp"):
        raise Refused(f"ServiceAccount {account.namespace}/{account.name} has been deleted")
    if meta.get("uid") != account.uid:
        raise Refused(f"ServiceAccount UID ({meta.get('uid')}) does not match claim ({account.uid})")
    return key


def _note(secret: Object, labels: dict[str, str], use: Use) -> None:
    """Have the Secret labelled with the day, once a day; clocks of several servers may be a day apart."""
    now = time.now()
    today, tomorrow = (time.stamp(at)[:10] for at in (now, now + 86400))
    if labels.get(account_tokens.LAST_USED) not in (today, tomorrow):
        meta = secret["metadata"]
        use(meta["namespace"], meta["name"], meta["uid"], today)
