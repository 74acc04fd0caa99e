"""Leases: leader election, and the lease of a node. Durations are client-go's defaults.

A lease has expired if its duration has passed, by this process's clock, since its last observed change. Clocks of processes are not
compared.
"""

import asyncio
import logging
import socket
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from kapi import logs
from kapi.client.client import Client
from kapi.objects import errors, time
from kapi.objects.meta import Object
from kapi.objects.resource import LEASES

log = logging.getLogger(__name__)
NODE_NAMESPACE = "kube-node-lease"


class LeadershipLost(Exception):
    """Leadership was not renewed in time; the holder must stop at once."""


@dataclass(frozen=True)
class LeaseDurations:
    """In seconds: validity of a lease, renew deadline of its holder, interval of attempts (client-go's LeaseDuration, RenewDeadline,
    RetryPeriod)."""

    duration: float = 15.0
    renew: float = 10.0
    retry: float = 2.0


class LeaderElection:
    """`run(lead)` waits for leadership, runs `lead` while it lasts, and releases the lease at the end.

    The default identity is the host name and a random UUID.
    """

    def __init__(
        self, client: Client, name: str, identity: str, *, namespace: str = "kube-system", durations: LeaseDurations | None = None
    ) -> None:
        self._client = client
        self._name, self._namespace = name, namespace
        self._identity = identity or f"{socket.gethostname()}_{uuid.uuid4()}"
        self._durations = durations or LeaseDurations()
        self._lease: Object | None = None
        self._changed = 0.0

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Raises LeadershipLost."""
        while not await self._try():  # noqa: ASYNC110 (the lease is held by another process)
            await asyncio.sleep(self._durations.retry)
        log.info("Became leader", extra=self._about())
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renew(), name=f"lease {self._name}")
                await lead()
                renewing.cancel()
        finally:
            await self._release()

    async def _renew(self) -> None:
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while True:
            await asyncio.sleep(self._durations.retry)
            if await self._try():
                renewed = loop.time()
            elif loop.time() - renewed > self._durations.renew:
                log.error("Lost the lease", extra=self._about(seconds=round(loop.time() - renewed, 1)))
                raise LeadershipLost(self._full_name)

    async def _try(self) -> bool:
        """Create, renew or take over the lease. Returns False if another process holds it or the API server is unreachable."""
        try:
            await self._fetch()
            if self._lease is None:
                self._lease = await self._client.create(LEASES, self._renewed_by_us(None))
            elif self._is_available():
                self._lease = await self._client.update(LEASES, self._renewed_by_us(self._lease))
            else:
                return False
        except (errors.Conflict, errors.AlreadyExists) as error:
            log.debug("Another process took the lease", extra=self._about(error=error))
            return False
        except (errors.StatusError, OSError) as error:
            log.warning("Lease could not be acquired or renewed", extra=logs.once(self._name, lease=self._full_name, error=error))
            return False
        self._changed = asyncio.get_running_loop().time()
        return True

    async def _fetch(self) -> None:
        try:
            found = await self._client.get(LEASES, self._name, self._namespace)
        except errors.NotFound:
            self._lease = None
            return
        if self._lease is None or found["metadata"]["resourceVersion"] != self._lease["metadata"]["resourceVersion"]:
            self._log_new_leader(found)
            self._lease, self._changed = found, asyncio.get_running_loop().time()

    def _log_new_leader(self, found: Object) -> None:
        """Log a change of the leader."""
        before, now = (((lease or {}).get("spec") or {}).get("holderIdentity") for lease in (self._lease, found))
        if now and now != before and now != self._identity:
            log.info("New leader", extra=logs.fields(lease=self._full_name, leader=now, before=before or ""))

    @property
    def _full_name(self) -> str:
        return f"{self._namespace}/{self._name}"

    def _about(self, **more: Any) -> dict[str, Any]:
        return logs.fields(lease=self._full_name, identity=self._identity, **more)

    def _is_available(self) -> bool:
        spec = (self._lease or {}).get("spec") or {}
        holder = spec.get("holderIdentity")
        lasts = spec.get("leaseDurationSeconds") or self._durations.duration
        return not holder or holder == self._identity or asyncio.get_running_loop().time() - self._changed > lasts

    def _renewed_by_us(self, old: Object | None) -> Object:
        spec = dict((old or {}).get("spec") or {})
        now = time.micro_stamp()
        if spec.get("holderIdentity") != self._identity:
            spec["leaseTransitions"] = (spec.get("leaseTransitions") or 0) + 1 if old else 0
            spec["acquireTime"] = now
        spec |= {"holderIdentity": self._identity, "leaseDurationSeconds": int(self._durations.duration), "renewTime": now}
        meta = old["metadata"] if old else {"name": self._name, "namespace": self._namespace}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}

    async def _release(self) -> None:
        lease = self._lease
        if lease is None or lease["spec"].get("holderIdentity") != self._identity:
            return
        now = time.micro_stamp()
        spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now, "acquireTime": now}
        try:
            await self._client.update(LEASES, {**lease, "spec": spec})
        except (errors.StatusError, OSError) as error:
            log.warning("Lease could not be released", extra=self._about(error=error))


class NodeLease:
    """The lease of a node, renewed after every quarter of its duration. `owner` is the Node, once it exists."""

    def __init__(self, client: Client, name: str, *, duration: int = 40, owner: Object | None = None) -> None:
        self._client, self._name, self._duration = client, name, duration
        self.owner = owner
        self._lease: Object | None = None

    async def run(self) -> None:
        while True:
            await self.renew()
            await asyncio.sleep(self._duration / 4)

    async def renew(self) -> None:
        """Renew once, usually with a single PUT. Failures are logged and retried by the next renewal."""
        try:
            if self._lease is None:
                self._lease = await self._client.get(LEASES, self._name, NODE_NAMESPACE)
            self._lease = await self._client.update(LEASES, self._renewed(self._lease))
        except errors.NotFound:
            await self._create()
        except errors.Conflict:
            self._lease = None
        except (errors.StatusError, OSError) as error:
            log.warning("Lease of the node could not be renewed", extra=logs.once(self._name, node=self._name, error=error))

    async def _create(self) -> None:
        fresh = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self._name, "namespace": NODE_NAMESPACE}}
        try:
            self._lease = await self._client.create(LEASES, self._renewed(fresh))
        except (errors.StatusError, OSError) as error:
            self._lease = None
            log.warning("Lease of the node could not be renewed", extra=logs.once(self._name, node=self._name, error=error))

    def _renewed(self, lease: Object) -> Object:
        meta = dict(lease["metadata"])
        meta.pop("managedFields", None)
        if self.owner is not None and not meta.get("ownerReferences"):
            node = self.owner["metadata"]
            meta["ownerReferences"] = [{"apiVersion": "v1", "kind": "Node", "name": node["name"], "uid": node["uid"]}]
        spec = {"holderIdentity": self._name, "leaseDurationSeconds": self._duration, "renewTime": time.micro_stamp()}
        return {**lease, "metadata": meta, "spec": {**lease.get("spec", {}), **spec}}
