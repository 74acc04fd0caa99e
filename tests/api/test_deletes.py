"""DELETE: at once, gracefully, held by finalizers, with conditions; and of whole collections."""

import asyncio
from typing import Any

import pytest

from kapi.client.client import Client
from kapi.objects import errors, time
from kapi.objects.resource import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, PODS, SERVICE_ACCOUNTS
from kapi.registry import deletion
from kapi.registry.call import Call
from kapi.registry.kinds import STRATEGIES
from kapi.registry.rest import Rest, WriteResult
from tests.api.asking import MAPS, TABLE, ask, config_map, deployment, pod
from tests.api.asking import PODS as POD_PATH
from tests.messages import envelope, field

PROTOBUF = "application/vnd.kubernetes.protobuf"


async def there(client: Client, name: str) -> bool:
    return name in {i["metadata"]["name"] for i in (await client.list(CONFIG_MAPS, "default"))["items"]}


async def test_at_once(client: Client) -> None:
    made = await client.create(CONFIG_MAPS, config_map("a"))
    status = await client.delete(CONFIG_MAPS, "a", namespace="default")
    details = {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    assert status == {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    assert not await there(client, "a")


async def test_some_kinds_answer_with_what_is_gone(client: Client) -> None:
    made = await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "a", "namespace": "default"}})
    gone = await client.delete(SERVICE_ACCOUNTS, "a", namespace="default")
    assert (gone["kind"], gone["metadata"]["uid"]) == ("ServiceAccount", made["metadata"]["uid"])


def test_which_kinds_those_are() -> None:
    """As the DELETE operations of stock's OpenAPI declare."""
    plurals = {plural for (_, plural), strategy in STRATEGIES.items() if strategy.returns_deleted}
    assert plurals == {
        "csidrivers", "csinodes", "deviceclasses", "devicetaintrules", "persistentvolumeclaims", "persistentvolumes", "pods",
        "podtemplates", "resourceclaims", "resourceclaimtemplates", "resourcequotas", "resourceslices", "serviceaccounts",
        "services", "storageclasses", "volumeattachments", "volumeattributesclasses",
    }  # fmt: skip


async def test_preconditions(client: Client) -> None:
    made = await client.create(CONFIG_MAPS, config_map("a"))
    meta = made["metadata"]
    with pytest.raises(errors.Conflict, match=r"the UID in the precondition \(x\) does not match"):
        await client.delete(CONFIG_MAPS, "a", namespace="default", uid="x")
    with pytest.raises(errors.Conflict, match=r"the ResourceVersion in the precondition \(1\) does not match"):
        await client.delete(CONFIG_MAPS, "a", namespace="default", version="1")
    await client.delete(CONFIG_MAPS, "a", namespace="default", uid=meta["uid"], version=meta["resourceVersion"])
    assert not await there(client, "a")


async def test_a_pod_that_runs_has_time_to_end(api: Client) -> None:
    await api.create(PODS, pod("p", node="n1"))
    before = time.now()
    marked = await api.delete(PODS, "p", namespace="default")
    meta = marked["metadata"]
    assert meta["deletionGracePeriodSeconds"] == 30
    assert 28 <= time.parse(meta["deletionTimestamp"]) - before <= 31
    shorter = await api.delete(PODS, "p", namespace="default", grace=5)
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
    longer = await api.delete(PODS, "p", namespace="default", grace=60)
    assert longer["metadata"]["deletionGracePeriodSeconds"] == 5, "never longer than once said"
    await api.delete(PODS, "p", namespace="default", grace=0)
    assert (await ask(api, "GET", f"{POD_PATH}/p")).code == 404


async def test_a_pod_on_no_node_goes_at_once(api: Client) -> None:
    await api.create(PODS, pod("p"))
    gone = await api.delete(PODS, "p", namespace="default")
    assert gone["kind"] == "Pod", "of a pod the object is answered, not a Status"
    assert (await ask(api, "GET", f"{POD_PATH}/p")).code == 404


async def test_finalizers_hold(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a", finalizers=["example.com/hold"]))
    answer = await ask(client, "DELETE", f"{MAPS}/a")
    assert answer.code == 200
    assert answer.json["metadata"]["deletionTimestamp"]
    assert answer.json["metadata"]["deletionGracePeriodSeconds"] == 0
    assert await there(client, "a")
    with pytest.raises(errors.Invalid, match="no new finalizers can be added if the object is being deleted"):
        await client.patch(CONFIG_MAPS, "a", {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}, namespace="default")
    await client.patch(CONFIG_MAPS, "a", {"metadata": {"finalizers": None}}, namespace="default")
    assert not await there(client, "a")


@pytest.mark.parametrize(
    ("policy", "finalizers"), [("Foreground", ["foregroundDeletion"]), ("Orphan", ["orphan"]), ("Background", None)]
)
async def test_propagation(client: Client, policy: str, finalizers: list[str] | None) -> None:
    await client.create(DEPLOYMENTS, deployment("web"))
    answered = await client.delete(DEPLOYMENTS, "web", namespace="default", propagation=policy)
    if finalizers is None:
        assert answered["status"] == "Success"
        return
    assert answered["metadata"]["finalizers"] == finalizers
    assert (await client.get(DEPLOYMENTS, "web", "default"))["metadata"]["deletionTimestamp"]


async def test_options_in_the_query(client: Client) -> None:
    await client.create(DEPLOYMENTS, deployment("web"))
    path = "/apis/apps/v1/namespaces/default/deployments/web"
    answer = await ask(client, "DELETE", f"{path}?propagationPolicy=Foreground")
    assert answer.json["metadata"]["finalizers"] == ["foregroundDeletion"]


FORMS = {
    "application/json": lambda version: b'{"kind":"DeleteOptions","apiVersion":"%s","propagationPolicy":"Foreground"}' % version.encode(),
    "application/yaml": lambda version: b"kind: DeleteOptions\napiVersion: %s\npropagationPolicy: Foreground" % version.encode(),
    PROTOBUF: lambda version: envelope(version, "DeleteOptions", field(4, b"Foreground")),
}


@pytest.mark.parametrize("version", ["v1", "apps/v1", "policy/v1", "meta.k8s.io/v1", "example.com/v1"])
@pytest.mark.parametrize("media", FORMS)
async def test_options_of_any_group_version(client: Client, media: str, version: str) -> None:
    """Typed Go clients name the version of the resource's group."""
    await client.create(CONFIG_MAPS, config_map("a"))
    for path in (f"{MAPS}/a", MAPS):
        answer = await ask(client, "DELETE", path, FORMS[media](version), content_type=media)
        assert answer.code == 200
    seen = await client.get(CONFIG_MAPS, "a", "default")
    assert seen["metadata"]["finalizers"] == ["foregroundDeletion"]


async def test_another_kind_in_protobuf_is_refused(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a"))
    answer = await ask(client, "DELETE", f"{MAPS}/a", envelope("v1", "Pod", b""), content_type=PROTOBUF)
    assert answer.said == (400, "BadRequest", "decoded object cannot be converted to DeleteOptions: Pod")


async def test_the_old_word_for_background_answers_202(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a", finalizers=["example.com/hold"]))
    answer = await ask(client, "DELETE", f"{MAPS}/a", {"orphanDependents": False})
    assert answer.code == 202


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"propagationPolicy": "Sideways"}, 422, 'Unsupported value: "Sideways"'),
    ({"propagationPolicy": "Orphan", "orphanDependents": True}, 422, "orphanDependents and deletionPropagation cannot be both set"),
    ({"dryRun": ["Some"]}, 422, 'supported values: "All"'),
    ({"kind": "Pod", "apiVersion": "v1"}, 400, "DeleteOptions"),
]


@pytest.mark.parametrize(("body", "code", "said"), REFUSED)
async def test_refusals(client: Client, body: dict[str, Any], code: int, said: str) -> None:
    await client.create(CONFIG_MAPS, config_map("a"))
    answer = await ask(client, "DELETE", f"{MAPS}/a", body)
    assert answer.code == code
    assert said in answer.json["message"]
    assert await there(client, "a")


async def test_a_collection(client: Client) -> None:
    for i in range(4):
        await client.create(CONFIG_MAPS, config_map(f"m{i}", labels={"odd": str(i % 2)}))
    gone = await client.delete_collection(CONFIG_MAPS, "default", labels="odd=1")
    assert gone["kind"] == "ConfigMapList"
    assert [i["metadata"]["name"] for i in gone["items"]] == ["m1", "m3"]
    assert [i["metadata"]["name"] for i in (await client.list(CONFIG_MAPS, "default"))["items"]] == ["m0", "m2"]


async def test_a_collection_as_a_table(client: Client) -> None:
    for name in ("a", "b"):
        await client.create(CONFIG_MAPS, config_map(name))
    gone = (await ask(client, "DELETE", MAPS, accept=TABLE)).json
    assert (gone["kind"], [row["cells"][0] for row in gone["rows"]]) == ("Table", ["a", "b"])


async def test_a_collection_of_which_some_are_refused(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer is the refusal of the first in the list; those that failed beside it are in the log, whatever they are."""
    for i in range(6):
        await client.create(CONFIG_MAPS, config_map(f"m{i}"))
    delete = deletion.delete

    async def refusing(rest: Rest, call: Call, options: deletion.Options) -> WriteResult:
        if call.name == "m1":
            await asyncio.sleep(0)  # fails later than m2
            raise errors.forbidden("configmaps", "", "m1", "held")
        if call.name == "m2":
            raise ZeroDivisionError
        return await delete(rest, call, options)

    monkeypatch.setattr(deletion, "delete", refusing)
    with pytest.raises(errors.Forbidden, match='"m1" is forbidden: held'):
        await client.delete_collection(CONFIG_MAPS, "default")
    assert [record.exc_info and record.exc_info[0] for record in caplog.records if record.levelname == "ERROR"] == [ZeroDivisionError]
    assert {"m1", "m2"} <= {obj["metadata"]["name"] for obj in (await client.list(CONFIG_MAPS, "default"))["items"]}


async def test_a_collection_with_finalizers(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a", finalizers=["example.com/hold"]))
    await client.create(CONFIG_MAPS, config_map("b"))
    await client.delete_collection(CONFIG_MAPS, "default")
    left = (await client.list(CONFIG_MAPS, "default"))["items"]
    assert [i["metadata"]["name"] for i in left] == ["a"]
    assert left[0]["metadata"]["deletionTimestamp"]


async def test_namespaces_end_in_two_steps(client: Client) -> None:
    await client.create(NAMESPACES, {"metadata": {"name": "team"}})
    ending = await client.delete(NAMESPACES, "team")
    assert ending["status"]["phase"] == "Terminating"
    refused = await ask(client, "POST", "/api/v1/namespaces/team/configmaps", {"metadata": {"name": "a"}})
    assert refused.code == 403
    assert "because it is being terminated" in refused.json["message"]
    ending["spec"]["finalizers"] = []
    await client.update(NAMESPACES, ending, subresource="finalize")
    assert (await ask(client, "GET", "/api/v1/namespaces/team")).code == 404


async def test_what_must_not_go(client: Client) -> None:
    for name in ("default", "kube-system"):
        answer = await ask(client, "DELETE", f"/api/v1/namespaces/{name}")
        assert answer.code == 403
        assert "this namespace may not be deleted" in answer.json["message"]
