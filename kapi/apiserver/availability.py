"""The Available condition of APIServices: local ones always are, a remote one when its service has endpoints and answers discovery.

Woken by changes of the objects that rests on. Whether a server answers is no object: it is asked again after a while, and when a request
could not be passed on to it. Source: kube-aggregator's availability controllers (v1.36).
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from kapi import limits, logs
from kapi.api import fetching
from kapi.api.aggregation import Aggregation, Backend
from kapi.api.relay import NoAnswer, Peer
from kapi.apiserver.bootstrap import LOOPBACK
from kapi.apiserver.changes import changed
from kapi.objects import conditions, errors
from kapi.objects.meta import Object
from kapi.objects.metrics import Family
from kapi.objects.quoting import go_quote
from kapi.objects.user import MASTERS, User
from kapi.registry import encoding
from kapi.registry.call import Call
from kapi.registry.catalogue import Catalogue
from kapi.registry.kind import Kind
from kapi.registry.kinds import apiregistration as apiservice
from kapi.registry.rest import Rest
from kapi.storage.entry import Entry

log = logging.getLogger(__name__)

CHECKER = User("system:kube-aggregator", (MASTERS,))
RECHECK = 30.0
"""Seconds until a server that answered is asked again."""
FIRST_RETRY, LONGEST_RETRY = 0.005, 30.0
"""Seconds until one that did not is asked again: at first, and at most; doubled in between."""
ATTEMPTS = 5
"""Endpoints of a service that are tried at once; one that answers is enough."""
FAILED = "FailedDiscoveryCheck"
PASSED: Object = {"type": "Available", "status": "True", "reason": "Passed", "message": "all checks passed"}


class _Check:
    """The standing check of one remote APIService."""

    def __init__(self) -> None:
        self.rests_on: Any = None
        """What the last verdict rests on: the APIService, whether it says a verdict, and revisions of the others."""
        self.due = asyncio.Event()
        self.failures = 0
        self.task: asyncio.Task[None] | None = None


class Availability:
    """The availability controllers of one API server."""

    def __init__(self, rest: Rest, catalogue: Catalogue, aggregation: Aggregation) -> None:
        self.rest, self.store, self.aggregation = rest, rest.store, aggregation
        self.apis = catalogue.by_kind("apiregistration.k8s.io/v1", "APIService")
        self.services = catalogue.by_kind("v1", "Service")
        self.slices = catalogue.by_kind("discovery.k8s.io/v1", "EndpointSlice")
        self.unavailable = Family("aggregator_unavailable_apiservice", "APIServices that are unavailable.", ("name",), gauge=True)
        self.changes = Family(
            "aggregator_unavailable_apiservice_total", "How often APIServices became unavailable, by reason.", ("name", "reason")
        )
        self._checks: dict[str, _Check] = {}
        self._local: dict[str, int] = {}
        """Revisions of local APIServices that say what they should."""
        self._asking = asyncio.Semaphore(limits.AGGREGATED_CHECKS)
        aggregation.failed = lambda where: self._recheck(f"{where[1]}.{where[0]}")

    async def keep(self, settled: Callable[[], None]) -> None:
        """Until cancelled; `settled` is called whenever all that needs no answer of others is up to date."""
        if not self.apis or not self.services or not self.slices:
            return
        try:
            while True:
                since = self.store.revision
                remote = await self._once(self.apis, self.services, self.slices)
                settled()
                rests_on = [self.apis.collection]
                for namespace, name in remote:
                    rests_on += [self.services.key(namespace, name), self.slices.prefix(namespace)]
                await changed(self.store, since, rests_on)
        finally:
            tasks = [check.task for check in self._checks.values() if check.task is not None]
            for name in list(self._checks):
                self._forget(name)
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _once(self, apis: Kind, services: Kind, slices: Kind) -> set[tuple[str, str]]:
        """Bring local APIServices up to date and see to the checks of remote ones; the services they name."""
        remote: set[tuple[str, str]] = set()
        listed = {entry.key.rpartition("/")[2]: entry for entry in self.store.list(apis.collection).entries}
        for name, entry in listed.items():
            if self._local.get(name) == entry.revision:
                continue
            service = entry.obj["spec"].get("service")
            if not service:
                self._forget(name)
                if await self._say(apis, entry, apiservice.LOCAL):
                    self._local[name] = entry.revision
                continue
            where = service["namespace"], service["name"]
            remote.add(where)
            found, there = self.store.get(services.key(*where)), self._slices(slices, *where)
            said = conditions.find((entry.obj.get("status") or {}).get("conditions") or (), "Available") is not None
            itself = entry.obj["metadata"]["uid"], entry.obj["spec"], said
            rests_on = itself, found and found.revision, [slice_.revision for slice_ in there]
            check = self._checks.setdefault(name, _Check())
            if check.task is None or check.task.done():  # it ends with what it finds local or gone, which may be over again
                check.task = asyncio.create_task(self._follow(apis, services, slices, name, check))
            if rests_on != check.rests_on:
                check.rests_on = rests_on
                check.due.set()
        for name in (self._checks.keys() | self._local.keys()) - listed.keys():
            self._forget(name)
        return remote

    def _slices(self, slices: Kind, namespace: str, service: str) -> list[Entry]:
        return list(self.store.list(slices.prefix(namespace), equals={"kubernetes.io/service-name": service}).entries)

    def _forget(self, name: str) -> None:
        check = self._checks.pop(name, None)
        if check is not None and check.task is not None:
            check.task.cancel()
        self._local.pop(name, None)
        self.unavailable.values.pop((name,), None)

    def _recheck(self, name: str) -> None:
        """A request could not be passed on: unless that is known already, ask now whether the server is there."""
        check = self._checks.get(name)
        if check is not None and not check.failures:
            check.due.set()

    async def _follow(self, apis: Kind, services: Kind, slices: Kind, name: str, check: _Check) -> None:
        """Keep the condition of a remote APIService."""
        while True:
            check.due.clear()
            entry = self.store.get(apis.key("", name))
            if entry is None or not entry.obj["spec"].get("service"):
                return
            try:
                wanted = self._local_fault(entry.obj["spec"]["service"], services, slices)
                if wanted is None:
                    async with self._asking:
                        wanted = await self._asked(entry.obj["spec"])
                check.failures = check.failures + 1 if wanted["reason"] == FAILED else 0
                await self._say(apis, entry, wanted)
            except Exception:  # the disk may be full
                log.exception("An APIService could not be checked, trying again", extra=logs.once(name, api=name))
                check.failures += 1
            try:
                async with asyncio.timeout(_pause(check.failures)):
                    await check.due.wait()
            except TimeoutError:
                continue

    def _local_fault(self, reference: Object, services: Kind, slices: Kind) -> Object | None:
        """What is wrong before the server is asked: its service, its port, its endpoints."""
        namespace, name, port = reference["namespace"], reference["name"], reference.get("port", 443)
        where = f"service/{name} in {go_quote(namespace)}"
        entry = self.store.get(services.key(namespace, name))
        if entry is None:
            return _unavailable("ServiceNotFound", f"{where} is not present")
        spec = encoding.parse(services, entry)["spec"]
        if spec.get("type", "ClusterIP") != "ClusterIP":
            return None
        found = next((p for p in spec.get("ports") or () if p["port"] == port), None)
        if found is None:
            return _unavailable("ServicePortError", f"{where} is not listening on port {port}")
        listed, port_name = self._slices(slices, namespace, name), found.get("name", "")
        if not listed:
            return _unavailable("EndpointsNotFound", f"cannot find endpointslices for {where}")
        if not any(_serves(entry.obj, port_name) for entry in listed):
            text = f"endpointslices for {where} have no addresses with port name {go_quote(port_name)}"
            return _unavailable("MissingEndpoints", text)
        return None

    async def _asked(self, spec: Object) -> Object:
        """What the server's discovery says, at any of its endpoints."""
        path, fault = f"/apis/{spec['group']}/{spec['version']}", ""
        try:
            peers = [await self.aggregation.peer(Backend.of(spec), CHECKER, insecure=True) for _ in range(ATTEMPTS)]
        except errors.StatusError as error:
            return _unavailable(FAILED, error.message)
        different = {(peer.host, peer.port): peer for peer in peers}
        waiting = [asyncio.ensure_future(_fault(peer, path)) for peer in different.values()]
        try:
            for answered in asyncio.as_completed(waiting):
                if not (fault := await answered):
                    return PASSED
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)  # their connections are closed
        return _unavailable(FAILED, fault)

    async def _say(self, apis: Kind, entry: Entry, wanted: Object) -> bool:
        """Write the condition unless it says so already; whether it does. Raises StatusError."""
        name = entry.key.rpartition("/")[2]
        self.unavailable.values[name,] = int(wanted["status"] != "True")
        old = conditions.find((entry.obj.get("status") or {}).get("conditions") or (), "Available")
        if old is not None and wanted.items() <= old.items():
            return True
        if wanted["status"] != "True" and (old is None or old["status"] == "True"):
            self.changes.values[name, wanted["reason"]] += 1
        what = Call(kind=apis, user=LOOPBACK, name=name, subresource="status", manager="kube-apiserver")
        with contextlib.suppress(errors.NotFound, errors.Conflict):
            await self.rest.update(what, partial(_changed, wanted))
        return False


def _changed(wanted: Object, obj: Object) -> Object:
    status = obj.get("status") or {}
    obj["status"] = {**status, "conditions": conditions.updated(status.get("conditions") or (), wanted)}
    return obj


def _pause(failures: int) -> float:
    """Seconds until the server is asked again."""
    return min(FIRST_RETRY * 2 ** min(failures - 1, 30), LONGEST_RETRY) if failures else RECHECK


async def _fault(peer: Peer, path: str) -> str:
    """Why a server's discovery does not do, "" when it does."""
    url = peer.url(path)
    try:
        status = (await fetching.fetch(peer, path, "", 0, limits.AGGREGATED_FETCH_SECONDS)).status
    except NoAnswer as why:
        return f"failing or missing response from {url}: {why}"
    return "" if 200 <= status < 300 else f"failing or missing response from {url}: bad status from {url}: {status}"


def _unavailable(reason: str, message: str) -> Object:
    return {"type": "Available", "status": "False", "reason": reason, "message": message}


def _serves(endpoints: Object, port: str) -> bool:
    """Whether an EndpointSlice has a ready address for a port of that name."""
    ready = any((e.get("conditions") or {}).get("ready") is not False for e in endpoints.get("endpoints") or ())
    return ready and any((p.get("name") or "") == port and p.get("port") for p in endpoints.get("ports") or ())
