"""Everything an API server answers that is no resource: health, version, metrics, discovery, OpenAPI, keys. A Starlette application.

Discovery and OpenAPI documents are made by their own modules; here they only find their way out.
"""

from __future__ import annotations

import asyncio
import platform
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import orjson
from starlette.applications import Starlette
from starlette.requests import Request as HTTP
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from kapi.api import discovery, openapi

if TYPE_CHECKING:
    from kapi.api.app import App

VERSION = {
    "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.2", "gitCommit": "", "gitTreeState": "clean", "buildDate": "2026-06-09T00:00:00Z",
    "goVersion": f"python{platform.python_version()}", "compiler": sys.implementation.name,
    "platform": f"linux/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(platform.machine(), platform.machine()) }",
}  # fmt: skip

CHECKS = (
    "ping", "log", "loopback-serving-certificate", "etcd", "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers", "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-filter", "poststarthook/storage-object-count-tracker-hook",
    "poststarthook/start-apiextensions-informers", "poststarthook/start-apiextensions-controllers", "poststarthook/crd-informer-synced",
    "poststarthook/start-system-namespaces-controller", "poststarthook/peer-endpoint-reconciler-controller",
    "poststarthook/start-cluster-authentication-info-controller", "poststarthook/start-kube-apiserver-identity-lease-controller",
    "poststarthook/start-kube-apiserver-identity-lease-garbage-collector", "poststarthook/storage-readiness",
    "poststarthook/start-legacy-token-tracking-controller", "poststarthook/start-service-ip-repair-controllers",
    "poststarthook/rbac/bootstrap-roles", "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer", "poststarthook/bootstrap-controller",
    "poststarthook/start-kubernetes-service-cidr-controller", "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-status-local-available-controller", "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-registration-controller", "poststarthook/apiservice-wait-for-first-sync",
    "poststarthook/apiservice-discovery-controller", "poststarthook/kube-apiserver-autoregistration", "autoregister-completion",
    "poststarthook/apiservice-openapi-controller", "poststarthook/apiservice-openapiv3-controller",
)  # fmt: skip
"""Names of stock's health checks in its order. What they stand for is set up before this server listens; 'etcd' asks the store."""
READY_ONLY = ("etcd-readiness", "informer-sync", "shutdown")

Endpoint = Callable[[HTTP], Awaitable[Response]]


def application(app: App) -> Starlette:
    """The routes, one visible list."""
    return Starlette(
        routes=[
            Route("/version", _version), Route("/version/", _version),
            *(Route(f"/{name}", _health(app, name)) for name in ("healthz", "livez", "readyz")),
            *(Route(f"/{name}/{{check:path}}", _one_check(app, name)) for name in ("healthz", "livez", "readyz")),
            Route("/metrics", _metrics(app)),
            Route("/openapi/v2", _openapi(app)), Route("/openapi/v3", _openapi(app)), Route("/openapi/v3/{path:path}", _openapi(app)),
            Route("/.well-known/openid-configuration", _issuer(app, "configuration")), Route("/openid/v1/jwks", _issuer(app, "keys")),
            *(Route(path, _discovery(app)) for path in ("/api", "/api/", "/api/{path:path}", "/apis", "/apis/", "/apis/{path:path}")),
            Route("/", _root(app)),
        ],
        exception_handlers={404: _missing, 405: _missing},
    )  # fmt: skip


async def _missing(http: HTTP, error: Exception) -> Response:
    return PlainTextResponse("404 page not found\n", 404, {"x-content-type-options": "nosniff"})


async def _version(http: HTTP) -> Response:
    return Response(orjson.dumps(VERSION, option=orjson.OPT_INDENT_2), media_type="application/json")


def checks(app: App, name: str) -> dict[str, bool]:
    """Every check of healthz, livez or readyz with its result."""
    out = dict.fromkeys(CHECKS, True)
    out["etcd"] = app.rest.store.healthy
    if name == "readyz":
        at = list(out).index("etcd") + 1
        out = dict(
            [*list(out.items())[:at], *((c, True) for c in READY_ONLY[:2]), *list(out.items())[at:], (READY_ONLY[2], not app.closing)]
        )
    return out


def _health(app: App, name: str) -> Endpoint:
    async def answer(http: HTTP) -> Response:
        excluded = set(http.query_params.getlist("exclude"))
        found = {check: ok for check, ok in checks(app, name).items() if check not in excluded}
        failed = not all(found.values())
        if not failed and "verbose" not in http.query_params:
            return PlainTextResponse("ok")
        lines = [f"[{'+' if ok else '-'}]{check} {'ok' if ok else 'failed: reason withheld'}" for check, ok in found.items()]
        lines += [
            f'warn: some health checks cannot be excluded: no matches for "{check}"' for check in sorted(excluded - set(checks(app, name)))
        ]
        lines.append(f"{name} check {'failed' if failed else 'passed'}")
        return PlainTextResponse("\n".join(lines) + "\n", 500 if failed else 200, {"x-content-type-options": "nosniff"})

    return answer


def _one_check(app: App, name: str) -> Endpoint:
    async def answer(http: HTTP) -> Response:
        result = checks(app, name).get(http.path_params["check"])
        if result is None:
            return PlainTextResponse("404 page not found\n", 404)
        return PlainTextResponse("ok") if result else PlainTextResponse("internal server error: reason withheld\n", 500)

    return answer


def _metrics(app: App) -> Endpoint:
    async def answer(http: HTTP) -> Response:
        collections = {kind.resource.qualified: kind.collection for kind in app.catalogue if "list" in kind.verbs}
        return Response(app.metrics.text(app.rest.store, collections), media_type="text/plain; version=0.0.4; charset=utf-8")

    return answer


def _discovery(app: App) -> Endpoint:
    async def answer(http: HTTP) -> Response:
        found = discovery.document(app.catalogue, http.url.path, http.headers.get("accept", ""), app.address)
        if found is None:
            return await _missing(http, LookupError())
        payload, media, etag = found
        headers = {"etag": etag, "vary": "Accept"} if etag else {}
        headers["cache-control"] = "public" if etag else "no-cache, private"
        if etag and http.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(payload, media_type=media, headers=headers)

    return answer


def _openapi(app: App) -> Endpoint:
    async def answer(http: HTTP) -> Response:
        query, accept = dict(http.query_params), http.headers.get("accept", "")
        found = await asyncio.to_thread(openapi.document, app.catalogue, http.url.path, query, accept)
        if found is None:
            return await _missing(http, LookupError())
        payload, media, headers = found
        if (etag := headers.get("etag") or headers.get("Etag")) and http.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(payload, media_type=media, headers=headers)

    return answer


def _issuer(app: App, what: str) -> Endpoint:
    async def answer(http: HTTP) -> Response:
        payload = _configuration(app.access.tokens.issuer) if what == "configuration" else app.access.tokens.key_set()
        media = "application/json" if what == "configuration" else "application/jwk-set+json"
        return Response(orjson.dumps(payload), media_type=media, headers={"cache-control": "public, max-age=3600"})

    return answer


def _configuration(issuer: str) -> dict[str, object]:
    """The OpenID discovery document of service account tokens (RFC 8414)."""
    return {
        "issuer": issuer, "jwks_uri": f"{issuer}/openid/v1/jwks", "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
    }  # fmt: skip


def _root(app: App) -> Endpoint:
    async def answer(http: HTTP) -> Response:
        groups = app.catalogue.groups()
        paths = ["/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/apis/"]
        for group, versions in groups.items():
            if group:
                paths += [f"/apis/{group}", *(f"/apis/{group}/{v}" for v in versions)]
        for name in ("healthz", "livez", "readyz"):
            paths += [f"/{name}", *(f"/{name}/{check}" for check in checks(app, name))]
        paths += ["/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/version"]
        return Response(orjson.dumps({"paths": sorted(paths)}, option=orjson.OPT_INDENT_2), media_type="application/json")

    return answer
