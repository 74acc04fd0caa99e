"""ServiceCIDR and IPAddress (networking.k8s.io): the ranges of cluster IPs, and the addresses taken from them."""

from typing import Any

from kapi.objects import names
from kapi.objects.meta import Object
from kapi.registry.validation import rules
from kapi.registry.validation.part import Part, PlainStrategy, RuledStrategy
from kapi.registry.validation.rules import Errors

ONE_PER_FAMILY = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"


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
    defaults = {"spec": {}}

    def check(self, new: Part, old: Object | None) -> None:
        """The object that an address belongs to; any change of it is refused."""
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
    defaults = {"spec": {}, "status": {}}
    initial_status = {}

    def check(self, new: Part, old: Object | None) -> None:
        """A second range may be added to a single one; nothing else changes."""
        spec, before = new.part("spec"), ((old or {}).get("spec") or {}).get("cidrs") or []
        counts = (len(before), len(spec.items("cidrs")))
        if old is not None and counts not in ((1, 2), (counts[0], counts[0])):
            spec.invalid("cidrs", rules.IMMUTABLE)
            return
        for (at, cidr), old_cidr in zip(spec.values("cidrs"), before, strict=False):
            new.e.immutable(at, cidr, old_cidr)
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
