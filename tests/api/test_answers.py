"""The form of answers: JSON, YAML, protobuf, tables, gzip, HEAD; and every refusal as a Status."""

import gzip

import orjson
import pytest
import yaml

from kapi.api import responses
from kapi.client.client import Client
from kapi.objects.resource import CONFIG_MAPS, PODS
from tests.api.asking import MAPS, PARTIAL, TABLE, ask, config_map, pod
from tests.api.asking import PODS as POD_PATH
from tests.messages import envelope, field

PROTOBUF = "application/vnd.kubernetes.protobuf"


async def test_headers(client: Client) -> None:
    answer = await ask(client, "GET", MAPS)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-cache, private"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert {"audit-id", "date"} <= set(answer.headers)
    assert (await ask(client, "GET", MAPS, audit_id="mine")).headers["audit-id"] == "mine"


async def test_yaml(client: Client) -> None:
    text = b"kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: a\ndata:\n  k: 'yes'\n"
    made = await ask(client, "POST", MAPS, text, content_type="application/yaml", accept="application/yaml")
    assert (made.code, made.headers["content-type"]) == (201, "application/yaml")
    assert yaml.safe_load(made.body)["data"] == {"k": "yes"}
    missing = await ask(client, "GET", f"{MAPS}/b", accept="application/yaml")
    assert yaml.safe_load(missing.body)["reason"] == "NotFound"


ANSWERS = [f"{MAPS}/a", MAPS, f"{MAPS}/none", "/api", "/apis", "/apis/apps/v1", "/api/v1"]
"""An object, a list, an error, and discovery."""


@pytest.mark.parametrize("path", ANSWERS)
async def test_pretty(client: Client, path: str) -> None:
    """What nobody reads is one line with its end, as Go's encoder writes; indented text has none."""
    await client.create(CONFIG_MAPS, config_map("a"))
    plain = await ask(client, "GET", path)
    assert plain.body.find(b"\n") == len(plain.body) - 1
    for query, headers in (("?pretty=true", {}), ("", {"user_agent": "Mozilla/5.0 (X11)"}), ("?pretty=1", {"accept_encoding": "gzip"})):
        pretty = await ask(client, "GET", path + query, **headers)
        assert pretty.json == plain.json
        assert pretty.body.count(b"\n  ") > 3
        assert pretty.body.endswith(b"}")


async def test_pretty_of_a_media_type(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a"))
    for accept in ("application/json;pretty=1", f"{TABLE};pretty=1"):
        for path in (f"{MAPS}/a", MAPS):
            assert b"\n  " in (await ask(client, "GET", path, accept=accept)).body


async def test_what_is_not_acceptable_is_said_in_json(client: Client) -> None:
    refused = await ask(client, "GET", MAPS, accept="text/html")
    assert (refused.code, refused.headers["content-type"]) == (406, "application/json")
    assert b'\n  "reason": "NotAcceptable"' in refused.body


async def test_a_protobuf_body(client: Client) -> None:
    """What stock's own components send: magic, then runtime.Unknown with the type and the message."""
    body = envelope("v1", "ConfigMap", field(1, field(1, b"a") + field(3, b"default")) + field(2, field(1, b"k") + field(2, b"v")))
    made = await ask(client, "POST", MAPS, body, content_type=PROTOBUF)
    assert made.code == 201
    assert made.json["data"] == {"k": "v"}


async def test_gzip_of_what_is_big(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("big", {"k": "x" * 200_000}))
    packed = await ask(client, "GET", f"{MAPS}/big", accept_encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.body) < 10_000
    plain = await ask(client, "GET", f"{MAPS}/big")
    assert gzip.decompress(packed.body) == plain.body
    assert "content-encoding" not in plain.headers
    small = await ask(client, "GET", "/api/v1/namespaces/default", accept_encoding="gzip")
    assert "content-encoding" not in small.headers


async def test_a_gzip_body(client: Client) -> None:
    answer = await ask(client, "POST", MAPS, gzip.compress(orjson.dumps(config_map("a"))), content_encoding="gzip")
    assert answer.code == 201
    bomb = await ask(client, "POST", MAPS, gzip.compress(b" " * 4_000_000), content_encoding="gzip")
    assert bomb.said[:2] == (413, "RequestEntityTooLarge")
    broken = await ask(client, "POST", MAPS, b"nonsense", content_encoding="gzip")
    assert broken.said[0] == 400


async def test_head(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a"))
    head, get = [await ask(client, method, f"{MAPS}/a") for method in ("HEAD", "GET")]
    assert (head.code, head.body) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]
    assert (await ask(client, "HEAD", f"{MAPS}/b")).code == 404


async def test_a_table(api: Client) -> None:
    await api.create(PODS, pod("p"))
    for path in (f"{POD_PATH}/p", POD_PATH):
        table = (await ask(api, "GET", path, accept=f"{TABLE},application/json")).json
        assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
        shown = [c["name"] for c in table["columnDefinitions"] if c["priority"] == 0]
        assert shown == ["Name", "Ready", "Status", "Restarts", "Age"]
        (row,) = table["rows"]
        assert row["cells"][:4] == ["p", "0/1", "Pending", "0"]
        assert row["object"]["kind"] == "PartialObjectMetadata"
        assert "spec" not in row["object"]
    assert table["metadata"]["resourceVersion"]


@pytest.mark.parametrize(("include", "kind"), [("Object", "ConfigMap"), ("Metadata", "PartialObjectMetadata"), ("None", None)])
async def test_what_rows_carry(client: Client, include: str, kind: str | None) -> None:
    await client.create(CONFIG_MAPS, config_map("a"))
    row = (await ask(client, "GET", f"{MAPS}/a?includeObject={include}", accept=TABLE)).json["rows"][0]
    assert (row["object"] or {}).get("kind") == kind


async def test_rows_carry_nothing_else(client: Client) -> None:
    answer = await ask(client, "GET", f"{MAPS}?includeObject=Everything", accept=TABLE)
    assert answer.said == (400, "BadRequest", 'unrecognized includeObject value: "Everything"')


async def test_metadata_only(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a", {"k": "v"}))
    one = (await ask(client, "GET", f"{MAPS}/a", accept=PARTIAL)).json
    assert set(one) == {"kind", "apiVersion", "metadata"}
    many = (await ask(client, "GET", MAPS, accept=PARTIAL.replace("Metadata;", "MetadataList;"))).json
    assert many["kind"] == "PartialObjectMetadataList"
    assert [i["metadata"]["name"] for i in many["items"]] == ["a"]


async def test_the_first_form_that_is_known_is_taken(client: Client) -> None:
    unknown = "application/json;as=Chart;v=v1;g=meta.k8s.io"
    assert (await ask(client, "GET", MAPS, accept=f"{unknown},{PARTIAL},application/json")).json["kind"].startswith("Partial")
    for accept in ("*/*", "application/*", "text/html, */*"):
        assert (await ask(client, "GET", MAPS, accept=accept)).json["kind"] == "ConfigMapList"


NOT_FOUND = "the server could not find the requested resource"
NO_METHOD = "the server does not allow this method on the requested resource"


@pytest.mark.parametrize(
    ("method", "path", "headers", "code", "reason", "message"),
    [
        ("GET", "/api/v1/things", {}, 404, "NotFound", NOT_FOUND),
        ("GET", "/apis/apps/v1/namespaces/default/things/x", {}, 404, "NotFound", NOT_FOUND),
        ("PUT", MAPS, {}, 405, "MethodNotAllowed", NO_METHOD),
        ("POST", f"{MAPS}/a", {}, 405, "MethodNotAllowed", NO_METHOD),
        ("POST", "/api/v1/configmaps", {}, 405, "MethodNotAllowed", NO_METHOD),
        ("OPTIONS", MAPS, {}, 405, "MethodNotAllowed", NO_METHOD),
        ("DELETE", "/api/v1/namespaces", {}, 405, "MethodNotAllowed", NO_METHOD),
        ("GET", MAPS, {"accept": "text/html"}, 406, "NotAcceptable", None),
        ("GET", MAPS, {"accept": "application/json;as=Chart;v=v1;g=meta.k8s.io"}, 406, "NotAcceptable", None),
        ("POST", MAPS, {"content_type": "text/plain"}, 415, "UnsupportedMediaType", None),
        ("PATCH", f"{MAPS}/a", {"content_type": "application/json"}, 415, "UnsupportedMediaType", None),
    ],
)  # fmt: skip
async def test_refusals(
    client: Client, method: str, path: str, headers: dict[str, str], code: int, reason: str, message: str | None
) -> None:
    answer = await ask(client, method, path, config_map("a"), **headers)
    assert answer.said[:2] == (code, reason)
    assert message is None or answer.json["message"] == message


async def test_bodies_that_make_no_sense(client: Client) -> None:
    for body in (b"", b"{", b"[]", b'{"kind": "Pod", "apiVersion": "v1"}', b'{"kind": "ConfigMap", "apiVersion": "v2"}', b"\xff\xfe"):
        answer = await ask(client, "POST", MAPS, body)
        assert answer.said[:2] == (400, "BadRequest"), body


async def test_a_body_that_is_too_big(client: Client) -> None:
    answer = await ask(client, "POST", MAPS, config_map("a", {"k": "x" * (3 << 20)}))
    assert answer.said == (413, "RequestEntityTooLarge", f"Request entity too large: limit is {3 << 20}")


async def test_paths_of_nothing(client: Client) -> None:
    for path in ("/nothing", "/apis/nothing/v1/things", "/api/v9/pods"):
        answer = await ask(client, "GET", path)
        assert (answer.code, answer.body) == (404, b"404 page not found\n"), path


async def test_deprecated_kinds_warn(client: Client) -> None:
    answer = await ask(client, "GET", "/api/v1/namespaces/default/endpoints")
    assert answer.headers["warning"] == '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'


@pytest.mark.parametrize(("texts", "said"), [
    (["a", "a", "b", "", "c\n"], ["a", "b"]),
    (["x" * 4000, "y" * 96], ["x" * 4000, "y" * 96]),
    (["x" * 4000, "y" * 97], ["x" * 256, "y" * 97]),
    ([f"{n:03}" + "x" * 300 for n in range(40)], [f"{n:03}" + "x" * 253 for n in range(16)]),
])  # fmt: skip
def test_warnings_have_limits(texts: list[str], said: list[str]) -> None:
    """A body of a thousand unknown fields makes no header that a client chokes on. Source: apiserver's filters/warning.go."""
    assert responses.warnings(texts) == said
