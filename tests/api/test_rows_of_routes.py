"""Each route to what is no resource leads somewhere: a path that it answers, and that nobody answers without it."""

import pytest
from starlette.routing import Route, Router

from kapi.api.app import App
from kapi.client.client import Client
from tests.api.asking import ask

BEHAVIOURS = {
    "/version": ("/version", '"gitVersion"'),
    "/version/": ("/version/", '"gitVersion"'),
    "/healthz": ("/healthz", "ok"),
    "/healthz/{check:path}": ("/healthz/ping", "ok"),
    "/livez": ("/livez", "ok"),
    "/livez/{check:path}": ("/livez/ping", "ok"),
    "/readyz": ("/readyz", "ok"),
    "/readyz/{check:path}": ("/readyz/ping", "ok"),
    "/metrics": ("/metrics", "apiserver_request_total"),
    "/metrics/slis": ("/metrics/slis", "kubernetes_healthcheck"),
    "/openapi/v2": ("/openapi/v2", '"swagger":"2.0"'),
    "/openapi/v3": ("/openapi/v3", '"serverRelativeURL"'),
    "/openapi/v3/{path:path}": ("/openapi/v3/api/v1", '"openapi":"3.0.0"'),
    "/.well-known/openid-configuration": ("/.well-known/openid-configuration", '"issuer"'),
    "/openid/v1/jwks": ("/openid/v1/jwks", '"keys"'),
    "/api": ("/api", '"APIVersions"'),
    "/api/{path:path}": ("/api/v1", '"APIResourceList"'),
    "/apis": ("/apis", '"APIGroupList"'),
    "/apis/{path:path}": ("/apis/apps", '"APIGroup"'),
    "/": ("/", '"paths"'),
}
"""Route: a path, and what is in the answer."""


def routes(app: App) -> list[Route]:
    assert isinstance(app.infrastructure, Router)
    return [route for route in app.infrastructure.routes if isinstance(route, Route)]


async def answered(client: Client, name: str) -> bool:
    path, words = BEHAVIOURS[name]
    answer = await ask(client, "GET", path)
    assert answer.code in (200, 404), answer.body
    return answer.code == 200 and words in answer.body.decode()


def test_every_row_has_a_behaviour(app: App) -> None:
    listed = [route.path for route in routes(app)]
    assert sorted(listed) == sorted(BEHAVIOURS)


@pytest.mark.parametrize("name", BEHAVIOURS)
async def test_with_the_row(name: str, kept: Client) -> None:
    assert await answered(kept, name)


@pytest.mark.parametrize("name", BEHAVIOURS)
async def test_without_the_row(name: str, app: App, kept: Client) -> None:
    app.infrastructure.routes[:] = [route for route in routes(app) if route.path != name]
    assert not await answered(kept, name)
