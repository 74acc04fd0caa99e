"""What is no resource: health, version, metrics, roots, keys."""

from typing import Any

import pytest

from kapi.api.app import App
from kapi.client.client import Client
from kapi.objects.resource import CONFIG_MAPS
from tests.api.asking import MAPS, ask, config_map


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/livez/ping", "/readyz/etcd", "/readyz/informer-sync"])
async def test_health(client: Client, path: str) -> None:
    answer = await ask(client, "GET", path)
    assert (answer.code, answer.body) == (200, b"ok")
    assert answer.headers["content-type"].startswith("text/plain")


async def test_health_in_words(client: Client) -> None:
    lines = (await ask(client, "GET", "/readyz?verbose")).body.decode().splitlines()
    assert lines[0] == "[+]ping ok"
    assert "[+]poststarthook/rbac/bootstrap-roles ok" in lines
    assert lines[-1] == "readyz check passed"
    lines = (await ask(client, "GET", "/livez?verbose&exclude=etcd&exclude=nothing")).body.decode().splitlines()
    assert not any(line.startswith("[+]etcd") for line in lines)
    assert 'warn: some health checks cannot be excluded: no matches for "nothing"' in lines[-2]


async def test_a_store_that_fails(app: App, client: Client) -> None:
    app.rest.store.healthy = False
    answer = await ask(client, "GET", "/readyz")
    assert answer.code == 500
    assert b"[-]etcd failed: reason withheld" in answer.body
    assert (await ask(client, "GET", "/readyz/etcd")).code == 500
    assert (await ask(client, "GET", "/readyz?exclude=etcd")).code == 200


async def test_a_server_that_stops(app: App, client: Client) -> None:
    app.closing = True
    assert (await ask(client, "GET", "/readyz")).code == 500
    assert (await ask(client, "GET", "/livez")).code == 200


async def test_a_check_of_nothing(client: Client) -> None:
    assert (await ask(client, "GET", "/livez/nothing")).code == 404


async def test_version(client: Client) -> None:
    version = (await ask(client, "GET", "/version")).json
    assert (version["major"], version["minor"]) == ("1", "36")
    assert version["gitVersion"].startswith("v1.36.")
    assert version["platform"].startswith("linux/")


def series(text: str, start: str) -> dict[str, float]:
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(start)}


async def test_metrics(client: Client) -> None:
    for name in ("a", "b"):
        await client.create(CONFIG_MAPS, config_map(name))
    await ask(client, "GET", f"{MAPS}/nothing")
    names = [i["metadata"]["name"] for i in (await client.list(CONFIG_MAPS))["items"]]
    text = (await ask(client, "GET", "/metrics")).body.decode()
    counts = series(text, "apiserver_request_total{")
    found: dict[str, Any] = {key: value for key, value in counts.items() if 'resource="configmaps"' in key}
    assert [v for k, v in found.items() if 'code="201"' in k and 'verb="POST"' in k] == [2]
    assert [v for k, v in found.items() if 'code="404"' in k and 'verb="GET"' in k] == [1]
    assert series(text, "apiserver_storage_objects")['apiserver_storage_objects{resource="configmaps"}'] == len(names)
    assert series(text, "process_cpu_seconds_total")
    for line in text.splitlines():
        assert line.startswith("#") or line.rpartition(" ")[2], line


async def test_the_root_lists_the_paths(client: Client) -> None:
    paths = (await ask(client, "GET", "/")).json["paths"]
    assert {"/api/v1", "/apis/apps/v1", "/healthz", "/livez/etcd", "/openapi/v2", "/version"} <= set(paths)


async def test_keys_of_service_account_tokens(client: Client) -> None:
    configuration = (await ask(client, "GET", "/.well-known/openid-configuration")).json
    assert configuration["jwks_uri"].endswith("/openid/v1/jwks")
    keys = (await ask(client, "GET", "/openid/v1/jwks")).json["keys"]
    assert keys[0]["use"] == "sig"
    assert "d" not in keys[0], "the private part stays here"


async def test_documents_know_when_they_have_not_changed(client: Client) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    first = await ask(client, "GET", "/apis", accept=accept)
    again = await ask(client, "GET", "/apis", accept=accept, if_none_match=first.headers["etag"])
    assert (again.code, again.body) == (304, b"")
