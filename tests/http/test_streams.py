"""Connections as streams: what becomes of one whose maker is cancelled."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from kapi.http import streams


async def test_a_connection_that_is_made_as_its_maker_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cut at once: nobody else knows of it."""
    loop = asyncio.get_running_loop()
    create = loop.create_connection
    made: list[asyncio.Transport] = []

    async def cancelled(factory: Callable[[], Any], *where: Any, **how: Any) -> None:
        made.append((await create(factory, *where, **how))[0])
        raise asyncio.CancelledError

    monkeypatch.setattr(loop, "create_connection", cancelled)
    async with await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0) as server:
        with pytest.raises(asyncio.CancelledError):
            await streams.connect("127.0.0.1", server.sockets[0].getsockname()[1])
    assert made[0].is_closing()
