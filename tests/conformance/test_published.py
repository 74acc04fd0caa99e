"""Comparing what is published: how differences are found, and what our own documents are held to without any recorded ones."""

import gzip
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from conformance import published
from kapi.documents import discovery, openapi, operations
from kapi.documents.definitions import V2, V3
from kapi.registry import catalogue
from kapi.schema import texts
from openapi import tables

STANDARD = catalogue.standard()
SCALE = "io.k8s.api.autoscaling.v1.ScaleSpec"


def get(path: str, accept: str) -> Any:
    """A document of the standard catalogue."""
    if path == "/openapi/v3":
        return orjson.loads(b"".join(openapi.index(STANDARD)))
    if path.startswith("/openapi"):
        found = openapi.find(STANDARD, path, {}, accept)
        return orjson.loads(b"".join(found.chunks(STANDARD))) if found else published.ABSENT
    asked = discovery.asked(STANDARD, path, accept)
    return orjson.loads(discovery.document(STANDARD, asked).payload) if asked else published.ABSENT


@pytest.fixture(autouse=True)
def _no_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "definitions", dict)


def test_differences() -> None:
    ours = {"a": 1, "list": [1, {"b": 2}], "description": "ours", "properties": {"description": {"type": "string"}}, "more": None}
    theirs = {"a": 1, "list": [1, {"b": 3}], "properties": {"description": {"type": "object"}}, "gone": []}
    found = {str(one) for one in published.differences(ours, theirs, "d")}
    assert found == {
        "d/list[1]/b: 2 instead of 3",
        'd/properties/description/type: "string" instead of "object"',
        "d/more: null instead of (absent)",
        "d/gone: (absent) instead of []",
    }


def test_documents_that_were_recorded_of_ourselves_do_not_differ(tmp_path: Path) -> None:
    version3 = {name: get(f"/openapi/v3/{name}", "") for name in ("api", "apis/policy/v1")}
    (tmp_path / "v3.gz").write_bytes(gzip.compress(orjson.dumps(version3)))
    (tmp_path / "documents").mkdir()
    for name, path in (("apis", "/apis"), ("apis__apps__v1", "/apis/apps/v1")):
        (tmp_path / "documents" / f"{name}.json").write_bytes(orjson.dumps(get(path, "")))
    (tmp_path / "documents" / "aggregated_v2.json").write_bytes(orjson.dumps(get("/apis", published.AGGREGATED)))
    found = list(published.compared(get, None, tmp_path / "v3.gz", tmp_path / "documents"))
    assert {one.path for one in found} == {f"openapi3/{name}" for name in get("/openapi/v3", "")["paths"].keys() - version3.keys()}
    assert all(one.theirs is published.ABSENT for one in found)


def test_what_a_type_cannot_tell_is_in_the_table() -> None:
    schemas = get("/openapi/v3/apis/apps/v1", "")["components"]["schemas"]
    assert schemas[SCALE]["properties"]["replicas"] == {"type": "integer", "format": "int32", "default": 0}
    port = schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"]
    assert (port["default"], port["enum"]) == ("TCP", ["SCTP", "TCP", "UDP"])
    modes = schemas["io.k8s.api.core.v1.PersistentVolumeClaimSpec"]["properties"]["accessModes"]
    assert "ReadWriteOncePod" in modes["items"]["enum"]
    groups = schemas["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"]["x-kubernetes-group-version-kind"]
    assert [kind["group"] for kind in groups] == ["", "apps"]


def test_what_all_operations_of_a_path_share_stands_there_once() -> None:
    paths = get("/openapi/v3/api/v1", "")["paths"]
    only = paths["/api/v1/namespaces/{namespace}/bindings"]
    assert [one["name"] for one in only["parameters"]] == ["dryRun", "fieldManager", "fieldValidation", "namespace", "pretty"]
    assert "parameters" not in only["post"]
    assert paths["/api/v1/watch/pods"]["get"]["operationId"] == "watchCoreV1PodListForAllNamespaces"


@pytest.mark.slow
def test_every_reference_of_version_2_leads_somewhere() -> None:
    out = get("/openapi/v2", "application/json")
    text = orjson.dumps(out).decode()
    types, parameters = (set(re.findall(f'"{start}([^"]+)"', text)) for start in (V2, "#/parameters/"))
    assert types <= set(out["definitions"])
    assert parameters == set(out["parameters"]) == set(tables.published()["parameters"].values())
    assert V3 not in text


def test_every_operation_says_what_it_does() -> None:
    for kind in STANDARD:
        for path, item in operations.paths(kind):
            assert all(operation["description"] for operation in item.values()), path
