"""Options of an API server, and the files it needs before it starts: certificates, keys, tokens. Imports little."""

import ipaddress
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from certs import cluster, files
from kapi import limits
from kapi.access import token_file
from kapi.objects.user import MASTERS
from kapi.registry import runtime_config
from kapi.settings import Form
from kapi.settings.types import Address, Directory, ExistingFile, NonNegative, Port, ServiceRange, Storage

LOOPBACK = "127.0.0.1"
EVERYWHERE = ("0.0.0.0", "::")
RuntimeConfig = Annotated[Mapping[str, bool], Form(runtime_config.parse, "KEY=BOOL,…", runtime_config.shown)]


@dataclass(frozen=True)
class Settings:
    """An API server."""

    data_dir: Directory = Path("kapi-data")
    """Directory of this server: the database, and in pki/ keys, certificates and kubeconfigs. Made when missing."""
    port: Port = 6443
    """Port to serve HTTPS on."""
    bind_address: Address = ""
    """Address to listen on, beside 127.0.0.1; empty: the advertised one, where pods and nodes reach this server; 0.0.0.0: all there are."""
    advertise_address: Address = ""
    """Address at which pods and nodes reach this server; empty: the address of the default route."""
    service_cluster_ip_range: ServiceRange = "10.96.0.0/12"
    """CIDR from which services get their cluster IPs."""
    storage: Storage = ""
    """Where objects are kept: "memory:" or the path of an SQLite file; empty: kapi.db in the data directory."""
    token_auth_file: ExistingFile | None = None
    """CSV of static bearer tokens: token,user,uid,"group1,group2"; empty: tokens.csv in the data directory, made with one for admin."""
    max_requests_inflight: NonNegative = limits.REQUESTS_IN_FLIGHT
    """Requests that read, under way at once; more are answered 429. Not watches and streams, nor those of system:masters. 0: any number."""
    max_mutating_requests_inflight: NonNegative = limits.MUTATING_REQUESTS_IN_FLIGHT
    """The same of requests that write."""
    runtime_config: RuntimeConfig = field(default_factory=dict)
    """API versions and resources to switch on or off, with commas: api/beta=true, batch/v1=false, apps/v1/deployments=false and so on."""

    def __post_init__(self) -> None:
        address = self.advertise_address or "127.0.0.1"
        if (":" in self.service_cluster_ip_range) != (":" in address):
            what = f'service IP family "{self.service_cluster_ip_range}" must match public address family "{address}"'
            raise ValueError(f"--service-cluster-ip-range, --advertise-address: {what}")


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


def static_tokens(settings: Settings) -> Path:
    """The file of static tokens; the one in the data directory is made with a token of user admin in system:masters. Raises Malformed."""
    if settings.token_auth_file:
        return settings.token_auth_file
    path = settings.data_dir / "tokens.csv"
    if not path.exists():
        files.write(path, f"{secrets.token_urlsafe(24)},admin,admin,{MASTERS}\n".encode(), 0o600)
    token_file.administrator(path)
    return path
