"""Resolves a Service to a ready endpoint, as stock's ServiceResolver with aggregator routing: for webhooks and extension API servers.

A Service of type ExternalName leads to its host, at the port that is asked for; that is stock's resolver without aggregator routing.
"""

import random

from kapi.admission.plugin import Reader
from kapi.http.webhook_client import Locate, Unreachable
from kapi.objects import errors
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.objects.resource import ENDPOINT_SLICES, SERVICES

_OWNER = "kubernetes.io/service-name"


def resolve_endpoint(reader: Reader, namespace: str, name: str, port: int) -> tuple[str, int]:
    """(address, port) for one of the Service's ports. Raises NotFound, ServiceUnavailable."""
    service = reader.get(SERVICES, namespace, name)
    if service is None:
        raise errors.NotFound(f"service {go_quote(name)} not found")
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return spec.get("externalName") or "", port
    chosen = next((p for p in spec.get("ports") or () if p["port"] == port), None)
    if chosen is None:
        raise errors.ServiceUnavailable(f"no service port {port} found for service {go_quote(name)}")
    ready = [found for slice_ in _slices(reader, namespace, name) for found in _ready(slice_, chosen.get("name") or "")]
    if not ready:
        raise errors.ServiceUnavailable(f"no endpoints available for service {go_quote(name)}")
    return random.choice(ready)


def locator(reader: Reader, service: Object | None) -> Locate | None:
    """How a webhook client finds an endpoint of a clientConfig's Service; None where it has a URL."""
    if service is None:
        return None

    async def locate() -> tuple[str, int]:
        try:
            return resolve_endpoint(reader, service["namespace"], service["name"], service.get("port") or 443)
        except errors.StatusError as error:
            raise Unreachable(error.message) from None

    return locate


def _slices(reader: Reader, namespace: str, name: str) -> list[Object]:
    found = reader.list(ENDPOINT_SLICES, namespace)
    return [s for s in found if (s["metadata"].get("labels") or {}).get(_OWNER) == name]


def _ready(slice_: Object, port: str) -> list[tuple[str, int]]:
    numbers = [p["port"] for p in slice_.get("ports") or () if (p.get("name") or "") == port and p.get("port")]
    endpoints = [e for e in slice_.get("endpoints") or () if (e.get("conditions") or {}).get("ready", True)]
    return [(address, number) for number in numbers for e in endpoints for address in e.get("addresses") or ()]
