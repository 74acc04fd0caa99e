"""Labels a Secret with the day its service account token was last used, so that unused tokens can be found."""

import asyncio
import logging

from kapi import limits
from kapi.apiserver.bootstrap import LOOPBACK
from kapi.objects import account_tokens, errors
from kapi.objects.meta import Object
from kapi.registry.call import Call
from kapi.registry.kind import Kind
from kapi.registry.rest import Rest

log = logging.getLogger(__name__)


class TokenUse:
    """Called for a use that the Secret does not show yet; writes in the background."""

    def __init__(self, rest: Rest, secrets: Kind) -> None:
        self._rest, self._secrets = rest, secrets
        self._writing: dict[tuple[str, str], asyncio.Task[None]] = {}

    def __call__(self, namespace: str, name: str, uid: str, day: str) -> None:
        secret = namespace, name
        if secret in self._writing or len(self._writing) >= limits.LEGACY_TOKEN_WRITES:
            return
        task = self._writing[secret] = asyncio.get_running_loop().create_task(self._label(namespace, name, uid, day))
        task.add_done_callback(lambda done: self._writing.pop(secret, None))

    async def _label(self, namespace: str, name: str, uid: str, day: str) -> None:
        def change(secret: Object) -> Object:
            meta = secret["metadata"]
            if meta.get("uid") != uid:
                return secret
            return {**secret, "metadata": {**meta, "labels": {**(meta.get("labels") or {}), account_tokens.LAST_USED: day}}}

        call = Call(kind=self._secrets, user=LOOPBACK, namespace=namespace, name=name, manager="kube-apiserver")
        try:
            await self._rest.update(call, change)
        except errors.StatusError as why:
            log.warning("secret %s/%s is not labelled with the last use of its token: %s", namespace, name, why)
