"""What is no resource: version, metrics, roots, keys. Health: tests/apiserver/test_health.py."""

from typing import Any

from kapi.client.client import Client
from kapi.objects.resource import CONFIG_MAPS
from tests.api.asking import MAPS, ask, config_map


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
    assert series(text, "apiserver_resource_objects")['apiserver_resource_objects{group="",resource="configmaps"}'] == len(names)
    assert series(text, "process_cpu_seconds_total")
    assert series(text, "kubernetes_build_info{")
    assert 'git_version="v1.36.' in text
    for line in text.splitlines():
        assert line.startswith("#") or line.rpartition(" ")[2], line


async def test_metrics_of_health(kept: Client) -> None:
    await ask(kept, "GET", "/livez")
    text = (await ask(kept, "GET", "/metrics/slis")).body.decode()
    assert series(text, "kubernetes_healthcheck{")['kubernetes_healthcheck{name="etcd",type="livez"}'] == 1
    assert series(text, "kubernetes_healthchecks_total{")['kubernetes_healthchecks_total{name="etcd",status="success",type="livez"}'] == 1
    requests = series((await ask(kept, "GET", "/metrics")).body.decode(), "apiserver_request_total{")
    assert [value for key, value in requests.items() if 'subresource="/livez"' in key] == [1]


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


async def test_openapi_documents_by_their_hash(client: Client) -> None:
    index = await ask(client, "GET", "/openapi/v3")
    assert (await ask(client, "GET", "/openapi/v3", if_none_match=index.headers["etag"])).code == 304
    url = index.json["paths"]["version"]["serverRelativeURL"]
    found = await ask(client, "GET", url)
    assert (found.code, found.headers["cache-control"]) == (200, "public, immutable")
    assert (await ask(client, "GET", "/openapi/v3/version")).headers["cache-control"] == "no-cache, private"
    moved = await ask(client, "GET", "/openapi/v3/version?hash=0")
    assert (moved.code, moved.headers["location"], moved.body) == (301, url, b"")
    assert (await ask(client, "GET", "/openapi/v3/version", if_none_match=found.headers["etag"])).code == 304
    assert (await ask(client, "GET", "/openapi/v3/version", accept="text/html")).code == 406
