"""One object in several versions: what is written in one is read in the others."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kapi.apiserver import assembly
from kapi.apiserver.settings import Settings
from kapi.client.client import Client
from kapi.client.local import LocalTransport
from tests.api.asking import ask
from tests.conftest import ADMIN

OLD, MIDDLE, NEW = (f"/apis/resource.k8s.io/{version}" for version in ("v1beta1", "v1beta2", "v1"))
CLAIMS = "/namespaces/default/resourceclaims"


@pytest.fixture
async def every(pki: Path) -> AsyncIterator[Client]:
    """A client of a server that serves every version."""
    made = await assembly.assemble(Settings(data_dir=pki.parent, storage="memory:", runtime_config={"api/all": True}), pki)
    yield Client(LocalTransport(made.app, ADMIN), agent="test")
    await made.app.rest.store.close()


def claim(path: str, *requests: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": path.removeprefix("/apis/"), "kind": "ResourceClaim", "metadata": {"name": "a"},
        "spec": {"devices": {"requests": list(requests)}},
    }  # fmt: skip


async def test_a_flat_request_is_an_exact_one(every: Client) -> None:
    made = await ask(every, "POST", OLD + CLAIMS, claim(OLD, {"name": "gpu", "deviceClassName": "gpus"}))
    flat = {"name": "gpu", "deviceClassName": "gpus", "allocationMode": "ExactCount", "count": 1}
    assert (made.code, made.json["spec"]["devices"]["requests"]) == (201, [flat])
    exact = {"name": "gpu", "exactly": {"deviceClassName": "gpus", "allocationMode": "ExactCount", "count": 1}}
    for path in (MIDDLE, NEW):
        got = (await ask(every, "GET", f"{path}{CLAIMS}/a")).json
        assert (got["apiVersion"], got["spec"]["devices"]["requests"]) == (path.removeprefix("/apis/"), [exact])
    listed = (await ask(every, "GET", OLD + CLAIMS)).json
    assert listed["items"][0]["spec"]["devices"]["requests"] == [flat]


async def test_alternatives_come_back(every: Client) -> None:
    first = {"name": "any", "firstAvailable": [{"name": "big", "deviceClassName": "big"}, {"name": "small", "deviceClassName": "small"}]}
    made = await ask(every, "POST", NEW + CLAIMS, claim(NEW, first))
    assert made.code == 201
    old = (await ask(every, "GET", f"{OLD}{CLAIMS}/a")).json
    assert old["spec"]["devices"]["requests"][0]["deviceClassName"] == ""
    again = await ask(every, "PUT", f"{OLD}{CLAIMS}/a", old)
    assert again.code == 200
    assert (await ask(every, "GET", f"{NEW}{CLAIMS}/a")).json["spec"] == made.json["spec"]


async def test_errors_name_the_fields_of_the_new_version(every: Client) -> None:
    answer = await ask(every, "POST", OLD + CLAIMS, claim(OLD, {"name": "gpu", "deviceClassName": "NO"}))
    assert answer.code == 422
    assert "spec.devices.requests[0].exactly.deviceClassName" in answer.json["message"]


async def test_templates(every: Client) -> None:
    path = "/namespaces/default/resourceclaimtemplates"
    template = {"spec": claim(OLD, {"name": "gpu", "deviceClassName": "gpus"})["spec"]}
    body = {"apiVersion": "resource.k8s.io/v1beta1", "kind": "ResourceClaimTemplate", "metadata": {"name": "a"}, "spec": template}
    assert (await ask(every, "POST", OLD + path, body)).code == 201
    got = (await ask(every, "GET", f"{NEW}{path}/a")).json["spec"]["spec"]["devices"]["requests"][0]
    assert got["exactly"]["deviceClassName"] == "gpus"


async def test_a_slice_has_basic_devices(every: Client) -> None:
    device = {"name": "gpu-0", "basic": {"attributes": {"model": {"string": "x"}}}}
    pool = {"name": "p", "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": "gpu.example.com", "nodeName": "n", "pool": pool, "devices": [device]}
    body = {"apiVersion": "resource.k8s.io/v1beta1", "kind": "ResourceSlice", "metadata": {"name": "a"}, "spec": spec}
    made = await ask(every, "POST", f"{OLD}/resourceslices", body)
    assert (made.code, made.json["spec"]["devices"]) == (201, [device])
    new = (await ask(every, "GET", f"{NEW}/resourceslices/a")).json
    assert new["spec"]["devices"] == [{"name": "gpu-0", "attributes": {"model": {"string": "x"}}}]
    assert (await ask(every, "GET", f"{OLD}/resourceslices/a")).json["spec"] == made.json["spec"]


async def test_a_request_without_a_class_has_no_defaults(every: Client) -> None:
    """What is said of it, even `false`, makes it an exact one. Source: resource/v1beta1 defaults.go, conversion.go."""
    answer = await ask(every, "POST", OLD + CLAIMS, claim(OLD, {"name": "gpu", "adminAccess": False}))
    assert answer.code == 422
    assert {cause["field"] for cause in answer.json["details"]["causes"]} >= {
        "spec.devices.requests[0].exactly.deviceClassName", "spec.devices.requests[0].exactly.allocationMode",
    }  # fmt: skip
