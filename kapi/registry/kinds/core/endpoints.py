"""Endpoints and EndpointSlice: where the traffic of a Service goes."""

from collections.abc import Callable
from typing import Any

from kapi.objects import names, time
from kapi.objects.meta import Object
from kapi.objects.quoting import time_quote
from kapi.registry.validation import addresses, rules
from kapi.registry.validation.part import Part, PlainStrategy
from kapi.registry.validation.rules import Errors, each, same

ADDRESS_TYPES = ("IPv4", "IPv6", "FQDN")
MOST_ENDPOINTS, MOST_ADDRESSES, MOST_PORTS, MOST_TOPOLOGY, MOST_HINTS = 1000, 100, 20000, 16, 8
CHANGED_AT = "endpoints.kubernetes.io/last-change-trigger-time"
HOSTNAME = "kubernetes.io/hostname"
_SHOWN = 3


class EndpointsStrategy(PlainStrategy):
    """core/v1 Endpoints."""

    deprecated = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
    columns = rules.columns("Name", "Endpoints=core.v1.Endpoints.subsets", "Age")
    defaults_of_empty = {"subsets[].ports[].protocol": "TCP"}

    def check(self, new: Part, old: Object | None) -> None:
        _stamp(new)
        if old is None or old.get("subsets") != new.get("subsets"):
            for subset in new.parts("subsets"):
                _subset(subset)

    def cells(self, obj: Object) -> list[Any]:
        return [_shown_subsets(obj.get("subsets") or ())]


def _stamp(new: Part) -> None:
    stamp = (new.obj["metadata"].get("annotations") or {}).get(CHANGED_AT)
    try:
        if stamp is not None:
            time.parse(stamp)
    except ValueError:
        shown = time_quote(str(stamp))
        text = f'parsing time {shown} as "2006-01-02T15:04:05.999999999Z07:00": cannot parse {shown} as "2006"'
        new.e.invalid(f"metadata.annotations[{CHANGED_AT}]", stamp, text)


def _subset(subset: Part) -> None:
    if not subset.items("addresses") and not subset.items("notReadyAddresses"):
        subset.e.required(subset.at, "must specify `addresses` or `notReadyAddresses`")
    for field in ("addresses", "notReadyAddresses"):
        for address in subset.parts(field):
            _address(address)
    for port in subset.parts("ports"):
        if not port.text("name") and len(subset.items("ports")) > 1:
            port.required("name")
        port.filled("name", names.dns_label)
        port.port("port")
        port.enum("protocol", rules.PROTOCOLS, need="")
        port.optional("appProtocol", names.qualified_name)


def _address(address: Part) -> None:
    addresses.legacy_ip(address.e, address.path("ip"), address.text("ip"))
    address.filled("hostname", names.dns_label)
    address.optional("nodeName", names.dns_subdomain)
    addresses.endpoint_ip(address.e, address.path("ip"), address.text("ip"))


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


class EndpointSliceStrategy(PlainStrategy):
    """discovery.k8s.io/v1 EndpointSlice."""

    generation = False
    """Counted here: also for a change of labels, and of a topology that is then dropped."""
    columns = rules.columns(
        "Name", "AddressType@addressType", "Ports=discovery.v1.EndpointSlice.ports",
        "Endpoints=discovery.v1.EndpointSlice.endpoints", "Age",
        of="discovery.v1.EndpointSlice",
    )  # fmt: skip
    defaults = {
        "addressType": "", "endpoints": None, "ports": None, "endpoints[].addresses": None, "endpoints[].conditions": {},
        "endpoints[].hints.forZones[].name": "", "endpoints[].hints.forNodes[].name": "", "ports[].name": "", "ports[].protocol": "TCP",
    }  # fmt: skip

    def prepare(self, new: Object, old: Object | None) -> None:
        for field in ("endpoints", "ports"):
            new[field] = new.get(field) or None
        if old is None:
            new["metadata"]["generation"] = 1
        elif self.changed(new, old) or not same(new["metadata"].get("labels"), old["metadata"].get("labels"), "labels"):
            new["metadata"]["generation"] = (old["metadata"].get("generation") or 0) + 1
        for endpoint in new["endpoints"] or ():
            endpoint.pop("deprecatedTopology", None)  # v1 does not store it

    def check(self, new: Part, old: Object | None) -> None:
        new.enum("addressType", ADDRESS_TYPES, need="")
        for endpoint in new.parts("endpoints", MOST_ENDPOINTS):
            _endpoint(endpoint, new.text("addressType"))
        seen: set[str] = set()
        for port in new.parts("ports", MOST_PORTS):
            _slice_port(port, seen)
        if old is not None:
            new.e.immutable("addressType", new.text("addressType"), old.get("addressType") or "")

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        out: list[str] = []
        for at, endpoint in each("", new, "endpoints") if new.get("addressType") != "FQDN" else ():
            for here, address in each(at, endpoint, "addresses"):
                out += addresses.ip_warnings(here, address)
        return out

    def cells(self, obj: Object) -> list[Any]:
        ports = [str(p["port"]) if p.get("port") is not None else "*" for p in obj.get("ports") or ()]
        addresses = [a for endpoint in obj.get("endpoints") or () for a in endpoint.get("addresses") or ()]
        return [_some(ports, "<unset>"), _some(addresses, "<unset>")]


def _endpoint(endpoint: Part, kind: str) -> None:
    endpoint.need("addresses", "must contain at least 1 address")
    endpoint.limit("addresses", MOST_ADDRESSES)
    for at, address in endpoint.values("addresses"):
        _slice_address(endpoint.e, at, address, kind)
    endpoint.optional("nodeName", names.dns_subdomain)
    if endpoint.get("deprecatedTopology"):
        _topology(endpoint)
    endpoint.optional("hostname", names.dns_label)
    _hints(endpoint.part("hints"), "forZones", names.label_value)
    _hints(endpoint.part("hints"), "forNodes", names.dns_subdomain)


def _topology(endpoint: Part) -> None:
    endpoint.limit("deprecatedTopology", MOST_TOPOLOGY)
    endpoint.labels("deprecatedTopology")
    for at, key, value in endpoint.entries("deprecatedTopology"):
        if key == HOSTNAME:
            endpoint.e.invalid(at, value, "may not be used in topology, use the `nodeName` field instead")


def _hints(hints: Part, field: str, check: Callable[[str], list[str]]) -> None:
    seen: set[str] = set()
    for hint in hints.parts(field, MOST_HINTS):
        hint.unique("name", seen)
        hint.checked("name", check)


def _slice_address(e: Errors, at: str, address: str, kind: str) -> None:
    if kind == "FQDN":
        if e.need(at, address):
            good = e.text(at, address, lambda name: names.dns_subdomain(name.removesuffix(".")))
            if good and "." not in address.removesuffix("."):
                e.invalid(at, address, "should be a domain with at least two segments separated by dots")
    elif kind in ("IPv4", "IPv6"):
        family = addresses.family(address)
        if not family:
            e.invalid(at, address, names.BAD_IP)
        elif f"IPv{family}" != kind:
            e.invalid(at, address, f"must be an {kind} address")
        addresses.endpoint_ip(e, at, address)


def _slice_port(port: Part, seen: set[str]) -> None:
    port.filled("name", names.dns_label)
    port.unique("name", seen)
    port.enum("protocol", rules.PROTOCOLS, need=None if "protocol" in port else "")
    port.optional("appProtocol", names.qualified_name)
