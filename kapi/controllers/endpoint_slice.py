"""EndpointSlices of Services with a selector: at most 100 endpoints each, with as few updates as possible."""

from collections.abc import Sequence

import orjson

from kapi.client.controller import namespace_terminating
from kapi.controllers import backends, pods
from kapi.controllers.backends import HEADLESS, TRIGGER_TIME, Backends
from kapi.objects import errors, meta
from kapi.objects.meta import Object
from kapi.objects.resource import ENDPOINT_SLICES, NODES, SERVICES

MANAGER = "endpointslice-controller.k8s.io"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
SERVICE_NAME = "kubernetes.io/service-name"
ZONE = "topology.kubernetes.io/zone"
SAME_NODE = "PreferSameNode"
NEAR = ("PreferClose", "PreferSameZone", SAME_NODE)
FULL = 100
Group = tuple[str, bytes]
"""(address type, ports as JSON), which all endpoints of a slice share."""


def _service_keys(slice: Object) -> list[str]:
    labels = meta.labels(slice)
    return [f"{meta.namespace(slice)}/{labels[SERVICE_NAME]}"] if labels.get(MANAGED_BY) == MANAGER and SERVICE_NAME in labels else []


def _group(kind: str, ports: Sequence[Object]) -> Group:
    return kind, orjson.dumps(list(ports), option=orjson.OPT_SORT_KEYS)


def _identity(endpoint: Object) -> tuple[str, str]:
    return (endpoint.get("targetRef") or {}).get("uid", ""), endpoint["addresses"][0]


def _hints(service: Object, endpoint: Object) -> Object:
    """Topology hints of an endpoint: its zone, or node and zone, by the Service's trafficDistribution."""
    chosen = service["spec"].get("trafficDistribution")
    hints: Object = {}
    if chosen in NEAR and endpoint.get("zone"):
        hints["forZones"] = [{"name": endpoint["zone"]}]
    if chosen == SAME_NODE and endpoint.get("nodeName"):
        hints["forNodes"] = [{"name": endpoint["nodeName"]}]
    return hints


class EndpointSlices(Backends):
    name = "endpoint-slice-controller"

    def setup(self) -> None:
        super().setup()
        self.nodes = self.informer(NODES)
        self.slices = self.watch(ENDPOINT_SLICES, _service_keys)
        self.slices.add_index("service", _service_keys)

    async def sync(self, service: Object) -> float | None:
        if meta.deleting(service) or not service["spec"].get("selector"):
            return None
        key = meta.key(service)
        if service["spec"].get("type") == "ExternalName":
            return None
        wanted: dict[Group, list[Object]] = {}
        members = list(self.members(service))
        for kind in self._kinds(service):
            for pod in members:
                if backends.address(pod, ipv6=kind == "IPv6"):
                    ports = backends.ports(service, pod)
                    wanted.setdefault(_group(kind, ports), []).append(self._endpoint(service, pod, kind))
        stamp = backends.triggered(service, members)
        existing = self.slices.by_index("service", key)
        groups: dict[Group, list[Object]] = {}
        for slice in existing:
            groups.setdefault(_group(slice["addressType"], slice.get("ports") or ()), []).append(slice)
        for kind in self._kinds(service):
            if not any(group[0] == kind for group in wanted):
                wanted[_group(kind, ())] = []
        for group in {**groups, **wanted}:
            await self._sync(service, group, groups.get(group, []), wanted.get(group), stamp)
        return None

    def _kinds(self, service: Object) -> list[str]:
        return list(service["spec"].get("ipFamilies") or ()) or ["IPv6" if backends.ipv6_service(service) else "IPv4"]

    def _endpoint(self, service: Object, pod: Object, kind: str) -> Object:
        serving, going = pods.ready(pod), meta.deleting(pod)
        ready = bool(service["spec"].get("publishNotReadyAddresses")) or (serving and not going)
        made: Object = {
            "addresses": [backends.address(pod, ipv6=kind == "IPv6")],
            "conditions": {"ready": ready, "serving": serving, "terminating": going},
        }
        if name := backends.hostname(service, pod):
            made["hostname"] = name
        if node := pod["spec"].get("nodeName"):
            made["nodeName"] = node
            if zone := meta.labels(self.nodes.get(node) or {}).get(ZONE):
                made["zone"] = zone
        if ready and (hints := _hints(service, made)):
            made["hints"] = hints
        return {**made, "targetRef": backends.reference(pod)}

    async def _sync(self, service: Object, group: Group, have: list[Object], wanted: list[Object] | None, stamp: str) -> None:
        """Make the slices of one group contain exactly `wanted`. None: the group is no longer needed; []: keep one empty slice."""
        missing = {_identity(e): e for e in wanted or ()}
        kept: list[tuple[Object, list[Object]]] = []
        for slice in have:
            stay = [missing.pop(_identity(e)) for e in slice.get("endpoints") or () if _identity(e) in missing]
            kept.append((slice, stay))
        rest = list(missing.values())
        for _, stay in sorted(kept, key=lambda pair: -len(pair[1])):
            free = FULL - len(stay)
            stay += rest[:free]
            rest = rest[free:]
        placeholder = wanted == []
        for slice, stay in kept:
            if stay or placeholder:
                placeholder = placeholder and bool(stay)
                await self._update(service, slice, stay, stamp)
            else:
                await self.delete_object(ENDPOINT_SLICES, slice)
        for start in range(0, len(rest), FULL):
            await self._create(service, group, rest[start : start + FULL], stamp)
        if placeholder and not have:
            await self._create(service, group, [], stamp)

    async def _update(self, service: Object, slice: Object, endpoints: list[Object], stamp: str) -> None:
        labels = self._labels(service)
        if endpoints == (slice.get("endpoints") or []) and labels == meta.labels(slice):
            return
        about = {**slice["metadata"], "labels": labels, "annotations": {**meta.annotations(slice), TRIGGER_TIME: stamp}}
        await self.client.update(ENDPOINT_SLICES, {**slice, "metadata": about, "endpoints": endpoints})

    async def _create(self, service: Object, group: Group, endpoints: list[Object], stamp: str) -> None:
        owner = meta.owner_reference(service, api_version=SERVICES.api_version, kind=SERVICES.kind)
        about = {
            "generateName": meta.name(service) + "-",
            "namespace": meta.namespace(service),
            "labels": self._labels(service),
            "annotations": {TRIGGER_TIME: stamp},
            "ownerReferences": [owner],
        }
        made = {"addressType": group[0], "endpoints": endpoints, "ports": orjson.loads(group[1]), "metadata": about}
        try:
            await self.client.create(ENDPOINT_SLICES, {"apiVersion": ENDPOINT_SLICES.api_version, "kind": "EndpointSlice", **made})
        except errors.StatusError as error:
            if namespace_terminating(error):
                raise
            self.record_warning(service, "FailedToUpdateEndpointSlices", f"Error updating Endpoint Slices for Service: {error}")
            raise

    def _labels(self, service: Object) -> dict[str, str]:
        """The labels of a slice: the Service's own, and those that identify Service and controller."""
        labels = {k: v for k, v in meta.labels(service).items() if k not in (SERVICE_NAME, MANAGED_BY, HEADLESS)}
        labels |= {MANAGED_BY: MANAGER, SERVICE_NAME: meta.name(service)}
        return labels | ({HEADLESS: ""} if backends.headless(service) else {})
