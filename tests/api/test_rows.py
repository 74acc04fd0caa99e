"""Each row of the table of handlers answers something: a request that it answers, and that nobody answers without it."""

from typing import Any, NamedTuple

import pytest

from kapi.api.app import HANDLERS
from kapi.client.client import Client
from kapi.objects.resource import CERTIFICATE_SIGNING_REQUESTS, CONFIG_MAPS, DEPLOYMENTS, PODS, SERVICE_ACCOUNTS
from tests.api.asking import MAPS, ask, config_map, deployment, pod
from tests.api.asking import PODS as POD_PATH
from tests.controllers.test_identities import request
from tests.test_visible_lists import served

MERGE = "application/merge-patch+json"
POD, NODE, SPACE = f"{POD_PATH}/p", "/api/v1/nodes/none", "/api/v1/namespaces/default"
SCALE = "/apis/apps/v1/namespaces/default/deployments/web/scale"
CSR = "/apis/certificates.k8s.io/v1/certificatesigningrequests/r"
NO_UPGRADE = "Upgrade request required"
NO_NODE = '"reason":"NotFound","details":{"name":"none"'


class Row(NamedTuple):
    """A request and what is in its answer."""

    method: str
    path: str
    words: str
    body: Any = b""
    code: int = 200


BEHAVIOURS: dict[tuple[str, str], Row] = {
    ("", "get"): Row("GET", f"{MAPS}/a", '"kind":"ConfigMap"'),
    ("", "list"): Row("GET", MAPS, '"kind":"ConfigMapList"'),
    ("", "watch"): Row("GET", f"{MAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=1&sendInitialEvents=true"
                              "&resourceVersionMatch=NotOlderThan", '"type":"BOOKMARK"'),
    ("", "create"): Row("POST", MAPS, '"name":"b"', config_map("b"), 201),
    ("", "update"): Row("PUT", f"{MAPS}/a", '"k":"put"', config_map("a", {"k": "put"})),
    ("", "patch"): Row("PATCH", f"{MAPS}/a", '"k":"patched"', {"data": {"k": "patched"}}),
    ("", "delete"): Row("DELETE", f"{MAPS}/a", '"status":"Success"'),
    ("", "deletecollection"): Row("DELETE", MAPS, '"kind":"ConfigMapList"'),
    ("scale", "get"): Row("GET", SCALE, '"kind":"Scale"'),
    ("scale", "update"): Row("PUT", SCALE, '"replicas":3', {"metadata": {"name": "web"}, "spec": {"replicas": 3}}),
    ("scale", "patch"): Row("PATCH", SCALE, '"replicas":3', {"spec": {"replicas": 3}}),
    ("binding", "create"): Row("POST", f"{POD}/binding", '"status":"Success"', {"target": {"kind": "Node", "name": "n1"}}, 201),
    ("eviction", "create"): Row("POST", f"{POD}/eviction", '"status":"Success"', {"metadata": {"name": "p"}}, 201),
    ("token", "create"): Row("POST", f"{SPACE}/serviceaccounts/default/token", '"token":', {"spec": {}}, 201),
    ("status", "get"): Row("GET", f"{SPACE}/status", '"phase":"Active"'),
    ("status", "update"): Row("PUT", f"{POD}/status", '"message":"put"', {**pod("p"), "status": {"message": "put"}}),
    ("status", "patch"): Row("PATCH", f"{POD}/status", '"message":"patched"', {"status": {"message": "patched"}}),
    ("approval", "get"): Row("GET", f"{CSR}/approval", '"kind":"CertificateSigningRequest"'),
    ("approval", "patch"): Row("PATCH", f"{CSR}/approval", '"reason":"R"', {
        "status": {"conditions": [{"type": "Approved", "status": "True", "reason": "R"}]},
    }),
    ("finalize", "update"): Row("PUT", f"{SPACE}/finalize", '"kind":"Namespace"', {"metadata": {"name": "default"}, "spec": {}}),
    ("ephemeralcontainers", "get"): Row("GET", f"{POD}/ephemeralcontainers", '"kind":"Pod"'),
    ("resize", "get"): Row("GET", f"{POD}/resize", '"kind":"Pod"'),
    ("resize", "patch"): Row("PATCH", f"{POD}/resize", '"kind":"Pod"', {"spec": {}}),
    ("ephemeralcontainers", "patch"): Row("PATCH", f"{POD}/ephemeralcontainers", '"name":"debug"', {
        "spec": {"ephemeralContainers": [{"name": "debug", "image": "i"}]},
    }),
    ("log", "get"): Row("GET", f"{POD}/log", ""),
    ("exec", "get"): Row("GET", f"{POD}/exec?command=ls", NO_UPGRADE, code=400),
    ("exec", "create"): Row("POST", f"{POD}/exec?command=ls", NO_UPGRADE, code=400),
    ("attach", "get"): Row("GET", f"{POD}/attach", NO_UPGRADE, code=400),
    ("attach", "create"): Row("POST", f"{POD}/attach", NO_UPGRADE, code=400),
    ("portforward", "get"): Row("GET", f"{POD}/portforward", NO_UPGRADE, code=400),
    ("portforward", "create"): Row("POST", f"{POD}/portforward", NO_UPGRADE, code=400),
    ("proxy", "get"): Row("GET", f"{NODE}/proxy", NO_NODE, code=404),
    ("proxy", "create"): Row("POST", f"{NODE}/proxy", NO_NODE, code=404),
    ("proxy", "update"): Row("PUT", f"{NODE}/proxy", NO_NODE, code=404),
    ("proxy", "patch"): Row("PATCH", f"{NODE}/proxy", NO_NODE, code=404),
    ("proxy", "delete"): Row("DELETE", f"{NODE}/proxy", NO_NODE, code=404),
}  # fmt: skip
WHOLE = {("approval", "update"), ("ephemeralcontainers", "update"), ("resize", "update")}
"""Answered with the object as it is when that is what was sent."""
ROWS = sorted({*BEHAVIOURS, *WHOLE})
TIMED = [pytest.param(key, marks=[pytest.mark.slow] if key[1] == "watch" else [], id="-".join(key)) for key in ROWS]
"""A watch lasts a second at least."""


@pytest.fixture
async def filled(client: Client) -> Client:
    """A server with one of each kind that is asked for."""
    await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, namespace="default")
    for where, obj in (
        (CONFIG_MAPS, config_map("a")), (PODS, pod("p")), (DEPLOYMENTS, deployment("web")),
        (CERTIFICATE_SIGNING_REQUESTS, request("kube-apiserver-client")),
    ):  # fmt: skip
        await client.create(where, obj)
    return client


async def asked(client: Client, key: tuple[str, str]) -> tuple[int, str]:
    """Code and text of the answer to the row's request."""
    if key in WHOLE:
        path = CSR if key[0] == "approval" else POD
        answer = await ask(client, "PUT", f"{path}/{key[0]}", (await ask(client, "GET", path)).json)
    else:
        row = BEHAVIOURS[key]
        headers = {"content_type": MERGE} if row.method == "PATCH" else {}
        answer = await ask(client, row.method, row.path, row.body, **headers)
    return answer.code, answer.body.decode()


def test_every_row_that_a_kind_asks_for_has_a_behaviour() -> None:
    assert served() == set(ROWS)


@pytest.mark.parametrize("key", TIMED)
async def test_with_the_row(key: tuple[str, str], filled: Client) -> None:
    code, text = await asked(filled, key)
    wanted = BEHAVIOURS.get(key, Row("PUT", "", '"uid":'))
    assert (code, wanted.words in text) == (wanted.code, True), text


@pytest.mark.parametrize("key", ROWS, ids="-".join)
async def test_without_the_row(key: tuple[str, str], filled: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(HANDLERS, key)
    code, text = await asked(filled, key)
    assert (code, "the server does not allow this method on the requested resource" in text) == (405, True), text
