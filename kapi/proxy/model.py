"""The desired state of the proxy: service ports with their endpoints, from Services and EndpointSlices. Pure.

A `ServicePort` is one port of one Service in one IP family. Its endpoints are selected for this node: by readiness, traffic policies and
topology hints.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, NamedTuple

from kapi.objects.meta import Object

SERVICE_NAME = "kubernetes.io/service-name"
PROXY_NAME = "service.kubernetes.io/service-proxy-name"
HEADLESS = "service.kubernetes.io/headless"
ZONE = "topology.kubernetes.io/zone"


class NodeLocation(NamedTuple):
    """The node that the proxy runs on."""

    name: str
    zone: str = ""


class Endpoint(NamedTuple):
    address: str
    port: int
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    local: bool = False
    zones: tuple[str, ...] = ()
    """Zones in its topology hints."""
    nodes: tuple[str, ...] = ()
    """Nodes in its topology hints."""

    @property
    def target(self) -> tuple[str, int]:
        return self.address, self.port


Targets = tuple[tuple[str, int], ...]
"""(address, port) of endpoints, sorted."""


@dataclass(frozen=True, slots=True)
class ServicePort:
    namespace: str
    service: str
    port_name: str
    family: str
    """IPv4 or IPv6."""
    protocol: str
    """tcp, udp or sctp."""
    cluster_ip: str
    port: int
    node_port: int = 0
    external_ips: tuple[str, ...] = ()
    balancer_ips: tuple[str, ...] = ()
    """Load balancer addresses that the proxy handles (ipMode VIP)."""
    source_ranges: tuple[str, ...] = ()
    affinity: int = 0
    """Timeout in seconds of ClientIP session affinity; 0: none."""
    internal_local: bool = False
    external_local: bool = False
    anywhere: Targets = ()
    """Endpoints for traffic policy Cluster."""
    here: Targets = ()
    """Endpoints on this node, for traffic policy Local."""
    exists: bool = False
    """Whether the service port has a usable endpoint on any node."""

    @property
    def name(self) -> str:
        """'default/kubernetes/tcp/https': its name in chains and logs."""
        return f"{self.namespace}/{self.service}/{self.protocol}/{self.port_name}"

    @property
    def internal(self) -> Targets:
        """Endpoints behind the cluster IP."""
        return self.here if self.internal_local else self.anywhere

    @property
    def external(self) -> Targets:
        """Endpoints behind node port, external and load balancer addresses."""
        return self.here if self.external_local else self.anywhere

    @property
    def exposed(self) -> bool:
        return bool(self.node_port or self.external_ips or self.balancer_ips)


def family_of(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def canonical(address: str) -> str:
    """The address as nft prints it; "" if it is not an address."""
    try:
        return str(ip_address(address))
    except ValueError:
        return ""


def is_handled(service: Object) -> bool:
    """Whether this proxy handles the Service."""
    spec, labels = service.get("spec") or {}, service["metadata"].get("labels") or {}
    return spec.get("type") != "ExternalName" and spec.get("clusterIP") not in (None, "", "None") and PROXY_NAME not in labels


def service_of_slice(endpoint_slice: Object) -> str:
    """'namespace/name' of the Service of an EndpointSlice; "" if the proxy does not handle it."""
    labels = endpoint_slice["metadata"].get("labels") or {}
    name = labels.get(SERVICE_NAME)
    return f"{endpoint_slice['metadata'].get('namespace')}/{name}" if name and HEADLESS not in labels and PROXY_NAME not in labels else ""


def endpoints(slices: Iterable[Object], family: str, port_name: str, location: NodeLocation) -> list[Endpoint]:
    """The endpoints of a named port, each address once."""
    by_address: dict[tuple[str, int], Endpoint] = {}
    for endpoint_slice in slices:
        if endpoint_slice.get("addressType") != family:
            continue
        number = next((p.get("port") for p in endpoint_slice.get("ports") or () if (p.get("name") or "") == port_name), None)
        if number is None:
            continue
        for raw in endpoint_slice.get("endpoints") or ():
            conditions, hints = raw.get("conditions") or {}, raw.get("hints") or {}
            ready = conditions.get("ready") is not False
            serving = conditions.get("serving", ready) is not False
            for address in raw.get("addresses") or ()[:1]:
                endpoint = Endpoint(
                    canonical(address),
                    number,
                    ready,
                    serving,
                    bool(conditions.get("terminating")),
                    raw.get("nodeName") == location.name,
                    tuple(z.get("name", "") for z in hints.get("forZones") or ()),
                    tuple(n.get("name", "") for n in hints.get("forNodes") or ()),
                )
                old = by_address.get(endpoint.target)
                if old is None or (endpoint.ready and not old.ready):
                    by_address[endpoint.target] = endpoint
    return list(by_address.values())


def usable(candidates: Sequence[Endpoint]) -> list[Endpoint]:
    """The ready endpoints; without any, those that are serving and terminating."""
    ready = [e for e in candidates if e.ready]
    return ready or [e for e in candidates if e.serving and e.terminating]


def hinted(candidates: Sequence[Endpoint], location: NodeLocation) -> list[Endpoint]:
    """The endpoints hinted for this node, else for its zone; all, if any has no hints or none is hinted for here."""
    if candidates and all(e.nodes for e in candidates):
        near = [e for e in candidates if location.name in e.nodes]
        if near:
            return near
    if candidates and location.zone and all(e.zones for e in candidates):
        near = [e for e in candidates if location.zone in e.zones]
        if near:
            return near
    return list(candidates)


def _targets(chosen: Iterable[Endpoint]) -> Targets:
    return tuple(sorted(e.target for e in chosen if e.address))


def _addresses(listed: Iterable[str], family: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(canonical(a) for a in listed if family_of(a) == family and canonical(a)))


def _facts(service: Object, family: str) -> Mapping[str, Any]:
    """The fields that all ports of a Service share."""
    spec, status = service["spec"], service.get("status") or {}
    affinity = 0
    if spec.get("sessionAffinity") == "ClientIP":
        affinity = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds") or 10800
    ingress = (status.get("loadBalancer") or {}).get("ingress") or ()
    balanced = spec.get("type") == "LoadBalancer"
    return {
        "external_ips": _addresses(spec.get("externalIPs") or (), family),
        "balancer_ips": _addresses((i["ip"] for i in ingress if i.get("ip") and i.get("ipMode") != "Proxy"), family) if balanced else (),
        "source_ranges": tuple(r.strip() for r in spec.get("loadBalancerSourceRanges") or () if family_of(r) == family) if balanced else (),
        "affinity": affinity,
        "internal_local": spec.get("internalTrafficPolicy") == "Local",
        "external_local": spec.get("externalTrafficPolicy") == "Local",
    }


def service_ports(service: Object, slices: Sequence[Object], location: NodeLocation) -> list[ServicePort]:
    """Every port of the Service in each of its IP families."""
    if not is_handled(service):
        return []
    spec, meta = service["spec"], service["metadata"]
    ports = []
    for cluster_ip in spec.get("clusterIPs") or [spec["clusterIP"]]:
        family = family_of(cluster_ip)
        facts = _facts(service, family)
        for port in spec.get("ports") or ():
            name = port.get("name") or ""
            all_endpoints = endpoints(slices, family, name, location)
            anywhere = hinted(usable(all_endpoints), location)
            here = usable([e for e in all_endpoints if e.local])
            ports.append(
                ServicePort(
                    meta["namespace"],
                    meta["name"],
                    name,
                    family,
                    (port.get("protocol") or "TCP").lower(),
                    canonical(cluster_ip),
                    port["port"],
                    port.get("nodePort") or 0,
                    anywhere=_targets(anywhere),
                    here=_targets(here),
                    exists=bool(anywhere or here),
                    **facts,
                )
            )
    return ports


def health_check(service: Object, slices: Sequence[Object], location: NodeLocation) -> tuple[int, int]:
    """(health check node port, number of endpoints on this node); port 0: none."""
    number = service["spec"].get("healthCheckNodePort") or 0
    if not number or service["spec"].get("externalTrafficPolicy") != "Local":
        return 0, 0
    local = {
        a
        for endpoint_slice in slices
        for e in endpoint_slice.get("endpoints") or ()
        if e.get("nodeName") == location.name and (e.get("conditions") or {}).get("ready") is not False
        for a in e.get("addresses") or ()
    }
    return number, len(local)
