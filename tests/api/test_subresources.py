"""/status, /scale, /binding, /eviction, /token and the other doors to an object."""

from typing import Any

import pytest

from kapi.client.client import Client
from kapi.objects import errors
from kapi.objects.resource import DEPLOYMENTS, NODES, POD_DISRUPTION_BUDGETS, PODS, SERVICE_ACCOUNTS
from tests.api.asking import PARTIAL, TABLE, ask, deployment, pod
from tests.api.asking import PODS as POD_PATH
from tests.messages import envelope, field

WEB = "/apis/apps/v1/namespaces/default/deployments/web"


async def test_status_and_spec_have_a_door_each(client: Client) -> None:
    made = await client.create(DEPLOYMENTS, deployment("web") | {"status": {"replicas": 9}})
    assert made["status"] == {}, "a new object's status is its controller's"
    made["status"] = {"replicas": 3}
    made["spec"]["replicas"] = 5
    seen = await client.update(DEPLOYMENTS, made, subresource="status")
    assert (seen["status"], seen["spec"]["replicas"], seen["metadata"]["generation"]) == ({"replicas": 3}, 1, 1)
    seen["status"], seen["spec"]["replicas"] = {}, 5
    seen = await client.update(DEPLOYMENTS, seen)
    assert (seen["status"], seen["spec"]["replicas"], seen["metadata"]["generation"]) == ({"replicas": 3}, 5, 2)


async def test_status_is_patched(api: Client) -> None:
    await api.create(PODS, pod("p"))
    condition = {"type": "Ready", "status": "True"}
    for _ in range(2):
        patch = {"status": {"conditions": [condition]}}
        seen = await api.patch(PODS, "p", patch, namespace="default", kind="strategic", subresource="status")
    assert [c["type"] for c in seen["status"]["conditions"]] == ["Ready"]
    assert seen["metadata"]["managedFields"][-1]["subresource"] == "status"


async def test_a_scale_in_other_forms(client: Client) -> None:
    await client.create(DEPLOYMENTS, deployment("web"))
    patch = {"spec": {"replicas": 2}}
    for method, body, type_, desired in (("GET", b"", "", 1), ("PATCH", patch, "application/merge-patch+json", 2)):
        shown = (await ask(client, method, f"{WEB}/scale", body, accept=TABLE, content_type=type_)).json
        assert [(c["name"], c["type"]) for c in shown["columnDefinitions"]] == [
            ("Name", "string"), ("Desired", "integer"), ("Available", "integer"), ("Age", "string"),
        ]  # fmt: skip
        [row] = shown["rows"]
        assert (row["cells"][:3], row["object"]["kind"]) == (["web", desired, 0], "PartialObjectMetadata")
        assert shown["columnDefinitions"][1]["description"].startswith("replicas is the desired number of instances")
    meta = (await ask(client, "GET", f"{WEB}/scale", accept=PARTIAL)).json
    assert (meta["kind"], meta["metadata"]["name"], set(meta)) == ("PartialObjectMetadata", "web", {"kind", "apiVersion", "metadata"})
    listed = PARTIAL.replace("PartialObjectMetadata", "PartialObjectMetadataList")
    assert (await ask(client, "GET", f"{WEB}/scale", accept=listed)).code == 406


async def test_scale(client: Client) -> None:
    await client.create(DEPLOYMENTS, deployment("web"))
    scale = await client.get(DEPLOYMENTS, "web", "default", subresource="scale")
    assert (scale["kind"], scale["apiVersion"], scale["spec"]) == ("Scale", "autoscaling/v1", {"replicas": 1})
    assert scale["status"] == {"replicas": 0, "selector": "app=web"}
    scale["spec"]["replicas"] = 3
    assert (await client.update(DEPLOYMENTS, scale, subresource="scale"))["spec"] == {"replicas": 3}
    patched = await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 4}}, namespace="default", subresource="scale")
    assert patched["spec"] == {"replicas": 4}
    assert (await client.get(DEPLOYMENTS, "web", "default"))["metadata"]["generation"] == 3
    with pytest.raises(errors.Invalid, match="must be greater than or equal to 0"):
        await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": -1}}, namespace="default", subresource="scale")
    with pytest.raises(errors.Conflict):
        await client.update(DEPLOYMENTS, scale, subresource="scale")


async def test_binding(api: Client) -> None:
    await api.create(PODS, pod("p"))
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
    answer = await ask(api, "POST", f"{POD_PATH}/p/binding", binding)
    assert (answer.code, answer.json["status"]) == (201, "Success")
    bound = await api.get(PODS, "p", "default")
    assert bound["spec"]["nodeName"] == "n1"
    assert {"type": "PodScheduled", "status": "True"}.items() <= bound["status"]["conditions"][0].items()
    again = await ask(api, "POST", f"{POD_PATH}/p/binding", binding)
    assert again.said[:2] == (409, "Conflict")
    assert 'pod p is already assigned to node "n1"' in again.json["message"]


async def protect(api: Client, allowed: int) -> None:
    """A budget of pods labelled a=b, as its controller would have left it."""
    budget: dict[str, Any] = {"metadata": {"name": "few", "namespace": "default"}}
    made = await api.create(POD_DISRUPTION_BUDGETS, budget | {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}})
    counts = {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1, "observedGeneration": 1}
    made["status"] = counts
    await api.update(POD_DISRUPTION_BUDGETS, made, subresource="status")


async def run(api: Client, name: str) -> None:
    await api.create(PODS, pod(name, node="n1", labels={"a": "b"}))
    status = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    await api.patch(PODS, name, status, namespace="default", subresource="status")


async def test_eviction_within_a_budget(api: Client) -> None:
    await protect(api, 1)
    for name in ("p", "q"):
        await run(api, name)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": "default"}}
    answer = await ask(api, "POST", f"{POD_PATH}/p/eviction", eviction)
    assert (answer.code, answer.json["status"]) == (201, "Success")
    evicted = await api.get(PODS, "p", "default")
    assert evicted["metadata"]["deletionTimestamp"]
    assert evicted["status"]["conditions"][-1]["reason"] == "EvictionByEvictionAPI"
    eviction["metadata"] = {"name": "q", "namespace": "default"}
    second = await ask(api, "POST", f"{POD_PATH}/q/eviction", eviction)
    assert second.said == (429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.")
    assert "needs 1 healthy pods and has 1 currently" in second.json["details"]["causes"][0]["message"]
    assert "deletionTimestamp" not in (await api.get(PODS, "q", "default"))["metadata"]


@pytest.mark.parametrize(("version", "code"), [("policy/v1", 201), ("policy/v1beta1", 201), ("v1", 400)])
async def test_versions_of_evictions(api: Client, version: str, code: int) -> None:
    """The options in it name any group version, or none."""
    meta, options = field(1, field(1, b"p") + field(3, b"default")), field(2, field(1, 0))
    packed = envelope(version, "Eviction", meta + options)
    plain = {"apiVersion": version, "kind": "Eviction", "metadata": {"name": "p"}, "deleteOptions": {"apiVersion": "apps/v1"}}
    for body, media in ((plain, "application/json"), (packed, "application/vnd.kubernetes.protobuf")):
        await api.create(PODS, pod("p"))
        assert (await ask(api, "POST", f"{POD_PATH}/p/eviction", body, content_type=media)).code == code
        if code != 201:
            await ask(api, "DELETE", f"{POD_PATH}/p?gracePeriodSeconds=0")


@pytest.mark.parametrize("path", ["pods/p/eviction", "pods/p/binding", "serviceaccounts/default/token"])
async def test_what_is_no_table(api: Client, path: str) -> None:
    await api.create(PODS, pod("p"))
    path = f"/api/v1/namespaces/default/{path}"
    assert (await ask(api, "POST", path, {"metadata": {"name": "p"}}, accept=TABLE)).code == 406
    assert (await api.get(PODS, "p", "default"))["metadata"].get("deletionTimestamp") is None


async def test_eviction_without_a_budget(api: Client) -> None:
    await run(api, "p")
    answer = await ask(api, "POST", f"{POD_PATH}/p/eviction", {"metadata": {"name": "p"}, "deleteOptions": {"gracePeriodSeconds": 0}})
    assert answer.code == 201
    assert (await ask(api, "GET", f"{POD_PATH}/p")).code == 404


async def test_token(api: Client) -> None:
    path = SERVICE_ACCOUNTS.path("default", "default", "token")
    made = await api.post(path, {"spec": {"audiences": ["vault"], "expirationSeconds": 900}})
    assert made["kind"] == "TokenRequest"
    assert made["spec"]["expirationSeconds"] == 900
    assert made["status"]["token"].count(".") == 2
    review = "/apis/authentication.k8s.io/v1/tokenreviews"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": made["status"]["token"]}}
    refused = await api.post(review, asked)
    assert not refused["status"].get("authenticated"), "it is not for this server"
    asked["spec"] |= {"audiences": ["vault"]}  # type: ignore[operator]
    user = (await api.post(review, asked))["status"]["user"]
    assert user["username"] == "system:serviceaccount:default:default"
    with pytest.raises(errors.Invalid, match="may not specify a duration less than 10 minutes"):
        await api.post(path, {"spec": {"expirationSeconds": 1}})


async def test_ephemeral_containers(api: Client) -> None:
    await api.create(PODS, pod("p", node="n1"))
    debug = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox"}]}}
    seen = await api.patch(PODS, "p", debug, namespace="default", kind="strategic", subresource="ephemeralcontainers")
    assert [c["name"] for c in seen["spec"]["ephemeralContainers"]] == ["debug"]
    with pytest.raises(errors.Invalid):
        await api.patch(PODS, "p", {"spec": {"ephemeralContainers": None}}, namespace="default", subresource="ephemeralcontainers")


async def test_a_node_s_status(client: Client) -> None:
    node = await client.create(NODES, {"metadata": {"name": "n"}})
    node["status"]["capacity"] = {"cpu": "4000m"}
    assert (await client.update(NODES, node, subresource="status"))["status"]["capacity"] == {"cpu": "4"}


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", f"{WEB}/nothing", 404),
        ("POST", f"{WEB}/scale", 405),
        ("DELETE", f"{WEB}/status", 405),
        ("GET", f"{POD_PATH}/p/binding", 405),
    ],
)
async def test_doors_that_are_not_there(client: Client, method: str, path: str, code: int) -> None:
    assert (await ask(client, method, path)).said[0] == code
