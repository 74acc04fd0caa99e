"""Which TCP ports processes listen on, and what anybody gets there: /proc and plain requests, no credential."""

import os
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

_LISTEN = "0A"
PATHS = (
    "/", "/metrics", "/api", "/apis", "/api/v1/secrets", "/openapi/v2", "/pods", "/runningpods/", "/stats/summary", "/configz", "/logs/",
    "/containerLogs/default/p/c", "/exec/default/p/c?command=id", "/debug/pprof/", "/flagz", "/statusz", "/metrics/cadvisor",
)  # fmt: skip


def inodes(pid: int) -> Iterator[str]:
    """Those of the sockets a process holds; none of one that has ended meanwhile."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                target = os.readlink(link)
                if target.startswith("socket:["):
                    yield target[8:-1]


def address(text: str) -> tuple[IPv4Address | IPv6Address, int]:
    """Of '0100007F:1F90': groups of four bytes, each as the machine stores it."""
    host, _, port = text.partition(":")
    words = [bytes.fromhex(host[i : i + 8])[::-1] for i in range(0, len(host), 8)]
    return ip_address(b"".join(words)), int(port, 16)


def listening(pids: Iterable[int]) -> set[tuple[IPv4Address | IPv6Address, int]]:
    """(address, port) of every listening TCP socket of the processes."""
    own = {inode for pid in pids for inode in inodes(pid)}
    out = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and fields[9] in own:
                out.add(address(fields[1]))
    return out


def status(address: object, port: int, path: str, *, encrypted: bool = True) -> int:
    """The status an unauthenticated request gets; 0 when no TLS is spoken there."""
    with socket.create_connection((str(address), port), timeout=10) as line:
        if encrypted:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            try:
                talk: socket.socket = context.wrap_socket(line)
            except (ssl.SSLError, ConnectionError):
                return 0
        else:
            talk = line
        with talk:
            talk.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            return int(talk.recv(4096).split(b" ")[1])
