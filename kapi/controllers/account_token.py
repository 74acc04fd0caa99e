"""Secrets of type kubernetes.io/service-account-token: filled with a token that does not expire, deleted with their account.

The legacy mechanism; new clients use TokenRequest.
"""

import base64
from collections.abc import Iterable
from pathlib import Path

from kapi.client import Controller
from kapi.controllers.settings import Settings
from kapi.objects import account_tokens, errors, jwt, meta
from kapi.objects.account_tokens import ACCOUNT_NAME, ACCOUNT_UID, TYPE
from kapi.objects.meta import Object
from kapi.objects.resource import SECRETS, SERVICE_ACCOUNTS


def token(account: Object, secret: Object, key_file: Path) -> str:
    """A signed token for the Secret, without expiration. Raises ValueError, OSError for a bad key file."""
    return jwt.Key(key_file.read_bytes()).sign(account_tokens.claims(account, meta.name(secret)))


class AccountTokens(Controller):
    name = "serviceaccount-token-controller"

    def setup(self) -> None:
        self.objects = self.context.informers.select(SECRETS, fields=f"type={TYPE}")
        self._needed_informers.append(self.objects)
        self.objects.add_index("account", self._account_keys)
        self.accounts = self.watch(SERVICE_ACCOUNTS, self._secrets_of)
        self.objects.add_handler(lambda old, new: self.queue.add(meta.key(new or old or {})))

    def _account_keys(self, secret: Object) -> Iterable[str]:
        yield f"{meta.namespace(secret)}/{meta.annotations(secret).get(ACCOUNT_NAME, '')}"

    def _secrets_of(self, account: Object) -> Iterable[str]:
        return [meta.key(s) for s in self.objects.by_index("account", meta.key(account))]

    async def sync(self, secret: Object) -> float | None:
        if meta.deleting(secret):
            return None
        account = self.accounts.get(next(iter(self._account_keys(secret))))
        bound = meta.annotations(secret).get(ACCOUNT_UID)
        if account is None or (bound and bound != meta.uid(account)):
            await self._orphaned(secret)
            return None
        await self._fill(account, secret)
        return None

    async def _orphaned(self, secret: Object) -> None:
        """Check with the API server before deleting: the account may be newer than the cache."""
        name = meta.annotations(secret).get(ACCOUNT_NAME, "")
        try:
            live = await self.client.get(SERVICE_ACCOUNTS, name, meta.namespace(secret))
            if meta.annotations(secret).get(ACCOUNT_UID) in (None, meta.uid(live)):
                return
        except errors.NotFound:
            pass
        await self.delete_object(SECRETS, secret)

    async def _fill(self, account: Object, secret: Object) -> None:
        settings: Settings = self.context.settings
        have = secret.get("data") or {}
        wanted = {"ca.crt": settings.cluster_ca, "namespace": meta.namespace(secret)}
        data = {**have, **{k: base64.b64encode(v.encode()).decode() for k, v in wanted.items() if v}}
        if not have.get("token") and settings.account_key_file:
            made = token(account, secret, settings.account_key_file)
            data["token"] = base64.b64encode(made.encode()).decode()
        annotations = {**meta.annotations(secret), ACCOUNT_UID: meta.uid(account)}
        if data != have or annotations != meta.annotations(secret):
            await self.client.update(SECRETS, {**secret, "data": data, "metadata": {**secret["metadata"], "annotations": annotations}})
