"""Subresources that connect: log, exec, attach, portforward on pods, proxy on pods, services and nodes; and watch over WebSocket.

The API server finds the kubelet (or the pod) and checks names; the streams themselves pass through untouched (kapi.api.relay).
"""

import asyncio
import ipaddress
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

from kapi.api import options, relay, watching
from kapi.api.relay import Peer
from kapi.api.request import Request
from kapi.http import server
from kapi.objects import errors
from kapi.registry import encoding
from kapi.registry.catalogue import subresource_kind
from kapi.registry.kind import Kind
from kapi.registry.rest import Rest
from kapi.registry.review import Review

if TYPE_CHECKING:
    from kapi.api.app import App

Object = dict[str, Any]
_KUBELET_PORT = 10250
_ADDRESSES = ("InternalIP", "ExternalIP", "Hostname")
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_UPGRADED = {"exec": "exec", "attach": "attach", "portforward": "portForward"}
"""Subresource -> first part of the kubelet's path."""
_STREAMS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
"""Parameter of the API -> parameter of the kubelet."""
_REPEATED = ("command", "ports")
_TRUE = ("true", "1", "t")


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
        port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or _KUBELET_PORT
        return Peer(host, port, self._tls)


async def connect(request: Request, app: "App", kind: Kind) -> None:
    """Answer a request on a connecting subresource."""
    assert request.target is not None
    if request.target.subresource != "log":
        await _admit(request, app, kind)
    if request.target.subresource == "proxy":
        await _proxy(request, app, kind)
        return
    pod = encoding.parse(kind, app.rest.get(kind, request.target.namespace, request.target.name))
    if request.target.subresource == "log":
        await _log(request, app, pod)
    else:
        await _upgrade(request, app, pod)


async def _admit(request: Request, app: "App", kind: Kind) -> None:
    """Put a CONNECT through admission; its object is the options, e.g. {"kind": "PodExecOptions", "stdin": True, "command": ["ls"], …}."""
    target = request.target
    assert target is not None
    asked: Object = {"kind": subresource_kind(kind, target.subresource)[2], "apiVersion": kind.resource.api_version}
    for key, value in parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True):
        if key in _STREAMS:
            asked[key] = value.lower() in _TRUE
        elif key in _REPEATED:
            asked.setdefault(key, []).append(int(value) if value.isdecimal() and key == "ports" else value)
        elif key == "container":
            asked[key] = value
    if target.subresource == "proxy":
        asked["path"] = "/" + target.rest
    review = Review(
        kind=kind, operation="CONNECT", user=request.user, namespace=target.namespace if kind.resource.namespaced else "",
        name=target.name, subresource=target.subresource, new=asked, warnings=request.warnings,
    )  # fmt: skip
    await app.rest.admission.mutate(review)
    await app.rest.admission.validate(review)


def _kubelet(app: "App", pod: Object) -> Peer | None:
    """The kubelet that runs a pod; None for a pod without a node."""
    node = pod["spec"].get("nodeName")
    if not node:
        return None
    nodes = app.catalogue.get("", "v1", "nodes")
    assert nodes is not None
    return app.kubelets.peer(encoding.parse(nodes, app.rest.get(nodes, "", node)))


def container(pod: Object, asked: str) -> str:
    """The container meant. Raises BadRequest with stock's texts."""
    spec, name = pod["spec"], pod["metadata"]["name"]
    main = [c["name"] for c in spec.get("containers") or ()]
    others = {key: [c["name"] for c in spec.get(key) or ()] for key in ("initContainers", "ephemeralContainers")}
    if asked:
        if asked not in main and not any(asked in names for names in others.values()):
            raise errors.BadRequest(f"container {asked} is not valid for pod {name}")
        return asked
    chosen = (pod["metadata"].get("annotations") or {}).get(_DEFAULT_CONTAINER)
    if chosen in main or len(main) == 1:
        return str(chosen if chosen in main else main[0])
    text = f"a container name must be specified for pod {name}, choose one of: [{' '.join(main)}]"
    if others["initContainers"]:
        text += f" or one of the init containers: [{' '.join(others['initContainers'])}]"
    raise errors.BadRequest(text)


async def _log(request: Request, app: "App", pod: Object) -> None:
    name, meta = container(pod, request.query.get("container", "")), pod["metadata"]
    peer = _kubelet(app, pod)
    headers = [(b"content-type", b"text/plain"), (b"cache-control", b"no-cache, private"), (b"audit-id", request.audit_id.encode())]
    if peer is None:
        await request.send({"type": "http.response.start", "status": 200, "headers": [*headers, (b"content-length", b"0")]})
        await request.send({"type": "http.response.body", "body": b""})
        return
    query = urlencode({k: v for k, v in request.query.items() if k not in ("container", "pretty")})
    path = f"/containerLogs/{meta['namespace']}/{meta['name']}/{name}" + (f"?{query}" if query else "")
    answer, writer = await relay.exchange(request, peer, path, method="GET")
    try:
        if answer.status >= 400:
            text = (await answer.body()).decode(errors="replace").strip()
            raise (
                errors.BadRequest(text)
                if answer.status == 400
                else errors.StatusError(text, {}, code=answer.status, reason="InternalError")
            )
        await relay.send(request, answer, headers)
    finally:
        writer.close()


async def _upgrade(request: Request, app: "App", pod: Object) -> None:
    assert request.target is not None
    meta, subresource = pod["metadata"], request.target.subresource
    if server.UPGRADE not in (request.scope.get("extensions") or {}):
        raise errors.BadRequest("Upgrade request required")
    path = f"/{_UPGRADED[subresource]}/{meta['namespace']}/{meta['name']}"
    given = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    if subresource == "portforward":
        query = [(k, v) for k, v in given if k == "ports"]
    else:
        path += "/" + container(pod, request.query.get("container", ""))
        query = [(_STREAMS[k], "1") for k, v in given if k in _STREAMS and v.lower() in _TRUE]
        query += [(k, v) for k, v in given if k == "command"]
        if subresource == "exec" and not any(k == "command" for k, _ in query):
            raise errors.BadRequest("you must specify at least 1 command for the container")
    peer = _kubelet(app, pod)
    if peer is None:
        raise errors.BadRequest(f"pod {meta['name']} does not have a host assigned")
    await relay.splice(request, peer, path + (f"?{urlencode(query)}" if query else ""))


# proxy ------------------------------------------------------------------------------------------------------------------------------


async def _proxy(request: Request, app: "App", kind: Kind) -> None:
    """nodes|pods|services NAME/proxy/PATH; NAME may be [scheme:]name[:port]."""
    target = request.target
    assert target is not None
    scheme, name, port = _split(target.name)
    obj = encoding.parse(kind, app.rest.get(kind, target.namespace if kind.resource.namespaced else "", name))
    if kind.resource.plural == "nodes":
        peer = app.kubelets.peer(obj)
    elif kind.resource.plural == "pods":
        peer = _pod_peer(obj, scheme, port)
    else:
        peer = _service_peer(app, obj, scheme, port)
    raw = request.scope["raw_path"].decode("latin-1")
    path = "/" + raw.partition("/proxy")[2].lstrip("/")
    query = request.scope["query_string"].decode("latin-1")
    await relay.forward(request, peer, quote(path, safe="/%:=&?~#+!$,;'@()*[]") + (f"?{query}" if query else ""))


def _split(text: str) -> tuple[str, str, str]:
    parts = text.split(":")
    if len(parts) == 3:
        return parts[0] or "http", parts[1], parts[2]
    if len(parts) == 2:
        return "http", parts[0], parts[1]
    return "http", text, ""


def _insecure() -> ssl.SSLContext:
    """Stock's proxy does not check the certificates of pods either."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _peer(host: str, port: int, scheme: str) -> Peer:
    if ipaddress.ip_address(host).is_link_local:
        raise errors.BadRequest(f"address not allowed: {host}")
    return Peer(host, port, _insecure() if scheme == "https" else None)


def _pod_peer(pod: Object, scheme: str, port: str) -> Peer:
    address = (pod.get("status") or {}).get("podIP")
    if not address:
        raise errors.ServiceUnavailable("address not allowed", {})
    ports = [p for c in pod["spec"].get("containers") or () for p in c.get("ports") or ()]
    if not port:
        number = ports[0]["containerPort"] if ports else 80
    else:
        number = next((p["containerPort"] for p in ports if p.get("name") == port), 0) or (int(port) if port.isdecimal() else 0)
    if not number:
        raise errors.BadRequest(f'pod "{pod["metadata"]["name"]}" has no port "{port}"')
    return _peer(address, number, scheme)


def _service_peer(app: "App", service: Object, scheme: str, port: str) -> Peer:
    """A ready endpoint of the service's port."""
    meta = service["metadata"]
    wanted = [p for p in service["spec"].get("ports") or () if port in ("", p.get("name"), str(p["port"]))]
    slices = app.catalogue.get("discovery.k8s.io", "v1", "endpointslices")
    assert slices is not None
    if wanted and (port or len(service["spec"]["ports"]) == 1):
        chosen = {"kubernetes.io/service-name": meta["name"]}
        for entry in app.rest.page(slices, meta["namespace"], equals=chosen).entries:
            obj = entry.obj
            numbers = [p["port"] for p in obj.get("ports") or () if (p.get("name") or "") == (wanted[0].get("name") or "")]
            for endpoint in obj.get("endpoints") or ():
                if numbers and (endpoint.get("conditions") or {}).get("ready", True) and endpoint.get("addresses"):
                    return _peer(endpoint["addresses"][0], numbers[0], scheme)
    shown = f'"{meta["name"]}:{port}"' if port else f'"{meta["name"]}"'
    raise errors.ServiceUnavailable(f"no endpoints available for service {shown}", {})


# watch over WebSocket -----------------------------------------------------------------------------------------------------------------


async def watch(request: Request, rest: Rest, kind: Kind, namespace: str, how: options.ListOptions, count: watching.Count) -> None:
    """Answer a watch on an upgraded connection: a text frame for each event."""
    from kapi.http import websocket  # its library is 1 MB, which servers without such clients save

    wanted = watching.Watching(request, rest, kind, namespace, how, count)
    try:
        socket = await websocket.accept(dict(request.scope), request.scope["extensions"][server.UPGRADE])
    except websocket.NoWebSocket:
        raise errors.BadRequest("Upgrade request required") from None

    async def send(lines: bytes) -> None:
        for line in lines.splitlines():
            await socket.send_text(line)

    async def listen() -> None:
        async for _ in socket.messages():  # a watcher has nothing to say but goodbye
            continue

    running = asyncio.ensure_future(wanted.run(send))
    listening = asyncio.ensure_future(listen())
    try:
        await asyncio.wait((running, listening), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
    except ConnectionError:
        return
    finally:
        running.cancel()
        listening.cancel()
        await socket.close()
