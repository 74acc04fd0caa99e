"""Lists: selectors, pages that stay as they were, resource versions and their refusals."""

from typing import Any

import pytest

from kapi.api.app import App
from kapi.client.client import Client
from kapi.objects import errors
from kapi.objects.resource import CONFIG_MAPS, EVENTS, PODS
from tests.api.asking import MAPS, as_user, ask, config_map, pod


def names(listed: dict[str, Any]) -> list[str]:
    return [item["metadata"]["name"] for item in listed["items"]]


async def fill(client: Client, count: int = 5) -> list[int]:
    """Config maps m0, m1 …; the revisions they were made at."""
    made = [await client.create(CONFIG_MAPS, config_map(f"m{i}", labels={"i": str(i), "odd": str(i % 2)})) for i in range(count)]
    return [int(obj["metadata"]["resourceVersion"]) for obj in made]


async def test_a_list(client: Client) -> None:
    revisions = await fill(client, 2)
    listed = await client.list(CONFIG_MAPS, "default")
    assert (listed["kind"], listed["apiVersion"], names(listed)) == ("ConfigMapList", "v1", ["m0", "m1"])
    assert listed["metadata"] == {"resourceVersion": str(revisions[-1])}
    assert not any("kind" in item for item in listed["items"]), "items of a list do not say what they are"


async def test_an_empty_list(client: Client) -> None:
    assert (await client.list(PODS, "default"))["items"] == []


async def test_all_namespaces(client: Client) -> None:
    await fill(client, 1)
    await client.create(CONFIG_MAPS, {"metadata": {"name": "z", "namespace": "kube-system"}})
    listed = await client.list(CONFIG_MAPS)
    assert listed["items"][0]["metadata"]["namespace"] == "default"
    assert listed["items"][-1]["metadata"]["namespace"] == "kube-system"
    assert "z" in names(listed)


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("i=1", "1"), ("i==1", "1"), ("i!=1", "0234"), ("i in (1,3)", "13"), ("i notin (1,3)", "024"), ("odd=1,i!=1", "3"),
        ("odd", "01234"), ("!odd", ""), ("i>2", "34"), ("i<2", "01"), ("nothing=x", ""), ("nothing!=x", "01234"),
    ],
)  # fmt: skip
async def test_label_selectors(client: Client, selector: str, found: str) -> None:
    await fill(client)
    assert names(await client.list(CONFIG_MAPS, "default", labels=selector)) == [f"m{i}" for i in found]


async def test_field_selectors(api: Client) -> None:
    for name, node in (("a", "n1"), ("b", "n2"), ("c", "n1")):
        await api.create(PODS, pod(name, node=node))
    for selector, found in (
        ("spec.nodeName=n1", "ac"), ("spec.nodeName!=n1", "b"), ("metadata.name=b", "b"), ("metadata.namespace=other", ""),
        ("status.phase=Pending,spec.nodeName=n1", "ac"), ("status.phase!=Pending", ""), ("spec.restartPolicy=Always", "abc"),
    ):  # fmt: skip
        assert names(await api.list(PODS, "default", fields=selector)) == list(found), selector


async def test_selectors_that_make_no_sense(client: Client) -> None:
    answer = await ask(client, "GET", f"{MAPS}?labelSelector=a%3D%3D%3Db")
    assert answer.said[:2] == (400, "BadRequest")
    assert "unable to parse requirement" in answer.json["message"]
    answer = await ask(client, "GET", "/api/v1/pods?fieldSelector=spec.color%3Dred")
    assert answer.said == (400, "BadRequest", "field label not supported: spec.color")
    answer = await ask(client, "GET", "/apis/batch/v1/jobs?fieldSelector=spec.color%3Dred")
    assert answer.said == (400, "BadRequest", 'field label "spec.color" not supported for Job')
    known = 'only "metadata.name", "metadata.namespace"'
    answer = await ask(client, "GET", "/apis/apps/v1/deployments?fieldSelector=spec.color%3Dred")
    assert answer.said == (400, "BadRequest", f'"spec.color" is not a known field selector: {known}')


async def test_pages_show_one_state(client: Client) -> None:
    revisions = await fill(client)
    first = await client.list(CONFIG_MAPS, "default", limit=2)
    assert names(first) == ["m0", "m1"]
    assert first["metadata"]["remainingItemCount"] == 3
    await client.create(CONFIG_MAPS, config_map("m22"))
    await client.delete(CONFIG_MAPS, "m3", namespace="default")
    await client.update(CONFIG_MAPS, config_map("m4", {"new": "data"}))
    second = await client.list(CONFIG_MAPS, "default", limit=2, continue_=first["metadata"]["continue"])
    third = await client.list(CONFIG_MAPS, "default", limit=2, continue_=second["metadata"]["continue"])
    assert names(second) + names(third) == ["m2", "m3", "m4"]
    assert "data" not in third["items"][0]
    assert {p["metadata"]["resourceVersion"] for p in (first, second, third)} == {str(revisions[-1])}
    assert "continue" not in third["metadata"]
    assert names(await client.list(CONFIG_MAPS, "default")) == ["m0", "m1", "m2", "m22", "m4"]


async def test_pages_of_a_selection_do_not_count(client: Client) -> None:
    await fill(client)
    first = await client.list(CONFIG_MAPS, "default", limit=1, labels="odd=0")
    assert names(first) == ["m0"]
    assert "remainingItemCount" not in first["metadata"]
    rest = await client.list(CONFIG_MAPS, "default", limit=5, labels="odd=0", continue_=first["metadata"]["continue"])
    assert names(rest) == ["m2", "m4"]


async def test_a_page_whose_state_is_forgotten(app: App, client: Client) -> None:
    """410 with a token that goes on from here, at today's state."""
    await fill(client)
    first = await client.list(CONFIG_MAPS, "default", limit=2)
    await client.delete(CONFIG_MAPS, "m2", namespace="default")
    app.rest.store.compact(app.rest.store.revision)
    answer = await ask(client, "GET", f"{MAPS}?limit=2&continue={first['metadata']['continue']}")
    assert answer.said[:2] == (410, "Expired")
    assert answer.json["message"].startswith("The provided continue parameter is too old to display a consistent list result.")
    rest = await client.list(CONFIG_MAPS, "default", limit=2, continue_=answer.json["metadata"]["continue"])
    assert names(rest) == ["m3", "m4"]


async def test_broken_tokens(client: Client) -> None:
    for token in ("nonsense!", "e30", "eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ"):
        answer = await ask(client, "GET", f"{MAPS}?continue={token}")
        assert answer.said[:2] == (400, "BadRequest"), token
        assert answer.json["message"].startswith("invalid continue token: "), token


async def test_a_list_of_the_past(client: Client) -> None:
    revisions = await fill(client, 3)
    await client.delete(CONFIG_MAPS, "m0", namespace="default")
    past = await client.list(CONFIG_MAPS, "default", version=str(revisions[1]), resourceVersionMatch="Exact")
    assert names(past) == ["m0", "m1"]
    assert past["metadata"]["resourceVersion"] == str(revisions[1])
    for version, match in (("0", ""), (str(revisions[1]), "NotOlderThan"), (str(revisions[1]), "")):
        assert names(await client.list(CONFIG_MAPS, "default", version=version, resourceVersionMatch=match)) == ["m1", "m2"]


async def test_a_past_that_is_forgotten(app: App, client: Client) -> None:
    revisions = await fill(client, 3)
    await client.delete(CONFIG_MAPS, "m0", namespace="default")
    app.rest.store.compact(app.rest.store.revision)
    with pytest.raises(errors.Expired):
        await client.list(CONFIG_MAPS, "default", version=str(revisions[0]), resourceVersionMatch="Exact")


async def test_a_list_of_the_future(client: Client) -> None:
    answer = await ask(client, "GET", f"{MAPS}?resourceVersion=99999&resourceVersionMatch=NotOlderThan")
    assert answer.said[:2] == (504, "Timeout")
    assert answer.json["message"].startswith("Timeout: Too large resource version: 99999, current: ")
    assert answer.json["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_a_get_of_the_future(client: Client) -> None:
    await fill(client, 1)
    assert (await ask(client, "GET", f"{MAPS}/m0?resourceVersion=0")).code == 200
    assert (await ask(client, "GET", f"{MAPS}/m0?resourceVersion=99999")).said[:2] == (504, "Timeout")


REFUSED = [
    ("resourceVersion=x", 400, "Invalid value"),
    ("resourceVersionMatch=Exact", 422, "resourceVersionMatch is forbidden unless resourceVersion is provided"),
    ("resourceVersion=0&resourceVersionMatch=Exact", 422, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'),
    ("resourceVersion=1&resourceVersionMatch=Near", 422, 'Unsupported value: "Near": supported values: "Exact", "NotOlderThan"'),
    ("sendInitialEvents=true", 422, "sendInitialEvents is forbidden for list"),
    ("watch=true&resourceVersionMatch=NotOlderThan", 422, "forbidden for watch unless sendInitialEvents is provided"),
    ("watch=true&sendInitialEvents=true", 422, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
    (
        "watch=true&sendInitialEvents=true&resourceVersionMatch=Exact", 422,
        "[resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, "
        'resourceVersionMatch: Unsupported value: "Exact": supported values: "NotOlderThan"]',
    ),
    ("watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&continue=x", 422, "forbidden when continue is provided"),
    (
        "resourceVersionMatch=Near&continue=x", 422,
        "[resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided, "
        "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided, "
        'resourceVersionMatch: Unsupported value: "Near": supported values: "Exact", "NotOlderThan", ""]',
    ),
    ("resourceVersionMatch=Exact&fieldSelector=data%3Dx", 422, "resourceVersionMatch is forbidden unless"),
    ("limit=x", 400, 'parsing "x": invalid syntax'),
]  # fmt: skip


@pytest.mark.parametrize(("query", "code", "said"), REFUSED)
async def test_refusals(client: Client, query: str, code: int, said: str) -> None:
    answer = await ask(client, "GET", f"{MAPS}?{query}")
    assert answer.code == code
    assert said in answer.json["message"]


@pytest.mark.parametrize("path", [MAPS, "/version", "/api/v1/namespaces/none/pods/none"])
async def test_a_timeout_that_is_no_duration_is_refused_before_all_else(client: Client, path: str) -> None:
    for asking in (client, as_user(client, "nobody")):
        answer = await ask(asking, "GET", f"{path}?timeout=x")
        assert answer.said == (400, "BadRequest", 'invalid timeout specified in the request URL - time: invalid duration "x"')
    answer = await ask(client, "GET", f"{path}?timeout=5%01")
    assert answer.said[2].endswith(r'time: unknown unit "\x01" in duration "5\x01"')
    for right in ("30s", "0", ""):
        assert (await ask(client, "GET", f"{path}?timeout={right}")).code in (200, 404)


async def test_numbers_of_a_list_that_are_none(client: Client) -> None:
    for name in ("timeoutSeconds", "limit"):
        answer = await ask(client, "GET", f"{MAPS}?{name}=x")
        assert answer.said == (400, "BadRequest", 'strconv.ParseInt: parsing "x": invalid syntax')


async def test_a_page_of_an_old_version_is_of_that_version(client: Client) -> None:
    versions = [(await client.create(CONFIG_MAPS, config_map(name)))["metadata"]["resourceVersion"] for name in ("b", "c")]
    await client.create(CONFIG_MAPS, config_map("a"))
    old = (await ask(client, "GET", f"{MAPS}?limit=1&resourceVersion={versions[0]}")).json
    assert (names(old), old["metadata"]) == (["b"], {"resourceVersion": versions[0]})
    newer = (await ask(client, "GET", f"{MAPS}?limit=1&resourceVersion={versions[0]}&resourceVersionMatch=NotOlderThan")).json
    assert (names(newer), newer["metadata"]["remainingItemCount"]) == (["a"], 2)
    assert names((await ask(client, "GET", f"{MAPS}?resourceVersion={versions[0]}")).json) == ["a", "b", "c"]


async def test_a_list_of_any_version_comes_whole(client: Client) -> None:
    """Stock answers it from the watch cache, which events do not have."""
    for name in ("a", "b"):
        await client.create(CONFIG_MAPS, config_map(name))
        involved = {"kind": "ConfigMap", "name": name, "namespace": "default"}
        await client.create(EVENTS, {"metadata": {"name": name, "namespace": "default"}, "involvedObject": involved})
    assert names((await ask(client, "GET", f"{MAPS}?limit=1&resourceVersion=0")).json) == ["a", "b"]
    for path in ("/api/v1/namespaces/default/events", "/apis/events.k8s.io/v1/namespaces/default/events"):
        assert names((await ask(client, "GET", f"{path}?limit=1&resourceVersion=0")).json) == ["a"]


@pytest.mark.parametrize(
    "plural",
    [
        "api/v1/nodes", "api/v1/namespaces", "apis/certificates.k8s.io/v1/certificatesigningrequests",
        "apis/resource.k8s.io/v1/resourceslices",
    ],
)  # fmt: skip
async def test_kinds_that_are_not_selected_by_namespace(client: Client, plural: str) -> None:
    code, _, message = (await ask(client, "GET", f"/{plural}?fieldSelector=metadata.namespace%3D")).said
    assert code == 400
    assert message.startswith("field label not supported")
    assert message.endswith(": metadata.namespace")
    assert (await ask(client, "GET", "/api/v1/persistentvolumes?fieldSelector=metadata.namespace%3D")).code == 200


async def test_old_names_of_fields_of_pods(api: Client) -> None:
    await api.create(PODS, pod("a", node="n1"))
    assert names(await api.list(PODS, "default", fields="spec.host=n1")) == ["a"]
    assert names(await api.list(PODS, "default", fields="spec.host=n2")) == []
    assert names(await api.list(PODS, "default", fields="status.podIPs=10.0.0.1")) == []
