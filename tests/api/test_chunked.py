"""Long lists come in pieces, packed or not, and let others run meanwhile."""

import asyncio
import gzip
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import yaml

from kapi.api import chunked
from kapi.api.request import Request
from kapi.client.client import Client
from kapi.http.exchange import TURN
from kapi.objects.resource import CONFIG_MAPS
from tests.api.asking import MAPS, TABLE, ask, config_map
from tests.moments import hold, turn


async def fill(client: Client) -> None:
    """Three config maps of 100 KB: a list of them is too long for one piece."""
    for i in range(3):
        await client.create(CONFIG_MAPS, config_map(f"m{i}", {"k": str(i) * 100_000}))


async def test_a_long_list(client: Client) -> None:
    await fill(client)
    answer = await ask(client, "GET", MAPS)
    assert [item["data"]["k"][0] for item in answer.json["items"]] == ["0", "1", "2"]
    assert "content-length" not in answer.headers, "its length is not known when it begins"


async def test_a_long_list_packed(client: Client) -> None:
    await fill(client)
    plain = await ask(client, "GET", MAPS)
    packed = await ask(client, "GET", MAPS, accept_encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < 10_000


async def test_a_long_table(client: Client) -> None:
    await fill(client)
    table = (await ask(client, "GET", MAPS + "?includeObject=Object", accept=TABLE)).json
    assert [row["cells"][0] for row in table["rows"]] == ["m0", "m1", "m2"]
    assert table["columnDefinitions"][0]["name"] == "Name"


@pytest.mark.slow
async def test_a_watch_begins_with_a_long_list(client: Client) -> None:
    await fill(client)
    query = "watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1"
    answer = await ask(client, "GET", f"{MAPS}?{query}")
    events = [orjson.loads(line) for line in answer.body.splitlines()]
    assert [event["type"] for event in events] == ["ADDED", "ADDED", "ADDED", "BOOKMARK", "BOOKMARK"]


def test_blocks_hold_whole_items() -> None:
    items = [b"x" * 30_000] * 7
    made = list(chunked.blocks(items, b","))
    assert [len(block) for block in made] == [90_002, 90_003, 30_001]
    assert b"".join(made) == b",".join(items)
    assert list(chunked.blocks([], b",")) == []


async def test_lists_in_other_dresses(client: Client) -> None:
    for count in range(3):
        listed = (await ask(client, "GET", MAPS)).json
        assert len(listed["items"]) == count
        pretty = (await ask(client, "GET", MAPS + "?pretty=true")).body
        assert pretty == orjson.dumps(listed, option=orjson.OPT_INDENT_2)
        text = (await ask(client, "GET", MAPS, accept="application/yaml")).body.decode()
        assert text == yaml.safe_dump(listed, default_flow_style=False)
        table = (await ask(client, "GET", MAPS, accept=TABLE)).json
        pretty_table = (await ask(client, "GET", MAPS + "?pretty=1", accept=TABLE)).body
        assert pretty_table == orjson.dumps(table, option=orjson.OPT_INDENT_2)
        await client.create(CONFIG_MAPS, config_map(f"m{count}", {"k": "a\nb"}))


async def test_a_list_of_one_name(client: Client) -> None:
    for name in ("m", "m0", "n"):
        await client.create(CONFIG_MAPS, config_map(name))
    for path in (MAPS, "/api/v1/configmaps"):
        listed = (await ask(client, "GET", f"{path}?fieldSelector=metadata.name%3Dm")).json
        assert [item["metadata"]["name"] for item in listed["items"]] == ["m"]


def test_nothing_is_made_for_a_client_that_is_gone() -> None:
    extensions = {"kapi.user": "somebody"}
    scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "headers": [], "query_string": b"", "extensions": extensions}
    made: list[int] = []

    def make() -> Iterator[bytes]:
        for number in range(9):
            made.append(number)
            yield b"x"

    async def unused(*message: Any) -> Any:
        """Nothing is received or sent."""

    chunks = chunked.while_connected(Request(scope, unused, unused), make())
    assert next(chunks) == b"x"
    extensions.clear()
    assert (list(chunks), made) == ([], [0])


async def test_long_answers_take_turns() -> None:
    """Two that write all the time, a third whose client is slow: the two alternate, and the loop runs between."""
    written: list[str] = []
    rounds = 0

    def busy(name: str) -> bool:
        hold(TURN)
        written.append(name)
        return True

    async def slowly(piece: bytes) -> None:
        await turn()
        written.append("c")

    async def count() -> None:
        nonlocal rounds
        while len(written) < 9:
            rounds += 1
            await turn()

    a = chunked.write_all([b"x"] * 3, lambda piece: busy("a"), slowly)
    b = chunked.write_all([b"x"] * 3, lambda piece: busy("b"), slowly)
    c = chunked.write_all([b"x"] * 3, lambda piece: False, slowly)
    await asyncio.gather(a, b, c, count())
    assert [name for name in written if name != "c"] == ["a", "b"] * 3
    assert written.count("c") == 3
    assert rounds > 6
