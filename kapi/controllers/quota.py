"""ResourceQuota: recalculates status.used. Admission charges creations in advance; deletions and changes are accounted here."""

import functools
from collections.abc import Iterator

from kapi.client import Controller, Informer
from kapi.controllers import pods
from kapi.controllers.discovery import discover
from kapi.controllers.workload import namespace_keys
from kapi.objects import meta, quantity, usage
from kapi.objects.meta import Object
from kapi.objects.resource import (
    CONFIG_MAPS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS,
    SECRETS,
    SERVICES,
    Resource,
)

FULL_OBJECTS = (PODS, SERVICES, PERSISTENT_VOLUME_CLAIMS, REPLICATION_CONTROLLERS, RESOURCE_QUOTAS)
"""Resources whose usage depends on more than their number, or that are watched anyway."""
NAMED = {r.plural: r for r in (*FULL_OBJECTS, SECRETS, CONFIG_MAPS)}


def resource_of_name(name: str) -> tuple[str, str]:
    """(API group, plural) that a quota's resource name counts: 'count/deployments.apps', 'requests.cpu', 'services.nodeports'."""
    if name.startswith("count/"):
        plural, _, group = name[6:].partition(".")
        return group, plural
    if name.startswith("services"):
        return "", "services"
    if name == "requests.storage" or ".storageclass.storage.k8s.io/" in name:
        return "", "persistentvolumeclaims"
    return "", name if name in NAMED else "pods"


class Quotas(Controller):
    name = "resourcequota-controller"

    def setup(self) -> None:
        self.objects = self.watch(RESOURCE_QUOTAS)
        self.objects.add_index("namespace", namespace_keys)
        self._sources: dict[tuple[str, str], Informer] = {}
        for resource in FULL_OBJECTS:
            self._source(resource, self.informer(resource))

    def _source(self, resource: Resource, informer: Informer) -> Informer:
        informer.add_index("namespace", namespace_keys)
        informer.add_handler(functools.partial(self._changed, resource))
        self._sources[(resource.group, resource.plural)] = informer
        return informer

    def _changed(self, resource: Resource, old: Object | None, new: Object | None) -> None:
        """Admission has charged additions; deletions, completions and changes of size require a recalculation."""
        if not len(self.objects):
            return
        obj = new or old or {}
        if old is not None and new is not None and _usage_of(resource, old) == _usage_of(resource, new):
            return
        for quota in self.objects.by_index("namespace", meta.namespace(obj)):
            self.queue.add(meta.key(quota))

    async def sync(self, quota: Object) -> float | None:
        hard = quota["spec"].get("hard") or {}
        used = dict.fromkeys(hard, quantity.parse("0"))
        for group, plural in {resource_of_name(name) for name in hard}:
            informer = self._sources.get((group, plural)) or await self._find(group, plural)
            if informer is None:
                continue
            for amounts in self._amounts(quota, informer):
                for name in amounts.keys() & used.keys():
                    used[name] = used[name].plus(amounts[name])
        status = {"hard": hard, "used": {name: str(amount) for name, amount in used.items()}}
        if status != {k: (quota.get("status") or {}).get(k) for k in status}:
            await self.put_status(RESOURCE_QUOTAS, quota, status)
        return None

    def _amounts(self, quota: Object, informer: Informer) -> Iterator[usage.Usage]:
        for obj in informer.by_index("namespace", meta.namespace(quota)):
            if usage.matches_scopes(quota, informer.resource, obj):
                yield _usage_of(informer.resource, obj)

    async def _find(self, group: str, plural: str) -> Informer | None:
        """A metadata informer of a resource that is only counted; None if it is not served."""
        for resource in (await discover(self.client)).able("list", "watch"):
            if (resource.group, resource.plural) == (group, plural):
                informer = self.context.informers.of(resource, metadata=True)
                await informer.synced.wait()
                return self._source(resource, informer)
        return None


def _usage_of(resource: Resource, obj: Object) -> usage.Usage:
    """The usage of an object; a finished pod counts as an object only."""
    if resource == PODS and pods.finished(obj):
        return {k: v for k, v in usage.counted(resource).items() if k.startswith("count/")}
    return usage.of(resource, obj)
