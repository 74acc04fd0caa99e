"""Health check node ports of Services with externalTrafficPolicy Local, by which load balancers find nodes with endpoints.

200 with at least one endpoint on this node, 503 without; the body is kube-proxy's JSON.
"""

import logging
from collections.abc import Mapping

import orjson

from kapi import logs
from kapi.http import simple_server
from kapi.http.simple_server import Listener, Request

log = logging.getLogger(__name__)

def response(service: str, local: int) -> bytes:
    """The complete HTTP response for 'namespace/name' with this number of local endpoints."""
    namespace, _, name = service.partition("/")
    body = orjson.dumps({"service": {"namespace": namespace, "name": name}, "localEndpoints": local, "serviceProxyHealthy": True})
    return simple_server.response(200 if local else 503, body, "application/json", x_load_balancing_endpoint_weight=local)


class HealthChecks:
    """The health check servers by Service; `update` opens, closes and changes them."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._servers: dict[str, tuple[int, Listener]] = {}
        self._local: dict[str, int] = {}

    def update(self, service: str, port: int, local: int) -> None:
        """`port` 0 closes the Service's server."""
        known = self._servers.get(service)
        if known is not None and known[0] != port:
            known[1].close()
            del self._servers[service]
        self._local[service] = local
        if not port:
            self._local.pop(service, None)
        elif service not in self._servers:
            self._open(service, port)

    def _open(self, service: str, port: int) -> None:
        async def reply(request: Request) -> bytes:
            return response(service, self._local.get(service, 0))

        try:
            server = simple_server.listen(self._address, port, reply)
        except OSError as error:
            log.warning("A health check port is not served", extra=logs.once(port, port=port, service=service, error=error))
            return
        self._servers[service] = (port, server)

    @property
    def ports(self) -> Mapping[str, int]:
        return {service: port for service, (port, _) in self._servers.items()}

    def close(self) -> None:
        for _, server in self._servers.values():
            server.close()
        self._servers.clear()
