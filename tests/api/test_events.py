"""Events of both APIs: each is asked for by the names of its own version, whichever it came by."""

import asyncio
from typing import Any

import pytest

from kapi.client.client import Client
from tests.api.asking import ask

OLD, NEW = "/api/v1/namespaces/default/events", "/apis/events.k8s.io/v1/namespaces/default/events"


def old(name: str) -> dict[str, Any]:
    about = {"kind": "Pod", "name": name, "namespace": "default", "uid": f"u-{name}"}
    return {"metadata": {"name": f"{name}.old"}, "involvedObject": about, "reportingComponent": "c", "reason": "R", "type": "Normal"}


def new(name: str) -> dict[str, Any]:
    about = {"kind": "Pod", "name": name, "namespace": "default", "uid": f"u-{name}"}
    said = {"reportingController": "c", "reportingInstance": "c-0", "action": "Act", "reason": "R", "type": "Normal"}
    return {"metadata": {"name": f"{name}.new"}, "regarding": about, "eventTime": "2026-01-01T00:00:00.000000Z", **said}


async def listed(client: Client, path: str, selector: str) -> list[str]:
    answer = await ask(client, "GET", f"{path}?fieldSelector={selector}")
    assert answer.code == 200, answer.body
    return [item["metadata"]["name"] for item in answer.json["items"]]


@pytest.mark.parametrize(("path", "about", "reporting"), [
    (OLD, "involvedObject", "reportingComponent"), (NEW, "regarding", "reportingController"),
])  # fmt: skip
async def test_selectors(client: Client, path: str, about: str, reporting: str) -> None:
    for name in ("p", "q"):
        assert (await ask(client, "POST", OLD, old(name))).code == 201
        assert (await ask(client, "POST", NEW, new(name))).code == 201
    assert await listed(client, path, f"{about}.name=p") == ["p.new", "p.old"]
    assert await listed(client, path, f"{about}.name!=p,{about}.kind=Pod") == ["q.new", "q.old"]
    assert await listed(client, path, f"{about}.uid=u-q,reason=R,type=Normal") == ["q.new", "q.old"]
    assert len(await listed(client, path, f"{reporting}=c,{about}.namespace=default")) == 4
    assert await listed(client, path, f"{reporting}=other") == []
    await ask(client, "DELETE", f"{path}?fieldSelector={about}.name=p")
    assert await listed(client, path, "reason=R") == ["q.new", "q.old"]


@pytest.mark.parametrize(("path", "field"), [(OLD, "regarding.name"), (NEW, "involvedObject.name"), (NEW, "reportingComponent")])
async def test_names_of_the_other_version(client: Client, path: str, field: str) -> None:
    assert (await ask(client, "GET", f"{path}?fieldSelector={field}=p")).code == 400


@pytest.mark.slow
async def test_a_watch(client: Client) -> None:
    watching = asyncio.ensure_future(ask(client, "GET", f"{NEW}?watch=1&timeoutSeconds=1&fieldSelector=regarding.name=p"))
    await asyncio.sleep(0)
    for name in ("p", "q"):
        await ask(client, "POST", OLD, old(name))
    lines = (await watching).body.splitlines()
    assert len(lines) == 1
    assert b"p.old" in lines[0]
