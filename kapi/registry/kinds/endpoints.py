"""Endpoints and EndpointSlice: where the traffic of a Service goes."""

from collections.abc import Callable
from typing import Any

from kapi.objects import names, time
from kapi.registry.kinds import rules
from kapi.registry.kinds.rules import Checked, Errors, Rule, checked, each, filled, present, same

Object = dict[str, Any]

ADDRESS_TYPES = ("IPv4", "IPv6", "FQDN")
MOST_ENDPOINTS, MOST_ADDRESSES, MOST_PORTS, MOST_TOPOLOGY, MOST_HINTS = 1000, 100, 20000, 16, 8
CHANGED_AT = "endpoints.kubernetes.io/last-change-trigger-time"
HOSTNAME = "kubernetes.io/hostname"
_SHOWN = 3
_OF_PORTS: dict[str, Rule] = {"appProtocol": Errors.qualified}
_OF_NODES: dict[str, Rule] = {"nodeName": checked(names.dns_subdomain)}


class EndpointsStrategy(Checked):
    """core/v1 Endpoints."""

    deprecated = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
    status = False
    generation = False
    columns = rules.columns("Name", "Endpoints=core.v1.Endpoints.subsets", "Age")

    def default(self, obj: Object) -> None:
        for subset in obj.get("subsets") or ():
            for port in subset.get("ports") or ():
                port["protocol"] = port.get("protocol") or "TCP"

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        stamp = (new["metadata"].get("annotations") or {}).get(CHANGED_AT)
        if stamp is not None:
            _stamp(e, stamp)
        if old is None or old.get("subsets") != new.get("subsets"):
            for at, subset in each("", new, "subsets"):
                _subset(e, at, subset)

    def row(self, obj: Object, now: float) -> list[Any]:
        return [obj["metadata"]["name"], _shown_subsets(obj.get("subsets") or ()), rules.age(obj, now)]


def _stamp(e: Errors, stamp: str) -> None:
    try:
        time.parse(stamp)
    except ValueError:
        text = f'parsing time "{stamp}" as "2006-01-02T15:04:05.999999999Z07:00": cannot parse "{stamp}" as "2006"'
        e.invalid(f"metadata.annotations[{CHANGED_AT}]", stamp, text)


def _subset(e: Errors, at: str, subset: Object) -> None:
    if not subset.get("addresses") and not subset.get("notReadyAddresses"):
        e.required(at, "must specify `addresses` or `notReadyAddresses`")
    for field in ("addresses", "notReadyAddresses"):
        for here, address in each(at, subset, field):
            _address(e, here, address)
    for here, port in each(at, subset, "ports"):
        if e.optional(here, port, "name", names.dns_label) and not port.get("name") and len(subset["ports"]) > 1:
            e.required(f"{here}.name")
        e.port(f"{here}.port", port.get("port", 0))
        e.enum(f"{here}.protocol", port.get("protocol"), rules.PROTOCOLS, need="")
        present(e, here, port, _OF_PORTS)


def _address(e: Errors, at: str, address: Object) -> None:
    ip = address.get("ip") or ""
    rules.legacy_ip(e, f"{at}.ip", ip)
    e.optional(at, address, "hostname", names.dns_label)
    present(e, at, address, _OF_NODES)
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


class EndpointSliceStrategy(Checked):
    """discovery.k8s.io/v1 EndpointSlice."""

    status = False
    generation = False
    """Counted here: also for a change of labels, and of a topology that is then dropped."""
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
        if old is None:
            new["metadata"]["generation"] = 1
        elif self.changed(new, old) or not same(new["metadata"].get("labels"), old["metadata"].get("labels"), "labels"):
            new["metadata"]["generation"] = (old["metadata"].get("generation") or 0) + 1
        for endpoint in new["endpoints"] or ():
            endpoint.pop("deprecatedTopology", None)  # v1 does not store it

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        kind, endpoints, ports = new.get("addressType") or "", new.get("endpoints") or (), new.get("ports") or ()
        e.enum("addressType", kind, ADDRESS_TYPES, need="")
        if e.most("endpoints", endpoints, MOST_ENDPOINTS):
            for at, endpoint in each("", new, "endpoints"):
                _endpoint(e, at, endpoint, kind)
        if e.most("ports", ports, MOST_PORTS):
            _slice_ports(e, new)
        if old is not None:
            e.immutable("addressType", kind, old.get("addressType") or "")

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        out: list[str] = []
        for at, endpoint in each("", new, "endpoints") if new.get("addressType") != "FQDN" else ():
            for here, address in each(at, endpoint, "addresses"):
                out += rules.ip_warnings(here, address)
        return out

    def row(self, obj: Object, now: float) -> list[Any]:
        ports = [str(p["port"]) if p.get("port") is not None else "*" for p in obj.get("ports") or ()]
        addresses = [a for endpoint in obj.get("endpoints") or () for a in endpoint.get("addresses") or ()]
        return [obj["metadata"]["name"], obj["addressType"], _some(ports, "<unset>"), _some(addresses, "<unset>"), rules.age(obj, now)]


def _endpoint(e: Errors, at: str, endpoint: Object, kind: str) -> None:
    addresses = endpoint.get("addresses") or ()
    e.need(f"{at}.addresses", addresses, "must contain at least 1 address")
    e.most(f"{at}.addresses", addresses, MOST_ADDRESSES)
    for here, address in each(at, endpoint, "addresses"):
        _slice_address(e, here, address, kind)
    present(e, at, endpoint, _OF_NODES)
    filled(e, at, endpoint, {"deprecatedTopology": _topology})
    present(e, at, endpoint, {"hostname": checked(names.dns_label)})
    hints = endpoint.get("hints") or {}
    _hints(e, f"{at}.hints", hints, "forZones", names.label_value)
    _hints(e, f"{at}.hints", hints, "forNodes", names.dns_subdomain)


def _topology(e: Errors, at: str, topology: dict[str, str]) -> None:
    e.most(at, [*topology], MOST_TOPOLOGY)
    rules.labels(e, at, topology)
    if HOSTNAME in topology:
        e.invalid(f"{at}[{HOSTNAME}]", topology[HOSTNAME], "may not be used in topology, use the `nodeName` field instead")


def _hints(e: Errors, at: str, hints: Object, field: str, check: Callable[[str], list[str]]) -> None:
    seen: set[str] = set()
    if e.most(f"{at}.{field}", hints.get(field) or (), MOST_HINTS):
        for here, hint in each(at, hints, field):
            e.unique(f"{here}.name", hint.get("name") or "", seen)
            e.text(f"{here}.name", hint.get("name") or "", check)


def _slice_address(e: Errors, at: str, address: str, kind: str) -> None:
    if kind == "FQDN":
        if e.need(at, address):
            good = e.text(at, address, lambda name: names.dns_subdomain(name.removesuffix(".")))
            if good and "." not in address.removesuffix("."):
                e.invalid(at, address, "should be a domain with at least two segments separated by dots")
    elif kind in ("IPv4", "IPv6"):
        family = rules.family(address)
        if not family:
            e.invalid(at, address, names.BAD_IP)
        elif f"IPv{family}" != kind:
            e.invalid(at, address, f"must be an {kind} address")
        rules.endpoint_ip(e, at, address)


def _slice_ports(e: Errors, new: Object) -> None:
    seen: set[str] = set()
    for at, port in each("", new, "ports"):
        e.optional(at, port, "name", names.dns_label)
        e.unique(f"{at}.name", port.get("name") or "", seen)
        e.enum(f"{at}.protocol", port.get("protocol"), rules.PROTOCOLS, need=None if "protocol" in port else "")
        present(e, at, port, _OF_PORTS)
