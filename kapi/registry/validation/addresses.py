"""IP addresses and ranges in fields: which are sound, which may get traffic, and what is warned of in their spelling."""

from collections.abc import Iterable
from typing import NamedTuple

from kapi.objects import names
from kapi.objects.caching import kept
from kapi.objects.quoting import go_quote
from kapi.registry.validation.rules import Errors


def legacy_ip(e: Errors, field: str, value: str, old: Iterable[str] = ()) -> bool:
    """An address in a field as old as Kubernetes: what it held before may stay."""
    return value in old or e.text(field, value, names.ip)


def legacy_cidr(e: Errors, field: str, value: str, old: Iterable[str] = ()) -> bool:
    return value in old or e.text(field, value, names.cidr)


def not_an_ip(e: Errors, field: str, host: str) -> None:
    if host and names.parse_ip(host):
        e.invalid(field, host, "must be a DNS name, not an IP address")


def endpoint_ip(e: Errors, field: str, value: str) -> None:
    """Traffic must not be sent to these: neither nowhere, nor the host itself, nor its link."""
    for fault in _address(value).faults:
        e.invalid(field, value, fault)


class Address(NamedTuple):
    """An address as text: its family (0: not an address), why it cannot be an endpoint, warnings about its spelling."""

    family: int
    faults: tuple[str, ...]
    warning: str = ""


@kept(16384)
def _address(value: str) -> Address:
    """Slices carry the same addresses again and again: each is read once."""
    ip = names.parse_ip(value)
    if ip is None:
        return Address(0, ("must be a valid IP address",))
    local = ip.is_multicast and str(ip).startswith(("224.0.0.", "ff02:"))
    kinds = {
        f"may not be unspecified ({value})": ip.is_unspecified,
        "may not be in the loopback range (127.0.0.0/8, ::1/128)": ip.is_loopback,
        "may not be in the link-local range (169.254.0.0/16, fe80::/10)": ip.is_link_local,
        "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)": local,
    }
    return Address(ip.version, tuple(text for text, true in kinds.items() if true), _spelling(value, ip))


def _spelling(value: str, ip: names.Address) -> str:
    if ip.version == 4 and any(len(p) > 1 and p.startswith("0") for p in value.split(".")):
        return f'non-standard IP address {go_quote(value)} will be considered invalid in a future Kubernetes release: use "{ip}"'
    if ip.version == 6 and str(ip) != value:
        return f'IPv6 address {go_quote(value)} should be in RFC 5952 canonical format ("{ip}")'
    return ""


def family(value: str) -> int:
    """4 or 6, 0 for no address."""
    return _address(value).family


def ip_warnings(field: str, value: str) -> list[str]:
    """What stock warns of in an address that old parsers read and strict ones refuse or respell."""
    warning = _address(value).warning
    return [f"{field}: {warning}"] if warning else []


def cidr_warnings(field: str, value: str) -> list[str]:
    network = names.parse_cidr(value)
    if network is None:
        return []
    address, bits = value.split("/")
    parts = address.split(".")
    if network.version == 4 and (any(len(p) > 1 and p.startswith("0") for p in parts) or (len(bits) > 1 and bits.startswith("0"))):
        text = "will be considered invalid in a future Kubernetes release"
        return [f"{field}: non-standard CIDR value {go_quote(value)} {text}: use \"{network}\""]
    if names.parse_ip(address) != network.network_address:
        return [f"{field}: CIDR value {go_quote(value)} is ambiguous in this context (should be \"{network}\" or \"{address}/"
                f"{network.max_prefixlen}\"?)"]
    if network.version == 6 and str(network) != value:
        return [f"{field}: IPv6 CIDR value {go_quote(value)} should be in RFC 5952 canonical format (\"{network}\")"]
    return []
