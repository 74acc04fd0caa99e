"""Ports that are taken and by whom, proxies in the environment, the name of the node."""

import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path

from kapi.cli import advice
from kapi.cli.checks.finding import Finding, Scope, joined, odd, ok, text, wrong
from kapi.cli.checks.running import Running, processes_of, running

PORTS = {10250: "the kubelet", 10257: "the controllers", 10259: "the scheduler"}
"""Ports of a cluster with containers besides the API server's."""
_LISTENING = "0A"
_ALWAYS_DIRECT = ("127.0.0.1", "localhost")
"""Go programs never ask a proxy for these; curl and Python do."""
_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def node_name(scope: Scope) -> Finding:
    """The node is named after the machine."""
    name = socket.gethostname().lower()
    if scope.simulate or _NODE_NAME.fullmatch(name):
        return ok(name)
    return wrong(f"the machine's name {name!r} cannot be a node's", advice.command("up", scope.data_dir, "--node-name", "NAME"))


def ports(scope: Scope) -> Finding:
    """Whether the ports of the cluster are free, or its own already."""
    wanted = {scope.port: "the API server"} if scope.simulate else {scope.port: "the API server", **PORTS}
    sockets = _listening()
    findings = []
    held = []
    for port, whose in wanted.items():
        if port not in sockets:
            continue
        holder = _holder(sockets[port])
        if holder and scope.data_dir.absolute() in {found.data_dir for found in running() if found.pid == holder.pid}:
            held.append(port)
            continue
        who = f"see what has it: ss -ltnp 'sport = :{port}'"
        simulate = ["--simulate"] if scope.simulate else []
        mend = f"{advice.command('up', scope.data_dir, *simulate, '--port', 'N')}, or {who}" if port == scope.port else who
        findings.append(wrong(f"{port}, for {whose}, is taken by {_named(holder)}", mend))
    groups = (held, "held by this cluster"), ([port for port in wanted if port not in held], "free")
    return joined(findings, "; ".join(f"{', '.join(map(str, ports))}: {state}" for ports, state in groups if ports))


def _named(holder: Running | None) -> str:
    if holder is None:
        return "a program of another user"
    return f"{holder.name} (pid {holder.pid})" + (f", a cluster of {holder.data_dir}" if holder.data_dir else "")


def _listening() -> dict[int, set[str]]:
    """Port -> inodes of the sockets that listen on it."""
    found: dict[int, set[str]] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in text(table).splitlines()[1:]:
            words = line.split()
            if words[3] == _LISTENING:
                found.setdefault(int(words[1].rpartition(":")[2], 16), set()).add(words[9])
    return found


def _holder(inodes: set[str]) -> Running | None:
    """The process that has one of the sockets, as far as this user may see."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in processes_of():
        try:
            if any(os.readlink(link) in wanted for link in Path("/proc", str(process.pid), "fd").iterdir()):
                return process
        except OSError:
            continue
    return None


def proxies(scope: Scope) -> Finding:
    """Proxies in the environment that would be asked for addresses of the cluster."""
    return of_environment(os.environ)


def of_environment(environment: Mapping[str, str]) -> Finding:
    """The finding for an environment."""
    names = [name for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy") if environment.get(name)]
    if not names:
        return ok("none in the environment")
    spared = [part.strip() for name in ("NO_PROXY", "no_proxy") for part in environment.get(name, "").split(",") if part.strip()]
    caught = [
        wanted for wanted in (*_ALWAYS_DIRECT, "10.96.0.0/12", "10.244.0.0/16", ".svc", ".cluster.local") if not _spared(wanted, spared)
    ]
    if not caught:
        return ok(f"{', '.join(names)}, and NO_PROXY spares the cluster")
    new = ",".join([*spared, *caught])
    return odd(f"{', '.join(names)} would be asked for {', '.join(caught)}", f"export NO_PROXY={new} no_proxy={new}")


def _spared(wanted: str, spared: list[str]) -> bool:
    if "*" in spared or wanted in spared:
        return True
    if wanted.startswith("."):
        return any(wanted.endswith(f".{part.lstrip('*.')}") for part in spared)
    try:
        network = ipaddress.ip_network(wanted)
    except ValueError:
        return False
    return any(network.version == other.version and network.subnet_of(other) for other in map(_network, spared) if other)  # type: ignore[arg-type]


def _network(part: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(part, strict=False)
    except ValueError:
        return None
