"""URLs, IP addresses and CIDRs in expressions (Kubernetes' libraries of these names)."""

import ipaddress
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from kapi.cel import costs, values
from kapi.cel.standard import Add
from kapi.cel.values import EvaluationError
from kapi.objects.quoting import go_quote

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@values.opaque("net.IP")
@dataclass(frozen=True, slots=True)
class IP:
    address: Address

    def __str__(self) -> str:
        return str(self.address)


@values.opaque("net.CIDR")
@dataclass(frozen=True, slots=True)
class CIDR:
    """An address with the length of its prefix; bits after the prefix stay."""

    interface: Interface

    def __str__(self) -> str:
        return str(self.interface)


@values.opaque("kubernetes.URL")
@dataclass(frozen=True, slots=True)
class URL:
    parts: SplitResult


def _ip(raw: str) -> IP:
    try:
        address = ipaddress.ip_address(raw)
    except ValueError:
        message = f"ParseAddr({go_quote(raw)}): unable to parse IP"
        raise EvaluationError(f"IP Address {go_quote(raw)} parse error during conversion from string: {message}") from None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise EvaluationError(f"IP address {go_quote(raw)} with zone value is not allowed")
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise EvaluationError(f"IPv4-mapped IPv6 address {go_quote(raw)} is not allowed")
    return IP(address)


def _cidr(raw: str) -> CIDR:
    message = "network address parse error during conversion from string: "
    address, _, bits = raw.partition("/")
    try:
        if not bits.isdecimal() or (len(bits) > 1 and bits[0] == "0") or "%" in address:
            raise ValueError
        interface = ipaddress.ip_interface(raw)
    except ValueError:
        why = (
            "no '/'" if "/" not in raw else "prefix length out of range" if bits.isdecimal() else f"bad bits after slash: {go_quote(bits)}"
        )
        raise EvaluationError(f"{message}{message}netip.ParsePrefix({go_quote(raw)}): {why}") from None
    if isinstance(interface, ipaddress.IPv6Interface) and interface.ip.ipv4_mapped is not None:
        raise EvaluationError(f"{message}IPv4-mapped IPv6 address {go_quote(raw)} is not allowed")
    return CIDR(interface)


def _url(raw: str) -> URL:
    """Go's ParseRequestURI: an absolute URL, or a path."""
    message = f"URL parse error during conversion from string: parse {go_quote(raw)}: "
    if not raw:
        raise EvaluationError(message + "empty url")
    if raw.startswith(":"):
        raise EvaluationError(message + "missing protocol scheme")
    try:
        parts = urlsplit(raw, allow_fragments=False)
        _ = parts.port
    except ValueError:
        raise EvaluationError(message + "invalid port after host") from None
    if any(ord(mark) < 32 or ord(mark) == 127 for mark in raw):
        raise EvaluationError(message + "net/url: invalid control character in URL")
    if not parts.scheme and not raw.startswith("/"):
        raise EvaluationError(message + "invalid URI for request")
    return URL(parts)


def succeeds(make: Any, *given: Any) -> bool:
    try:
        make(*given)
    except EvaluationError:
        return False
    return True


def _within(outer: CIDR, inner: CIDR) -> bool:
    mine, theirs = outer.interface.network, inner.interface.network
    return mine.version == theirs.version and mine.prefixlen <= theirs.prefixlen and inner.interface.ip in mine


def _bytes(cidr: Any) -> int:
    """The size of a prefix; that of the longest where it is not known."""
    return 16 if isinstance(cidr, costs.SizeEstimate) else -(-int(cidr.interface.network.prefixlen) // 8)


def _compared(cidr: Any, other: Any) -> int:
    """The cost of containsIP; texts are read first."""
    return costs.part(2 * _bytes(cidr), 0.1) + _read(other)


def _nested(cidr: Any, other: Any) -> int:
    """The cost of containsCIDR."""
    return costs.part(2 * _bytes(cidr), 0.1) + costs.part(_bytes(cidr), 0.1) + 1 + _read(other)


def _read(other: Any) -> int:
    return costs.traversal(other) if costs.size(other) > 1 else 0


def _host(url: URL) -> str:
    return url.parts.netloc.rpartition("@")[2]


def _hostname(url: URL) -> str:
    host = _host(url)
    return host[1 : host.index("]")] if host.startswith("[") else host.partition(":")[0]


def _link_local_multicast(ip: IP) -> bool:
    within = "224.0.0.0/24" if ip.address.version == 4 else "ff02::/16"
    return ip.address in ipaddress.ip_network(within)


def _global_unicast(ip: IP) -> bool:
    address = ip.address
    return not (
        address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local or str(address) == "255.255.255.255"
    )


def declare(add: Add) -> None:
    add("url(string) kubernetes.URL", _url, costs.traversal, costs.size)
    add("isURL(string) bool", lambda raw: succeeds(_url, raw), costs.traversal)
    add("kubernetes.URL.getScheme() string", lambda url: url.parts.scheme)
    add("kubernetes.URL.getHost() string", _host)
    add("kubernetes.URL.getHostname() string", _hostname)
    add("kubernetes.URL.getPort() string", lambda url: str(url.parts.port or ""))
    add("kubernetes.URL.getEscapedPath() string", lambda url: url.parts.path)
    add("kubernetes.URL.getQuery() map(string, list(string))", lambda url: parse_qs(url.parts.query, keep_blank_values=True))
    add("ip(string) net.IP", _ip, costs.traversal)
    add("isIP(string) bool", lambda raw: succeeds(_ip, raw), costs.traversal)
    add("ip.isCanonical(string) bool", lambda raw: str(_ip(raw)) == raw, costs.twice)
    add("net.IP.family() int", lambda ip: ip.address.version)
    add("net.IP.isUnspecified() bool", lambda ip: ip.address.is_unspecified)
    add("net.IP.isLoopback() bool", lambda ip: ip.address.is_loopback)
    add("net.IP.isLinkLocalMulticast() bool", _link_local_multicast)
    add("net.IP.isLinkLocalUnicast() bool", lambda ip: ip.address.is_link_local)
    add("net.IP.isGlobalUnicast() bool", _global_unicast)
    add("cidr(string) net.CIDR", _cidr, costs.traversal)
    add("isCIDR(string) bool", lambda raw: succeeds(_cidr, raw), costs.traversal)
    add("net.CIDR.containsIP(net.IP) bool", lambda cidr, ip: ip.address in cidr.interface.network, _compared)
    add("net.CIDR.containsIP(string) bool", lambda cidr, raw: _ip(raw).address in cidr.interface.network, _compared)
    add("net.CIDR.containsCIDR(net.CIDR) bool", _within, _nested)
    add("net.CIDR.containsCIDR(string) bool", lambda cidr, raw: _within(cidr, _cidr(raw)), _nested)
    add("net.CIDR.ip() net.IP", lambda cidr: IP(cidr.interface.ip))
    add("net.CIDR.masked() net.CIDR", lambda cidr: CIDR(ipaddress.ip_interface(str(cidr.interface.network))))
    add("net.CIDR.prefixLength() int", lambda cidr: cidr.interface.network.prefixlen)
    add("string(net.IP|net.CIDR) string", str)
