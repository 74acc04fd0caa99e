import hashlib
from typing import Any

import orjson

from kapi.documents import discovery
from kapi.objects.resource import Resource
from kapi.registry import catalogue
from kapi.registry.kind import Kind
from kapi.registry.strategy import Strategy
from kapi.schema.schema import Schema

STANDARD = catalogue.standard(strategies={})
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
CRUD = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


def document(path: str, accept: str = "application/json", served: catalogue.Catalogue = STANDARD) -> Any:
    return orjson.loads(answer(path, accept, served).payload)


def answer(path: str, accept: str = "", served: catalogue.Catalogue = STANDARD, address: str = "") -> discovery.Answer:
    asked = discovery.asked(served, path, accept)
    assert asked is not None
    return discovery.document(served, asked, address)


def test_roots() -> None:
    assert document("/api") == {"kind": "APIVersions", "versions": ["v1"]}
    addressed = answer("/api/", address="10.0.0.1:6443")
    assert orjson.loads(addressed[0])["serverAddressByClientCIDRs"] == [{"clientCIDR": "0.0.0.0/0", "serverAddress": "10.0.0.1:6443"}]
    groups = document("/apis")["groups"]
    assert len(groups) == 20
    assert {"kind": "APIGroup", "apiVersion": "v1"} | groups[5] == document("/apis/autoscaling/")


def test_a_group_prefers_its_first_version() -> None:
    two, one = ({"groupVersion": f"autoscaling/{v}", "version": v} for v in ("v2", "v1"))
    wanted = {"kind": "APIGroup", "apiVersion": "v1", "name": "autoscaling", "versions": [two, one], "preferredVersion": two}
    assert document("/apis/autoscaling") == wanted


def test_resources_of_a_version() -> None:
    out = document("/apis/apps/v1")
    assert (out["apiVersion"], out["groupVersion"]) == ("v1", "apps/v1")
    rows = {row["name"]: row for row in out["resources"]}
    assert list(rows) == sorted(rows)
    assert rows["deployments"] == {
        "name": "deployments",
        "singularName": "deployment",
        "namespaced": True,
        "kind": "Deployment",
        "verbs": CRUD,
        "shortNames": ["deploy"],
        "categories": ["all"],
        "storageVersionHash": "8aSe+NMegvE=",
    }
    scale = {"name": "deployments/scale", "singularName": "", "namespaced": True, "group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert rows["deployments/scale"] == scale | {"verbs": ["get", "patch", "update"]}


def test_the_core_list_has_no_version_of_its_own() -> None:
    out = document("/api/v1")
    assert "apiVersion" not in out
    rows = {row["name"]: row for row in out["resources"]}
    assert rows["pods/exec"]["kind"] == "PodExecOptions"
    assert rows["services/proxy"]["kind"] == "ServiceProxyOptions"
    assert "storageVersionHash" not in rows["bindings"]


def test_what_is_not_served_has_no_document() -> None:
    for path in ("/apis/nothing", "/apis/apps/v9", "/api/v2", "/apis/apps/v1/deployments", "/apix"):
        assert discovery.asked(STANDARD, path, "") is None


def test_aggregated_form_and_its_tag() -> None:
    found = answer("/apis", AGGREGATED + ",application/json")
    raw, media, etag = found
    assert media == AGGREGATED
    assert etag == f'"{hashlib.sha512(raw).hexdigest().upper()}"'
    items = orjson.loads(raw)["items"]
    apps = next(item for item in items if item["metadata"] == {"name": "apps"})["versions"][0]
    assert (apps["version"], apps["freshness"]) == ("v1", "Current")
    deployments = next(r for r in apps["resources"] if r["resource"] == "deployments")
    assert deployments["scope"] == "Namespaced"
    scale = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert deployments["subresources"][0] == {"subresource": "scale", "responseKind": scale, "verbs": ["get", "patch", "update"]}
    core = document("/api", AGGREGATED)
    assert [item["metadata"] for item in core["items"]] == [{}]


def test_the_form_the_client_puts_first_wins() -> None:
    assert document("/apis", f"application/json, {AGGREGATED}")["kind"] == "APIGroupList"
    assert document("/apis", AGGREGATED.replace("v2", "v2beta1"))["apiVersion"] == "apidiscovery.k8s.io/v2beta1"
    assert document("/apis", AGGREGATED.replace("v2", "v3") + ",application/json")["kind"] == "APIGroupList"
    assert document("/apis/apps", AGGREGATED)["kind"] == "APIGroup"


def test_a_new_kind_shows_at_once() -> None:
    served = catalogue.standard(strategies={})
    assert discovery.asked(served, "/apis/example.com/v1", "") is None
    thing = Resource("example.com", "v1", "things", "Thing", True)
    verbs: dict[str, tuple[str, ...]] = {"status": ("get", "patch", "update"), "scale": ("get", "patch", "update")}
    kind = Kind(thing, lambda: Schema("object"), Strategy(), "thing", tuple(CRUD), subresources=verbs, stored="example.com/v1", custom=True)
    served.add(kind)
    assert [row["name"] for row in document("/apis/example.com/v1", "", served)["resources"]] == ["things", "things/status", "things/scale"]
    versions = document("/apis", AGGREGATED, served)["items"][-1]["versions"]
    assert versions[0]["resources"][0]["responseKind"] == {"group": "example.com", "version": "v1", "kind": "Thing"}
