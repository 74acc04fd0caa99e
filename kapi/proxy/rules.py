"""nftables rules of service ports: a table per IP family, with verdict maps keyed by address . protocol . port. Pure.

A `Fragment` is what one service port adds: its own chains and elements of the shared maps. Changes are scripts for `nft -f` that change
only the differences between two fragments, in one transaction. The path of a packet:

  prerouting, output (nat)   service-ips / nodeports  ->  service chain (or external chain)  ->  dnat to a random endpoint
  input, forward, output     no-endpoint maps         ->  reject, or drop where only other nodes have endpoints
  postrouting (nat)          marked or hairpin        ->  masquerade
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kapi.proxy.model import ServicePort, Targets

TABLE = "kapi"
MARK = "0x4000"
SERVICES, NODE_PORTS = "service-ips", "service-nodeports"
EMPTY_SERVICES, EMPTY_NODE_PORTS = "no-endpoint-services", "no-endpoint-nodeports"
FIREWALL, CLUSTER_IPS, HAIRPIN = "firewall-ips", "cluster-ips", "hairpin"
Elements = dict[tuple[str, str], str]
"""(map or set, key) -> verdict ("" in a set)."""


class Family(NamedTuple):
    word: str
    """The family's name in nft, and that of its protocol in expressions."""
    address: str
    loopback: str


FAMILIES = {"IPv4": Family("ip", "ipv4_addr", "127.0.0.0/8"), "IPv6": Family("ip6", "ipv6_addr", "::1/128")}


@dataclass(slots=True)
class Fragment:
    """Chains (name -> rules), sets (name -> declaration) and elements of one service port."""

    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sets: dict[str, str] = field(default_factory=dict)
    elements: Elements = field(default_factory=dict)


EMPTY = Fragment()


@dataclass(frozen=True, slots=True)
class Options:
    """What the base rules depend on."""

    cluster_cidr: str = ""
    """Pod addresses of the cluster, comma-separated by family. Traffic to cluster IPs from other addresses is masqueraded."""
    masquerade_all: bool = False
    masquerade_same_link: bool = False
    """Masquerade between endpoints on one bridge; required if bridged replies do not pass netfilter."""
    table: str = TABLE
    """Name of the table."""

    def pods(self, family: str) -> str:
        """The pod range of this family, or ""."""
        ranges = [c.strip() for c in self.cluster_cidr.split(",") if c.strip()]
        return next((c for c in ranges if (":" in c) == (family == "IPv6")), "")


def base(family: str, options: Options) -> str:
    """The script of the table with its hooks and shared maps, without services."""
    f = FAMILIES[family]
    key = f"{f.address} . inet_proto . inet_service"
    same_link = "    ct status dnat fib daddr . iif oif exists jump mark-for-masquerade\n" if options.masquerade_same_link else ""
    return f"""\
table {f.word} {options.table} {{
  comment "rules for Services"
  set {CLUSTER_IPS} {{ type {f.address}; }}
  set {HAIRPIN} {{ type {f.address} . {f.address}; }}
  map {SERVICES} {{ type {key} : verdict; }}
  map {NODE_PORTS} {{ type inet_proto . inet_service : verdict; }}
  map {EMPTY_SERVICES} {{ type {key} : verdict; }}
  map {EMPTY_NODE_PORTS} {{ type inet_proto . inet_service : verdict; }}
  map {FIREWALL} {{ type {key} : verdict; }}
  chain mark-for-masquerade {{ meta mark set meta mark | {MARK}; }}
  chain reject-it {{ reject; }}
  chain services {{
    {f.word} daddr . meta l4proto . th dport vmap @{SERVICES}
    fib daddr type local {f.word} daddr != {f.loopback} meta l4proto . th dport vmap @{NODE_PORTS}
  }}
  chain services-without-endpoints {{ {f.word} daddr . meta l4proto . th dport vmap @{EMPTY_SERVICES}; }}
  chain nodeports-without-endpoints {{
    fib daddr type local {f.word} daddr != {f.loopback} meta l4proto . th dport vmap @{EMPTY_NODE_PORTS}
  }}
  chain sources {{ {f.word} daddr . meta l4proto . th dport vmap @{FIREWALL}; }}
  chain unknown-ports {{ {f.word} daddr @{CLUSTER_IPS} reject; }}
  chain filter-prerouting {{ type filter hook prerouting priority -110; ct state new jump sources; }}
  chain filter-input {{
    type filter hook input priority -110
    ct state new jump nodeports-without-endpoints
    ct state new jump services-without-endpoints
  }}
  chain filter-forward {{
    type filter hook forward priority -110
{same_link}    ct state new jump services-without-endpoints
    ct state new jump unknown-ports
  }}
  chain filter-output {{
    type filter hook output priority -110
    ct state new jump services-without-endpoints
    ct state new jump sources
  }}
  chain filter-output-after {{ type filter hook output priority -90; ct state new jump unknown-ports; }}
  chain nat-prerouting {{ type nat hook prerouting priority -100; jump services; }}
  chain nat-output {{ type nat hook output priority -100; jump services; }}
  chain nat-postrouting {{
    type nat hook postrouting priority 100
    ct status dnat {f.word} saddr . {f.word} daddr @{HAIRPIN} masquerade
    meta mark & {MARK} == 0 return
    meta mark set meta mark ^ {MARK}
    masquerade fully-random
  }}
}}
"""


def _chain(kind: str, name: str) -> str:
    """A unique, readable chain name within nft's length limit, e.g. 'service-3f0a9c1d-default/web/tcp/http'."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{kind}-{digest}-{name.strip('/')}"[:120]


def _at(target: tuple[str, int]) -> str:
    address, port = target
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class _Writer:
    """Writes the fragment of one service port."""

    def __init__(self, port: ServicePort, options: Options) -> None:
        self.port, self.options = port, options
        self.family = FAMILIES[port.family]
        self.out = Fragment()

    def write(self) -> Fragment:
        port = self.port
        self.out.elements[CLUSTER_IPS, port.cluster_ip] = ""
        for address, _ in {*port.internal, *port.external, *port.anywhere}:
            self.out.elements[HAIRPIN, f"{address} . {address}"] = ""
        self._cluster_ip()
        if port.exposed:
            self._exposed()
        return self.out

    def _key(self, address: str) -> str:
        return f"{address} . {self.port.protocol} . {self.port.port}"

    def _cluster_ip(self) -> None:
        port = self.port
        if not port.internal:
            verdict = "drop" if port.exists else "goto reject-it"
            self.out.elements[EMPTY_SERVICES, self._key(port.cluster_ip)] = verdict
            return
        chain = self._endpoint_chain("local" if port.internal_local else "service", port.internal)
        pods, word = self.options.pods(port.family), self.family.word
        at = f"{word} daddr {port.cluster_ip} {port.protocol} dport {port.port}"
        if self.options.masquerade_all:
            self._front(chain, f"{at} jump mark-for-masquerade")
        elif pods:
            self._front(chain, f"{at} {word} saddr != {pods} jump mark-for-masquerade")
        self.out.elements[SERVICES, self._key(port.cluster_ip)] = f"goto {chain}"

    def _front(self, chain: str, rule: str) -> None:
        self.out.chains[chain] = (rule, *self.out.chains[chain])

    def _exposed(self) -> None:
        port = self.port
        addresses = (*port.external_ips, *port.balancer_ips)
        if port.external or (port.external_local and port.anywhere):
            chain = self._external()
            for address in addresses:
                self.out.elements[SERVICES, self._key(address)] = f"goto {chain}"
            if port.node_port:
                self.out.elements[NODE_PORTS, f"{port.protocol} . {port.node_port}"] = f"goto {chain}"
        if not port.external:
            verdict = "drop" if port.exists else "goto reject-it"
            for address in addresses:
                self.out.elements[EMPTY_SERVICES, self._key(address)] = verdict
            if port.node_port:
                self.out.elements[EMPTY_NODE_PORTS, f"{port.protocol} . {port.node_port}"] = verdict
        if port.source_ranges and port.balancer_ips:
            self._firewall()

    def _external(self) -> str:
        """The chain for external traffic. Policy Local keeps client addresses and uses endpoints on this node only."""
        port, chain = self.port, _chain("external", self.port.name)
        if not port.external_local:
            service = self._endpoint_chain("service", port.anywhere)
            self.out.chains[chain] = ("jump mark-for-masquerade", f"goto {service}")
            return chain
        rules = []
        if port.anywhere:
            service, pods = self._endpoint_chain("service", port.anywhere), self.options.pods(port.family)
            if pods:
                rules.append(f"{self.family.word} saddr {pods} goto {service}")
            rules += ["fib saddr type local jump mark-for-masquerade", f"fib saddr type local goto {service}"]
        if port.here:
            rules.append(f"goto {self._endpoint_chain('local', port.here)}")
        self.out.chains[chain] = tuple(rules)
        return chain

    def _firewall(self) -> None:
        port, chain = self.port, _chain("firewall", self.port.name)
        allowed = ", ".join(port.source_ranges)
        self.out.chains[chain] = (f"{self.family.word} saddr {{ {allowed} }} return", "drop")
        for address in port.balancer_ips:
            self.out.elements[FIREWALL, self._key(address)] = f"goto {chain}"

    def _endpoint_chain(self, kind: str, targets: Targets) -> str:
        """The chain that selects an endpoint."""
        chain = _chain(kind, self.port.name)
        if chain not in self.out.chains:
            self.out.chains[chain] = self._sticky(targets) if self.port.affinity else (self._random(targets),)
        return chain

    def _random(self, targets: Targets) -> str:
        start = f"meta l4proto {self.port.protocol} dnat"
        if len(targets) == 1:
            return f"{start} to {_at(targets[0])}"
        listed = ", ".join(f"{i} : {address} . {number}" for i, (address, number) in enumerate(targets))
        return f"{start} {self.family.word} to numgen random mod {len(targets)} map {{ {listed} }}"

    def _sticky(self, targets: Targets) -> tuple[str, ...]:
        """Session affinity: a set of client addresses per endpoint, with a timeout."""
        port, word = self.port, self.family.word
        known, chosen = [], []
        for index, target in enumerate(targets):
            name = f"{port.name}/{target[0].replace(':', '.')}/{target[1]}"
            chain, clients = _chain("endpoint", name), _chain("affinity", name)
            self.out.sets[clients] = f"type {self.family.address}; flags dynamic,timeout; timeout {port.affinity}s;"
            update = f"update @{clients} {{ {word} saddr }}"
            self.out.chains[chain] = (update, f"meta l4proto {port.protocol} dnat to {_at(target)}")
            known.append(f"{word} saddr @{clients} goto {chain}")
            chosen.append(f"{index} : goto {chain}")
        return (*known, f"numgen random mod {len(targets)} vmap {{ {', '.join(chosen)} }}")


def fragment(port: ServicePort, options: Options) -> Fragment:
    return _Writer(port, options).write()


def merged(fragments: Iterable[Fragment]) -> Fragment:
    """The fragments merged into one; of several claims to an address and port the first is used."""
    out = Fragment()
    for one in fragments:
        out.chains |= one.chains
        out.sets |= one.sets
        for key, verdict in one.elements.items():
            out.elements.setdefault(key, verdict)
    return out


def _grouped(elements: Mapping[tuple[str, str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for (name, key), verdict in elements.items():
        groups.setdefault(name, []).append(f"{key} : {verdict}" if verdict else key)
    return groups


def _keys(elements: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name, key in elements:
        groups.setdefault(name, []).append(key)
    return groups


def change(family: str, old: Fragment, new: Fragment, table: str = TABLE) -> str:
    """The script from the old state to the new; "" if they are equal."""
    word = f"{FAMILIES[family].word} {table}"
    lines = [f"add set {word} {name} {{ {text} }}" for name, text in new.sets.items() if old.sets.get(name) != text]
    fresh = {name: rules for name, rules in new.chains.items() if old.chains.get(name) != rules}
    lines += [f"add chain {word} {name}" for name in fresh if name not in old.chains]
    gone = {k: v for k, v in old.elements.items() if new.elements.get(k) != v}
    lines += [f"delete element {word} {name} {{ {', '.join(keys)} }}" for name, keys in _keys(gone).items()]
    for name, rules in fresh.items():
        if name in old.chains:
            lines.append(f"flush chain {word} {name}")
        lines += [f"add rule {word} {name} {rule}" for rule in rules]
    added = {k: v for k, v in new.elements.items() if old.elements.get(k) != v}
    lines += [f"add element {word} {name} {{ {', '.join(items)} }}" for name, items in _grouped(added).items()]
    stale = [name for name in old.chains if name not in new.chains]
    lines += [f"flush chain {word} {name}" for name in stale]
    lines += [f"delete chain {word} {name}" for name in stale]
    lines += [f"delete set {word} {name}" for name in old.sets if name not in new.sets]
    return "\n".join(lines) + "\n" if lines else ""


def everything(families: Iterable[str], options: Options, fragments: Mapping[str, Fragment]) -> str:
    """The script that replaces whatever exists, in one transaction."""
    fresh = (base(f, options) + change(f, EMPTY, fragments.get(f, EMPTY), options.table) for f in families)
    return cleanup(families, options.table) + "".join(fresh)


def cleanup(families: Iterable[str], table: str = TABLE) -> str:
    """The script that removes the tables."""
    words = [FAMILIES[f].word for f in families]
    return "".join(f"add table {w} {table}\ndelete table {w} {table}\n" for w in words)
