"""Endpoints and EndpointSlice: where the traffic of a Service goes."""

from typing import Any

from kapi.objects import names, time
from kapi.objects.errors import Cause
from kapi.registry.kinds import rules
from kapi.registry.kinds.rules import Errors
from kapi.registry.strategy import Strategy

Object = dict[str, Any]

ADDRESS_TYPES = ("IPv4", "IPv6", "FQDN")
MOST_ENDPOINTS, MOST_ADDRESSES, MOST_PORTS, MOST_TOPOLOGY, MOST_HINTS = 1000, 100, 20000, 16, 8
CHANGED_AT = "endpoints.kubernetes.io/last-change-trigger-time"
_SHOWN = 3


class EndpointsStrategy(Strategy):
    """core/v1 Endpoints."""

    deprecated = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
    status = False
    generation = False
    columns = rules.columns("Name", "Endpoints=core.v1.Endpoints.subsets", "Age")

    def default(self, obj: Object) -> None:
        for subset in obj.get("subsets") or ():
            for port in subset.get("ports") or ():
                port["protocol"] = port.get("protocol") or "TCP"

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        stamp = (new["metadata"].get("annotations") or {}).get(CHANGED_AT)
        if stamp is not None:
            _validate_stamp(e, stamp)
        if old is not None and old.get("subsets") == new.get("subsets"):
            return e
        for i, subset in enumerate(new.get("subsets") or ()):
            _validate_subset(e, f"subsets[{i}]", subset)
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        return [obj["metadata"]["name"], _shown_subsets(obj.get("subsets") or ()), rules.age(obj, now)]


def _validate_stamp(e: Errors, stamp: str) -> None:
    try:
        time.parse(stamp)
    except ValueError:
        text = f'parsing time "{stamp}" as "2006-01-02T15:04:05.999999999Z07:00": cannot parse "{stamp}" as "2006"'
        e.invalid(f"metadata.annotations[{CHANGED_AT}]", stamp, text)


def _validate_subset(e: Errors, at: str, subset: Object) -> None:
    if not subset.get("addresses") and not subset.get("notReadyAddresses"):
        e.required(at, "must specify `addresses` or `notReadyAddresses`")
    for field in ("addresses", "notReadyAddresses"):
        for i, address in enumerate(subset.get(field) or ()):
            _validate_address(e, f"{at}.{field}[{i}]", address)
    ports = subset.get("ports") or ()
    for i, port in enumerate(ports):
        where, name = f"{at}.ports[{i}]", port.get("name") or ""
        if name:
            e.text(f"{where}.name", name, names.dns_label)
        elif len(ports) > 1:
            e.required(f"{where}.name")
        e.port(f"{where}.port", port.get("port", 0))
        e.enum(f"{where}.protocol", port.get("protocol"), rules.PROTOCOLS, need="")
        if "appProtocol" in port:
            e.qualified(f"{where}.appProtocol", port["appProtocol"])


def _validate_address(e: Errors, at: str, address: Object) -> None:
    ip = address.get("ip") or ""
    rules.legacy_ip(e, f"{at}.ip", ip)
    if address.get("hostname"):
        e.text(f"{at}.hostname", address["hostname"], names.dns_label)
    if "nodeName" in address:
        e.text(f"{at}.nodeName", address["nodeName"], names.dns_subdomain)
    rules.endpoint_ip(e, f"{at}.ip", ip)


def _shown_subsets(subsets: Any) -> str:
    shown = []
    for subset in subsets:
        for port in subset.get("ports") or [None]:
            for address in subset.get("addresses") or ():
                ip = address["ip"]
                shown.append(ip if port is None else f"[{ip}]:{port['port']}" if ":" in ip else f"{ip}:{port['port']}")
    return _some(shown, "<none>")


def _some(shown: list[str], default: str) -> str:
    more = f" + {len(shown) - _SHOWN} more..." if len(shown) > _SHOWN else ""
    return (",".join(shown[:_SHOWN]) or default) + more


# slices ---------------------------------------------------------------------------------------------------------------------------


class EndpointSliceStrategy(Strategy):
    """discovery.k8s.io/v1 EndpointSlice."""

    status = False
    columns = rules.columns(
        "Name", "AddressType=discovery.v1.EndpointSlice.addressType", "Ports=discovery.v1.EndpointSlice.ports",
        "Endpoints=discovery.v1.EndpointSlice.endpoints", "Age",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        obj.setdefault("addressType", "")
        obj.setdefault("endpoints", None)
        obj.setdefault("ports", None)
        for endpoint in obj["endpoints"] or ():
            endpoint.setdefault("addresses", None)
            endpoint.setdefault("conditions", {})
            hints = endpoint.get("hints") or {}
            for hint in (*(hints.get("forZones") or ()), *(hints.get("forNodes") or ())):
                hint.setdefault("name", "")
        for port in obj["ports"] or ():
            port.setdefault("name", "")
            port.setdefault("protocol", "TCP")

    def prepare(self, new: Object, old: Object | None) -> None:
        for field in ("endpoints", "ports"):
            new[field] = new.get(field) or None
        for endpoint in new["endpoints"] or ():
            endpoint.pop("deprecatedTopology", None)  # v1 does not store it

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        kind = new.get("addressType") or ""
        e.enum("addressType", kind, ADDRESS_TYPES, need="")
        endpoints, ports = new.get("endpoints") or (), new.get("ports") or ()
        if len(endpoints) > MOST_ENDPOINTS:
            e.too_many("endpoints", len(endpoints), MOST_ENDPOINTS)
        else:
            for i, endpoint in enumerate(endpoints):
                _validate_endpoint(e, f"endpoints[{i}]", endpoint, kind)
        if len(ports) > MOST_PORTS:
            e.too_many("ports", len(ports), MOST_PORTS)
        else:
            _validate_slice_ports(e, ports)
        if old is not None:
            e.immutable("addressType", kind, old.get("addressType") or "")
        return e

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        out: list[str] = []
        for i, endpoint in enumerate(new.get("endpoints") or ()) if new.get("addressType") != "FQDN" else ():
            for j, address in enumerate(endpoint.get("addresses") or ()):
                out += rules.ip_warnings(f"endpoints[{i}].addresses[{j}]", address)
        return out

    def row(self, obj: Object, now: float) -> list[Any]:
        ports = [str(p["port"]) if p.get("port") is not None else "*" for p in obj.get("ports") or ()]
        addresses = [a for endpoint in obj.get("endpoints") or () for a in endpoint.get("addresses") or ()]
        return [obj["metadata"]["name"], obj["addressType"], _some(ports, "<unset>"), _some(addresses, "<unset>"), rules.age(obj, now)]


def _validate_endpoint(e: Errors, at: str, endpoint: Object, kind: str) -> None:
    addresses = endpoint.get("addresses") or ()
    e.need(f"{at}.addresses", addresses, "must contain at least 1 address")
    if len(addresses) > MOST_ADDRESSES:
        e.too_many(f"{at}.addresses", len(addresses), MOST_ADDRESSES)
    for i, address in enumerate(addresses):
        _validate_slice_address(e, f"{at}.addresses[{i}]", address, kind)
    if "nodeName" in endpoint:
        e.text(f"{at}.nodeName", endpoint["nodeName"], names.dns_subdomain)
    topology = endpoint.get("deprecatedTopology") or {}
    if len(topology) > MOST_TOPOLOGY:
        e.too_many(f"{at}.deprecatedTopology", len(topology), MOST_TOPOLOGY)
    rules.labels(e, f"{at}.deprecatedTopology", topology)
    if "kubernetes.io/hostname" in topology:
        text = "may not be used in topology, use the `nodeName` field instead"
        e.invalid(f"{at}.deprecatedTopology[kubernetes.io/hostname]", topology["kubernetes.io/hostname"], text)
    if "hostname" in endpoint:
        e.text(f"{at}.hostname", endpoint["hostname"], names.dns_label)
    hints = endpoint.get("hints") or {}
    _validate_hints(e, f"{at}.hints.forZones", hints.get("forZones") or (), names.label_value)
    _validate_hints(e, f"{at}.hints.forNodes", hints.get("forNodes") or (), names.dns_subdomain)


def _validate_hints(e: Errors, at: str, hints: Any, check: Any) -> None:
    if len(hints) > MOST_HINTS:
        e.too_many(at, len(hints), MOST_HINTS)
        return
    seen: set[str] = set()
    for i, hint in enumerate(hints):
        name = hint.get("name") or ""
        e.unique(f"{at}[{i}].name", name, seen)
        e.text(f"{at}[{i}].name", name, check)


def _validate_slice_address(e: Errors, at: str, address: str, kind: str) -> None:
    if kind == "FQDN":
        if e.need(at, address):
            bad = names.dns_subdomain(address.removesuffix("."))
            for message in bad:
                e.invalid(at, address, message)
            if not bad and "." not in address.removesuffix("."):
                e.invalid(at, address, "should be a domain with at least two segments separated by dots")
    elif kind in ("IPv4", "IPv6"):
        family = rules.family(address)
        if not family:
            e.invalid(at, address, names.BAD_IP)
        elif f"IPv{family}" != kind:
            e.invalid(at, address, f"must be an {kind} address")
        rules.endpoint_ip(e, at, address)


def _validate_slice_ports(e: Errors, ports: Any) -> None:
    seen: set[str] = set()
    for i, port in enumerate(ports):
        at, name = f"ports[{i}]", port.get("name") or ""
        if name:
            e.text(f"{at}.name", name, names.dns_label)
        e.unique(f"{at}.name", name, seen)
        if "protocol" not in port:
            e.required(f"{at}.protocol")
        else:
            e.enum(f"{at}.protocol", port["protocol"], rules.PROTOCOLS)
        if "appProtocol" in port:
            e.qualified(f"{at}.appProtocol", port["appProtocol"])
