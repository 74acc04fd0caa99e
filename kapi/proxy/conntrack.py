"""Stale conntrack entries: UDP flows to removed endpoints, or started when the service had none.

UDP has no connection end, so such an entry lives as long as the client keeps sending. Entries of other protocols expire.
"""

import asyncio
import logging
from collections.abc import Iterator

from kapi import logs
from kapi.proxy.model import ServicePort

log = logging.getLogger(__name__)
Command = tuple[str, ...]
"""Arguments of the program `conntrack`."""


def _original_tuples(port: ServicePort) -> Iterator[Command]:
    """Arguments that select packets to the service port by their original destination."""
    family = ("-f", "ipv6") if port.family == "IPv6" else ("-f", "ipv4")
    for address in (port.cluster_ip, *port.external_ips, *port.balancer_ips):
        yield (*family, "--orig-dst", address, "--orig-port-dst", str(port.port))
    if port.node_port:
        yield (*family, "--orig-port-dst", str(port.node_port))


def stale(old: ServicePort | None, new: ServicePort | None) -> list[Command]:
    """The commands that delete stale entries after a service port changed from `old` to `new`."""
    port = old or new
    if port is None or port.protocol != "udp":
        return []
    before, after = ({*p.anywhere, *p.here} if p else set() for p in (old, new))
    start = ("-D", "-p", "udp")
    if not before:
        return [(*start, *original) for original in _original_tuples(port)] if after else []
    gone = sorted({address for address, _ in before - after})
    return [(*start, *original, "--dst-nat", address) for original in _original_tuples(port) for address in gone]


async def run(command: Command) -> None:
    """Run conntrack. A missing program, or no matching entries, is not an error."""
    try:
        process = await asyncio.create_subprocess_exec(
            "conntrack", *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
    except FileNotFoundError:
        log.debug("No conntrack program: old UDP flows may linger")
        return
    _, output = await process.communicate()
    if process.returncode and b"0 flow entries" not in output:
        log.warning("conntrack failed", extra=logs.fields(command=command, error=output.decode(errors="replace").strip()))
