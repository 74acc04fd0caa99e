"""What is no resource: health, version, metrics, roots, keys."""

import asyncio
import io
import logging
import socket
from typing import Any

import pytest

from certs import files
from kapi.api import health, identity
from kapi.api.app import App
from kapi.client.client import Client
from kapi.objects import time
from kapi.objects.resource import CONFIG_MAPS, LEASES
from tests.api.asking import MAPS, ask, config_map


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/livez/ping", "/readyz/etcd", "/readyz/informer-sync"])
async def test_health(kept: Client, path: str) -> None:
    answer = await ask(kept, "GET", path)
    assert (answer.code, answer.body) == (200, b"ok")
    assert answer.headers["content-type"].startswith("text/plain")


async def test_health_in_words(kept: Client) -> None:
    lines = (await ask(kept, "GET", "/readyz?verbose")).body.decode().splitlines()
    assert lines[0] == "[+]ping ok"
    assert "[+]poststarthook/rbac/bootstrap-roles ok" in lines
    assert lines[-1] == "readyz check passed"
    lines = (await ask(kept, "GET", "/livez?verbose&exclude=etcd&exclude=nothing&exclude=else")).body.decode().splitlines()
    assert "[+]etcd excluded: ok" in lines
    assert lines[-2] == 'warn: some health checks cannot be excluded: no matches for "else","nothing"'


async def test_every_check_asks_something(app: App) -> None:
    """Each names a part that is asked, or one that the start finishes."""
    for part in {*health.names("livez").values(), *health.names("readyz").values()} - health.ASKED.keys():
        assert app.parts.wrong(part) == (health.UNFINISHED if part.endswith(" kept") else ""), part


async def test_checks_make_no_documents(app: App, kept: Client) -> None:
    await ask(kept, "GET", "/readyz")
    assert not [key for key in app.catalogue.kept if key[:1] == ("openapi",)]


async def test_what_is_not_done_yet(client: Client) -> None:
    answer = await ask(client, "GET", "/livez")
    assert answer.code == 500
    assert b"[-]poststarthook/apiservice-status-local-available-controller failed: reason withheld\n" in answer.body
    assert answer.body.endswith(b"livez check failed\n")
    single = await ask(client, "GET", "/livez/poststarthook/apiservice-status-local-available-controller")
    assert (single.code, single.body) == (500, b"internal server error: not finished\n")


async def test_work_that_ended(app: App, kept: Client) -> None:
    async def breaks() -> None:
        raise ValueError

    task = asyncio.create_task(breaks())
    app.parts.goes_on("API services kept", task)
    await asyncio.wait([task])
    path = "/livez/poststarthook/apiservice-status-remote-available-controller"
    assert (await ask(kept, "GET", path)).body == b"internal server error: stopped\n"


async def test_a_store_that_fails(app: App, kept: Client) -> None:
    app.rest.store.healthy = False
    answer = await ask(kept, "GET", "/readyz")
    assert answer.code == 500
    assert b"[-]etcd failed: reason withheld" in answer.body
    assert (await ask(kept, "GET", "/readyz/etcd")).code == 500
    assert (await ask(kept, "GET", "/readyz?exclude=etcd&exclude=etcd-readiness")).code == 200


async def test_a_certificate_that_ended(app: App, kept: Client) -> None:
    assert app.certificate is not None
    time.set_clock(lambda: files.expiry(app.certificate) + 1)  # type: ignore[arg-type]
    try:
        assert b"[-]loopback-serving-certificate failed" in (await ask(kept, "GET", "/livez")).body
    finally:
        time.set_clock(None)


async def test_a_log_that_cannot_be_written(kept: Client) -> None:
    handler = logging.StreamHandler(io.StringIO())
    logging.root.addHandler(handler)
    handler.stream.close()
    try:
        assert (await ask(kept, "GET", "/livez/log")).body == b"internal server error: logging blocked\n"
    finally:
        logging.root.removeHandler(handler)


async def test_a_server_that_stops(app: App, kept: Client) -> None:
    app.closing = True
    assert (await ask(kept, "GET", "/readyz")).code == 500
    assert (await ask(kept, "GET", "/livez")).code == 200


async def test_a_check_of_nothing(client: Client) -> None:
    assert (await ask(client, "GET", "/livez/nothing")).code == 404


async def test_a_server_says_that_it_is_there(app: App, kept: Client) -> None:
    (lease,) = (await kept.list(LEASES, "kube-system", labels="apiserver.kubernetes.io/identity=kube-apiserver"))["items"]
    assert lease["metadata"]["name"] == identity.name_of(socket.gethostname())
    gone = {"holderIdentity": "x", "leaseDurationSeconds": 3600, "renewTime": "2020-01-01T00:00:00.000000Z"}
    labels = lease["metadata"]["labels"]
    await kept.create(LEASES, {"metadata": {"name": "apiserver-x", "namespace": "kube-system", "labels": labels}, "spec": gone})
    kind = app.catalogue.by_kind("coordination.k8s.io/v1", "Lease")
    assert kind is not None
    await identity.Identity(app.rest, kind).renew()
    (left,) = (await kept.list(LEASES, "kube-system", labels="apiserver.kubernetes.io/identity=kube-apiserver"))["items"]
    assert left["metadata"]["uid"] == lease["metadata"]["uid"]
    assert left["spec"]["holderIdentity"] != lease["spec"]["holderIdentity"], "another process of the same host"


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
