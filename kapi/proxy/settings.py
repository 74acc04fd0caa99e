"""What can be set about the proxy."""

from dataclasses import dataclass

from kapi.settings.types import CIDR, Address, NodeName, TableName


@dataclass(frozen=True)
class Settings:
    node_name: NodeName = ""
    """The node this proxy runs on; when empty, the one named like the host or else the one with an address of this host."""
    cluster_cidr: CIDR = ""
    """Pod addresses of the whole cluster; traffic to cluster IPs from elsewhere is masqueraded. Empty: none is."""
    masquerade_all: bool = False
    """Masquerade all traffic to cluster IPs."""
    table: TableName = "kapi"
    """What the nftables table is called."""
    health_address: Address = "0.0.0.0"
    """Where health check node ports listen; load balancers ask there, from outside."""
