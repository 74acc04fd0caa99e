"""Allocators of cluster IPs and node ports. Kept in memory, rebuilt from the stored services at first use.

`Allocators.allocate` runs after admission and before the validation of a Service: it allocates what the client requested, fills in what
it left open, and returns an undo for a write that fails. `release` frees what a deleted service had.
Clients may request any number; those chosen here come from the dynamic (upper) band first (KEP 3070, KEP 3668).
"""

import ipaddress
from collections.abc import Callable, Iterable
from random import randrange

from kapi.objects import errors, names
from kapi.objects.errors import Cause
from kapi.objects.meta import Object
from kapi.registry.kind import Kind
from kapi.registry.kinds.core import service
from kapi.registry.validation.part import Part
from kapi.registry.validation.rules import Errors
from kapi.storage.store import Store

Undo = Callable[[], None]

SERVICES = "/core/services/"
ALREADY = "already allocated"
_RANDOM_TRIES = 32
_FIRST_RANGE = 1 << 16
"""The first numbers of a large range are used first: its addresses then share their first two bytes."""


def _nothing() -> None:
    """The undo of a write that allocated nothing."""


class NumberAllocator:
    """The numbers first..first+size-1 and those allocated. The first `static_band` of them are left to clients while others are free."""

    def __init__(self, first: int, size: int, static_band: int) -> None:
        self.first, self.size, self.static_band = first, size, static_band
        self.allocated: set[int] = set()

    def __contains__(self, number: int) -> bool:
        return self.first <= number < self.first + self.size

    def allocate(self, number: int) -> bool:
        if number in self.allocated:
            return False
        self.allocated.add(number)
        return True

    def release(self, number: int) -> None:
        self.allocated.discard(number)

    def allocate_next(self) -> int | None:
        """Allocate a free number: at random from the start of the dynamic band, then its rest, then the static one. None: all in use."""
        near = min(self.size, _FIRST_RANGE)
        for low, high in ((self.static_band, near), (near, self.size), (0, self.static_band)):
            number = self._free_number(self.first + low, self.first + high)
            if number is not None:
                self.allocated.add(number)
                return number
        return None

    def _free_number(self, low: int, high: int) -> int | None:
        if high <= low:
            return None
        for _ in range(_RANDOM_TRIES):
            number = randrange(low, high)
            if number not in self.allocated:
                return number
        return next((n for n in range(low, high) if n not in self.allocated), None)


def _static_band(size: int, least: int, most: int, step: int) -> int:
    """Size of the static band at the start of a range: numbers kept for clients that request them."""
    return 0 if size < least else min(max(size // step, least), most)


class _Transaction:
    """What one write allocated and released, to be undone when it fails."""

    def __init__(self, dry: bool) -> None:
        self.dry = dry
        self.allocated: list[tuple[NumberAllocator, int]] = []
        self.released: list[tuple[NumberAllocator, int]] = []

    def allocate(self, numbers: NumberAllocator, number: int) -> bool:
        if (numbers, number) in self.released:
            self.released.remove((numbers, number))
            return numbers.allocate(number)
        if not numbers.allocate(number):
            return False
        self.allocated.append((numbers, number))
        return True

    def allocate_next(self, numbers: NumberAllocator) -> int | None:
        number = numbers.allocate_next()
        if number is not None:
            self.allocated.append((numbers, number))
        return number

    def release(self, numbers: NumberAllocator, number: int) -> None:
        if number in numbers.allocated:
            numbers.release(number)
            self.released.append((numbers, number))

    def undo(self) -> None:
        for numbers, number in self.allocated:
            numbers.release(number)
        for numbers, number in self.released:
            numbers.allocate(number)


class Allocators:
    """The ranges of one cluster: a network per address family (one or two, the first is the default) and the node ports."""

    def __init__(self, store: Store, cidrs: Iterable[str] = ("10.96.0.0/12",), ports: tuple[int, int] = (30000, 32767)) -> None:
        self.store = store
        self.networks = {f"IPv{n.version}": n for n in map(ipaddress.ip_network, cidrs)}
        self.addresses = {family: _addresses(network) for family, network in self.networks.items()}
        self.default_family = next(iter(self.addresses))
        size = ports[1] - ports[0] + 1
        self.ports = NumberAllocator(ports[0], size, _static_band(size, 16, 128, 32))
        self.port_range = f"{ports[0]}-{ports[1]}"
        self._loaded = False

    def allocate(self, kind: Kind, new: Object, old: Object | None, dry_run: bool = False) -> Undo:
        """Allocate a Service's addresses and ports and set them in `new`. Does nothing for other kinds. Raises Invalid, InternalError."""
        if kind.collection != SERVICES:
            return _nothing
        self._load()
        transaction = _Transaction(dry_run)
        try:
            self._allocate(transaction, new, old)
        except BaseException:
            transaction.undo()
            raise
        if dry_run:
            transaction.undo()
            return _nothing
        return transaction.undo

    def release(self, kind: Kind, old: Object) -> None:
        """Free the numbers of a deleted service."""
        if kind.collection == SERVICES and self._loaded:
            for numbers, number in self._held(old["spec"]):
                numbers.release(number)

    def _load(self) -> None:
        if not self._loaded:
            self._loaded = True
            for entry in self.store.list(SERVICES).entries:
                for numbers, number in self._held(entry.obj["spec"]):
                    numbers.allocate(number)

    def _held(self, spec: Object) -> list[tuple[NumberAllocator, int]]:
        out = [(self.ports, p["nodePort"]) for p in spec.get("ports") or () if p.get("nodePort")]
        if spec.get("healthCheckNodePort"):
            out.append((self.ports, spec["healthCheckNodePort"]))
        return out + [address for ip in spec.get("clusterIPs") or () if (address := self._address(ip))]

    def _address(self, text: str) -> tuple[NumberAllocator, int] | None:
        ip = names.parse_ip(text)
        numbers = self.addresses.get(f"IPv{ip.version}") if ip else None
        return (numbers, int(ip)) if ip and numbers and int(ip) in numbers else None

    def _allocate(self, transaction: _Transaction, new: Object, old: Object | None) -> None:
        name, spec, before = new["metadata"].get("name", ""), new["spec"], old["spec"] if old else {}
        if old is not None:
            service.patch_allocated_values(spec, before)
        service.normalize_cluster_ips(spec, before if old else None)
        for address in self._held(before):
            transaction.release(*address)
        if spec.get("type") != "ExternalName":
            self._families(name, spec, before if old else None)
            if not service.headless(spec):
                self._allocate_addresses(transaction, name, spec)
        if service.needs_node_port(spec):
            self._allocate_node_ports(transaction, name, spec)
        if service.needs_health_check_node_port(spec):
            self._allocate_health_check_port(transaction, spec)

    # addresses --------------------------------------------------------------------------------------------------------------------

    def _families(self, name: str, spec: Object, before: Object | None) -> None:
        """Default ipFamilies and ipFamilyPolicy. Raises Invalid."""
        if before is not None and _still_prefers_dual(spec, before):
            return
        selectorless = spec.get("clusterIP") == "None" and not spec.get("selector")
        if "ipFamilyPolicy" not in spec:
            spec["ipFamilyPolicy"] = (before or {}).get("ipFamilyPolicy") or ("RequireDualStack" if selectorless else "SingleStack")
        e = Errors()
        service.validate_addresses(Part(e, "spec", spec), before or {})
        _raise_invalid(name, e)
        single = spec["ipFamilyPolicy"] == "SingleStack"
        _check_policy(e, spec, before, single)
        self._infer(e, spec)
        _raise_invalid(name, e)
        families = spec.setdefault("ipFamilies", [])
        if selectorless:
            families[:] = families or [self.default_family]
            if len(families) < 2 and not single:
                families.append("IPv6" if families[0] == "IPv4" else "IPv4")
            return
        if spec["ipFamilyPolicy"] == "RequireDualStack" and len(self.addresses) < 2:
            e.invalid("spec.ipFamilyPolicy", spec["ipFamilyPolicy"], "this cluster is not configured for dual-stack services")
        for i, family in enumerate(families):
            if family not in self.addresses:
                e.invalid(f"spec.ipFamilies[{i}]", family, "not configured on this cluster")
        _raise_invalid(name, e)
        families[:] = families or [self.default_family]
        if not single and len(families) == 1:
            families += [family for family in self.addresses if family != families[0]]

    def _infer(self, e: Errors, spec: Object) -> None:
        """Add the families of requested cluster IPs."""
        for i, text in enumerate(spec.get("clusterIPs") or ()):
            ip = names.parse_ip(text)
            families = spec.setdefault("ipFamilies", [])
            if ip is None or i < len(families):
                continue
            family = f"IPv{ip.version}"
            if family in self.addresses:
                families.append(family)
            else:
                e.invalid(f"spec.clusterIPs[{i}]", spec["clusterIPs"], f"{family} is not configured on this cluster")

    def _allocate_addresses(self, transaction: _Transaction, name: str, spec: Object) -> None:
        ips = list(spec.get("clusterIPs") or ())
        for i, family in enumerate(spec["ipFamilies"]):
            if i < len(ips) and ips[i]:
                self._allocate_address(transaction, name, ips, ips[i], family)
                continue
            number = transaction.allocate_next(self.addresses[family])
            if number is None:
                raise errors.InternalError("failed to allocate a serviceIP: range is full")
            ips[i : i + 1] = [str(self.networks[family][number - int(self.networks[family][0])])]
        spec["clusterIPs"], spec["clusterIP"] = ips, ips[0]

    def _allocate_address(self, transaction: _Transaction, name: str, ips: list[str], text: str, family: str) -> None:
        ip = names.parse_ip(text)
        number = int(ip) if ip else -1
        if number not in self.addresses[family]:
            why = "the provided network does not match the current range"
        elif transaction.allocate(self.addresses[family], number):
            return
        else:
            why = f"provided IP is {ALREADY}"
        e = Errors()
        e.invalid("spec.clusterIPs", ips, f"failed to allocate IP {text}: {why}")
        _raise_invalid(name, e)

    # ports ------------------------------------------------------------------------------------------------------------------------

    def _allocate_node_ports(self, transaction: _Transaction, name: str, spec: Object) -> None:
        """A node port for every port; ports of the same number and different protocols share one."""
        shared: dict[int, tuple[int, set[str]]] = {}
        for i, port in enumerate(spec.get("ports") or ()):
            node_port, protocol = port.get("nodePort") or 0, port.get("protocol") or ""
            number, used = shared.get(port.get("port", 0), (0, set()))
            if number and protocol not in used and node_port in (0, number):
                port["nodePort"] = number
                used.add(protocol)
                continue
            if not node_port:
                chosen = transaction.allocate_next(self.ports)
                if chosen is None:
                    raise errors.InternalError("failed to allocate a nodePort: range is full")
                port["nodePort"] = node_port = chosen
            elif why := self._allocate_port(transaction, node_port):
                e = Errors()
                e.invalid(f"spec.ports[{i}].nodePort", node_port, why)
                _raise_invalid(name, e)
            shared[port.get("port", 0)] = (node_port, {protocol})

    def _allocate_port(self, transaction: _Transaction, port: int) -> str:
        if port not in self.ports and not transaction.dry:  # stock does not ask this in a dry run
            return f"provided port is not in the valid range. The range of valid ports is {self.port_range}"
        return "" if transaction.allocate(self.ports, port) else f"provided port is {ALREADY}"

    def _allocate_health_check_port(self, transaction: _Transaction, spec: Object) -> None:
        port = spec.get("healthCheckNodePort")
        if port:
            if why := self._allocate_port(transaction, port):
                raise errors.InternalError(f"failed to allocate requested HealthCheck NodePort {port}: {why}")
            return
        chosen = transaction.allocate_next(self.ports)
        if chosen is None:
            raise errors.InternalError("failed to allocate a HealthCheck NodePort: range is full")
        spec["healthCheckNodePort"] = chosen


def _addresses(network: names.Network) -> NumberAllocator:
    """The addresses of a network without its first and (IPv4) last."""
    size = network.num_addresses - (2 if network.version == 4 else 1)
    return NumberAllocator(int(network[0]) + 1, size, _static_band(size, 16, 256, 16))


def _raise_invalid(name: str, e: list[Cause]) -> None:
    if e:
        raise errors.invalid("Service", "", name, e)


def _still_prefers_dual(spec: Object, before: Object) -> bool:
    """Nothing about addresses changed in a service that takes what the cluster has."""
    same = all(spec.get(field) == before.get(field) for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"))
    return spec.get("ipFamilyPolicy") == "PreferDualStack" and same and before.get("type") != "ExternalName"


def _check_policy(e: Errors, spec: Object, before: Object | None, single: bool) -> None:
    fields = (("clusterIPs", "cluster IP", "cluster IPs"), ("ipFamilies", "IP family", "IP families"))
    for field, one, _ in fields if before is not None else ():
        new, old = spec.get(field) or [], (before or {}).get(field) or []
        if single and new == old and len(new) > 1:
            spec[field] = new[:1]
        elif not single and old and len(new) < len(old) and new == old[: len(new)] and new:
            e.invalid("spec.ipFamilyPolicy", spec["ipFamilyPolicy"], f"must be 'SingleStack' to release the secondary {one}")
    for field, _, many in fields if single else ():
        if len(spec.get(field) or ()) == 2:
            text = f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {many} are specified"
            e.invalid("spec.ipFamilyPolicy", spec["ipFamilyPolicy"], text)
