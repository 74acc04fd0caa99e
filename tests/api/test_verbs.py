"""create, get, update and the options they share, as a client sees them."""

import asyncio
from typing import Any

import pytest

from kapi.client.client import Client
from kapi.objects import errors
from kapi.objects.resource import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, NODES, PODS, SERVICES
from tests.api.asking import MAPS, ask, config_map, deployment, pod
from tests.moments import turn

STALE = "the object has been modified; please apply your changes to the latest version and try again"


async def test_create_and_get(client: Client) -> None:
    made = await client.create(CONFIG_MAPS, config_map("a", {"k": "v"}))
    meta = made["metadata"]
    assert (made["kind"], made["apiVersion"], made["data"]) == ("ConfigMap", "v1", {"k": "v"})
    assert {"uid", "resourceVersion", "creationTimestamp", "managedFields"} <= set(meta)
    assert await client.get(CONFIG_MAPS, "a", "default") == made


async def test_create_answers_201_and_the_other_writes_200(client: Client) -> None:
    made = await ask(client, "POST", MAPS, config_map("a"))
    changed = await ask(client, "PUT", f"{MAPS}/a", config_map("a", {"k": "v"}))
    gone = await ask(client, "DELETE", f"{MAPS}/a")
    assert (made.code, changed.code, gone.code) == (201, 200, 200)


async def test_a_name_is_taken_once(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a"))
    again = await ask(client, "POST", MAPS, config_map("a"))
    assert again.said == (409, "AlreadyExists", 'configmaps "a" already exists')
    assert again.json["details"] == {"name": "a", "kind": "configmaps"}


async def test_generated_names(client: Client) -> None:
    wanted: dict[str, Any] = {"metadata": {"generateName": "web-"}}
    names = {(await client.create(CONFIG_MAPS, wanted, namespace="default"))["metadata"]["name"] for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("web-") and len(name) == 9 for name in names)
    assert not any(set(name[4:]) & set("aeiou013") for name in names), "what can be misread is not generated"


async def test_the_longest_generated_name_fits(client: Client) -> None:
    made = await client.create(CONFIG_MAPS, {"metadata": {"generateName": "a" * 100}}, namespace="default")
    assert len(made["metadata"]["name"]) == 63


async def test_a_name_is_needed(client: Client) -> None:
    answer = await ask(client, "POST", MAPS, {"metadata": {}})
    assert answer.said[:2] == (422, "Invalid")
    assert "name or generateName is required" in answer.json["message"]


async def test_names_and_namespaces_must_agree_with_the_url(client: Client) -> None:
    other = config_map("a") | {"metadata": {"name": "a", "namespace": "other"}}
    answer = await ask(client, "POST", MAPS, other)
    assert answer.said == (400, "BadRequest", "the namespace of the provided object does not match the namespace sent on the request")
    answer = await ask(client, "PUT", f"{MAPS}/b", config_map("a"))
    assert answer.said == (400, "BadRequest", "the name of the object (a) does not match the name on the URL (b)")


async def test_what_is_not_there(client: Client) -> None:
    for method, body in (("GET", b""), ("DELETE", b""), ("PUT", config_map("a"))):
        answer = await ask(client, method, f"{MAPS}/a", body)
        assert answer.said == (404, "NotFound", 'configmaps "a" not found')


async def test_a_namespace_that_is_not_there(client: Client) -> None:
    answer = await ask(client, "POST", "/api/v1/namespaces/nowhere/configmaps", {"metadata": {"name": "a"}})
    assert answer.said == (404, "NotFound", 'namespaces "nowhere" not found')


async def test_objects_without_a_namespace(client: Client) -> None:
    node = await client.create(NODES, {"metadata": {"name": "n", "namespace": "default"}})
    assert "namespace" not in node["metadata"]
    assert (await client.get(NODES, "n"))["metadata"]["uid"] == node["metadata"]["uid"]
    assert (await client.create(NAMESPACES, {"metadata": {"name": "team"}}))["status"] == {"phase": "Active"}


async def test_update_replaces(client: Client) -> None:
    made = await client.create(CONFIG_MAPS, config_map("a", {"one": "1", "two": "2"}, labels={"x": "y"}))
    changed = await client.update(CONFIG_MAPS, config_map("a", {"one": "3"}))
    assert changed["data"] == {"one": "3"}
    assert "labels" not in changed["metadata"]
    for kept in ("uid", "creationTimestamp"):
        assert changed["metadata"][kept] == made["metadata"][kept]
    assert int(changed["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])


async def test_an_update_that_changes_nothing_writes_nothing(client: Client) -> None:
    made = await client.create(CONFIG_MAPS, config_map("a", {"k": "v"}))
    assert await client.update(CONFIG_MAPS, made) == made


async def test_stale_updates_conflict(client: Client) -> None:
    made = await client.create(CONFIG_MAPS, config_map("a"))
    await client.update(CONFIG_MAPS, made | {"data": {"k": "1"}})
    answer = await ask(client, "PUT", f"{MAPS}/a", made | {"data": {"k": "2"}})
    assert answer.said == (409, "Conflict", f'Operation cannot be fulfilled on configmaps "a": {STALE}')


async def test_an_update_of_another_incarnation_conflicts(client: Client) -> None:
    made = await client.create(CONFIG_MAPS, config_map("a"))
    made["metadata"] |= {"uid": "another", "resourceVersion": ""}
    with pytest.raises(errors.Conflict, match="Precondition failed: UID in precondition: another"):
        await client.update(CONFIG_MAPS, made)


async def test_a_version_is_not_for_new_objects(client: Client) -> None:
    answer = await ask(client, "POST", MAPS, config_map("a", resourceVersion="7"))
    assert answer.code == 500
    assert answer.json["message"] == "resourceVersion should not be set on objects to be created"


@pytest.mark.parametrize("version", ["abc", "0", "-1", "1.5", str(1 << 64), "9" * 5000])
async def test_a_version_that_is_no_number_is_none(client: Client, version: str) -> None:
    for _, code in (("new", 201), ("there", 409)):
        answer = await ask(client, "POST", MAPS, config_map("a", resourceVersion=version))
        assert answer.code == code
    assert (await client.get(CONFIG_MAPS, "a", "default"))["metadata"]["resourceVersion"].isdecimal()


SCALE = {"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 1}}
WEB = "/apis/apps/v1/namespaces/default/deployments/web"


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ("abc", '"abc": invalid syntax'), ("-1", '"-1": invalid syntax'), ("1.5", '"1.5": invalid syntax'), (" 1", '" 1": invalid syntax'),
        (str(1 << 64), f'"{1 << 64}": value out of range'),
    ],
)  # fmt: skip
async def test_a_version_of_an_update_is_a_number(client: Client, version: str, why: str) -> None:
    await client.create(CONFIG_MAPS, config_map("a"))
    await client.create(DEPLOYMENTS, deployment("web"))
    meta = {"metadata": {"resourceVersion": version}}
    lease = "/apis/coordination.k8s.io/v1/namespaces/default/leases/new"
    for method, path, body, type_ in (
        ("PUT", f"{MAPS}/a", config_map("a", resourceVersion=version), ""), ("PATCH", f"{MAPS}/a", meta, "application/merge-patch+json"),
        ("PUT", f"{WEB}/scale", {**SCALE, "metadata": {"name": "web", "resourceVersion": version}}, ""),
        ("PUT", lease, {"metadata": {"name": "new", "resourceVersion": version}, "spec": {}}, ""),
    ):  # fmt: skip
        answer = await ask(client, method, path, body, content_type=type_ or "application/json")
        assert answer.said == (500, "", f"strconv.ParseUint: parsing {why}"), path


async def test_versions_are_compared_as_numbers(client: Client) -> None:
    made = (await client.create(CONFIG_MAPS, config_map("a")))["metadata"]["resourceVersion"]
    assert (await ask(client, "PUT", f"{MAPS}/a", config_map("a", resourceVersion=f"00{made}"))).code == 200
    assert (await ask(client, "PUT", f"{MAPS}/a", config_map("a", resourceVersion="000"))).code == 200


@pytest.mark.parametrize("verb", ["create", "update", "patch", "delete", "collection"])
async def test_dry_run_leaves_nothing(client: Client, verb: str) -> None:
    if verb != "create":
        await client.create(CONFIG_MAPS, config_map("a"))
    before = await client.list(CONFIG_MAPS, "default")
    if verb == "create":
        made = await client.create(CONFIG_MAPS, config_map("a"), dryRun="All")
        assert made["metadata"]["uid"]
        assert "resourceVersion" not in made["metadata"]
    elif verb == "update":
        assert (await client.update(CONFIG_MAPS, config_map("a", {"k": "v"}), dryRun="All"))["data"] == {"k": "v"}
    elif verb == "patch":
        assert (await client.patch(CONFIG_MAPS, "a", {"data": {"k": "v"}}, namespace="default", dryRun="All"))["data"] == {"k": "v"}
    elif verb == "delete":
        assert (await client.delete(CONFIG_MAPS, "a", namespace="default", dryRun="All"))["status"] == "Success"
    else:
        await client.delete_collection(CONFIG_MAPS, "default", dryRun="All")
    assert await client.list(CONFIG_MAPS, "default") == before


async def test_dry_run_takes_no_address(client: Client) -> None:
    service = {"metadata": {"name": "s", "namespace": "default"}, "spec": {"ports": [{"port": 80}], "clusterIP": "10.96.7.7"}}
    for _ in range(2):
        await client.create(SERVICES, service, dryRun="All")
    assert (await client.create(SERVICES, service))["spec"]["clusterIP"] == "10.96.7.7"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("dryRun=Some", 'dryRun: Unsupported value: ["Some"]: supported values: "All"'),
        ("fieldValidation=Loud", 'fieldValidation: Unsupported value: "Loud": supported values: "", "Ignore", "Strict", "Warn"'),
        ("fieldManager=" + "x" * 129, "fieldManager: Too long: may not be more than 128 bytes"),
    ],
)
async def test_options_are_checked(client: Client, query: str, said: str) -> None:
    answer = await ask(client, "POST", f"{MAPS}?{query}", config_map("a"))
    assert answer.code == 422
    assert said in answer.json["message"]


async def test_unknown_fields(client: Client) -> None:
    wanted = config_map("a") | {"color": "red"}
    ignored = await ask(client, "POST", f"{MAPS}?fieldValidation=Ignore", wanted)
    assert (ignored.code, "warning" in ignored.headers, "color" in ignored.json) == (201, False, False)
    warned = await ask(client, "PUT", f"{MAPS}/a", wanted)
    assert warned.headers["warning"] == '299 - "unknown field \\"color\\""'
    for name, shown in (("co\r\nlor: x", r"co\\r\\nlor: x"), ("farbe\u00e4\u20ac", "farbe\u00e4\u20ac"), ("\u0085", r"\\u0085")):
        broken = await ask(client, "PUT", f"{MAPS}/a", config_map("a") | {name: "red"})
        said = broken.headers["warning"].encode("latin-1").decode()
        assert said == f'299 - "unknown field \\"{shown}\\""', "no line's end in a header"
    strict = await ask(client, "PUT", f"{MAPS}/a?fieldValidation=Strict", wanted)
    assert strict.code == 400
    assert 'strict decoding error: unknown field "color"' in strict.json["message"]


async def test_generation_counts_changes_of_the_spec(api: Client) -> None:
    made = await api.create(PODS, pod("p"))
    assert made["metadata"]["generation"] == 1
    labelled = await api.patch(PODS, "p", {"metadata": {"labels": {"a": "b"}}}, namespace="default")
    assert labelled["metadata"]["generation"] == 1
    image = {"spec": {"containers": [{"name": "c", "image": "localhost/kapi/busybox:2"}]}}
    changed = await api.patch(PODS, "p", image, namespace="default", kind="strategic")
    assert changed["metadata"]["generation"] == 2


async def test_concurrent_updates_lose_nothing(client: Client) -> None:
    """Twenty writers add one each, trying again on conflict, as every client library does."""
    await client.create(CONFIG_MAPS, config_map("counter", {"n": "0"}))
    conflicts = 0

    async def add() -> None:
        nonlocal conflicts
        while True:
            seen = await client.get(CONFIG_MAPS, "counter", "default")
            seen["data"]["n"] = str(int(seen["data"]["n"]) + 1)
            await turn()
            try:
                await client.update(CONFIG_MAPS, seen)
                return
            except errors.Conflict:
                conflicts += 1

    await asyncio.gather(*(add() for _ in range(20)))
    assert (await client.get(CONFIG_MAPS, "counter", "default"))["data"]["n"] == "20"
    assert conflicts > 0


async def test_concurrent_patches_lose_nothing(client: Client) -> None:
    """The server tries a patch again itself."""
    await client.create(CONFIG_MAPS, config_map("a"))
    keys = {f"k{i}": "v" for i in range(20)}
    await asyncio.gather(*(client.patch(CONFIG_MAPS, "a", {"data": {key: "v"}}, namespace="default") for key in keys))
    assert (await client.get(CONFIG_MAPS, "a", "default"))["data"] == keys


async def test_one_of_many_creators_wins(client: Client) -> None:
    answers = await asyncio.gather(*(ask(client, "POST", MAPS, config_map("a")) for _ in range(20)))
    assert sorted(a.code for a in answers) == [201] + [409] * 19

