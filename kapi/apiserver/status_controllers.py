"""What an API server does by itself while it serves: it says of FlowSchemas whether their priority level exists, of APIServices
whether whoever serves them can be reached, and of itself that it is there.

Woken by changes of the objects these answers rest on, and by nothing else.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from kapi import logs
from kapi.access import flows
from kapi.api import writing
from kapi.apiserver.bootstrap import LOOPBACK
from kapi.apiserver.health import Parts
from kapi.apiserver.identity_lease import IdentityLease
from kapi.objects import errors, time
from kapi.objects.meta import Object
from kapi.registry import encoding
from kapi.registry.call import Call
from kapi.registry.catalogue import Catalogue
from kapi.registry.kind import Kind
from kapi.registry.kinds import apiregistration as apiservice
from kapi.registry.rest import Rest
from kapi.storage.store import Store

log = logging.getLogger(__name__)

_LONGEST_RETRY = 60.0
"""Seconds between two tries of a work that keeps failing."""
CONSUMER = "api-priority-and-fairness-config-consumer-v1"
"""Field manager of what is said of FlowSchemas."""


class StatusControllers:
    """The status controllers of one API server."""

    def __init__(self, rest: Rest, catalogue: Catalogue, parts: Parts) -> None:
        self.rest, self.store, self.parts = rest, rest.store, parts
        self.schemas = catalogue.by_kind(flows.API, "FlowSchema")
        self.levels = catalogue.by_kind(flows.API, "PriorityLevelConfiguration")
        self.apis = catalogue.by_kind("apiregistration.k8s.io/v1", "APIService")
        self.services = catalogue.by_kind("v1", "Service")
        self.slices = catalogue.by_kind("discovery.k8s.io/v1", "EndpointSlice")
        self.leases = catalogue.by_kind("coordination.k8s.io/v1", "Lease")

    def start(self) -> list[asyncio.Task[None]]:
        """Begin; what is returned goes on until it is cancelled. A kind that is switched off needs none."""
        works = {"flow control kept": self._keep_flows, "API services kept": self._keep_apis, "identity kept": self._keep_identity}
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
        if not self.apis or not self.services or not self.slices:
            return
        while True:
            since = self.store.revision
            remote = await self.apis_once(self.apis, self.services, self.slices)
            self.parts.done("API services kept")
            rests_on = [self.apis.collection]
            for namespace, name in remote:
                rests_on += [self.services.key(namespace, name), self.slices.prefix(namespace)]
            await changed(self.store, since, rests_on)

    async def apis_once(self, apis: Kind, services: Kind, slices: Kind) -> set[tuple[str, str]]:
        """Bring the Available condition of every APIService up to date; the services they name."""
        remote: set[tuple[str, str]] = set()
        for entry in self.store.list(apis.collection).entries:
            obj = entry.obj
            service = obj["spec"].get("service")
            if service:
                remote.add((service["namespace"], service["name"]))
            wanted = self._available(service, services, slices) if service else apiservice.LOCAL
            if not _says(obj, wanted):
                await self._say(apis, obj["metadata"]["name"], wanted)
        return remote

    def _available(self, reference: Object, services: Kind, slices: Kind) -> Object:
        namespace, name, port = reference["namespace"], reference["name"], reference.get("port", 443)
        where = f'service/{name} in "{namespace}"'
        entry = self.store.get(services.key(namespace, name))
        if entry is None:
            return _unavailable("ServiceNotFound", f"{where} is not present")
        spec = encoding.parse(services, entry)["spec"]
        if spec.get("type") != "ExternalName":
            found = next((p for p in spec.get("ports") or () if p["port"] == port), None)
            if found is None:
                return _unavailable("ServicePortError", f"{where} is not listening on port {port}")
            listed = self.store.list(slices.prefix(namespace), equals={"kubernetes.io/service-name": name}).entries
            if not listed:
                return _unavailable("EndpointsNotFound", f'cannot find endpointslices for service/{name} in "{namespace}"')
            if not any(_serves(entry.obj, found.get("name", "")) for entry in listed):
                text = f'endpointslices for {where} have no addresses with port name "{found.get("name", "")}"'
                return _unavailable("MissingEndpoints", text)
        return _unavailable("FailedDiscoveryCheck", "this server does not pass requests on to others")

    async def _say(self, apis: Kind, name: str, wanted: Object) -> None:
        what = Call(kind=apis, user=LOOPBACK, name=name, subresource="status", manager="kube-apiserver")
        condition = {"lastTransitionTime": time.stamp(), **wanted}

        def change(obj: Object) -> Object:
            others = [c for c in (obj.get("status") or {}).get("conditions") or () if c.get("type") != "Available"]
            obj["status"] = {**(obj.get("status") or {}), "conditions": [*others, condition]}
            return obj

        try:
            await self.rest.update(what, change)
        except (errors.NotFound, errors.Conflict):
            return


async def retried(name: str, work: Callable[[], Awaitable[None]], seconds: float = 1.0) -> None:
    """Do a work that is begun anew, after so many seconds and then longer, when the server refuses what it writes: the disk may be full."""
    while True:
        try:
            return await work()
        except errors.StatusError as error:
            log.warning("Status controller failed, and tries again", extra=logs.fields(part=name, error=error.message, seconds=seconds))
        await asyncio.sleep(seconds)
        seconds = min(2 * seconds, _LONGEST_RETRY)


def _unavailable(reason: str, message: str) -> Object:
    return {"type": "Available", "status": "False", "reason": reason, "message": message}


def _says(obj: Object, wanted: Object) -> bool:
    """Whether the object's conditions say so already."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(wanted.items() <= condition.items() for condition in conditions)


def _serves(endpoints: Object, port: str) -> bool:
    """Whether an EndpointSlice has a ready address for a port of that name."""
    ready = any((e.get("conditions") or {}).get("ready") is not False for e in endpoints.get("endpoints") or ())
    return ready and any((p.get("name") or "") == port for p in endpoints.get("ports") or ())


async def changed(store: Store, since: int, prefixes: Iterable[str]) -> None:
    """Returns once something below one of the prefixes has changed after revision `since`."""
    waiting = [asyncio.ensure_future(store.watch(prefix, since).next()) for prefix in prefixes]
    try:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if (error := task.exception()) and not isinstance(error, errors.Expired):
                raise error
    finally:
        for task in waiting:
            task.cancel()
