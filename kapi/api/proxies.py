"""proxy on pods, services and nodes: who a request is passed on to, and by which path. How it is passed on: kapi.api.relay.

Stock's rules of where it may go: a pod only at a global unicast address; a service only to addresses that are those of the pods its
endpoints name; a node at its kubelet's port, at others only where its address is one for everybody. A name is looked up once, and what was
found is what is connected to.
"""

import asyncio
import ipaddress
import random
import re
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Iterator
from functools import cache
from urllib.parse import unquote_to_bytes

from kapi.api import links, relay, responses
from kapi.api.kubelets import Kubelets
from kapi.api.relay import Peer
from kapi.api.request import Request
from kapi.http import server
from kapi.objects import errors, integers, names, urls
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.objects.resource import ENDPOINT_SLICES, PODS, Resource
from kapi.registry import encoding
from kapi.registry.catalogue import Catalogue
from kapi.registry.kind import Kind
from kapi.registry.rest import Rest

_NUMBER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


async def answer(request: Request, kind: Kind, rest: Rest, catalogue: Catalogue, kubelets: Kubelets) -> None:
    """nodes|pods|services NAME/proxy/PATH; NAME may be [scheme:]name[:port]."""
    target = request.target
    assert target is not None
    scheme, name, port = _split(kind, target.name)
    obj = await encoding.parsed(kind, rest.get(kind, target.namespace if kind.resource.namespaced else "", name))
    if kind.resource.plural == "nodes":
        peer = await _of_node(kubelets.peer(obj), scheme, port)
    elif kind.resource.plural == "pods":
        peer = _of_pod(obj, scheme, port)
    else:
        peer = _of_service(rest, catalogue, obj, scheme, port, target.name)
    path, query = proxied(request), request.scope["query_string"].decode("latin-1")
    query = f"?{query}" if query else ""
    if not path and request.method in ("GET", "HEAD") and server.UPGRADE not in (request.scope.get("extensions") or {}):
        there = urls.escaped(unquote_to_bytes(request.scope["raw_path"])) + "/" + query  # so that relative links lead there
        await responses.send(request, 301, b"", b"text/plain", [(b"location", there.encode("latin-1"))])
        return
    led = links.Links(prefix(request), peer.authority, request.header(b"host"))
    await relay.forward(request, peer, (path or "/") + query, lambda answer: respond(request, answer, led))


async def respond(request: Request, answer: relay.Answer, led: links.Links) -> None:
    """A backend's answer, its links led through the proxy."""
    headers = relay.kept(answer)
    given = dict(headers)
    if b"location" in given:
        headers = [(k, led.url(v.decode("latin-1")).encode("latin-1", "replace") if k == b"location" else v) for k, v in headers]
        await relay.respond(request, answer, headers)
        return
    shown = request.method != "HEAD" and given.get(b"content-type", b"").partition(b";")[0].strip() == b"text/html"
    page = links.page(led, given.get(b"content-encoding", b"").decode("latin-1")) if shown else None
    if page is None:
        await relay.respond(request, answer, headers)
    else:
        headers = [(k, v) for k, v in headers if k != b"content-length"]
        await relay.respond(request, answer, headers, _rewritten(answer, page))


async def _rewritten(answer: relay.Answer, page: links.Page) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.chunks():
            for out in page.feed(piece):
                if out:
                    yield out
                await asyncio.sleep(0)  # a packed piece may be long
        for out in page.feed(b"", last=True):
            yield out
    except zlib.error as why:
        raise relay.CutOff(str(why)) from None


def prefix(request: Request) -> str:
    """The path of the proxy itself: all up to what is sent on, escaped."""
    assert request.target is not None
    whole = unquote_to_bytes(request.scope["raw_path"])
    parts = request.target.rest.count("/") + 1 if request.target.rest else 0
    return urls.escaped(b"/".join(whole.split(b"/")[:-parts] if parts else [whole.rstrip(b"/")]))


def proxied(request: Request) -> str:
    """What follows NAME/proxy as it is sent on: decoded, cleaned of '..' and '//', and encoded again; "" where nothing follows."""
    assert request.target is not None
    whole = unquote_to_bytes(request.scope["raw_path"])
    parts = request.target.rest.count("/") + 1 if request.target.rest else 0
    path = b"/".join([b"", *whole.split(b"/")[-parts:]]) if parts else b""
    if whole.endswith(b"/") and not path.endswith(b"/"):
        path += b"/"
    return urls.escaped(urls.joined(path)) if path else ""


def _split(kind: Kind, text: str) -> tuple[str, str, str]:
    """(scheme, name, port) of [scheme:]name[:port]. Raises BadRequest."""
    parts = text.split(":")
    if len(parts) < 3:
        parts = ["", *parts, ""][:3]
    if len(parts) > 3 or parts[0] not in ("", "http", "https") or not parts[1]:
        raise errors.BadRequest(f"invalid {kind.resource.kind.lower()} request {go_quote(text)}")
    return parts[0], parts[1], parts[2]


# where a request may go -----------------------------------------------------------------------------------------------------------------


def proxyable(text: str) -> str:
    """The address to connect to. Raises BadRequest unless Go calls it global unicast: no loopback, link-local, multicast, 0.0.0.0."""
    ip = names.parse_ip(text)
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip is None or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip == _BROADCAST:
        raise errors.BadRequest("address not allowed")
    return str(ip)


@cache
def _insecure() -> ssl.SSLContext:
    """Stock's proxy does not check the certificates of pods either."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _peer(host: str, port: int, scheme: str) -> Peer:
    if not 0 < port <= 65535:
        raise errors.ServiceUnavailable(f"error trying to reach service: dial tcp: address {port}: invalid port", {})
    return Peer(host, port, _insecure() if scheme == "https" else None)


def _number(port: str) -> int:
    if not _NUMBER.fullmatch(port):
        raise errors.ServiceUnavailable(f"error trying to reach service: dial tcp: lookup tcp/{port}: unknown port", {})
    return integers.parse(port)


async def _of_node(kubelet: Peer, scheme: str, port: str) -> Peer:
    if port in ("", str(kubelet.port)):
        return kubelet
    try:
        found = await asyncio.get_running_loop().getaddrinfo(kubelet.host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise errors.BadRequest(f"lookup {kubelet.host}: no such host") from None
    addresses = [proxyable(str(address[0])) for *_, address in found]
    return _peer(addresses[0], _number(port), scheme)


def _addresses(pod: Object) -> list[str]:
    """podIPs, of which podIP is the first."""
    status = pod.get("status") or {}
    return [entry.get("ip") or "" for entry in status.get("podIPs") or ({"ip": status.get("podIP")},)]


def _of_pod(pod: Object, scheme: str, port: str) -> Peer:
    """The port is a number, a name of one, or the first there is."""
    address = proxyable(_addresses(pod)[0])
    ports = [p for c in pod["spec"].get("containers") or () for p in c.get("ports") or ()]
    named = [p["containerPort"] for p in ports if port in ("", p.get("name"))]
    if not port and not named:
        return _peer(address, 443 if scheme == "https" else 80, scheme)
    return _peer(address, named[0] if named else _number(port), scheme)


def _of_service(rest: Rest, catalogue: Catalogue, service: Object, scheme: str, port: str, asked: str) -> Peer:
    """Any ready endpoint of the service's port that is a pod."""
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    if _NUMBER.fullmatch(port):
        number = integers.parse(port)
        declared = next((p for p in service["spec"].get("ports") or () if p["port"] == number), None)
        if declared is None:
            raise errors.ServiceUnavailable(f"no service port {number} found for service {go_quote(name)}", {})
        port = declared.get("name") or ""
    endpoints = list(_endpoints(rest, _kind(catalogue, ENDPOINT_SLICES), namespace, name, port))
    pods = _kind(catalogue, PODS)
    for endpoint, address, number in random.sample(endpoints, len(endpoints)):
        if _is_pod(rest, pods, namespace, endpoint, address):
            return _peer(proxyable(address), number, scheme)
    raise errors.ServiceUnavailable(f"no endpoints available for service {go_quote(asked)}", {})


def _endpoints(rest: Rest, slices: Kind, namespace: str, service: str, port: str) -> Iterator[tuple[Object, str, int]]:
    """(endpoint, address, port number) of those that are ready."""
    page = rest.page(slices, namespace, equals={"kubernetes.io/service-name": service})
    for entry in page.entries:
        slice_ = entry.obj
        numbers = [p["port"] for p in slice_.get("ports") or () if (p.get("name") or "") == port and p.get("port")]
        ready = [e for e in slice_.get("endpoints") or () if (e.get("conditions") or {}).get("ready", True)]
        yield from ((e, address, number) for number in numbers for e in ready for address in e.get("addresses") or ())


def _is_pod(rest: Rest, pods: Kind, namespace: str, endpoint: Object, address: str) -> bool:
    """Whether an endpoint's address is that of the pod it names: endpoints can be written by users."""
    named = endpoint.get("targetRef") or {}
    if named.get("namespace") != namespace or not named.get("name"):
        return False
    entry = rest.store.get(pods.key(namespace, named["name"]))
    return entry is not None and address in _addresses(encoding.parse(pods, entry))


def _kind(catalogue: Catalogue, resource: Resource) -> Kind:
    kind = catalogue.get(resource.group, resource.version, resource.plural)
    assert kind is not None
    return kind
