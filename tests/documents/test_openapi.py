import dataclasses
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import orjson
import pytest

from kapi.documents import openapi, openapi_protobuf, operations
from kapi.objects.resource import Resource
from kapi.registry import catalogue
from kapi.registry.kind import Kind
from kapi.registry.strategy import Strategy
from kapi.schema import texts
from kapi.schema.schema import Schema

STANDARD = catalogue.standard(strategies={})
CORE = "io.k8s.api.core.v1."
META = "io.k8s.apimachinery.pkg.apis.meta.v1."


def document(path: str, served: catalogue.Catalogue = STANDARD) -> Any:
    if path == "/openapi/v3":
        return orjson.loads(b"".join(openapi.index(served)))
    found = openapi.find(served, path, {}, "application/json")
    assert found is not None
    return orjson.loads(b"".join(found.chunks(served)))


@pytest.fixture(autouse=True)
def _short_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptions of one type instead of all: reading the package's takes its time."""
    said = {"properties": {"name": {"description": "A name."}, "restartPolicy": {"description": "One."}}}
    monkeypatch.setattr(texts, "definitions", lambda: {CORE + "Container": said, CORE + "PodSpec": said})
    STANDARD.kept.clear()


def test_the_index_names_every_group_version() -> None:
    paths = document("/openapi/v3")["paths"]
    versions = {f"apis/{group}/{v}" if group else f"api/{v}" for group, vs in STANDARD.groups().items() for v in vs}
    groups = {f"apis/{group}" for group in STANDARD.groups() if group}
    assert set(paths) == versions | groups | {"api", "apis", "version", *operations.OPENID}
    url, _, digest = paths["apis/apps/v1"]["serverRelativeURL"].partition("?hash=")
    assert url == "/openapi/v3/apis/apps/v1"
    found = openapi.find(STANDARD, url, {"hash": digest}, "")
    assert found is not None
    assert found.headers["etag"] == f'"{digest}"'
    assert (found.headers["cache-control"], "location" in found.headers) == ("public, immutable", False)
    assert parsedate_to_datetime(found.headers["expires"]) > datetime.now(UTC) + timedelta(364)
    stale = openapi.find(STANDARD, url, {"hash": "0"}, "")
    assert stale is not None
    assert "immutable" not in stale.headers["cache-control"]
    assert stale.headers["location"] == paths["apis/apps/v1"]["serverRelativeURL"]


@pytest.mark.parametrize(
    ("path", "accept", "media"),
    [
        ("/openapi/v2", "", "application/json"),
        ("/openapi/v2", "text/html, */*;q=0.8", "application/json"),
        ("/openapi/v2", f"{openapi_protobuf.ACCEPTED[0]},application/json", openapi_protobuf.MEDIA),
        ("/openapi/v2", f"application/json, {openapi_protobuf.ACCEPTED[1]}", "application/json"),
        ("/openapi/v2", "text/html", ""),
        ("/openapi/v3/api/v1", "application/*", "application/json"),
        ("/openapi/v3/api/v1", openapi_protobuf.MEDIA, ""),
    ],
)
def test_forms_of_documents(path: str, accept: str, media: str) -> None:
    found = openapi.find(STANDARD, path, {}, accept)
    assert found is not None
    assert found.media == media


def test_unknown_documents() -> None:
    for path in ("/openapi/v3/apis/nothing/v1", "/openapi/v3/api/v2", "/openapi/v3/nonsense"):
        assert openapi.find(STANDARD, path, {}, "") is None


def test_types_of_version_3() -> None:
    schemas = document("/openapi/v3/api/v1")["components"]["schemas"]
    assert schemas[CORE + "Pod"]["x-kubernetes-group-version-kind"] == [{"group": "", "kind": "Pod", "version": "v1"}]
    spec = schemas[CORE + "PodSpec"]
    assert spec["required"] == ["containers"]
    containers = spec["properties"]["containers"]
    assert containers["items"] == {"$ref": f"#/components/schemas/{CORE}Container"}
    assert (containers["x-kubernetes-list-map-keys"], containers["x-kubernetes-patch-merge-key"]) == (["name"], "name")
    assert spec["properties"]["nodeSelector"]["x-kubernetes-map-type"] == "atomic"
    assert spec["properties"]["restartPolicy"]["enum"] == ["Always", "Never", "OnFailure"]
    assert schemas[CORE + "Container"]["properties"]["name"] == {"type": "string", "default": "", "description": "A name."}
    assert schemas["io.k8s.apimachinery.pkg.api.resource.Quantity"] == {"oneOf": [{"type": "string"}, {"type": "number"}]}
    assert schemas[META + "FieldsV1"] == {"type": "object"}


def test_references_all_lead_somewhere() -> None:
    out = document("/openapi/v3/apis/apps/v1")
    names = set(out["components"]["schemas"])
    used = {part.split('"')[0] for part in orjson.dumps(out).decode().split("#/components/schemas/")[1:]}
    assert used <= names
    assert "io.k8s.api.autoscaling.v1.Scale" in names


def test_operations() -> None:
    paths = document("/openapi/v3/apis/apps/v1")["paths"]
    item = paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]
    patch = item["patch"]
    assert {"fieldValidation", "dryRun", "force"} <= {parameter["name"] for parameter in patch["parameters"]}
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert patch["operationId"] == "patchAppsV1NamespacedDeployment"
    assert [parameter["name"] for parameter in item["parameters"]] == ["name", "namespace", "pretty"]
    collection = paths["/apis/apps/v1/namespaces/{namespace}/deployments"]
    assert collection["delete"]["operationId"] == "deleteAppsV1CollectionNamespacedDeployment"
    assert paths["/apis/apps/v1/deployments"]["get"]["operationId"] == "listAppsV1DeploymentForAllNamespaces"
    scale = paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["put"]
    assert scale["x-kubernetes-group-version-kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}


@pytest.mark.parametrize(
    ("name", "path", "operation", "tag"),
    [
        ("api", "/api/", "getCoreAPIVersions", "core"),
        ("api/v1", "/api/v1/", "getCoreV1APIResources", "core_v1"),
        ("apis", "/apis/", "getAPIVersions", "apis"),
        ("apis/rbac.authorization.k8s.io", "/apis/rbac.authorization.k8s.io/", "getRbacAuthorizationAPIGroup", "rbacAuthorization"),
        ("apis/apps/v1", "/apis/apps/v1/", "getAppsV1APIResources", "apps_v1"),
        ("version", "/version/", "getCodeVersion", "version"),
    ],
)
def test_roots(name: str, path: str, operation: str, tag: str) -> None:
    get = document(f"/openapi/v3/{name}")["paths"][path]["get"]
    assert (get["operationId"], get["tags"]) == (operation, [tag])


def test_streams() -> None:
    paths = document("/openapi/v3/api/v1")["paths"]
    pod = "/api/v1/namespaces/{namespace}/pods/{name}"
    assert paths[pod + "/exec"]["post"]["operationId"] == "connectCoreV1PostNamespacedPodExec"
    assert paths[pod + "/log"]["get"]["operationId"] == "readCoreV1NamespacedPodLog"
    assert set(paths[pod + "/proxy/{path}"]) == {"get", "put", "patch", "delete", "post", "head", "options", "parameters"}


@pytest.mark.slow
def test_version_2() -> None:
    out = document("/openapi/v2")
    assert out["swagger"] == "2.0"
    post = out["paths"]["/api/v1/namespaces/{namespace}/pods"]["post"]
    assert post["parameters"][0] == {"name": "body", "in": "body", "required": True, "schema": {"$ref": f"#/definitions/{CORE}Pod"}}
    assert {"name": "dryRun", "in": "query", "type": "string", "uniqueItems": True} in post["parameters"]
    spec = out["definitions"][CORE + "PodSpec"]["properties"]
    assert spec["affinity"] == {"$ref": f"#/definitions/{CORE}Affinity"}
    assert out["definitions"]["io.k8s.apimachinery.pkg.api.resource.Quantity"] == {"type": "string"}


class Own(Strategy):
    def openapi(self) -> dict[str, Any]:
        return {"type": "object", "properties": {"spec": {"type": "object"}}}


def test_a_custom_kind_is_described_by_its_own_schema() -> None:
    served = catalogue.Catalogue([])
    thing = Resource("example.com", "v1", "things", "Thing", True)
    verbs = ("get", "list", "patch")
    kind = Kind(thing, lambda: Schema("object"), Own(), "thing", verbs, custom=True, sign="1")
    served.add(kind)
    out = document("/openapi/v3/apis/example.com/v1", served)
    schema = out["components"]["schemas"]["com.example.v1.Thing"]
    assert schema["properties"]["spec"] == {"type": "object"}
    assert schema["properties"]["metadata"] == {"$ref": f"#/components/schemas/{META}ObjectMeta"}
    items = out["components"]["schemas"]["com.example.v1.ThingList"]["properties"]["items"]
    assert items["items"] == {"$ref": "#/components/schemas/com.example.v1.Thing"}
    hashes = [document("/openapi/v3", served)["paths"]["apis/example.com/v1"]]
    served.add(dataclasses.replace(kind, sign="2"))
    hashes.append(document("/openapi/v3", served)["paths"]["apis/example.com/v1"])
    assert hashes[0] != hashes[1]


@pytest.mark.slow
def test_descriptions_come_from_the_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    said = texts.definitions()
    assert "Standard object" in said[CORE + "Pod"]["properties"]["metadata"]["description"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert texts.definitions() == {}
