"""NetworkPolicy, IPAddress and ServiceCIDR."""

from typing import Any

from kapi.objects import names
from kapi.registry.kinds import rules
from kapi.registry.kinds.rules import Checked, Errors, each, one_of, present

Object = dict[str, Any]

WAYS = (("ingress", "from"), ("egress", "to"))
ONE_PER_FAMILY = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"


def _blocks(policy: Object) -> set[str]:
    """Every range a policy speaks of: what it held before may stay."""
    spec = policy.get("spec") or {}
    found = [peer.get("ipBlock") or {} for way, peers in WAYS for rule in spec.get(way) or () for peer in rule.get(peers) or ()]
    return {cidr for block in found for cidr in (block.get("cidr") or "", *(block.get("except") or ()))}


class NetworkPolicyStrategy(Checked):
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

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        spec, known = new["spec"], _blocks(old) if old else set()
        rules.label_selector(e, "spec.podSelector", spec.get("podSelector"))
        for way, peers in WAYS:
            for at, rule in each("spec", spec, way):
                for here, port in each(at, rule, "ports"):
                    _port(e, here, port)
                for here, peer in each(at, rule, peers):
                    _peer(e, here, peer, known)
        if len(spec.get("policyTypes") or ()) > 2:
            e.invalid("spec.policyTypes", spec["policyTypes"], "may not specify more than two policyTypes")
            return
        for at, kind in each("spec", spec, "policyTypes"):
            e.enum(at, kind, ("Egress", "Ingress"))

    def row(self, obj: Object, now: float) -> list[Any]:
        return [obj["metadata"]["name"], rules.selector_cell(obj["spec"].get("podSelector")), rules.age(obj, now)]


def _port(e: Errors, at: str, port: Object) -> None:
    number, end = port.get("port"), port.get("endPort")
    present(e, at, port, {"protocol": one_of(*rules.PROTOCOLS, sort=False)})
    if isinstance(number, int):
        if end is not None and end < number:
            e.invalid(f"{at}.endPort", number, "must be greater than or equal to `port`")
        e.port(f"{at}.port", number)
    elif number is not None:
        if end is not None:
            e.invalid(f"{at}.endPort", end, "may not be specified when `port` is non-numeric")
        e.text(f"{at}.port", number, names.port_name)
    elif end is not None:
        e.invalid(f"{at}.endPort", end, "may not be specified when `port` is not specified")
    if isinstance(number, int) and end is not None:
        e.port(f"{at}.endPort", end)


def _peer(e: Errors, at: str, peer: Object, known: set[str]) -> None:
    count = sum(peer.get(field) is not None for field in ("podSelector", "namespaceSelector", "ipBlock"))
    for field in ("podSelector", "namespaceSelector"):
        rules.label_selector(e, f"{at}.{field}", peer.get(field))
    if peer.get("ipBlock") is not None:
        _block(e, f"{at}.ipBlock", peer["ipBlock"], known)
    if not count:
        e.required(at, "must specify a peer")
    elif count > 1 and peer.get("ipBlock") is not None:
        e.forbidden(at, "may not specify both ipBlock and another peer")


def _block(e: Errors, at: str, block: Object, known: set[str]) -> None:
    cidr = block.get("cidr") or ""
    if e.need(f"{at}.cidr", cidr):
        rules.legacy_cidr(e, f"{at}.cidr", cidr, known)
    network = names.parse_cidr(cidr)
    for here, text in each(at, block, "except") if network is not None else ():
        rules.legacy_cidr(e, here, text, known)
        inner = names.parse_cidr(text)
        if inner is None or network is None:
            continue
        if inner.version != network.version or inner.prefixlen <= network.prefixlen or inner.network_address not in network:
            e.invalid(here, text, "must be a strict subset of `cidr`")


def ip_name(name: str, prefix: bool = False) -> list[str]:
    """The name of an IPAddress is its address, in the one canonical spelling."""
    ip = names.parse_ip(name)
    if ip is None:
        return [names.BAD_IP]
    return [] if str(ip) == name else [f'must be in canonical form ("{ip}")']


class IPAddressStrategy(Checked):
    """networking.k8s.io/v1 IPAddress."""

    status = False
    generation = False
    name_check = staticmethod(ip_name)
    columns = rules.columns(
        "Name", "ParentRef=networking.v1.IPAddressSpec.parentRef",
    )  # stock's rows have a third cell, the age, without a column  # fmt: skip

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        """What an address belongs to; a change is refused as such, whatever its form."""
        at, ref = "spec.parentRef", new["spec"].get("parentRef")
        if old is not None and new["metadata"].get("generateName"):
            e.text("metadata.generateName", new["metadata"]["generateName"], ip_name)
        if ref is None:
            e.required(at)
        else:
            if old is None:
                e.optional(at, ref, "group", names.dns_subdomain)
            for field in ("resource", "name"):
                if e.need(f"{at}.{field}", ref.get(field)) and old is None:
                    e.text(f"{at}.{field}", ref[field], names.path_segment)
            if old is None:
                e.optional(at, ref, "namespace", names.path_segment)
        if old is not None:
            e.immutable(at, _shown_parent(ref), _shown_parent(old["spec"].get("parentRef")))

    def row(self, obj: Object, now: float) -> list[Any]:
        ref = obj["spec"].get("parentRef") or {}
        kind = ".".join(part for part in (ref.get("resource"), ref.get("group")) if part)
        return [obj["metadata"]["name"], "/".join(p for p in (kind, ref.get("namespace"), ref.get("name")) if p), rules.age(obj, now)]


def _shown_parent(ref: Object | None) -> Object | None:
    return None if ref is None else {field.title(): ref.get(field) or "" for field in ("group", "resource", "namespace", "name")}


class ServiceCIDRStrategy(Checked):
    """networking.k8s.io/v1 ServiceCIDR."""

    generation = False
    columns = rules.columns("Name", "CIDRs=networking.v1.ServiceCIDRSpec.cidrs", "Age")

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})
        obj.setdefault("status", {})

    def prepare(self, new: Object, old: Object | None) -> None:
        new["status"] = (old or {}).get("status") or {}

    def check(self, e: Errors, new: Object, old: Object | None) -> None:
        """A second range may be added to a single one; nothing else changes."""
        at, now, before = "spec.cidrs", new["spec"].get("cidrs"), ((old or {}).get("spec") or {}).get("cidrs") or []
        counts = (len(before), len(now or ()))
        if old is not None and counts not in ((1, 2), (counts[0], counts[0])):
            e.invalid(at, now, rules.IMMUTABLE)
            return
        for i, (mine, theirs) in enumerate(zip(now or (), before, strict=False)):
            e.immutable(f"{at}[{i}]", mine, theirs)
        if old is None or counts == (1, 2):
            _ranges(e, at, now or [])

    def row(self, obj: Object, now: float) -> list[Any]:
        return [obj["metadata"]["name"], ",".join(obj["spec"].get("cidrs") or ()), rules.age(obj, now)]


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
