"""PATCH of all four kinds, through the whole pipeline. The algorithms have tests of their own (tests/objects, tests/schema)."""

from typing import Any

import orjson
import pytest

from kapi.client.client import Client
from kapi.objects import errors
from kapi.objects.resource import CONFIG_MAPS, DEPLOYMENTS
from tests.api.asking import IMAGE, MAPS, ask, config_map, deployment

JSON, MERGE, STRATEGIC, APPLY = (
    "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml",
)  # fmt: skip


def applied(name: str, data: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def test_merge(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a", {"one": "1", "two": "2"}))
    patched = await client.patch(CONFIG_MAPS, "a", {"data": {"one": None, "three": "3"}}, namespace="default")
    assert patched["data"] == {"two": "2", "three": "3"}


async def test_json(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a", {"one": "1"}))
    steps = [{"op": "test", "path": "/data/one", "value": "1"}, {"op": "move", "from": "/data/one", "path": "/data/two"}]
    assert (await client.patch(CONFIG_MAPS, "a", steps, namespace="default", kind="json"))["data"] == {"two": "1"}
    answer = await ask(client, "PATCH", f"{MAPS}/a", steps, content_type=JSON)
    assert answer.said[:2] == (422, "Invalid")
    assert (await client.get(CONFIG_MAPS, "a", "default"))["data"] == {"two": "1"}, "all steps or none"


async def test_strategic(client: Client) -> None:
    await client.create(DEPLOYMENTS, deployment("web"))
    containers = [{"name": "side", "image": IMAGE}, {"name": "c", "env": [{"name": "A", "value": "1"}]}]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    patched = await client.patch(DEPLOYMENTS, "web", patch, namespace="default", kind="strategic")
    found = {c["name"]: c for c in patched["spec"]["template"]["spec"]["containers"]}
    assert set(found) == {"c", "side"}
    assert (found["c"]["image"], found["c"]["env"]) == (IMAGE, [{"name": "A", "value": "1"}])
    gone = {"spec": {"template": {"spec": {"containers": [{"name": "side", "$patch": "delete"}]}}}}
    patched = await client.patch(DEPLOYMENTS, "web", gone, namespace="default", kind="strategic")
    assert [c["name"] for c in patched["spec"]["template"]["spec"]["containers"]] == ["c"]
    assert patched["metadata"]["generation"] == 3


async def test_apply_creates_changes_and_removes(client: Client) -> None:
    made = await ask(client, "PATCH", f"{MAPS}/a?fieldManager=me", applied("a", {"one": "1", "two": "2"}), content_type=APPLY)
    assert made.code == 201
    again = await ask(client, "PATCH", f"{MAPS}/a?fieldManager=me", applied("a", {"one": "9"}), content_type=APPLY)
    assert (again.code, again.json["data"]) == (200, {"one": "9"})
    assert [m["operation"] for m in again.json["metadata"]["managedFields"]] == ["Apply"]


async def test_an_apply_of_the_same_writes_nothing(client: Client) -> None:
    wanted = applied("a", {"one": "1"})
    made = await client.patch(CONFIG_MAPS, "a", wanted, namespace="default", kind="apply", fieldManager="me")
    assert await client.patch(CONFIG_MAPS, "a", wanted, namespace="default", kind="apply", fieldManager="me") == made


async def test_appliers_conflict(client: Client) -> None:
    await client.patch(CONFIG_MAPS, "a", applied("a", {"k": "1"}), namespace="default", kind="apply", fieldManager="me")
    path = f"{MAPS}/a?fieldManager=you"
    answer = await ask(client, "PATCH", path, applied("a", {"k": "2"}), content_type=APPLY)
    assert answer.said == (409, "Conflict", 'Apply failed with 1 conflict: conflict with "me": .data.k')
    assert answer.json["details"]["causes"] == [{"reason": "FieldManagerConflict", "message": 'conflict with "me"', "field": ".data.k"}]
    forced = await ask(client, "PATCH", f"{path}&force=true", applied("a", {"k": "2"}), content_type=APPLY)
    assert forced.json["data"] == {"k": "2"}


async def test_apply_as_yaml(client: Client) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: |\n    two\n    lines\n"
    answer = await ask(client, "PATCH", f"{MAPS}/a?fieldManager=me", text, content_type=APPLY)
    assert answer.json["data"] == {"k": "two\nlines\n"}


async def test_managers(client: Client) -> None:
    """Who wrote what: the User-Agent up to its slash, or fieldManager."""
    await ask(client, "POST", MAPS, config_map("a", {"one": "1"}), user_agent="kubectl/v1.36 (linux)")
    patched = await client.patch(CONFIG_MAPS, "a", {"data": {"two": "2"}}, namespace="default", fieldManager="other")
    owned = {m["manager"]: m["fieldsV1"]["f:data"] for m in patched["metadata"]["managedFields"]}
    assert owned == {"kubectl": {".": {}, "f:one": {}}, "other": {"f:two": {}}}


async def test_a_patch_may_name_the_version_it_means(client: Client) -> None:
    made = await client.create(CONFIG_MAPS, config_map("a"))
    version = made["metadata"]["resourceVersion"]
    patch = {"metadata": {"resourceVersion": version}, "data": {"k": "v"}}
    await client.patch(CONFIG_MAPS, "a", patch, namespace="default")
    with pytest.raises(errors.Conflict):
        await client.patch(CONFIG_MAPS, "a", patch | {"data": {"k": "w"}}, namespace="default")


REFUSED = [
    (MERGE, b"{", 400, "BadRequest"),
    (MERGE, b"[]", 400, "BadRequest"),
    (JSON, b'[{"op": "remove", "path": "/data/nothing"}]', 422, "Invalid"),
    (JSON, b'{"op": "remove"}', 400, "BadRequest"),
    ("text/plain", b"{}", 415, "UnsupportedMediaType"),
    (MERGE, b'{"metadata": {"name": "b"}}', 400, "BadRequest"),
    (MERGE, b'{"data": {"bad key": "v"}}', 422, "Invalid"),
    (APPLY, b"a: [", 400, "BadRequest"),
]


@pytest.mark.parametrize(("media", "body", "code", "reason"), REFUSED)
async def test_refusals(client: Client, media: str, body: bytes, code: int, reason: str) -> None:
    await client.create(CONFIG_MAPS, config_map("a"))
    answer = await ask(client, "PATCH", f"{MAPS}/a?fieldManager=me", body, content_type=media)
    assert answer.said[:2] == (code, reason)


async def test_a_patch_of_nothing(client: Client) -> None:
    for media in (MERGE, JSON, STRATEGIC):
        answer = await ask(client, "PATCH", f"{MAPS}/a", orjson.dumps([] if media == JSON else {}), content_type=media)
        assert answer.said == (404, "NotFound", 'configmaps "a" not found')


async def test_apply_needs_a_manager(client: Client) -> None:
    answer = await ask(client, "PATCH", f"{MAPS}/a", applied("a", {}), content_type=APPLY)
    assert answer.code == 422
    assert "fieldManager: Required value: is required for apply patch" in answer.json["message"]


async def test_force_is_for_apply(client: Client) -> None:
    answer = await ask(client, "PATCH", f"{MAPS}/a?force=true", {}, content_type=MERGE)
    assert "force: Forbidden: may not be specified for non-apply patch" in answer.json["message"]


@pytest.mark.parametrize("body", [b"[]", b"[ ]", b"[{}]"])
async def test_owners_are_forgotten_by_any_writer_who_says_so(client: Client, body: bytes) -> None:
    made = await ask(client, "POST", MAPS, config_map("owned", {"a": "1"}))
    assert made.json["metadata"]["managedFields"]
    patch = b'[{"op": "replace", "path": "/metadata/managedFields", "value": %s}]' % body
    left = await ask(client, "PATCH", f"{MAPS}/owned", patch, content_type="application/json-patch+json")
    assert (left.code, "managedFields" in left.json["metadata"]) == (200, False)
    raw = b'{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned", "managedFields": %s}, "data": {"a": "2"}}' % body
    left = await ask(client, "PUT", f"{MAPS}/owned", raw)
    assert (left.code, "managedFields" in left.json["metadata"]) == (200, False)


@pytest.mark.parametrize("subresource", ["", "/scale"])
async def test_a_strategic_merge_patch_names_no_kind(client: Client, subresource: str) -> None:
    """It goes into the type of what is there; JSON and merge patches are read again, and refused."""
    path = f"/apis/apps/v1/namespaces/default/deployments/web{subresource}"
    await client.create(DEPLOYMENTS, deployment("web"))
    patch = {"kind": "Pod", "apiVersion": "v7", "spec": {"replicas": 5}}
    done = await ask(client, "PATCH", path, patch, content_type="application/strategic-merge-patch+json")
    assert (done.code, done.json["spec"]["replicas"]) == (200, 5)
    assert done.json["kind"] == ("Scale" if path.endswith("scale") else "Deployment")
    refused = await ask(client, "PATCH", path, patch, content_type="application/merge-patch+json")
    assert refused.code in (400, 422)
    odd = await ask(client, "PATCH", path, {"kind": 7}, content_type="application/strategic-merge-patch+json")
    assert odd.code == 422
