"""The health check node ports of Services with external traffic policy Local: a load balancer asks which nodes have endpoints.

200 with at least one endpoint on this node, 503 with none; the body is the JSON that kube-proxy answers.
"""

import asyncio
import logging
from collections.abc import Mapping

import orjson

log = logging.getLogger(__name__)
REQUEST_SECONDS, LONGEST_HEAD = 5.0, 64 * 1024


def answer(service: str, local: int) -> bytes:
    """The whole HTTP answer for 'namespace/name' with so many local endpoints."""
    namespace, _, name = service.partition("/")
    body = orjson.dumps({"service": {"namespace": namespace, "name": name}, "localEndpoints": local, "serviceProxyHealthy": True})
    status = "200 OK" if local else "503 Service Unavailable"
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
    head += f"X-Load-Balancing-Endpoint-Weight: {local}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


class HealthChecks:
    """Servers by service; `update` opens, closes and changes them."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._servers: dict[str, tuple[int, asyncio.Server]] = {}
        self._local: dict[str, int] = {}

    async def update(self, service: str, port: int, local: int) -> None:
        """`port` 0 closes the service's server."""
        known = self._servers.get(service)
        if known is not None and known[0] != port:
            known[1].close()
            del self._servers[service]
        self._local[service] = local
        if not port:
            self._local.pop(service, None)
        elif service not in self._servers:
            await self._open(service, port)

    async def _open(self, service: str, port: int) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                async with asyncio.timeout(REQUEST_SECONDS):
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(answer(service, self._local.get(service, 0)))
                    await writer.drain()
            except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                log.debug("health check of %s was cut off", service)
            finally:
                writer.close()

        try:
            server = await asyncio.start_server(serve, self._address, port, limit=LONGEST_HEAD)
        except OSError as error:
            log.warning("health check port %d of %s: %s", port, service, error)
            return
        self._servers[service] = (port, server)

    @property
    def ports(self) -> Mapping[str, int]:
        return {service: port for service, (port, _) in self._servers.items()}

    def close(self) -> None:
        for _, server in self._servers.values():
            server.close()
        self._servers.clear()
