"""What an API server does by itself while it serves: it says of FlowSchemas whether their priority level exists, of APIServices
whether whoever serves them can be reached (`availability`), serves what those name (`aggregator`), and says of itself that it is there.

Woken by changes of the objects these answers rest on, and by nothing else.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from kapi import logs
from kapi.access import flows
from kapi.api import writing
from kapi.api.aggregation import Aggregation
from kapi.apiserver.aggregator import Aggregator
from kapi.apiserver.availability import Availability
from kapi.apiserver.bootstrap import LOOPBACK
from kapi.apiserver.changes import changed
from kapi.apiserver.health import Parts
from kapi.apiserver.identity_lease import IdentityLease
from kapi.objects import errors, time
from kapi.objects.meta import Object
from kapi.registry.call import Call
from kapi.registry.catalogue import Catalogue
from kapi.registry.kind import Kind
from kapi.registry.rest import Rest

log = logging.getLogger(__name__)

_LONGEST_RETRY = 60.0
"""Seconds between two tries of a work that keeps failing."""
CONSUMER = "api-priority-and-fairness-config-consumer-v1"
"""Field manager of what is said of FlowSchemas."""


class StatusControllers:
    """The status controllers of one API server."""

    def __init__(self, rest: Rest, catalogue: Catalogue, parts: Parts, aggregation: Aggregation) -> None:
        self.rest, self.store, self.parts = rest, rest.store, parts
        self.availability = Availability(rest, catalogue, aggregation)
        self.aggregator = Aggregator(rest.store, catalogue, aggregation)
        self.schemas = catalogue.by_kind(flows.API, "FlowSchema")
        self.levels = catalogue.by_kind(flows.API, "PriorityLevelConfiguration")
        self.leases = catalogue.by_kind("coordination.k8s.io/v1", "Lease")

    def start(self) -> list[asyncio.Task[None]]:
        """Begin; what is returned goes on until it is cancelled. A kind that is switched off needs none."""
        works = {
            "flow control kept": self._keep_flows, "API services kept": self._keep_apis, "identity kept": self._keep_identity,
            "aggregation kept": self.aggregator.keep,
        }  # fmt: skip
        tasks = {name: asyncio.create_task(self._work(name, work)) for name, work in works.items()}
        for name, task in tasks.items():
            self.parts.goes_on(name, task)
        return list(tasks.values())

    async def _work(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await retried(name, work)
        except Exception:
            log.exception("Status controller ended", extra=logs.fields(part=name))
            raise
        self.parts.done(name)

    async def _keep_identity(self) -> None:
        if self.leases:
            identity = IdentityLease(self.rest, self.leases)
            await identity.renew()
            self.parts.done("identity kept")
            await identity.keep()

    async def _keep_flows(self) -> None:
        if not self.schemas or not self.levels:
            return
        while True:
            since = self.store.revision
            await self.flows_once(self.schemas, self.levels)
            self.parts.done("flow control kept")
            await changed(self.store, since, (self.schemas.collection, self.levels.collection))

    async def flows_once(self, schemas: Kind, levels: Kind) -> None:
        """Bring the Dangling condition of every FlowSchema up to date."""
        for entry in self.store.list(schemas.collection).entries:
            obj = entry.obj
            level = obj["spec"]["priorityLevelConfiguration"]["name"]
            wanted = flows.dangling(level, self.store.get(levels.key("", level)) is not None)
            if _says(obj, wanted):
                continue
            what = Call(kind=schemas, user=LOOPBACK, name=obj["metadata"]["name"], subresource="status", manager=CONSUMER)
            applied = {
                "apiVersion": flows.API, "kind": "FlowSchema", "metadata": {"name": what.name},
                "status": {"conditions": [{**wanted, "lastTransitionTime": time.stamp()}]},
            }  # fmt: skip
            try:
                await writing.applied(self.rest, what, applied, force=True)
            except (errors.NotFound, errors.Conflict):
                continue

    async def _keep_apis(self) -> None:
        await self.availability.keep(lambda: self.parts.done("API services kept"))


async def retried(name: str, work: Callable[[], Awaitable[None]], seconds: float = 1.0) -> None:
    """Do a work that is begun anew, after so many seconds and then longer, when the server refuses what it writes: the disk may be full."""
    while True:
        try:
            return await work()
        except errors.StatusError as error:
            log.warning("Status controller failed, and tries again", extra=logs.fields(part=name, error=error.message, seconds=seconds))
        await asyncio.sleep(seconds)
        seconds = min(2 * seconds, _LONGEST_RETRY)


def _says(obj: Object, wanted: Object) -> bool:
    """Whether the object's conditions say so already."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(wanted.items() <= condition.items() for condition in conditions)
