"""NetworkPolicy (networking.k8s.io)."""

from typing import Any

from kapi.objects import names
from kapi.objects.meta import Object
from kapi.registry.validation import addresses, rules
from kapi.registry.validation.part import Part, RuledStrategy

WAYS = (("ingress", "from"), ("egress", "to"))


def _blocks(policy: Object) -> set[str]:
    """All CIDRs of a policy: invalid ones that it had before are allowed (ratcheting)."""
    spec = policy.get("spec") or {}
    blocks = [peer.get("ipBlock") or {} for way, peers in WAYS for rule in spec.get(way) or () for peer in rule.get(peers) or ()]
    return {cidr for block in blocks for cidr in (block.get("cidr") or "", *(block.get("except") or ()))}


class NetworkPolicyStrategy(RuledStrategy):
    """networking.k8s.io/v1 NetworkPolicy."""

    status = False
    columns = rules.columns("Name", "Pod-Selector=networking.v1.NetworkPolicySpec.podSelector", "Age")
    defaults = {
        "spec": {}, "spec.podSelector": {}, "spec.ingress[].ports[].protocol": "TCP", "spec.egress[].ports[].protocol": "TCP",
    }  # fmt: skip

    def default(self, obj: Object) -> None:
        super().default(obj)
        spec = obj["spec"]
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
