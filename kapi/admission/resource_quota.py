"""ResourceQuota: counts what a namespace uses when objects are written, and rejects requests that would exceed a quota.

The quota's status.used is raised before the object is written, by compare-and-swap; the controller corrects the
count of writes that failed afterwards.
"""

from kapi.admission.plugin import CREATE, UPDATE, ReadingPlugin, forbidden, is_pod
from kapi.objects import quantity, usage
from kapi.objects.meta import Object
from kapi.objects.resource import RESOURCE_QUOTAS, Resource
from kapi.objects.usage import Usage
from kapi.registry import encoding
from kapi.registry.admission import AdmissionAttributes
from kapi.storage.store import Mismatch

_TRIES = 4
_GROWING = frozenset({"services", "persistentvolumeclaims"})
"""Resources whose updates may use more; pods do so by /resize."""


def usage_text(usage: Usage) -> str:
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

    async def validate(self, attrs: AdmissionAttributes) -> None:
        if not self.reader.list(RESOURCE_QUOTAS, attrs.namespace):
            return
        resource, new = attrs.kind.resource, attrs.new or {}
        delta = usage.of(resource, new)
        if attrs.operation == UPDATE:
            before = usage.of(resource, attrs.old or {})
            delta = {name: amount.minus(before[name]) if name in before else amount for name, amount in delta.items()}
        delta = {name: amount for name, amount in delta.items() if amount.nano > 0}
        for quota in list(self.reader.list(RESOURCE_QUOTAS, attrs.namespace)):
            if delta and usage.matches_scopes(quota, resource, new):
                await self._charge(attrs, quota, delta)

    async def _charge(self, attrs: AdmissionAttributes, quota: Object, delta: Usage) -> None:
        """Check one quota and add `delta` to its status.used."""
        name = quota["metadata"]["name"]
        for _ in range(_TRIES):
            requested = self._check_quota(attrs, quota, delta)
            if not requested or attrs.dry_run:
                return
            try:
                await self._commit(attrs.namespace, name, quota, requested)
                return
            except Mismatch:
                fresh = self.reader.get(RESOURCE_QUOTAS, attrs.namespace, name)
                if fresh is None:
                    return
                quota = fresh
        raise forbidden(attrs, f"quota {name} changed while it was being charged, please try again")

    def _check_quota(self, attrs: AdmissionAttributes, quota: Object, delta: Usage) -> Usage:
        """The part of `delta` that this quota limits. Raises Forbidden when that exceeds it, or the controller has not counted yet."""
        name, status = quota["metadata"]["name"], quota.get("status") or {}
        hard, used = status.get("hard") or {}, status.get("used") or {}
        if is_pod(attrs.kind.resource):
            missing = usage.unspecified(hard, (attrs.new or {}).get("spec") or {})
            if missing:
                raise forbidden(attrs, f"failed quota: {name}: must specify {missing}")
        requested = {what: amount for what, amount in delta.items() if what in hard}
        unknown = sorted(what for what in requested if what not in used)
        if unknown:
            raise forbidden(attrs, f"status unknown for quota: {name}, resources: {','.join(unknown)}")
        left = {what: quantity.parse(hard[what]).nano - quantity.parse(used[what]).nano for what in requested}
        over = [what for what, amount in requested.items() if amount.nano > left[what]]
        if over:
            wanted = usage_text({what: requested[what] for what in over})
            have, limited = (usage_text({what: quantity.parse(amounts[what]) for what in over}) for amounts in (used, hard))
            raise forbidden(attrs, f"exceeded quota: {name}, requested: {wanted}, used: {have}, limited: {limited}")
        return requested

    async def _commit(self, namespace: str, name: str, quota: Object, requested: Usage) -> None:
        key = self.reader.prefix(RESOURCE_QUOTAS, namespace) + name
        entry = self.reader.store.get(key)
        if entry is None or str(entry.revision) != quota["metadata"].get("resourceVersion"):
            raise Mismatch(entry)
        status = quota["status"]
        used = {**status["used"], **{what: str(quantity.parse(status["used"][what]).plus(amount)) for what, amount in requested.items()}}
        changed = {**quota, "status": {**status, "used": used}}
        await self.reader.store.commit(key, encoding.body(changed), expect=entry.revision, labels=entry.labels, fields=entry.fields)

