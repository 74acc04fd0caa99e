"""The proxy: watches Services and EndpointSlices and synchronizes the node's nftables with them.

A change is applied as soon as the previous nft has finished; changes meanwhile are combined into the next script. If nft rejects a script,
all tables are replaced in one transaction. There is no periodic work.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from kapi import logs
from kapi.client import Client, Informers
from kapi.objects.meta import Object
from kapi.objects.resource import ENDPOINT_SLICES, NODES, SERVICES
from kapi.proxy import conntrack, model, rules
from kapi.proxy.health import HealthChecks
from kapi.proxy.model import NodeLocation, ServicePort
from kapi.proxy.rules import EMPTY, Fragment, Options
from kapi.proxy.settings import Settings
from kapi.proxy.table import Table

log = logging.getLogger(__name__)
SELECTED = f"!{model.PROXY_NAME},!{model.HEADLESS}"
INITIAL_BACKOFF, MAX_BACKOFF = 1.0, 30.0


class NftError(Exception):
    """nft rejected a script; the message is its error output."""


async def nft(script: str) -> None:
    """Apply a script in one transaction. Raises NftError."""
    process = await asyncio.create_subprocess_exec(
        "nft", "-f", "-", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, output = await process.communicate(script.encode())
    if process.returncode:
        raise NftError(output.decode(errors="replace").strip())


def families() -> list[str]:
    """The IP families that the node supports."""
    return ["IPv4", "IPv6"] if Path("/proc/net/if_inet6").exists() else ["IPv4"]


def bridge_netfilter_enabled() -> bool:
    """Whether traffic between ports of one bridge passes netfilter (bridge-nf-call-iptables), so that replies can be translated."""
    switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    return switch.exists() and switch.read_text().strip() == "1"


def trim_node(node: Object) -> Object:
    meta, addresses = node["metadata"], (node.get("status") or {}).get("addresses") or []
    kept = {k: meta[k] for k in ("name", "uid", "resourceVersion", "labels") if k in meta}
    return {"metadata": kept, "status": {"addresses": addresses}}


def internal_addresses(node: Object) -> list[str]:
    return [a.get("address", "") for a in node["status"]["addresses"] if a.get("type") == "InternalIP"]


def is_local(address: str) -> bool:
    """Whether an interface of this host has the address, tested by binding to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


async def cleanup(table: str = rules.TABLE) -> None:
    """Remove everything that the proxy has written."""
    await nft(rules.cleanup(families(), table))


class Proxy:
    """`apply` executes an nft script; it raises NftError."""

    def __init__(self, client: Client, settings: Settings, apply: Callable[[str], Awaitable[None]] = nft) -> None:
        self._apply = apply
        self._settings = settings
        self._nodes: dict[str, Object] = {}
        self._location = self._find_location()
        self._options = Options(settings.cluster_cidr, settings.masquerade_all, not bridge_netfilter_enabled(), settings.table)
        self._tables = {family: Table(family, settings.table) for family in families()}
        self._ports: dict[str, dict[tuple[str, str], ServicePort]] = {}
        """Service -> (IP family, protocol and port name) -> the service port that is written."""
        self._dirty: dict[str, None] = {}
        self._checks: dict[str, None] = {}
        """Services whose health check port may have changed."""
        self._changed = asyncio.Event()
        self._health = HealthChecks(settings.health_address)
        self._informers = Informers(client)
        self._services = self._informers.select(SERVICES, labels=SELECTED)
        self._slices = self._informers.select(ENDPOINT_SLICES, labels=SELECTED)
        self._slices.add_index("service", lambda endpoint_slice: [key] if (key := model.service_of_slice(endpoint_slice)) else [])
        name = settings.node_name
        node = self._informers.select(NODES, fields=f"metadata.name={name}" if name else "", trim=trim_node)
        self._services.add_handler(self._service_changed)
        self._slices.add_handler(self._slice_changed)
        node.add_handler(self._node_changed)
        self.synced = asyncio.Event()
        """Set when the rules have been written for the first time."""

    def _enqueue(self, keys: Iterable[str]) -> None:
        self._dirty |= dict.fromkeys(keys)
        self._changed.set()

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        meta = (new or old or {})["metadata"]
        self._enqueue((f"{meta['namespace']}/{meta['name']}",))

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        self._enqueue(key for version in (old, new) if version is not None and (key := model.service_of_slice(version)))

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._nodes[new["metadata"]["name"]] = new
        elif old is not None:
            self._nodes.pop(old["metadata"]["name"], None)
        location = self._find_location()
        if location != self._location:
            self._location = location
            self._enqueue(self._ports)

    def _find_location(self) -> NodeLocation:
        """The node of this proxy: by the settings, else the host name, else the only node with an address of this host."""
        name = self._settings.node_name or socket.gethostname().lower()
        if not self._settings.node_name and name not in self._nodes:
            here = [n for n, node in self._nodes.items() if any(is_local(a) for a in internal_addresses(node))]
            name = here[0] if len(here) == 1 else name
        labels = (self._nodes.get(name) or {"metadata": {}})["metadata"].get("labels") or {}
        return NodeLocation(name, labels.get(model.ZONE, ""))

    async def run(self) -> None:
        """Synchronize until cancelled. The rules are kept afterwards, so that traffic continues."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._informers.run(), name="proxy informers")
                await self._informers.synced()
                self._collect_changes()
                await self._replace_tables()
                self.synced.set()
                while True:
                    await self._changed.wait()
                    await self._sync_changes()
        finally:
            self._health.close()

    async def _sync_changes(self) -> None:
        """Apply the changes since the last call."""
        scripts, stale = self._collect_changes()
        script = "".join(scripts)
        if script:
            try:
                await self._apply(script)
            except (NftError, OSError) as error:
                log.warning("nft rejected a change, replacing all tables", extra=logs.once("", error=error))
                await self._replace_tables()
        for command in stale:
            await conntrack.run(command)
        self._update_health()

    async def _replace_tables(self) -> None:
        """Replace all tables, retrying with back-off."""
        delay = INITIAL_BACKOFF
        while True:
            fragments = {family: table.fragment() for family, table in self._tables.items()}
            try:
                await self._apply(rules.everything(self._tables, self._options, fragments))
                break
            except (NftError, OSError) as error:
                log.error("nft rejected the tables, trying again", extra=logs.once("", error=error))
            await asyncio.sleep(delay)
            delay = min(delay * 2, MAX_BACKOFF)
            self._collect_changes()
        self._update_health()

    def _collect_changes(self) -> tuple[list[str], list[conntrack.Command]]:
        """Process changed services. Returns (nft scripts, commands for stale conntrack entries)."""
        self._changed.clear()
        dirty, self._dirty = self._dirty, {}
        changes: dict[str, dict[str, Fragment]] = {family: {} for family in self._tables}
        stale: list[conntrack.Command] = []
        for key in dirty:
            old, new = self._ports.get(key, {}), self._service_ports(key)
            for identity in old.keys() | new.keys():
                was, now = old.get(identity), new.get(identity)
                if was == now:
                    continue
                stale += conntrack.stale(was, now)
                name = f"{key}/{identity[1]}"
                changes[identity[0]][name] = rules.fragment(now, self._options) if now else EMPTY
            if new:
                self._ports[key] = new
            else:
                self._ports.pop(key, None)
            self._checks[key] = None
        return [self._tables[family].replace(changed) for family, changed in changes.items() if changed], stale

    def _service_ports(self, key: str) -> dict[tuple[str, str], ServicePort]:
        service = self._services.get(key)
        if service is None:
            return {}
        ports = model.service_ports(service, self._slices.by_index("service", key), self._location)
        return {(p.family, f"{p.protocol}/{p.port_name}"): p for p in ports if p.family in self._tables}

    def _update_health(self) -> None:
        while self._checks:
            key, _ = self._checks.popitem()
            service = self._services.get(key)
            slices = self._slices.by_index("service", key)
            port, local = model.health_check(service, slices, self._location) if service and model.is_handled(service) else (0, 0)
            self._health.update(key, port, local)


async def run(client: Client, settings: Settings) -> None:
    """Proxy Services on this node until cancelled."""
    await Proxy(client, settings).run()
