"""Paths that are not resources: health, version, metrics, discovery, OpenAPI, keys; a Starlette router dispatches them.

Discovery, OpenAPI and health are made by their own modules; here they only find their way out.
"""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import orjson
from starlette.routing import Route, Router

from kapi.access.tokens import Tokens
from kapi.api import chunked, healthz, negotiation, responses
from kapi.api.healthz import Checks
from kapi.api.metrics import Metrics
from kapi.api.request import Receive, Request, Scope, Send
from kapi.documents import building, discovery, openapi, version
from kapi.objects import offload
from kapi.registry.catalogue import Catalogue
from kapi.storage.store import Store

Handler = Callable[[Request], Awaitable[None]]
REQUEST = "kapi.request"
"""Scope extension: the Request that is to be answered."""
_METRICS = b"text/plain; version=0.0.4; charset=utf-8"


def application(store: Store, catalogue: Catalogue, metrics: Metrics, checks: Checks, tokens: Tokens, address: str) -> Router:
    """The routes, one visible list. `address` is where clients reach this server, host:port."""
    health = partial(healthz.answer, checks=checks, metrics=metrics)
    documents, found = partial(_openapi, catalogue=catalogue), partial(_discovery, catalogue=catalogue, address=address)
    routes: dict[str, Handler] = {
        "/version": _version, "/version/": _version,
        "/healthz": health, "/healthz/{check:path}": health,
        "/livez": health, "/livez/{check:path}": health,
        "/readyz": health, "/readyz/{check:path}": health,
        "/metrics": partial(_metrics, metrics=metrics, store=store, catalogue=catalogue), "/metrics/slis": partial(_slis, metrics=metrics),
        "/openapi/v2": documents, "/openapi/v3": documents, "/openapi/v3/{path:path}": documents,
        "/.well-known/openid-configuration": partial(_configuration, issuer=tokens.issuer),
        "/openid/v1/jwks": partial(_keys, tokens=tokens),
        "/api": found, "/api/{path:path}": found,
        "/apis": found, "/apis/{path:path}": found,
        "/": partial(_root, catalogue=catalogue, checks=checks),
    }  # fmt: skip
    listed = [Route(path, _Endpoint(handler)) for path, handler in routes.items()]
    return Router(listed, redirect_slashes=False, default=_Endpoint(responses.send_missing))


class _Endpoint:
    """A handler as ASGI has it: it answers this server's own Request, which is given along in the scope."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = scope.pop(REQUEST)
        await (self._handler if request.method in ("GET", "HEAD") else responses.send_missing)(request)


async def _send(request: Request, payload: bytes, media: str, headers: dict[str, str]) -> None:
    """A document; nothing of it when the client has it already."""
    request.cache = headers.pop("cache-control", "no-cache, private").encode()
    listed = [(name.encode(), value.encode()) for name, value in headers.items()]
    if _known(request, headers):
        await responses.send(request, 304, b"", media.encode(), listed)
    else:
        await responses.send(request, 200, payload, media.encode(), listed)


def _known(request: Request, headers: dict[str, str]) -> bool:
    """Whether the client has the document already."""
    return bool(headers.get("etag")) and request.header(b"if-none-match") == headers["etag"]


async def _version(request: Request) -> None:
    await responses.send(request, 200, orjson.dumps(version.VERSION, option=orjson.OPT_INDENT_2))


async def _metrics(request: Request, metrics: Metrics, store: Store, catalogue: Catalogue) -> None:
    await _exposed(request, metrics.lines(store, catalogue))


async def _slis(request: Request, metrics: Metrics) -> None:
    await _exposed(request, metrics.slis())


async def _exposed(request: Request, lines: Iterable[str]) -> None:
    await chunked.write(request, chunked.blocks(f"{line}\n".encode() for line in lines), _METRICS)


async def _discovery(request: Request, catalogue: Catalogue, address: str) -> None:
    asked = discovery.asked(catalogue, request.path, request.accept)
    if asked is None:
        await responses.send_missing(request)
        return
    form = negotiation.form(asked.media) if asked.version else negotiation.of_document(request)
    found = await building.shared(catalogue, asked, lambda served: offload.run(discovery.document, served, asked, address))
    headers = {"etag": found.etag, "vary": "Accept", "cache-control": "public"} if found.etag else {}
    pretty = responses.pretty(request)
    payload = found.payload
    if form.media is not negotiation.PROTOBUF:
        payload = await responses.encoded(request, payload, form)
    if len(payload) >= responses.GZIP_FROM and not pretty and "gzip" in request.encoding and not _known(request, headers):
        payload = await building.shared(catalogue, (asked, "gzip"), lambda _: building.packed([payload]))
        headers |= {"content-encoding": "gzip", "vary": "Accept, Accept-Encoding"}
    await _send(request, payload, found.media, headers)


async def _openapi(request: Request, catalogue: Catalogue) -> None:
    found = openapi.find(catalogue, request.path, request.query, request.accept)
    if found is None:
        await responses.send_missing(request)
    elif not found.media:
        await responses.send(request, 406, b"", b"text/plain", [(b"vary", b"Accept")])
    elif "location" in found.headers:
        listed = [(name.encode(), found.headers[name].encode()) for name in ("etag", "vary", "location")]
        await responses.send(request, 301, b"", found.media.encode(), listed)
    elif _known(request, found.headers):
        await _send(request, b"", found.media, found.headers)
    else:
        key = "openapi", found.name, found.media
        packed = await building.shared(catalogue, key, lambda served: building.packed(found.chunks(served)))
        await _send_packed(request, packed, found.media, found.headers)


async def _send_packed(request: Request, packed: bytes, media: str, headers: dict[str, str]) -> None:
    """A document that is kept in gzip."""
    if "gzip" in request.encoding:
        await _send(request, packed, media, headers | {"content-encoding": "gzip", "vary": "Accept, Accept-Encoding"})
        return
    request.cache = headers.pop("cache-control", "no-cache, private").encode()
    listed = [(name.encode(), value.encode()) for name, value in headers.items()]
    await chunked.write(request, building.unpacked(packed), media.encode(), listed, long=True)


async def _configuration(request: Request, issuer: str) -> None:
    """The OpenID discovery document of service account tokens (RFC 8414)."""
    found = {
        "issuer": issuer, "jwks_uri": f"{issuer}/openid/v1/jwks", "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
    }  # fmt: skip
    await _send(request, orjson.dumps(found), "application/json", {"cache-control": "public, max-age=3600"})


async def _keys(request: Request, tokens: Tokens) -> None:
    found = orjson.dumps(tokens.key_set())
    await _send(request, found, "application/jwk-set+json", {"cache-control": "public, max-age=3600"})


async def _root(request: Request, catalogue: Catalogue, checks: Checks) -> None:
    paths = ["/api", "/api/v1", "/apis", "/apis/", "/metrics", "/metrics/slis", "/version"]
    paths += ["/.well-known/openid-configuration", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks"]
    for group, versions in catalogue.groups().items():
        if group:
            paths += [f"/apis/{group}", *(f"/apis/{group}/{version}" for version in versions)]
    for name in ("healthz", "livez", "readyz"):
        paths += [f"/{name}", *(f"/{name}/{check}" for check in checks.names(name))]
    await responses.send(request, 200, orjson.dumps({"paths": sorted(paths)}, option=orjson.OPT_INDENT_2))
