"""Answers in protobuf: each is the JSON answer to the same question, read by another library."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from kapi import limits
from kapi.api import protobuf_responses
from kapi.api.negotiation import Form
from kapi.api.protobuf_events import Frames, messages
from kapi.apiserver.assembly import Server
from kapi.client.client import Client
from kapi.objects.meta import Object
from kapi.objects.resource import CONFIG_MAPS, DEPLOYMENTS, PODS
from openapi import tables
from tests import descriptors
from tests.api.asking import MAPS, Answer, ask, config_map, deployment, pod
from tests.api.asking import PODS as POD_PATH
from tests.api.customs import PATH, THINGS, controlled, define, definition, thing
from tests.descriptors import META, without_zeros
from tests.messages import envelope, field

PROTOBUF = "application/vnd.kubernetes.protobuf"
PARTIAL = f"{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
PARTIALS = f"{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
CORE = "io.k8s.api.core.v1."


def decoded(answer: Answer, name: str) -> Object:
    """What an answer in protobuf says."""
    assert answer.headers["content-type"] == PROTOBUF
    found: Object = without_zeros(descriptors.read(answer.body, name))
    return found


async def both(client: Client, path: str, name: str) -> Object:
    """What a GET answers, in both forms the same."""
    encoded, plain = await ask(client, "GET", path, accept=PROTOBUF), await ask(client, "GET", path)
    assert encoded.code == plain.code
    found = decoded(encoded, name)
    assert found == without_zeros(plain.json)
    return found


async def test_an_object(api: Client) -> None:
    await api.create(PODS, pod("p", labels={"b": "1", "a": "2"}))
    for _ in range(2):  # encoded, then kept
        found = await both(api, f"{POD_PATH}/p", CORE + "Pod")
    await api.patch(PODS, "p", {"metadata": {"labels": {"c": "3"}}}, namespace="default")
    assert (await both(api, f"{POD_PATH}/p", CORE + "Pod"))["metadata"]["resourceVersion"] > found["metadata"]["resourceVersion"]
    head = await ask(api, "HEAD", f"{POD_PATH}/p", accept=PROTOBUF)
    assert (head.body, head.headers["content-type"]) == (b"", PROTOBUF)


@pytest.mark.parametrize("path", ["/apis/autoscaling/v1", "/apis/autoscaling/v2"])
async def test_each_version_of_an_object(api: Client, path: str) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    spec = {"scaleTargetRef": target, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50}
    path_v1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
    await ask(api, "POST", path_v1, {"metadata": {"name": "h"}, "spec": spec})
    name = f"io.k8s.api.autoscaling.{path[-2:]}.HorizontalPodAutoscaler"
    await both(api, f"{path}/namespaces/default/horizontalpodautoscalers/h", name)
    await both(api, f"{path}/horizontalpodautoscalers", name + "[]")


async def test_a_list(api: Client) -> None:
    assert "items" not in await both(api, MAPS, CORE + "ConfigMap[]")
    for index in range(5):
        await api.create(CONFIG_MAPS, config_map(f"m{index}", {"k": str(index)}))
    assert len((await both(api, MAPS, CORE + "ConfigMap[]"))["items"]) == 5
    page = await both(api, f"{MAPS}?limit=2", CORE + "ConfigMap[]")
    assert (len(page["items"]), page["metadata"]["remainingItemCount"]) == (2, 3)
    await both(api, f"{MAPS}?fieldSelector=metadata.name=m3", CORE + "ConfigMap[]")


async def test_a_long_list(api: Client) -> None:
    """Which goes out in pieces, with objects so large that they are encoded beside the event loop."""
    for index in range(12):
        await api.create(CONFIG_MAPS, config_map(f"m{index}", {"k": "x" * limits.OFFLOAD_BYTES}))
    assert len((await both(api, MAPS, CORE + "ConfigMap[]"))["items"]) == 12
    encoded = await ask(api, "GET", MAPS, accept=PROTOBUF, accept_encoding="gzip")
    assert encoded.headers["content-encoding"] == "gzip"
    assert len(encoded.body) < 10_000


async def test_metadata_alone(api: Client) -> None:
    await api.create(PODS, pod("p", annotations={"a": "x" * 200}))
    plain = (await ask(api, "GET", f"{POD_PATH}/p")).json
    one = decoded(await ask(api, "GET", f"{POD_PATH}/p", accept=PARTIAL), META + "PartialObjectMetadata")
    assert one == {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": without_zeros(plain["metadata"])}
    listed = decoded(await ask(api, "GET", POD_PATH, accept=PARTIALS), META + "PartialObjectMetadata[]")
    assert (listed["apiVersion"], listed["kind"]) == ("meta.k8s.io/v1", "PartialObjectMetadataList")
    assert listed["items"] == [{"metadata": without_zeros(plain["metadata"])}]
    assert int(listed["metadata"]["resourceVersion"])
    created = await ask(api, "POST", MAPS, config_map("m"), accept=PARTIAL)
    assert decoded(created, META + "PartialObjectMetadata")["metadata"]["name"] == "m"


async def test_metadata_alone_in_the_old_version(api: Client) -> None:
    """There the items of a list come first."""
    await api.create(CONFIG_MAPS, config_map("m"))
    answer = await ask(api, "GET", MAPS, accept=PARTIALS.replace("v=v1", "v=v1beta1"))
    version, kind, raw = descriptors.unwrapped(answer.body)
    assert (version, kind, raw[:1]) == ("meta.k8s.io/v1beta1", "PartialObjectMetadataList", b"\x0a")
    assert answer.body.count(b"\x0a\x01m") == 1


async def test_writes(api: Client) -> None:
    body = envelope("v1", "ConfigMap", field(1, field(1, b"m")) + field(2, field(1, b"k") + field(2, b"v")))
    made = await ask(api, "POST", MAPS, body, content_type=PROTOBUF, accept=PROTOBUF)
    assert (made.code, decoded(made, CORE + "ConfigMap")["data"]) == (201, {"k": "v"})
    changed = await ask(api, "PUT", f"{MAPS}/m", body, content_type=PROTOBUF, accept=PROTOBUF)
    assert (changed.code, decoded(changed, CORE + "ConfigMap")["data"]) == (200, {"k": "v"})
    patched = await ask(api, "PATCH", f"{MAPS}/m", {"data": {"l": "w"}}, content_type="application/merge-patch+json", accept=PROTOBUF)
    assert decoded(patched, CORE + "ConfigMap")["data"] == {"k": "v", "l": "w"}
    dry = await ask(api, "POST", f"{MAPS}?dryRun=All", config_map("n"), accept=PROTOBUF)
    assert decoded(dry, CORE + "ConfigMap")["metadata"]["name"] == "n"
    listed = await ask(api, "DELETE", f"{MAPS}?dryRun=All", accept=PROTOBUF)
    assert [item["metadata"]["name"] for item in decoded(listed, CORE + "ConfigMap[]")["items"]] == ["m"]
    gone = decoded(await ask(api, "DELETE", f"{MAPS}/m", accept=PROTOBUF), META + "Status")
    assert (gone["status"], gone["details"]["name"]) == ("Success", "m")
    large = await ask(api, "POST", MAPS, config_map("large", {"k": "x" * limits.OFFLOAD_BYTES}), accept=PROTOBUF)
    assert len(decoded(large, CORE + "ConfigMap")["data"]["k"]) == limits.OFFLOAD_BYTES


async def test_what_is_written_is_encoded_once(api: Client, server: Server) -> None:
    """For its writer, and for all who read or watch it then."""
    maps = server.app.catalogue.get("", "v1", "configmaps")
    assert maps is not None
    for method, path in (("POST", MAPS), ("PUT", f"{MAPS}/m")):
        written = await ask(api, method, path, config_map("m", {method: "x"}), accept=PROTOBUF)
        revision, item = maps.protobuf["/core/configmaps/default/m"]
        assert str(revision) == decoded(written, CORE + "ConfigMap")["metadata"]["resourceVersion"]
        assert item in written.body
    await ask(api, "PATCH", f"{MAPS}/m?dryRun=All", {"data": {}}, content_type="application/merge-patch+json", accept=PROTOBUF)
    assert maps.protobuf["/core/configmaps/default/m"] == (revision, item)


async def test_a_failure(api: Client) -> None:
    found = await both(api, f"{MAPS}/none", META + "Status")
    assert (found["code"], found["reason"]) == (404, "NotFound")
    shaped = await ask(api, "GET", f"{MAPS}/none", accept=f"{PARTIAL},application/json")
    assert shaped.headers["content-type"] == "application/json"
    only = await ask(api, "GET", f"{MAPS}/none", accept=PARTIAL)
    assert (only.code, only.headers["content-type"]) == (404, "application/json")
    assert b'\n  "reason": "NotFound"' in only.body


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("pods/p/binding", {"target": {"kind": "Node", "name": "n"}}, META + "Status"),
        ("pods/p/eviction", {}, META + "Status"),
        ("serviceaccounts/default/token", {"spec": {"audiences": ["a"]}}, "io.k8s.api.authentication.v1.TokenRequest"),
    ],
)
async def test_subresources(api: Client, path: str, body: Object, name: str) -> None:
    await api.create(PODS, pod("p"))
    answer = await ask(api, "POST", f"/api/v1/namespaces/default/{path}", body, accept=PROTOBUF)
    found = decoded(answer, name)
    assert (answer.code, found["kind"]) == (201, name.rpartition(".")[2])
    assert found.get("code", 201) == 201


async def test_scale(api: Client) -> None:
    await api.create(DEPLOYMENTS, deployment("d", 2))
    scale = "/apis/apps/v1/namespaces/default/deployments/d/scale"
    assert (await both(api, scale, "io.k8s.api.autoscaling.v1.Scale"))["spec"] == {"replicas": 2}
    body = {"metadata": {"name": "d", "namespace": "default"}, "spec": {"replicas": 3}}
    changed = await ask(api, "PUT", scale, body, accept=PROTOBUF)
    assert decoded(changed, "io.k8s.api.autoscaling.v1.Scale")["spec"] == {"replicas": 3}


async def test_status(api: Client) -> None:
    await api.create(PODS, pod("p"))
    await both(api, f"{POD_PATH}/p/status", CORE + "Pod")
    patch = {"status": {"phase": "Running"}}
    answer = await ask(api, "PATCH", f"{POD_PATH}/p/status", patch, content_type="application/merge-patch+json", accept=PROTOBUF)
    assert decoded(answer, CORE + "Pod")["status"]["phase"] == "Running"


PATH_ASKED = {"nonResourceAttributes": {"path": "/", "verb": "get"}}


@pytest.mark.parametrize(
    ("group", "kind", "spec"),
    [
        ("authorization", "SelfSubjectAccessReview", PATH_ASKED), ("authorization", "SubjectAccessReview", {**PATH_ASKED, "user": "u"}),
        ("authorization", "SelfSubjectRulesReview", {"namespace": "default"}), ("authentication", "SelfSubjectReview", None),
        ("authentication", "TokenReview", {"token": "a"}),
    ],
)  # fmt: skip
async def test_reviews(api: Client, group: str, kind: str, spec: Object | None) -> None:
    path, body = f"/apis/{group}.k8s.io/v1/{kind.lower()}s", {"spec": spec} if spec else {}
    encoded, plain = await ask(api, "POST", path, body, accept=PROTOBUF), await ask(api, "POST", path, body)
    found, wanted = decoded(encoded, f"io.k8s.api.{group}.v1.{kind}"), without_zeros(plain.json)
    assert (found["kind"], found.get("status")) == (kind, wanted.get("status"))


async def test_every_kind_there_is_from_the_beginning(kept: Client, server: Server) -> None:
    for row in tables.resources():
        kind = server.app.catalogue.get(row["group"], row["version"], row["plural"])
        if kind is not None and kind.stored and "list" in kind.verbs:
            path = f"/apis/{row['group']}/{row['version']}" if row["group"] else "/api/v1"
            await both(kept, f"{path}/{row['plural']}", kind.schema.name + "[]")


# what there is no protobuf of -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def custom(server: Server, client: Client) -> AsyncIterator[Client]:
    async with controlled(server):
        await define(client, definition())
        await client.create(THINGS, thing())
        yield client


async def test_custom_resources(custom: Client) -> None:
    for path in (PATH, f"{PATH}/t"):
        refused = await ask(custom, "GET", path, accept=PROTOBUF)  # a Status does have a form in protobuf
        assert (refused.code, decoded(refused, META + "Status")["reason"]) == (406, "NotAcceptable")
        answer = await ask(custom, "GET", path, accept=f"{PROTOBUF},application/json")
        assert (answer.code, answer.headers["content-type"]) == (200, "application/json")
    one = decoded(await ask(custom, "GET", f"{PATH}/t", accept=PARTIAL), META + "PartialObjectMetadata")
    listed = decoded(await ask(custom, "GET", PATH, accept=PARTIALS), META + "PartialObjectMetadata[]")
    assert listed["items"] == [{"metadata": one["metadata"]}]
    missing = decoded(await ask(custom, "GET", f"{PATH}/none", accept=PROTOBUF + ",application/json"), META + "Status")
    assert missing["reason"] == "NotFound"


async def test_custom_resources_stay_where_the_answer_has_no_form(custom: Client) -> None:
    before = await custom.get(THINGS, "t", "default")
    for method, path, body, media in (
        ("PUT", f"{PATH}/t", thing(size=7), "application/json"), ("DELETE", f"{PATH}/t", b"", ""), ("DELETE", PATH, b"", ""),
        ("PATCH", f"{PATH}/t", {"spec": {"size": 7}}, "application/merge-patch+json"), ("POST", PATH, thing(), "application/json"),
    ):  # fmt: skip
        assert (await ask(custom, method, path, body, content_type=media, accept=PROTOBUF)).code == 406
    assert await custom.get(THINGS, "t", "default") == before


@pytest.mark.parametrize("media", ["application/cbor", f"{PROTOBUF};as=Table;v=v1;g=meta.k8s.io", f"{PROTOBUF};stream=other"])
async def test_what_is_not_acceptable(api: Client, media: str) -> None:
    refused = await ask(api, "GET", MAPS, accept=media)
    assert refused.said == (
        406, "NotAcceptable", "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, " + PROTOBUF,
    )  # fmt: skip
    assert (await ask(api, "GET", MAPS, accept=f"{media},application/json")).headers["content-type"] == "application/json"


# discovery ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name"),
    [("/api", "APIVersions"), ("/apis", "APIGroupList"), ("/apis/apps", "APIGroup"), ("/apis/apps/v1", "APIResourceList"),
     ("/api/v1", "APIResourceList")],
)  # fmt: skip
async def test_discovery(client: Client, path: str, name: str) -> None:
    answer = await ask(client, "GET", path, accept=PROTOBUF)
    plain = (await ask(client, "GET", path)).json
    assert decoded(answer, META + name) == without_zeros(plain)


async def test_aggregated_discovery(client: Client) -> None:
    asked = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    plain = await ask(client, "GET", "/apis", accept=asked)
    encoded = await ask(client, "GET", "/apis", accept=asked.replace("application/json", PROTOBUF))
    assert encoded.headers["content-type"] == asked.replace("application/json", PROTOBUF)
    assert encoded.headers["etag"] == plain.headers["etag"]
    assert descriptors.unwrapped(encoded.body)[:2] == ("apidiscovery.k8s.io/v2", "APIGroupDiscoveryList")
    assert encoded.body.count(b"daemonsets") == plain.body.count(b"daemonsets")
    assert (await ask(client, "GET", "/apis", accept="text/html")).code == 406


# watches --------------------------------------------------------------------------------------------------------------------------------


def event(message: bytes) -> tuple[str, bytes]:
    """Type and body of a WatchEvent."""
    found: Any = descriptors.message("io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent", message)
    return found.f_type, found.f_object.f_raw


async def frames(
    client: Client, path: str, count: int, accept: str = f"{PROTOBUF};stream=watch", since: str = "0"
) -> list[tuple[str, bytes]]:
    """The first events of a watch."""
    stream = await client.stream("GET", path, accept=accept, watch=True, resourceVersion=since, allowWatchBookmarks=True, timeoutSeconds=1)
    raw = b""
    try:
        async for chunk in stream:
            raw += chunk
    finally:
        await stream.close()
    return [event(message) for message in messages(raw)][:count]


async def test_a_watch(api: Client) -> None:
    await api.create(CONFIG_MAPS, config_map("m", {"k": "x" * 100_000}))
    await api.create(CONFIG_MAPS, config_map("n", {"k": "v"}))
    (first, large), (_, small), (last, mark) = await frames(api, MAPS, 3)
    assert (first, last) == ("ADDED", "BOOKMARK")
    for name, body in (("m", large), ("n", small)):
        plain = (await ask(api, "GET", f"{MAPS}/{name}")).json
        assert without_zeros(descriptors.read(body, CORE + "ConfigMap")) == without_zeros(plain)
    assert list(descriptors.read(mark, CORE + "ConfigMap")["metadata"]) != []


async def test_a_watch_of_metadata(api: Client) -> None:
    await api.create(PODS, pod("p"))
    (type_, body), (_, mark) = await frames(api, POD_PATH, 2, f"{PARTIAL};stream=watch")
    found = without_zeros(descriptors.read(body, META + "PartialObjectMetadata"))
    assert (type_, found["metadata"]["name"], found["kind"]) == ("ADDED", "p", "PartialObjectMetadata")
    assert descriptors.unwrapped(mark)[1] == "PartialObjectMetadata"


@pytest.mark.parametrize("accept", [PROTOBUF, PARTIAL])
async def test_what_leaves_a_selector_has_the_revision_of_the_change(api: Client, accept: str) -> None:
    """And what it was before, as in JSON."""
    since = (await api.create(CONFIG_MAPS, config_map("m", labels={"a": "b"})))["metadata"]["resourceVersion"]
    await api.patch(CONFIG_MAPS, "m", {"metadata": {"labels": {"a": "c"}}}, namespace="default")
    watch = f"{MAPS}?watch=1&labelSelector=a%3Db&timeoutSeconds=1&resourceVersion={since}"
    encoded = (await ask(api, "GET", watch, accept=accept)).body
    plain = (await ask(api, "GET", watch, accept=accept.replace(PROTOBUF, "application/json"))).json
    (type_, body), = [event(message) for message in messages(encoded)]
    name = META + "PartialObjectMetadata" if accept == PARTIAL else CORE + "ConfigMap"
    assert (type_, plain["type"]) == ("DELETED", "DELETED")
    assert without_zeros(descriptors.read(body, name)) == without_zeros(plain["object"])
    assert plain["object"]["metadata"]["resourceVersion"] > since


def test_where_frames_end(server: Server) -> None:
    """Whatever pieces they are written in."""
    kind = server.app.catalogue.get("", "v1", "configmaps")
    assert kind is not None
    request: Any = None
    lines = Frames(request, kind, None, lambda count: None, Form(PROTOBUF.encode()), whole=False)
    mark = lines.bookmark(7)
    assert lines.ended(mark + mark)
    assert not lines.ended(mark[:10])
    assert not lines.ended(mark[10:20])
    assert lines.ended(mark[20:] + mark)
    assert not lines.ended(mark + mark[:-1])
    assert lines.ended(mark[-1:])
    assert [event(message)[0] for message in messages(mark + mark)] == ["BOOKMARK", "BOOKMARK"]


async def test_sizes_are_found_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protobuf_responses, "TURN", -1)
    assert await protobuf_responses._size((b"x" * index for index in range(1, 1000)), long=False) == sum(range(1000))
    assert await protobuf_responses._size(iter(()), long=False) == 0
