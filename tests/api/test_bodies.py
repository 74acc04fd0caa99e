"""Bodies that are not what they should be: nested without end, of numbers without measure, not text, not an object."""

import pytest

from kapi.client.client import Client
from tests.api.asking import ask

PATH = "/apis/apps/v1/namespaces/default/controllerrevisions"
JSON, APPLY = "application/json", "application/apply-patch+yaml"
PATCHES = ("application/merge-patch+json", "application/strategic-merge-patch+json", "application/json-patch+json", APPLY)


def revision(data: str, name: str = "r") -> bytes:
    text = '{"kind":"ControllerRevision","apiVersion":"apps/v1","metadata":{"name":"%s"},"revision":1,"data":%s}'
    return (text % (name, data)).encode()


def nested(depth: int, opening: str) -> str:
    return opening * depth + "1" + {"[": "]"}.get(opening, "}") * depth


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [260, 900, 1100, 100_000])
async def test_too_deep(client: Client, depth: int, opening: str) -> None:
    await ask(client, "POST", PATH, revision("{}"))
    deep = nested(depth, opening)
    for media in (JSON, "application/yaml"):
        assert (await ask(client, "POST", PATH, revision(deep, "new"), content_type=media)).code == 400
    for media in PATCHES:
        body = b'[{"op":"add","path":"/data","value":%s}]' % deep.encode() if "json-patch" in media else revision(deep)
        answer = await ask(client, "PATCH", f"{PATH}/r?fieldManager=m", body, content_type=media)
        assert answer.code in (400, 422), (media, answer.body)  # 422: what the patch makes can't be read


async def test_deep_enough(client: Client) -> None:
    assert (await ask(client, "POST", PATH, revision(nested(240, '{"a":')))).code == 201
    assert (await ask(client, "GET", f"{PATH}/r", accept="application/yaml")).code == 200
    applied = revision(nested(230, '{"a":'), "applied")
    assert (await ask(client, "PATCH", f"{PATH}/applied?fieldManager=m", applied, content_type=APPLY)).code == 201
    assert (await ask(client, "PATCH", f"{PATH}/applied?fieldManager=m", applied, content_type=PATCHES[0])).code == 200


@pytest.mark.parametrize("number", ["1" + "0" * 30, "-" + "9" * 25, "1e400", "9" * 5000, "-0", "1.0000000000000000000000001"])
@pytest.mark.parametrize("media", [JSON, "application/yaml", APPLY])
async def test_numbers(client: Client, number: str, media: str) -> None:
    method, path = ("PATCH", f"{PATH}/r?fieldManager=m") if media == APPLY else ("POST", PATH)
    assert (await ask(client, method, path, revision(f'{{"n":{number}}}'), content_type=media)).code in (201, 400)
    assert (await ask(client, method, path, revision(number), content_type=media)).code in (400, 422), "a revision is of an object"


ODD = (b"", b"null", b"[]", b"3", b'"x"', b"{", b"\xff\xfe", b"\x00", b"{}", b'{"metadata":[]}', b'{"metadata":null}', b"k8s\x00\xff")


@pytest.mark.parametrize("body", ODD)
@pytest.mark.parametrize("media", [JSON, "application/yaml", "application/vnd.kubernetes.protobuf", *PATCHES])
async def test_what_is_no_object(client: Client, body: bytes, media: str) -> None:
    await ask(client, "POST", PATH, revision("{}"))
    patch = media in PATCHES
    method, path = ("PATCH", f"{PATH}/r?fieldManager=m") if patch else ("POST", PATH)
    answer = await ask(client, method, path, body, content_type=media)
    assert answer.code in (200, 400, 422) or not answer.json.get("reason"), answer.body


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a: =", {"a": "="}), ("a: 12:30:45", {"a": "12:30:45"}), ("a: 1e3", {"a": 1000}), ("a: 017", {"a": 15}), ("a: 0x1F", {"a": 31}),
        ("a: 2001-01-01", {"a": "2001-01-01"}), ("a: yes", {"a": True}), ("1: x", {"1": "x"}), ("a: ~", {"a": None}),
    ],
)  # fmt: skip
async def test_yaml_as_go_reads_it(client: Client, text: str, data: object) -> None:
    body = f"kind: ControllerRevision\napiVersion: apps/v1\nmetadata: {{name: r}}\nrevision: 1\ndata:\n  {text}\n".encode()
    assert (await ask(client, "POST", PATH, body, content_type="application/yaml")).json.get("data") == data


REFUSED = ("&a [*a]", "!!int x", "!!bool 3", "!!timestamp x", ".nan", "!!python/object:os.system x", "*x", "- " * 3000)


@pytest.mark.parametrize("text", REFUSED)
async def test_yaml_that_is_refused(client: Client, text: str) -> None:
    body = f"kind: ControllerRevision\napiVersion: apps/v1\nmetadata: {{name: r}}\nrevision: 1\ndata: {text}\n".encode()
    for method, path, media in (("POST", PATH, "application/yaml"), ("PATCH", f"{PATH}/r?fieldManager=m", APPLY)):
        assert (await ask(client, method, path, body, content_type=media)).code == 400
