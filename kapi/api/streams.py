"""Subresources that connect: log, exec, attach, portforward on pods (proxy: kapi.api.proxies); and watch over WebSocket.

The API server finds the kubelet and checks names; the streams themselves pass through untouched (kapi.api.relay).
"""

import asyncio
import base64
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from kapi.api import negotiation, options, protobuf_events, proxies, relay, watching, writing
from kapi.api.eventlines import Count
from kapi.api.kubelets import Kubelets
from kapi.api.relay import Peer
from kapi.api.request import Request
from kapi.http import server
from kapi.objects import errors, integers, urls
from kapi.objects.meta import Object
from kapi.objects.quoting import go_quote
from kapi.registry import encoding
from kapi.registry.catalogue import Catalogue, subresource_kind
from kapi.registry.kind import Kind
from kapi.registry.rest import Rest

if TYPE_CHECKING:
    from kapi.http import websocket

READING = ("", "binary.k8s.io", "base64.binary.k8s.io")
"""Subprotocols of what is only read; "": none is asked for."""
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_UPGRADED = {"exec": "exec", "attach": "attach", "portforward": "portForward"}
"""Subresource -> first part of the kubelet's path."""
_STREAMS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
"""Parameter of the API -> parameter of the kubelet."""
_REPEATED = ("command", "ports")
_TRUE = ("true", "1", "t")


async def connect(request: Request, kind: Kind, rest: Rest, catalogue: Catalogue, kubelets: Kubelets) -> None:
    """Answer a request on a connecting subresource."""
    assert request.target is not None
    if request.target.subresource != "log":
        await _admit(request, rest, kind)
    if request.target.subresource == "proxy":
        await proxies.answer(request, kind, rest, catalogue, kubelets)
        return
    pod = await encoding.parsed(kind, rest.get(kind, request.target.namespace, request.target.name))
    find = partial(_kubelet, pod, rest, catalogue, kubelets)
    if request.target.subresource == "log":
        await _log(request, pod, find)
    else:
        await _upgrade(request, pod, find)


async def _admit(request: Request, rest: Rest, kind: Kind) -> None:
    """Put a CONNECT through admission; its object is the options, e.g. {"kind": "PodExecOptions", "stdin": True, "command": ["ls"], …}."""
    target = request.target
    assert target is not None
    options: Object = {"kind": subresource_kind(kind, target.subresource)[2], "apiVersion": kind.resource.api_version}
    for key, value in urls.parameters(request.scope["query_string"]):
        if key in _STREAMS:
            options[key] = value.lower() in _TRUE
        elif key in _REPEATED:
            options.setdefault(key, []).append(integers.parse(value) if value.isascii() and value.isdecimal() and key == "ports" else value)
        elif key == "container":
            options[key] = value
    if target.subresource == "proxy":
        options["path"] = "/" + target.rest
    await rest.admit(writing.call(request, kind, {}), "CONNECT", options)


def _kubelet(pod: Object, rest: Rest, catalogue: Catalogue, kubelets: Kubelets) -> Peer | None:
    """The kubelet that runs a pod; None for a pod without a node."""
    node = pod["spec"].get("nodeName")
    if not node:
        return None
    nodes = catalogue.get("", "v1", "nodes")
    assert nodes is not None
    return kubelets.peer(encoding.parse(nodes, rest.get(nodes, "", node)))


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


async def _log(request: Request, pod: Object, find: Callable[[], Peer | None]) -> None:
    name, meta = container(pod, request.query.get("container", "")), pod["metadata"]
    peer = find()
    headers = [(b"content-type", b"text/plain"), (b"cache-control", b"no-cache, private"), (b"audit-id", request.audit_id.encode())]
    if peer is None:
        await request.send({"type": "http.response.start", "status": 200, "headers": [*headers, (b"content-length", b"0")]})
        await request.send({"type": "http.response.body", "body": b""})
        return
    query = urlencode({k: v for k, v in request.query.items() if k not in ("container", "pretty")})
    path = f"/containerLogs/{meta['namespace']}/{meta['name']}/{name}" + (f"?{query}" if query else "")
    pass_on = partial(_pass_on, request, headers=headers)
    try:
        if _is_websocket(request):
            await relay.stream(request, peer, path, partial(_messages, request), pass_on)
        else:
            await relay.exchange(request, peer, path, pass_on, method="GET")
    except relay.NoAnswer as why:
        raise errors.StatusError(f"Get {go_quote(peer.url(path))}: {why}", reason="") from None


def _is_websocket(request: Request) -> bool:
    return server.UPGRADE in (request.scope.get("extensions") or {}) and request.header(b"upgrade").lower() == "websocket"


async def _messages(request: Request, answer: relay.Answer) -> None:
    """Logs in messages, the first of them empty: the connection is there."""
    socket = await _accepted(request, READING)
    encoded = socket.subprotocol.startswith("base64.")
    send = (lambda data: socket.send_text(base64.b64encode(data))) if encoded else socket.send

    async def run() -> None:
        await send(b"")
        async for piece in answer.chunks():
            await send(piece)

    await _until_closed(socket, run())


async def _accepted(request: Request, subprotocols: Sequence[str] | None = None) -> "websocket.WebSocket":
    """The caller's connection as a WebSocket. Raises BadRequest, Forbidden."""
    from kapi.http import websocket  # its library is 1 MB, which servers without such clients save

    try:
        socket = await websocket.accept(dict(request.scope), request.scope["extensions"][server.UPGRADE], subprotocols)
    except websocket.Unsupported as why:
        raise errors.Forbidden(str(why), {}) from None
    except websocket.NoWebSocket:
        raise errors.BadRequest("Upgrade request required") from None
    request.code = 101
    return socket


async def _until_closed(socket: "websocket.WebSocket", sending: Coroutine[Any, Any, None]) -> None:
    """Send to a client from which only a close is expected, then close."""

    async def listen() -> None:
        async for _ in socket.messages():
            continue

    running, listening = asyncio.ensure_future(sending), asyncio.ensure_future(listen())
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


async def _pass_on(request: Request, answer: relay.Answer, *, headers: relay.Headers) -> None:
    """A kubelet's response with logs, or its error."""
    if answer.status < 400:
        await relay.respond(request, answer, headers)
        return
    text = await answer.text()
    if answer.status == 400:
        raise errors.BadRequest(text)
    raise errors.StatusError(text, {}, code=answer.status, reason="InternalError")


async def _upgrade(request: Request, pod: Object, find: Callable[[], Peer | None]) -> None:
    assert request.target is not None
    meta, subresource = pod["metadata"], request.target.subresource
    if server.UPGRADE not in (request.scope.get("extensions") or {}):
        raise errors.BadRequest("Upgrade request required")
    path = f"/{_UPGRADED[subresource]}/{meta['namespace']}/{meta['name']}"
    given = [*urls.parameters(request.scope["query_string"])]
    if subresource == "portforward":
        query = [(k, v) for k, v in given if k == "ports"]
    else:
        path += "/" + container(pod, request.query.get("container", ""))
        query = [(_STREAMS[k], "1") for k, v in given if k in _STREAMS and v.lower() in _TRUE]
        query += [(k, v) for k, v in given if k == "command"]
        if subresource == "exec" and not any(k == "command" for k, _ in query):
            raise errors.BadRequest("you must specify at least 1 command for the container")
    peer = find()
    if peer is None:
        raise errors.BadRequest(f"pod {meta['name']} does not have a host assigned")
    await relay.splice(request, peer, path + (f"?{urlencode(query)}" if query else ""))


# watch over WebSocket -----------------------------------------------------------------------------------------------------------------


async def watch(request: Request, rest: Rest, kind: Kind, namespace: str, how: options.ListOptions, count: Count) -> None:
    """Answer a watch on an upgraded connection: a text frame for each event, in protobuf a binary one."""
    wanted = watching.Watching(request, rest, kind, namespace, how, count, whole=True)
    socket = await _accepted(request)

    async def send(lines: bytes) -> None:
        if wanted.lines.form.media is negotiation.PROTOBUF:
            for event in protobuf_events.messages(lines):
                await socket.send(event)
            return
        for line in lines.splitlines():
            await socket.send_text(line)

    await _until_closed(socket, wanted.run(send))
