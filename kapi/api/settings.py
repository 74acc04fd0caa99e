"""What an API server is told, and the files it needs before it starts: certificates, keys, tokens. Light: the command line uses it too."""

import ipaddress
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from certs import cluster, files
from kapi import limits

LOOPBACK = "127.0.0.1"
EVERYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True)
class Settings:
    """An API server."""

    data_dir: Path = Path("kapi-data")
    """Directory of this server: the database, and in pki/ keys, certificates and kubeconfigs. Made when missing."""
    port: int = 6443
    """Port to serve HTTPS on."""
    bind_address: str = ""
    """Address to listen on, beside 127.0.0.1; empty: the advertised one, where pods and nodes reach this server; 0.0.0.0: all there are."""
    advertise_address: str = ""
    """Address at which pods and nodes reach this server; empty: the address of the default route."""
    service_cluster_ip_range: str = "10.96.0.0/12"
    """CIDR from which services get their cluster IPs."""
    storage: str = ""
    """Where objects are kept: "memory:" or the path of an SQLite file; empty: kapi.db in the data directory."""
    token_auth_file: str = ""
    """CSV of static bearer tokens: token,user,uid,"group1,group2"; empty: tokens.csv in the data directory, made with one for admin."""
    max_requests_inflight: int = limits.REQUESTS_IN_FLIGHT
    """Requests that read, under way at once; more are answered 429. Not watches and streams, nor those of system:masters. 0: any number."""
    max_mutating_requests_inflight: int = limits.MUTATING_REQUESTS_IN_FLIGHT
    """The same of requests that write."""
    runtime_config: str = ""
    """API versions to switch on or off: api/all=true, batch/v1=false and so on, with commas."""


def own_address() -> str:
    """The address of the interface with the default route (nothing is sent); 127.0.0.1 without one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def advertised(settings: Settings) -> str:
    """The address at which pods and nodes reach this server."""
    return settings.advertise_address or own_address()


def addresses(settings: Settings) -> tuple[str, ...]:
    """Where to listen: loopback, which kubeconfigs name, and one more address; or everywhere."""
    given = settings.bind_address or advertised(settings)
    return (given,) if given in EVERYWHERE else tuple(dict.fromkeys((LOOPBACK, given)))


def certificates(settings: Settings, nodes: dict[str, tuple[str, ...]] | None = None) -> Path:
    """Make or renew what this server needs under pki/; the directory."""
    hosts = {advertised(settings), *addresses(settings)} - {LOOPBACK, *EVERYWHERE}
    first = str(ipaddress.ip_network(settings.service_cluster_ip_range)[1])
    pki = settings.data_dir / "pki"
    wanted = cluster.Settings(
        server=f"https://127.0.0.1:{settings.port}", hosts=(*sorted(hosts), socket.gethostname()), service_ip=first, nodes=nodes or {}
    )
    cluster.ensure(pki, wanted)
    return pki


def token_file(settings: Settings) -> Path:
    """The file of static tokens; the one in the data directory is made with a token of user admin in system:masters."""
    if settings.token_auth_file:
        return Path(settings.token_auth_file)
    path = settings.data_dir / "tokens.csv"
    if not path.exists():
        files.write(path, f"{secrets.token_urlsafe(24)},admin,admin,system:masters\n".encode(), 0o600)
    return path
