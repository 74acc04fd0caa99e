"""Addresses of kubelets, from the status of their nodes, and the client certificate this server uses for them."""

import ssl

from kapi.api.relay import Peer
from kapi.objects import errors
from kapi.objects.meta import Object

_PORT = 10250
_ADDRESSES = ("InternalIP", "ExternalIP", "Hostname")


class Kubelets:
    """Where each node's kubelet listens, and the identity this server shows it."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls

    def peer(self, node: Object) -> Peer:
        """The kubelet of a node. Raises InternalError while the node has no address."""
        status = node.get("status") or {}
        known = {a["type"]: a["address"] for a in reversed(status.get("addresses") or [])}
        host = next((known[t] for t in _ADDRESSES if t in known), "")
        if not host:
            raise errors.InternalError(f"no preferred addresses found; known addresses: {status.get('addresses') or []}", {})
        port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or _PORT
        return Peer(host, port, self._tls)
