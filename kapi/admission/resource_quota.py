"""ResourceQuota: what a namespace uses is counted as it is asked for; who would exceed a quota is refused.

The quota's status.used is raised before the object is written, by compare-and-swap; the controller corrects what was counted
and then came to nothing.
"""

from kapi.admission.plugin import CREATE, UPDATE, ReadingPlugin, forbidden, is_pod
from kapi.objects import quantity, usage
from kapi.objects.meta import Object
from kapi.objects.resource import RESOURCE_QUOTAS, Resource
from kapi.objects.usage import Usage
from kapi.registry import encoding
from kapi.registry.admission import Review
from kapi.storage.store import Mismatch

_TRIES = 4
_GROWING = frozenset({"services", "persistentvolumeclaims"})
"""Resources whose updates may ask for more; pods do so by /resize."""


def shown(usage: Usage) -> str:
    """'cpu=1,pods=2'."""
    return ",".join(f"{name}={usage[name]}" for name in sorted(usage))


class ResourceQuota(ReadingPlugin):
    name = "ResourceQuota"

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        if not resource.namespaced or resource.plural == "events":
            return False
        if operation == CREATE:
            return not subresource
        grows = not resource.group and resource.plural in _GROWING and not subresource
        return operation == UPDATE and (grows or (is_pod(resource) and subresource == "resize"))

    async def validate(self, review: Review) -> None:
        if not self.reader.list(RESOURCE_QUOTAS, review.namespace):
            return
        resource, new = review.kind.resource, review.new or {}
        asked = usage.of(resource, new)
        if review.operation == UPDATE:
            before = usage.of(resource, review.old or {})
            asked = {name: amount.minus(before[name]) if name in before else amount for name, amount in asked.items()}
        asked = {name: amount for name, amount in asked.items() if amount.nano > 0}
        for quota in list(self.reader.list(RESOURCE_QUOTAS, review.namespace)):
            if asked and usage.concerns(quota, resource, new):
                await self._charge(review, quota, asked)

    async def _charge(self, review: Review, quota: Object, asked: Usage) -> None:
        """Check one quota and count what is asked for in it."""
        name = quota["metadata"]["name"]
        for _ in range(_TRIES):
            more = self._checked(review, quota, asked)
            if not more or review.dry_run:
                return
            try:
                await self._commit(review.namespace, name, quota, more)
                return
            except Mismatch:
                fresh = self.reader.get(RESOURCE_QUOTAS, review.namespace, name)
                if fresh is None:
                    return
                quota = fresh
        raise forbidden(review, f"quota {name} changed while it was being charged, please try again")

    def _checked(self, review: Review, quota: Object, asked: Usage) -> Usage:
        """What of the ask this quota limits (it does so once the controller has seen it). Raises Forbidden: too much, or not said."""
        name, status = quota["metadata"]["name"], quota.get("status") or {}
        hard, used = status.get("hard") or {}, status.get("used") or {}
        if is_pod(review.kind.resource):
            missing = usage.unspecified(hard, (review.new or {}).get("spec") or {})
            if missing:
                raise forbidden(review, f"failed quota: {name}: must specify {missing}")
        more = {what: amount for what, amount in asked.items() if what in hard}
        unknown = sorted(what for what in more if what not in used)
        if unknown:
            raise forbidden(review, f"status unknown for quota: {name}, resources: {','.join(unknown)}")
        over = [what for what, amount in more.items() if quantity.parse(used[what]).nano + amount.nano > quantity.parse(hard[what]).nano]
        if over:
            requested = shown({what: more[what] for what in over})
            have, limited = (shown({what: quantity.parse(amounts[what]) for what in over}) for amounts in (used, hard))
            raise forbidden(review, f"exceeded quota: {name}, requested: {requested}, used: {have}, limited: {limited}")
        return more

    async def _commit(self, namespace: str, name: str, quota: Object, more: Usage) -> None:
        key = self.reader.prefix(RESOURCE_QUOTAS, namespace) + name
        entry = self.reader.store.get(key)
        if entry is None or str(entry.revision) != quota["metadata"].get("resourceVersion"):
            raise Mismatch(entry)
        status = quota["status"]
        used = {**status["used"], **{what: str(quantity.parse(status["used"][what]).plus(amount)) for what, amount in more.items()}}
        changed = {**quota, "status": {**status, "used": used}}
        await self.reader.store.commit(key, encoding.body(changed), expect=entry.revision, labels=entry.labels, fields=entry.fields)

