"""The handle of plugins to the scheduler: client, cluster snapshot, informers, background tasks."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from kapi.client import Client, Informer, Recorder
from kapi.objects.meta import Object
from kapi.objects.resource import (
    CSI_NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SERVICES,
    STATEFUL_SETS,
    STORAGE_CLASSES,
    Resource,
)
from kapi.scheduler.snapshot import Cluster

INFORMED_RESOURCES = (
    PERSISTENT_VOLUMES,
    PERSISTENT_VOLUME_CLAIMS,
    STORAGE_CLASSES,
    CSI_NODES,
    POD_DISRUPTION_BUDGETS,
    SERVICES,
    REPLICATION_CONTROLLERS,
    REPLICA_SETS,
    STATEFUL_SETS,
)
"""Resources that plugins read besides nodes, pods and namespaces."""
UNTRIMMED = frozenset((PERSISTENT_VOLUMES, PERSISTENT_VOLUME_CLAIMS, STORAGE_CLASSES, CSI_NODES))
"""Those whose objects are cached untrimmed."""


@dataclass(slots=True)
class Handle:
    client: Client
    cluster: Cluster
    recorder: Recorder
    informers: dict[Resource, Informer]
    spawn: Callable[[Coroutine[Any, Any, None]], None]
    activate: Callable[[str, bool], None]
    """Move a pod (by key) to the active queue; True: only if it is gated."""
    _changes: "dict[Resource, asyncio.Future[None]]" = field(default_factory=dict)

    def get(self, resource: Resource, key: str) -> Object | None:
        return self.informers[resource].get(key)

    def next_change(self, resource: Resource) -> "asyncio.Future[None]":
        """A future that is done at the informer's next change of the resource."""
        found = self._changes.get(resource)
        if found is None or found.done():
            found = self._changes[resource] = asyncio.get_running_loop().create_future()
        return found

    def changed(self, resource: Resource) -> None:
        waiting = self._changes.pop(resource, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def in_namespace(self, resource: Resource, namespace: str) -> list[Object]:
        return self.informers[resource].by_index("namespace", namespace)


def by_namespace(obj: Object) -> tuple[str]:
    return (obj["metadata"].get("namespace") or "",)
