"""Endpoints of Services with a selector: one object per Service, at most 1,000 addresses."""


import orjson

from kapi.controllers import backends, pods
from kapi.controllers.backends import HEADLESS, TRIGGER_TIME, Backends
from kapi.objects import meta
from kapi.objects.meta import Object
from kapi.objects.resource import ENDPOINTS

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
LIMIT = 1000


class Endpoints(Backends):
    name = "endpoint-controller"

    def setup(self) -> None:
        super().setup()
        self.endpoints = self.watch(ENDPOINTS)

    async def reconcile(self, key: str) -> float | None:
        service = self.objects.get(key)
        have = self.endpoints.get(key)
        if service is None:
            if have is not None and meta.labels(have).get(MANAGED_BY) == MANAGER:
                await self.delete_object(ENDPOINTS, have)
            return None
        if not service["spec"].get("selector") or service["spec"].get("type") == "ExternalName" or meta.deleting(service):
            return None
        await self._write(service, have)
        return None

    async def _write(self, service: Object, have: Object | None) -> None:
        members = list(self.members(service))
        subsets, cut = _subsets(service, members)
        labels = {k: v for k, v in meta.labels(service).items() if k != HEADLESS} | {MANAGED_BY: MANAGER}
        if backends.headless(service):
            labels[HEADLESS] = ""
        if have is not None and subsets == (have.get("subsets") or []) and labels == meta.labels(have):
            return
        annotations = {k: v for k, v in meta.annotations(have or {}).items() if k != OVER_CAPACITY}
        annotations[TRIGGER_TIME] = backends.triggered(service, members)
        if cut:
            annotations[OVER_CAPACITY] = "truncated"
        about = dict(have["metadata"]) if have is not None else {"name": meta.name(service), "namespace": meta.namespace(service)}
        about |= {"labels": labels, "annotations": annotations}
        made = {"apiVersion": "v1", "kind": "Endpoints", "metadata": about, "subsets": subsets}
        await (self.client.create(ENDPOINTS, made) if have is None else self.client.update(ENDPOINTS, made))


def _subsets(service: Object, members: list[Object]) -> tuple[list[Object], bool]:
    """(subsets: addresses grouped by ports, in stock's order; whether addresses were omitted)."""
    anyway = bool(service["spec"].get("publishNotReadyAddresses"))
    ipv6 = backends.ipv6_service(service)
    groups: dict[bytes, Object] = {}
    limit = LIMIT
    chosen = [p for p in members if backends.address(p, ipv6=ipv6) and (anyway or not meta.deleting(p))]
    chosen.sort(key=lambda p: not (anyway or pods.ready(p)))
    for pod in chosen[:limit]:
        ports = sorted(backends.ports(service, pod), key=lambda p: (p["name"], p["port"]))
        if not ports and not backends.headless(service):
            continue
        ports = [{k: v for k, v in p.items() if v != ""} for p in ports]
        subset = groups.setdefault(orjson.dumps(ports), {"ports": ports} if ports else {})
        kind = "addresses" if anyway or pods.ready(pod) else "notReadyAddresses"
        subset.setdefault(kind, []).append(_address(service, pod, ipv6=ipv6))
    for subset in groups.values():
        for kind in ("addresses", "notReadyAddresses"):
            if kind in subset:
                subset[kind].sort(key=lambda a: (a["ip"], a["targetRef"]["uid"]))
    return [groups[k] for k in sorted(groups)], len(chosen) > limit


def _address(service: Object, pod: Object, *, ipv6: bool) -> Object:
    made: Object = {"ip": backends.address(pod, ipv6=ipv6), "targetRef": backends.reference(pod)}
    if node := pod["spec"].get("nodeName"):
        made["nodeName"] = node
    if name := backends.hostname(service, pod):
        made["hostname"] = name
    return made
