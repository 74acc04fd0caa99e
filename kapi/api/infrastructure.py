"""Everything an API server answers that is no resource: health, version, metrics, discovery, OpenAPI, keys. Starlette finds the way.

Discovery, OpenAPI and health are made by their own modules; here they only find their way out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

import orjson
from starlette.routing import Route, Router

from kapi.api import discovery, documents, health, openapi, pieces, responses, version
from kapi.api.request import Receive, Request, Scope, Send
from kapi.objects import offload

if TYPE_CHECKING:
    from kapi.api.app import App

Handler = Callable[[Request, "App"], Awaitable[None]]
REQUEST = "kapi.request"
"""Scope extension: the Request that is to be answered."""
_METRICS = b"text/plain; version=0.0.4; charset=utf-8"


def application(app: App) -> Router:
    """The routes, one visible list."""
    routes: dict[str, Handler] = {
        "/version": _version, "/version/": _version,
        "/healthz": health.answer, "/healthz/{check:path}": health.answer,
        "/livez": health.answer, "/livez/{check:path}": health.answer,
        "/readyz": health.answer, "/readyz/{check:path}": health.answer,
        "/metrics": _metrics, "/metrics/slis": _slis,
        "/openapi/v2": _openapi, "/openapi/v3": _openapi, "/openapi/v3/{path:path}": _openapi,
        "/.well-known/openid-configuration": _configuration, "/openid/v1/jwks": _keys,
        "/api": _discovery, "/api/{path:path}": _discovery,
        "/apis": _discovery, "/apis/{path:path}": _discovery,
        "/": _root,
    }  # fmt: skip
    listed = [Route(path, _Endpoint(app, handler)) for path, handler in routes.items()]
    return Router(listed, redirect_slashes=False, default=_Endpoint(app, _missing))


class _Endpoint:
    """A handler as ASGI has it: it answers this server's own Request, which is given along in the scope."""

    def __init__(self, app: App, handler: Handler) -> None:
        self._app, self._handler = app, handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = scope.pop(REQUEST)
        handler = self._handler if request.method in ("GET", "HEAD") else _missing
        await handler(request, self._app)


async def _missing(request: Request, app: App) -> None:
    await responses.send_missing(request)


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


async def _version(request: Request, app: App) -> None:
    await responses.send(request, 200, orjson.dumps(version.VERSION, option=orjson.OPT_INDENT_2))


async def _metrics(request: Request, app: App) -> None:
    await _exposed(request, app.metrics.lines(app.rest.store, app.catalogue))


async def _slis(request: Request, app: App) -> None:
    await _exposed(request, app.metrics.slis())


async def _exposed(request: Request, lines: Iterable[str]) -> None:
    await pieces.write(request, pieces.blocks(f"{line}\n".encode() for line in lines), _METRICS)


async def _discovery(request: Request, app: App) -> None:
    asked = discovery.asked(app.catalogue, request.path, request.accept)
    if asked is None:
        await responses.send_missing(request)
        return
    found = await documents.shared(app.catalogue, asked, lambda catalogue: offload.run(discovery.document, catalogue, asked, app.address))
    headers = {"etag": found.etag, "vary": "Accept", "cache-control": "public"} if found.etag else {}
    payload = found.payload
    if len(payload) >= responses.GZIP_FROM and "gzip" in request.encoding and not _known(request, headers):
        payload = await documents.shared(app.catalogue, (asked, "gzip"), lambda _: documents.packed([payload]))
        headers |= {"content-encoding": "gzip", "vary": "Accept, Accept-Encoding"}
    await _send(request, payload, found.media, headers)


async def _openapi(request: Request, app: App) -> None:
    found = openapi.find(app.catalogue, request.path, request.query, request.accept)
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
        packed = await documents.shared(app.catalogue, key, lambda catalogue: documents.packed(found.chunks(catalogue)))
        await _send_packed(request, packed, found.media, found.headers)


async def _send_packed(request: Request, packed: bytes, media: str, headers: dict[str, str]) -> None:
    """A document that is kept in gzip."""
    if "gzip" in request.encoding:
        await _send(request, packed, media, headers | {"content-encoding": "gzip", "vary": "Accept, Accept-Encoding"})
        return
    request.cache = headers.pop("cache-control", "no-cache, private").encode()
    listed = [(name.encode(), value.encode()) for name, value in headers.items()]
    await pieces.write(request, documents.unpacked(packed), media.encode(), listed, long=True)


async def _configuration(request: Request, app: App) -> None:
    """The OpenID discovery document of service account tokens (RFC 8414)."""
    issuer = app.access.tokens.issuer
    found = {
        "issuer": issuer, "jwks_uri": f"{issuer}/openid/v1/jwks", "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
    }  # fmt: skip
    await _send(request, orjson.dumps(found), "application/json", {"cache-control": "public, max-age=3600"})


async def _keys(request: Request, app: App) -> None:
    found = orjson.dumps(app.access.tokens.key_set())
    await _send(request, found, "application/jwk-set+json", {"cache-control": "public, max-age=3600"})


async def _root(request: Request, app: App) -> None:
    paths = ["/api", "/api/v1", "/apis", "/apis/", "/metrics", "/metrics/slis", "/version"]
    paths += ["/.well-known/openid-configuration", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks"]
    for group, versions in app.catalogue.groups().items():
        if group:
            paths += [f"/apis/{group}", *(f"/apis/{group}/{version}" for version in versions)]
    for name in ("healthz", "livez", "readyz"):
        paths += [f"/{name}", *(f"/{name}/{check}" for check in health.names(name))]
    await responses.send(request, 200, orjson.dumps({"paths": sorted(paths)}, option=orjson.OPT_INDENT_2))
