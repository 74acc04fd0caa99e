"""An extension API server behind the API server: found, asked on somebody's behalf, told of, and missed when it is gone."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest

from kapi.api.app import App
from kapi.apiserver import aggregator, availability, bootstrap, changes
from kapi.apiserver.assembly import Server
from kapi.client.client import Client
from kapi.client.local import LocalTransport
from kapi.documents import remote
from kapi.objects.resource import Resource
from kapi.objects.user import User
from tests import extension
from tests.api.asking import Answer, as_user, ask
from tests.apiserver.test_status_controllers import APIS, until
from tests.extension import API, GROUP, Extension
from tests.moments import turn

NAME = f"v1.{GROUP}"
FLUNDERS = Resource(GROUP, "v1", "flunders", "Flunder", True)
FLUNDER = {"metadata": {"name": "a"}, "spec": {"weight": 3}}


@pytest.fixture
def wardle(pki: Path, tmp_path: Path) -> Iterator[Extension]:
    with extension.serving(pki, tmp_path, "localhost") as running:
        yield running


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers are asked again sooner."""
    monkeypatch.setattr(availability, "RECHECK", 0.05)
    monkeypatch.setattr(aggregator, "REFRESH", 0.05)


async def register(client: Client, running: Extension, **more: Any) -> None:
    for obj in extension.service(running):
        await client.create(Resource("", "v1", "services", "Service", True), obj)
    await client.create(APIS, extension.api_service(running.port, running.authority, **more))


async def registered(client: Client, running: Extension) -> Client:
    """Once the server is there, and its discovery is."""
    await register(client, running)
    await until(client, APIS, NAME, "Passed")
    await told(client, "Current")
    return client


async def told(client: Client, freshness: str) -> Any:
    """Aggregated discovery of the group, once it is so fresh."""
    async with asyncio.timeout(10):
        while True:
            found = (await ask(client, "GET", "/apis", Accept=remote.ACCEPT)).json
            versions = [group["versions"][0] for group in found["items"] if group["metadata"]["name"] == GROUP]
            if versions and versions[0]["freshness"] == freshness:
                return versions[0]
            await turn()


async def test_objects_are_the_other_servers(kept: Client, wardle: Extension) -> None:
    client = await registered(kept, wardle)
    made = await client.create(FLUNDERS, FLUNDER, namespace="default")
    assert made["metadata"]["uid"] == "u"
    assert (await client.get(FLUNDERS, "a", "default"))["spec"] == {"weight": 3}
    await client.patch(FLUNDERS, "a", {"spec": {"weight": 4}}, namespace="default")
    assert [obj["spec"] for obj in (await client.list(FLUNDERS))["items"]] == [{"weight": 4}]
    async with aclosing(client.watch(FLUNDERS, version="0")) as events:  # type: ignore[type-var]
        assert [(await anext(events))[0] for _ in range(2)] == ["ADDED", "MODIFIED"]
        await client.delete(FLUNDERS, "a", namespace="default")
        assert (await anext(events))[0] == "DELETED"
    assert (await ask(client, "GET", f"{API}/namespaces/default/flunders/a")).said[:2] == (404, "NotFound")


async def test_who_asks_is_told_and_nothing_else(kept: Client, wardle: Extension, app: App) -> None:
    await registered(kept, wardle)
    user = User("jane", ("system:masters", "system:authenticated"), "7", {"a/B%": ["x", "y"]})
    client = Client(LocalTransport(app, user), agent="test")
    given = {"X_Remote_User": "eve", "X_Remote_Extra_Z": "z", "Authorization": "Bearer t", "X_Mine": "m", "Audit_Id": "q"}
    answer = await ask(client, "GET", f"{API}/namespaces/default/flunders?limit=5&resourceVersion=0&timeout=5s", **given)
    assert answer.code == 200
    asked = wardle.last(f"{API}/namespaces/default/flunders")
    assert asked.path == f"{API}/namespaces/default/flunders?limit=5&resourceVersion=0&timeout=5s"
    assert {name: values for name, values in asked.headers.items() if name.startswith("x-remote")} == {
        "x-remote-user": ["jane"], "x-remote-group": ["system:masters", "system:authenticated"], "x-remote-uid": ["7"],
        "x-remote-extra-a%2fb%25": ["x", "y"],
    }  # fmt: skip
    assert "authorization" not in asked.headers
    assert (asked.headers["x-mine"], asked.headers["audit-id"]) == (["m"], ["q"])
    assert asked.headers["host"] == [f"127.0.0.1:{wardle.port}"] or asked.headers["host"] == [f"localhost:{wardle.port}"]
    document = f"/openapi/v3{API}"
    await ask(client, "GET", document, Impersonate_User="joe", Impersonate_Group="g")
    assert wardle.user(document) == ("joe", ["g", "system:authenticated"])
    assert not any(name.startswith("impersonate") for name in wardle.last(document).headers)


async def test_this_server_decides_who_may(kept: Client, wardle: Extension) -> None:
    await registered(kept, wardle)
    before = len(wardle.asked)
    refused = await ask(as_user(kept, "joe"), "GET", f"{API}/namespaces/default/flunders")
    text = f'flunders.{GROUP} is forbidden: User "joe" cannot list resource "flunders" in API group "{GROUP}" in the namespace "default"'
    assert refused.said == (403, "Forbidden", text)
    assert all(one.path != f"{API}/namespaces/default/flunders" for one in wardle.asked[before:])


async def test_discovery_tells_of_it(kept: Client, wardle: Extension) -> None:
    client = await registered(kept, wardle)
    assert await told(client, "Current") == {"version": "v1", "resources": extension._resources(), "freshness": "Current"}
    groups = [group["name"] for group in (await ask(client, "GET", "/apis")).json["groups"]]
    assert groups[0] == "apiregistration.k8s.io"
    assert groups[-1] == GROUP, "its priority is the lowest"
    group = (await ask(client, "GET", f"/apis/{GROUP}")).json
    assert group["preferredVersion"] == {"groupVersion": f"{GROUP}/v1", "version": "v1"}
    assert (await ask(client, "GET", API)).json == extension.LEGACY
    assert API in (await ask(client, "GET", "/")).json["paths"]


async def test_a_high_priority_comes_first(kept: Client, wardle: Extension) -> None:
    await register(kept, wardle, groupPriorityMinimum=17810)
    await until(kept, APIS, NAME, "Passed")
    await told(kept, "Current")
    groups = [group["name"] for group in (await ask(kept, "GET", "/apis")).json["groups"]]
    assert groups[:3] == ["apiregistration.k8s.io", GROUP, "apps"]


async def test_priorities_of_our_own_count(kept: Client) -> None:
    await kept.patch(APIS, "v1.batch", {"spec": {"groupPriorityMinimum": 17950}})
    await kept.patch(APIS, "v1.autoscaling", {"spec": {"versionPriority": 99}})
    async with asyncio.timeout(10):
        while (groups := (await ask(kept, "GET", "/apis")).json["groups"])[1]["name"] != "batch":
            await turn()
        while (await ask(kept, "GET", "/apis/autoscaling")).json["preferredVersion"]["version"] != "v1":
            await turn()
    assert [group["name"] for group in groups[:3]] == ["apiregistration.k8s.io", "batch", "apps"]


async def test_discovery_of_old_servers(kept: Client, wardle: Extension) -> None:
    wardle.aggregated = False
    client = await registered(kept, wardle)
    version = await told(client, "Current")
    empty = {"group": "", "version": "", "kind": "Flunder"}
    assert version["resources"] == [{
        "resource": "flunders", "responseKind": empty, "scope": "Namespaced", "singularResource": "flunder", "verbs": extension.VERBS,
        "shortNames": ["fl"], "subresources": [{"subresource": "attach", "responseKind": empty, "verbs": ["create"]}],
    }]  # fmt: skip


async def test_openapi_tells_of_it(kept: Client, wardle: Extension) -> None:
    client = await registered(kept, wardle)
    async with asyncio.timeout(10):
        while f"apis/{GROUP}/v1" not in (index := (await ask(client, "GET", "/openapi/v3")).json["paths"]):
            await turn()
        while extension.PATH not in (whole := (await ask(client, "GET", "/openapi/v2", Accept="application/json")).json)["paths"]:
            await turn()
    assert index[f"apis/{GROUP}/v1"] == extension.INDEX["paths"][f"apis/{GROUP}/v1"]
    assert {"api/v1", "apis", "version"} <= index.keys()
    assert (await ask(client, "GET", f"/openapi/v3{API}?hash=W")).json == extension.OPENAPI3
    assert "/healthz/" not in whole["paths"]
    assert whole["paths"][extension.PATH]["parameters"] == [extension.OPENAPI2["parameters"]["p"]]  # type: ignore[index]
    fish = whole["definitions"][extension.TYPE]
    assert fish["properties"]["metadata"] == {"$ref": f"#/definitions/{extension.META}_v2"}
    assert whole["definitions"][f"{extension.META}_v2"] == {"type": "object", "description": "Not ours."}
    assert "name" in whole["definitions"][extension.META]["properties"]
    assert "unused" not in whole["definitions"]
    accept = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    assert extension.TYPE.encode() in (await ask(client, "GET", "/openapi/v2", Accept=accept)).body


def plain(answer: Answer) -> tuple[int, str, bytes]:
    return answer.code, answer.headers["content-type"], answer.body


SAYS = "text/plain; charset=utf-8"


async def test_death_and_return(kept: Client, pki: Path, tmp_path: Path) -> None:
    with ExitStack() as first:
        wardle = first.enter_context(extension.serving(pki, tmp_path, "localhost"))
        client = await registered(kept, wardle)
        port = wardle.port
    gone = await ask(client, "GET", API)
    assert gone.code == 503
    failed = await until(client, APIS, NAME, "FailedDiscoveryCheck")
    where = f"https://localhost:{port}{API}"
    assert failed["message"] == f'failing or missing response from {where}: Get "{where}": ' + (
        f"dial tcp localhost:{port}: connect: connection refused"
    )
    assert await told(client, "Stale") == {"version": "v1", "freshness": "Stale"}
    assert plain(await ask(client, "GET", f"{API}/flunders")) == (503, SAYS, b"service unavailable\n")
    assert GROUP in [group["name"] for group in (await ask(client, "GET", "/apis")).json["groups"]]
    with extension.serving(pki, tmp_path, "localhost", port) as wardle:
        patch = {"spec": extension.api_service(port, wardle.authority)["spec"]}
        await client.patch(APIS, NAME, patch)
        await until(client, APIS, NAME, "Passed")
        assert (await told(client, "Current"))["resources"]
        assert (await ask(client, "GET", f"{API}/flunders")).code == 200


async def test_a_server_of_another_ca(kept: Client, wardle: Extension, pki: Path) -> None:
    await register(kept, wardle)
    await kept.patch(APIS, NAME, {"spec": {"caBundle": extension.api_service(1, (pki / "ca.crt").read_bytes())["spec"]["caBundle"]}})
    await until(kept, APIS, NAME, "Passed")
    text = b"error trying to reach service: tls: failed to verify certificate: x509: certificate signed by unknown authority\n"
    assert plain(await ask(kept, "GET", API)) == (503, SAYS, text)


async def test_a_ca_that_is_none(kept: Client, wardle: Extension) -> None:
    await register(kept, wardle)
    await kept.patch(APIS, NAME, {"spec": {"caBundle": "eA=="}})
    await until(kept, APIS, NAME, "Passed")
    text = b"unable to load root certificates: unable to parse bytes as PEM block\n"
    assert plain(await ask(kept, "GET", API)) == (500, SAYS, text)


async def test_a_host_name_that_is_none(kept: Client) -> None:
    host = "a" * 100 + ".example"
    meta = {"name": "wardle", "namespace": "default"}
    spec = {"type": "ExternalName", "externalName": host}
    await kept.create(Resource("", "v1", "services", "Service", True), {"metadata": meta, "spec": spec})
    await kept.create(APIS, extension.api_service(443))
    failed = await until(kept, APIS, NAME, "FailedDiscoveryCheck")
    assert failed["message"].endswith(f"dial tcp: lookup {host}: no such host")


async def test_a_service_of_any_type_is_asked(kept: Client, wardle: Extension) -> None:
    """Without a slice there is no endpoint; only a ClusterIP's are looked at before that."""
    meta = {"name": "wardle", "namespace": "default"}
    spec = {"type": "NodePort", "ports": [{"port": 443}]}
    await kept.create(Resource("", "v1", "services", "Service", True), {"metadata": meta, "spec": spec})
    await kept.create(APIS, extension.api_service(443))
    failed = await until(kept, APIS, NAME, "FailedDiscoveryCheck")
    assert failed["message"] == 'no endpoints available for service "wardle"'


async def test_api_services_themselves_are_never_the_other_servers(kept: Client, wardle: Extension) -> None:
    """Whatever is said of them: nobody could take it back. Other groups of ours may be."""
    await registered(kept, wardle)
    service = {"namespace": "default", "name": "wardle", "port": wardle.port}
    for name in ("v1.apiregistration.k8s.io", "v1.apps"):
        await kept.patch(APIS, name, {"spec": {"service": service, "insecureSkipTLSVerify": True}})
        await until(kept, APIS, name, "FailedDiscoveryCheck")
    assert (await ask(kept, "GET", "/apis/apps/v1/deployments")).code == 503
    assert (await kept.get(APIS, "v1.apiregistration.k8s.io"))["spec"]["service"] == service
    await kept.patch(APIS, "v1.apps", {"spec": {"service": None, "insecureSkipTLSVerify": None}})
    await until(kept, APIS, "v1.apps", "Local")
    assert (await ask(kept, "GET", "/apis/apps/v1/deployments")).code == 200


@pytest.mark.parametrize("between", [{}, {"spec": {"service": None, "caBundle": None}}, None], ids=["as before", "local", "gone"])
async def test_one_that_was_something_else_for_a_moment_is_checked(
    kept: Client, wardle: Extension, app: App, monkeypatch: pytest.MonkeyPatch, between: Any
) -> None:
    """Though nobody looked in between: changed, local, or gone."""
    monkeypatch.setattr(availability, "RECHECK", 30.0)
    looking, look = asyncio.Event(), changes.changed
    looking.set()

    async def held(*args: Any) -> None:
        await look(*args)
        await looking.wait()

    monkeypatch.setattr(availability, "changed", held)
    await registered(kept, wardle)
    looking.clear()
    if between is None:
        await kept.delete(APIS, NAME)
    else:
        await kept.patch(APIS, NAME, between)
    app.aggregation.failed((GROUP, "v1"))
    for _ in range(20):
        await turn()
    fresh = extension.api_service(wardle.port, wardle.authority)
    if between is None:
        await kept.create(APIS, fresh)
    else:
        await kept.patch(APIS, NAME, {"spec": fresh["spec"]})
        await kept.patch(APIS, NAME, {"status": {"conditions": None}}, subresource="status")
    looking.set()
    async with asyncio.timeout(5):
        await until(kept, APIS, NAME, "Passed")


async def test_a_deleted_api_service(kept: Client, wardle: Extension) -> None:
    client = await registered(kept, wardle)
    await client.delete(APIS, NAME)
    async with asyncio.timeout(10):
        while (await ask(client, "GET", API)).code != 404:
            await turn()
    assert GROUP not in [group["name"] for group in (await ask(client, "GET", "/apis")).json["groups"]]
    assert (await ask(client, "GET", f"{API}/flunders")).body == b"404 page not found\n"


async def test_what_extension_servers_trust_is_kept_current(server: Server, client: Client, pki: Path) -> None:
    where = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
    before = (await ask(client, "GET", where)).json
    assert before["data"]["requestheader-client-ca-file"] == (pki / "front-proxy-ca.crt").read_text()
    place = bootstrap.Place("192.0.2.9", 6443, "10.96.0.0/12", "new CA", "new front-proxy CA")
    await bootstrap.ensure(server.app.rest, server.app.catalogue, place)
    after = (await ask(client, "GET", where)).json["data"]
    assert (after["client-ca-file"], after["requestheader-client-ca-file"]) == ("new CA", "new front-proxy CA")
    assert after["requestheader-allowed-names"] == '["front-proxy-client"]'
