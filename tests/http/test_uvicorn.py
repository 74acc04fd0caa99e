"""What kapi.http uses of uvicorn's internals exists: private names may change, so a newer version is allowed once it was checked."""

import asyncio
import inspect
import re
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from kapi.http import exchange, protocol, server

ROOT = Path(__file__).parent.parent.parent
CALLBACKS = ("on_message_begin", "on_url", "on_header", "on_headers_complete", "on_body", "on_message_complete")
"""What httptools calls by name: no method of the base class calls them."""


def used(*methods: Callable[..., Any]) -> set[str]:
    """Attributes of `self` that the methods' source names."""
    return {name for method in methods for name in re.findall(r"\bself\.(\w+)", inspect.getsource(method))}


def methods(kind: type) -> list[Callable[..., Any]]:
    """Those the class itself defines."""
    return [value for value in vars(kind).values() if inspect.isfunction(value)]


async def of_uvicorn() -> HttpToolsProtocol:
    """Uvicorn's protocol as it makes one for a connection."""

    async def application(scope: Any, receive: Any, send: Any) -> None: ...

    config = uvicorn.Config(application, ws="none", lifespan="off", log_config=None)
    config.load()
    return HttpToolsProtocol(config=config, server_state=ServerState(), app_state={}, _loop=asyncio.get_running_loop())


async def test_the_protocol_has_what_ours_uses() -> None:
    names, theirs = used(*methods(protocol.Protocol)), await of_uvicorn()
    ours = {name for name in names if name.startswith("_")} - {"_start_asgi_task"} | set(vars(protocol.Protocol))
    ours |= {"user", "url"}  # set by the constructor, and by the parser's first callback
    assert {name for name in names - ours if not hasattr(theirs, name)} == set()


def test_what_ours_overrides_is_asked_by_uvicorn_or_the_parser() -> None:
    """A method that uvicorn renames would be ours alone, and never run."""
    for name in ("connection_made", "connection_lost", "data_received", "pause_writing", "resume_writing", "_should_upgrade", *CALLBACKS):
        assert callable(getattr(HttpToolsProtocol, name))
    assert callable(HttpToolsProtocol._start_asgi_task)
    assert callable(HttpToolsProtocol.shutdown)


def test_an_exchange_has_what_uvicorns_methods_read() -> None:
    """Its constructor stands in for uvicorn's: what a newer `send` reads has to be there."""
    assigned = used(exchange.Exchange.__init__)
    inherited = [method for method in methods(RequestResponseCycle) if method.__name__ not in vars(exchange.Exchange)]
    assert {method.__name__ for method in inherited} >= {"send_500_response"}
    needed = used(*inherited, RequestResponseCycle.run_asgi, RequestResponseCycle.send)  # the latter two are called through super()
    missing = {name for name in needed - assigned if not hasattr(exchange.Exchange, name)}
    assert missing - {"access_logger"} == set()  # asked only when access_log is set
    assert exchange.Exchange.access_log is False


def test_the_state_of_a_server_has_what_ours_reads() -> None:
    state = ServerState()
    assert (state.connections, state.tasks) == (set(), set())
    assert STATUS_LINE[200] == b"HTTP/1.1 200 OK\r\n"
    assert used(*methods(server.Server)) >= {"_state"}


@pytest.mark.parametrize("name", ["http", "ws", "lifespan", "log_config", "server_header", "date_header", "proxy_headers"])
def test_the_configuration_takes_what_ours_says(name: str) -> None:
    assert name in inspect.signature(uvicorn.Config).parameters


def test_no_version_is_allowed_that_was_not_looked_at() -> None:
    """The bound excludes the minor version after the one these tests run with, or one before."""
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    [bound] = [text for text in needed if text.startswith("uvicorn")]
    match = re.fullmatch(r"uvicorn>=0\.(\d+),<0\.(\d+)", bound)
    assert match is not None
    least, below = map(int, match.groups())
    assert least <= int(version("uvicorn").split(".")[1]) < below
