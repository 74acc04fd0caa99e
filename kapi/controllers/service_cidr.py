"""ServiceCIDRs: Ready once they have the finalizer; deleted only if every allocated address is in another range."""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from kapi.client import Controller
from kapi.controllers.workload import equal_status
from kapi.objects import conditions, meta, time
from kapi.objects.meta import Object
from kapi.objects.resource import IP_ADDRESSES, SERVICE_CIDRS

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
GRACE = 10.0
"""Seconds within which all allocators observe a deletion."""
READY = {"type": "Ready", "status": "True", "reason": "", "message": "Kubernetes Service CIDR is ready"}
IN_USE = {
    "type": "Ready", "status": "False", "reason": "Terminating",
    "message": "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
}  # fmt: skip


class ServiceRanges(Controller):
    name = "service-cidrs-controller"
    workers = 1

    def setup(self) -> None:
        self.objects = self.watch(SERVICE_CIDRS, self._affected_keys)
        self.addresses = self.watch(IP_ADDRESSES, lambda address: [meta.name(r) for r in self.objects if meta.deleting(r)])

    def _affected_keys(self, ranges: Object) -> Iterable[str]:
        """Its own key, and those whose deletion may wait for another range."""
        yield meta.name(ranges)
        yield from (meta.name(other) for other in self.objects if meta.deleting(other))

    async def sync(self, ranges: Object) -> float | None:
        kept = [f for f in meta.finalizers(ranges) if f != FINALIZER]
        if not meta.deleting(ranges):
            if len(kept) == len(meta.finalizers(ranges)):
                await self.set_finalizers(SERVICE_CIDRS, ranges, [*kept, FINALIZER])
            await self._set_condition(self.objects.get(meta.name(ranges)) or ranges, READY)
            return None
        if self._is_in_use(ranges):
            await self._set_condition(ranges, IN_USE)
            return None
        left = time.parse(meta.metadata(ranges).get("deletionTimestamp")) + GRACE - time.now()
        if left <= 0:
            await self.set_finalizers(SERVICE_CIDRS, ranges, kept)
        return left if left > 0 else None

    def _is_in_use(self, ranges: Object) -> bool:
        """Whether an allocated address is in these ranges and in no other."""
        own = [ip_network(text) for text in ranges["spec"].get("cidrs") or ()]
        others = [ip_network(text) for r in self.objects if r is not ranges for text in r["spec"].get("cidrs") or ()]
        known = [ip_address(meta.name(a)) for a in self.addresses]
        return any(address in n for n in own for address in known if not any(address in other for other in others))

    async def _set_condition(self, ranges: Object, condition: Object) -> None:
        status = {"conditions": conditions.updated(meta.path(ranges, "status", "conditions") or (), condition)}
        if not equal_status(status, ranges.get("status") or {}):
            await self.put_status(SERVICE_CIDRS, ranges, status)
