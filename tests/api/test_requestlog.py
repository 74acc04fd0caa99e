"""Which requests are logged without being asked for: those that took long, and those whose handler broke."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kapi import limits
from kapi.api import app as application
from kapi.api.app import App
from kapi.api.request import Request
from kapi.client.client import Client
from tests.api.asking import ask

Handle = Callable[[Request, App, Any], Awaitable[None]]


def found(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, Any]]:
    return [vars(record)["fields"] for record in caplog.records if record.message == message]


def aged(handle: Handle, seconds: float) -> Handle:
    """The handler, of requests that came so many seconds before."""

    async def late(request: Request, app: App, kind: Any) -> None:
        request.began -= seconds
        await handle(request, app, kind)

    return late


async def test_a_slow_request(client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO)
    await ask(client, "GET", "/api/v1/namespaces/default")
    assert found(caplog, "Slow request") == []
    monkeypatch.setitem(application.HANDLERS, ("", "get"), aged(application.HANDLERS["", "get"], limits.SLOW_REQUEST_SECONDS))
    await ask(client, "GET", "/api/v1/namespaces/default?pretty=true")
    (line,) = found(caplog, "Slow request")
    assert (line["user"], line["verb"], line["path"], line["code"]) == ("admin", "get", "/api/v1/namespaces/default", 200)
    assert 1 <= line["seconds"] < 2
    assert line["audit_id"]


async def test_watches_may_take_long(client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setitem(application.HANDLERS, ("", "watch"), aged(application.HANDLERS["", "list"], 3600))
    answer = await ask(client, "GET", "/api/v1/namespaces?watch=true")
    assert answer.code == 200
    assert found(caplog, "Slow request") == []


async def test_a_handler_that_breaks(client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(request: Request, app: App, kind: Any) -> None:
        raise KeyError("nothing there")

    monkeypatch.setitem(application.HANDLERS, ("", "get"), broken)
    answer = await ask(client, "GET", "/api/v1/namespaces/default")
    assert answer.code == 500
    (line,) = found(caplog, "Handler broke")
    assert (line["user"], line["path"]) == ("admin", "/api/v1/namespaces/default")
    assert "KeyError: 'nothing there'" in caplog.text
