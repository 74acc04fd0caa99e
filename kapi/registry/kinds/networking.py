"""NetworkPolicy, IPAddress and ServiceCIDR."""

from typing import Any

from kapi.objects import names
from kapi.objects.errors import Cause
from kapi.registry.kinds import rules
from kapi.registry.kinds.rules import Errors
from kapi.registry.strategy import Strategy

Object = dict[str, Any]


class NetworkPolicyStrategy(Strategy):
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

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        spec = new["spec"]
        rules.label_selector(e, "spec.podSelector", spec.get("podSelector"))
        for way, peers in (("ingress", "from"), ("egress", "to")):
            for i, rule in enumerate(spec.get(way) or ()):
                at = f"spec.{way}[{i}]"
                for j, port in enumerate(rule.get("ports") or ()):
                    _validate_port(e, f"{at}.ports[{j}]", port)
                for j, peer in enumerate(rule.get(peers) or ()):
                    _validate_peer(e, f"{at}.{peers}[{j}]", peer)
        kinds = spec.get("policyTypes") or []
        if len(kinds) > 2:
            e.invalid("spec.policyTypes", kinds, "may not specify more than two policyTypes")
            return e
        for i, kind in enumerate(kinds):
            e.enum(f"spec.policyTypes[{i}]", kind, ("Egress", "Ingress"))
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        return [obj["metadata"]["name"], shown_selector(obj["spec"].get("podSelector")), rules.age(obj, now)]


def shown_selector(selector: Object | None) -> str:
    """A LabelSelector as a cell: 'a=b,c in (d,e),!f', '<none>' for the empty one."""
    if selector is None:
        return "<none>"
    parts = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    for part in selector.get("matchExpressions") or ():
        key, values = part.get("key", ""), ",".join(sorted(part.get("values") or ()))
        forms = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key, "DoesNotExist": f"!{key}"}
        parts.append((key, forms.get(part.get("operator", ""), key)))
    return ",".join(text for _, text in sorted(parts)) or "<none>"


def _validate_port(e: Errors, at: str, port: Object) -> None:
    protocol, number, end = port.get("protocol"), port.get("port"), port.get("endPort")
    if protocol is not None and protocol not in rules.PROTOCOLS:
        e.unsupported(f"{at}.protocol", protocol, rules.PROTOCOLS, sort=False)
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
    if end is not None:
        e.port(f"{at}.endPort", end)


def _validate_peer(e: Errors, at: str, peer: Object) -> None:
    count = sum(peer.get(field) is not None for field in ("podSelector", "namespaceSelector", "ipBlock"))
    for field in ("podSelector", "namespaceSelector"):
        rules.label_selector(e, f"{at}.{field}", peer.get(field))
    if peer.get("ipBlock") is not None:
        _validate_block(e, f"{at}.ipBlock", peer["ipBlock"])
    if not count:
        e.required(at, "must specify a peer")
    elif count > 1 and peer.get("ipBlock") is not None:
        e.forbidden(at, "may not specify both ipBlock and another peer")


def _validate_block(e: Errors, at: str, block: Object) -> None:
    cidr = block.get("cidr") or ""
    if not e.named(f"{at}.cidr", cidr, names.cidr):
        return
    network = names.parse_cidr(cidr)
    for i, text in enumerate(block.get("except") or ()):
        inner = names.parse_cidr(text)
        if not e.text(f"{at}.except[{i}]", text, names.cidr) or inner is None or network is None:
            continue
        if inner.version != network.version or inner.prefixlen <= network.prefixlen or inner.network_address not in network:
            e.invalid(f"{at}.except[{i}]", text, "must be a strict subset of `cidr`")


def ip_name(name: str, prefix: bool = False) -> list[str]:
    """The name of an IPAddress is its address, in the one canonical spelling."""
    ip = names.parse_ip(name)
    if ip is None:
        return [names.BAD_IP]
    return [] if str(ip) == name else [f'must be in canonical form ("{ip}")']


class IPAddressStrategy(Strategy):
    """networking.k8s.io/v1 IPAddress."""

    status = False
    generation = False
    name_check = staticmethod(ip_name)
    columns = rules.columns(
        "Name", "ParentRef=networking.v1.IPAddressSpec.parentRef",
    )  # stock's rows have a third cell, the age, without a column  # fmt: skip

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        ref = new["spec"].get("parentRef")
        if old is not None and new["metadata"].get("generateName"):
            e.text("metadata.generateName", new["metadata"]["generateName"], ip_name)
        if ref is None:
            e.required("spec.parentRef")
        else:
            _validate_parent(e, ref)
        if old is not None:
            e.immutable("spec.parentRef", _shown_parent(ref), _shown_parent(old["spec"].get("parentRef")))
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        ref = obj["spec"].get("parentRef") or {}
        kind = ".".join(part for part in (ref.get("resource"), ref.get("group")) if part)
        return [obj["metadata"]["name"], "/".join(p for p in (kind, ref.get("namespace"), ref.get("name")) if p), rules.age(obj, now)]


def _shown_parent(ref: Object | None) -> Object | None:
    return None if ref is None else {field.title(): ref.get(field) or "" for field in ("group", "resource", "namespace", "name")}


def _validate_parent(e: Errors, ref: Object) -> None:
    if ref.get("group"):
        e.text("spec.parentRef.group", ref["group"], names.dns_subdomain)
    e.named("spec.parentRef.resource", ref.get("resource") or "", names.path_segment)
    e.named("spec.parentRef.name", ref.get("name") or "", names.path_segment)
    if ref.get("namespace"):
        e.text("spec.parentRef.namespace", ref["namespace"], names.path_segment)


class ServiceCIDRStrategy(Strategy):
    """networking.k8s.io/v1 ServiceCIDR."""

    generation = False
    columns = rules.columns("Name", "CIDRs=networking.v1.ServiceCIDRSpec.cidrs", "Age")

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})
        obj.setdefault("status", {})

    def prepare(self, new: Object, old: Object | None) -> None:
        new["status"] = (old or {}).get("status") or {}

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        e = Errors()
        cidrs = new["spec"].get("cidrs") or []
        if old is not None:
            before = old["spec"].get("cidrs") or []
            grows = len(before) == 1 and len(cidrs) == 2 and cidrs[0] == before[0]
            if not grows:
                e.immutable("spec.cidrs", cidrs or None, before or None)
                return e
        _validate_cidrs(e, cidrs)
        return e

    def row(self, obj: Object, now: float) -> list[Any]:
        return [obj["metadata"]["name"], ",".join(obj["spec"].get("cidrs") or ()), rules.age(obj, now)]


def _validate_cidrs(e: Errors, cidrs: list[str]) -> None:
    if not e.need("spec.cidrs", cidrs, "at least one CIDR required"):
        return
    if len(cidrs) > 2:
        e.invalid("spec.cidrs", cidrs, "may only hold up to 2 values")
        return
    networks = [names.parse_cidr(cidr) for cidr in cidrs]
    if len(cidrs) == 2 and all(networks) and len({n.version for n in networks if n}) == 1:
        text = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        e.invalid("spec.cidrs", cidrs, text)
    for i, (cidr, network) in enumerate(zip(cidrs, networks, strict=True)):
        if e.text(f"spec.cidrs[{i}]", cidr, names.cidr) and str(network) != cidr:
            e.invalid(f"spec.cidrs[{i}]", cidr, f'must be in canonical form ("{network}")')
