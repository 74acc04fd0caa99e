"""NetworkPolicy, IPAddress and ServiceCIDR."""

from typing import Any

from kapi.objects import names
from kapi.registry.validation import addresses, rules
from kapi.registry.validation.part import Part, PlainStrategy, RuledStrategy
from kapi.registry.validation.rules import Errors

Object = dict[str, Any]

WAYS = (("ingress", "from"), ("egress", "to"))
ONE_PER_FAMILY = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"


def _blocks(policy: Object) -> set[str]:
    """Every range a policy speaks of: what it held before may stay."""
    spec = policy.get("spec") or {}
    found = [peer.get("ipBlock") or {} for way, peers in WAYS for rule in spec.get(way) or () for peer in rule.get(peers) or ()]
    return {cidr for block in found for cidr in (block.get("cidr") or "", *(block.get("except") or ()))}


class NetworkPolicyStrategy(RuledStrategy):
    """networking.k8s.io/v1 NetworkPolicy."""

    status = False
    columns = rules.columns("Name", "Pod-Selector=networking.v1.NetworkPolicySpec.podSelector", "Age")

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("podSelector", {})
        for rule in (*(spec.get("ingress") or ()), *(spec.get("egress") or ())):
            for port in rule.get("ports") or ():
                port.setdefault("protocol", "TCP")
        if not spec.get("policyTypes"):
            spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]

    def check(self, new: Part, old: Object | None) -> None:
        spec, known = new.part("spec"), _blocks(old) if old else set()
        spec.selector("podSelector")
        for way, peers in WAYS:
            for rule in spec.parts(way):
                for port in rule.parts("ports"):
                    _port(port)
                for peer in rule.parts(peers):
                    _peer(peer, known)
        if len(spec.items("policyTypes")) > 2:
            spec.invalid("policyTypes", "may not specify more than two policyTypes")
            return
        for at, kind in spec.values("policyTypes"):
            new.e.enum(at, kind, ("Egress", "Ingress"))

    def cells(self, obj: Object) -> list[Any]:
        return [rules.selector_cell(obj["spec"].get("podSelector"))]


def _port(port: Part) -> None:
    number, end = port.get("port"), port.get("endPort")
    port.choice("protocol", rules.PROTOCOLS, sort=False)
    if isinstance(number, int):
        if end is not None and end < number:
            port.e.invalid(port.path("endPort"), number, "must be greater than or equal to `port`")
        port.port("port")
        if end is not None:
            port.port("endPort")
        return
    if end is not None:
        port.invalid("endPort", f"may not be specified when `port` is {'not specified' if number is None else 'non-numeric'}")
    port.optional("port", names.port_name)


def _peer(peer: Part, known: set[str]) -> None:
    count = sum(field in peer for field in ("podSelector", "namespaceSelector", "ipBlock"))
    for field in ("podSelector", "namespaceSelector"):
        peer.selector(field)
    if "ipBlock" in peer:
        _block(peer.part("ipBlock"), known)
    if not count:
        peer.e.required(peer.at, "must specify a peer")
    elif count > 1 and "ipBlock" in peer:
        peer.e.forbidden(peer.at, "may not specify both ipBlock and another peer")


def _block(block: Part, known: set[str]) -> None:
    cidr = block.text("cidr")
    if block.need("cidr"):
        addresses.legacy_cidr(block.e, block.path("cidr"), cidr, known)
    network = names.parse_cidr(cidr)
    for here, text in block.values("except") if network is not None else ():
        addresses.legacy_cidr(block.e, here, text, known)
        inner = names.parse_cidr(text)
        if inner is None or network is None:
            continue
        if inner.version != network.version or inner.prefixlen <= network.prefixlen or inner.network_address not in network:
            block.e.invalid(here, text, "must be a strict subset of `cidr`")


def ip_name(name: str, prefix: bool = False) -> list[str]:
    """The name of an IPAddress is its address, in the one canonical spelling."""
    ip = names.parse_ip(name)
    if ip is None:
        return [names.BAD_IP]
    return [] if str(ip) == name else [f'must be in canonical form ("{ip}")']


class IPAddressStrategy(PlainStrategy):
    """networking.k8s.io/v1 IPAddress."""

    name_check = staticmethod(ip_name)
    columns = rules.columns(
        "Name", "ParentRef=networking.v1.IPAddressSpec.parentRef",
    )  # stock's rows have a third cell, the age, without a column  # fmt: skip

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def check(self, new: Part, old: Object | None) -> None:
        """What an address belongs to; a change is refused as such, whatever its form."""
        spec, ref = new.part("spec"), new.part("spec").part("parentRef")
        if old is not None:
            new.part("metadata").filled("generateName", ip_name)
        if "parentRef" not in spec:
            spec.required("parentRef")
        elif old is not None:
            ref.need("resource")
            ref.need("name")
        else:
            ref.filled("group", names.dns_subdomain)
            ref.named("resource", names.path_segment)
            ref.named("name", names.path_segment)
            ref.filled("namespace", names.path_segment)
        if old is not None:
            new.e.immutable(ref.at, _shown_parent(spec.get("parentRef")), _shown_parent(old["spec"].get("parentRef")))

    def row(self, obj: Object, now: float) -> list[Any]:
        ref = obj["spec"].get("parentRef") or {}
        kind = ".".join(part for part in (ref.get("resource"), ref.get("group")) if part)
        return [obj["metadata"]["name"], "/".join(p for p in (kind, ref.get("namespace"), ref.get("name")) if p), rules.age(obj, now)]


def _shown_parent(ref: Object | None) -> Object | None:
    return None if ref is None else {field.title(): ref.get(field) or "" for field in ("group", "resource", "namespace", "name")}


class ServiceCIDRStrategy(RuledStrategy):
    """networking.k8s.io/v1 ServiceCIDR."""

    generation = False
    columns = rules.columns("Name", "CIDRs=networking.v1.ServiceCIDRSpec.cidrs", "Age")

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})
        obj.setdefault("status", {})

    def prepare(self, new: Object, old: Object | None) -> None:
        new["status"] = (old or {}).get("status") or {}

    def check(self, new: Part, old: Object | None) -> None:
        """A second range may be added to a single one; nothing else changes."""
        spec, before = new.part("spec"), ((old or {}).get("spec") or {}).get("cidrs") or []
        counts = (len(before), len(spec.items("cidrs")))
        if old is not None and counts not in ((1, 2), (counts[0], counts[0])):
            spec.invalid("cidrs", rules.IMMUTABLE)
            return
        for (at, mine), theirs in zip(spec.values("cidrs"), before, strict=False):
            new.e.immutable(at, mine, theirs)
        if old is None or counts == (1, 2):
            _ranges(new.e, spec.path("cidrs"), spec.items("cidrs"))

    def cells(self, obj: Object) -> list[Any]:
        return [",".join(obj["spec"].get("cidrs") or ())]


def _ranges(e: Errors, at: str, cidrs: list[str]) -> None:
    if not e.need(at, cidrs, "at least one CIDR required"):
        return
    if len(cidrs) > 2:
        e.invalid(at, {"CIDRs": cidrs}, "may only hold up to 2 values")
        return
    networks = [names.parse_cidr(cidr) for cidr in cidrs]
    if len(cidrs) == 2 and all(networks) and len({n.version for n in networks if n}) == 1:
        e.invalid(at, cidrs, ONE_PER_FAMILY)
    for i, (cidr, network) in enumerate(zip(cidrs, networks, strict=True)):
        if e.text(f"{at}[{i}]", cidr, names.cidr) and str(network) != cidr:
            e.invalid(f"{at}[{i}]", cidr, f'must be in canonical form ("{network}")')
