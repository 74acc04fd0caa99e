"""Options as strings from anywhere: numbers, tokens, durations of a watch's beginning, eyes that read the answer."""

import asyncio
import base64
from typing import Any
from urllib.parse import parse_qsl

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kapi.api import continuing, options
from kapi.client.client import Client
from kapi.objects import errors
from kapi.registry import catalogue
from tests.api.asking import MAPS, ask, config_map

MAP = catalogue.standard().get("", "v1", "configmaps")


@given(st.integers(1, 2**62), st.from_regex(r"([a-z0-9][a-z0-9-]*/)?[a-zA-Z0-9:][a-zA-Z0-9:.-]*", fullmatch=True))
def test_a_token_says_where_to_go_on(revision: int, key: str) -> None:
    assert MAP is not None
    how = options.list_options(options.Query({"continue": continuing.encode(revision, key)}), MAP)
    assert (how.at, how.after) == (revision, key)


@given(
    st.binary()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["v", "rv", "start"]), inner),
    ).map(lambda value: str(value).replace("'", '"').encode())
)
def test_any_other_token_is_refused(raw: bytes) -> None:
    assert MAP is not None
    with pytest.raises(errors.BadRequest, match="invalid continue token"):
        options.list_options(options.Query({"continue": base64.urlsafe_b64encode(raw).decode().rstrip("=") or "A"}), MAP)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "limit",
                "timeoutSeconds",
                "resourceVersion",
                "resourceVersionMatch",
                "continue",
                "watch",
                "sendInitialEvents",
                "labelSelector",
                "fieldSelector",
                "allowWatchBookmarks",
            ]
        ),
        st.text(max_size=12) | st.sampled_from(["0", "1", "-1", "true", "false", "Exact", "NotOlderThan", "a=b", "a in (b)"]),
    )
)
def test_any_options_are_understood_or_refused(query: dict[str, str]) -> None:
    assert MAP is not None
    try:
        how = options.list_options(options.Query(query), MAP)
    except (errors.BadRequest, errors.Invalid):
        return
    assert how.limit >= 0


async def test_numbers_of_many_digits(client: Client) -> None:
    zeros, nines = "0" * 5000, "9" * 5000
    await ask(client, "POST", MAPS, config_map("m"))
    assert len((await ask(client, "GET", f"{MAPS}?limit={zeros}1&resourceVersion={zeros}")).json["items"]) == 1
    for query in (f"limit={nines}", f"resourceVersion={nines}"):
        answer = await ask(client, "GET", f"{MAPS}?{query}")
        assert answer.code == 400
        assert answer.json["message"].endswith(f'parsing "{nines}": value out of range')
    assert (await ask(client, "DELETE", f"{MAPS}/m?gracePeriodSeconds={zeros}")).code == 200


async def test_a_limit_below_zero_is_none(client: Client) -> None:
    for n in range(3):
        await ask(client, "POST", MAPS, config_map(f"m{n}"))
    assert len((await ask(client, "GET", f"{MAPS}?limit=-1")).json["items"]) == 3


async def first(client: Client, query: str) -> list[Any]:
    """What a watch of a second says."""
    answer = await asyncio.wait_for(ask(client, "GET", f"{MAPS}?watch=1&timeoutSeconds=1&{query}"), 3)
    return [
        f"{event['type']} {event['object']['metadata'].get('name', '')}".strip() for event in map(orjson.loads, answer.body.splitlines())
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", ["ADDED m", "BOOKMARK", "BOOKMARK"]),
        ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", ["ADDED m"]),
        ("sendInitialEvents=false&resourceVersionMatch=NotOlderThan", []),
        ("sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=0", []),
        ("", ["ADDED m"]),
    ],
)
async def test_how_a_watch_begins(client: Client, query: str, said: list[str]) -> None:
    await ask(client, "POST", MAPS, config_map("m"))
    assert await first(client, query) == said


@pytest.mark.parametrize(("agent", "query", "indented"), [
    ("kubectl/v1", "", False), ("curl/8", "", True), ("Wget/1", "", True), ("Mozilla/5.0", "", True), ("curl/8", "?pretty=false", False),
    ("kubectl/v1", "?pretty=true", True), ("kubectl/v1", "?pretty=maybe", False), ("kubectl/v1", "?pretty=", False),
])  # fmt: skip
async def test_answers_for_eyes(client: Client, agent: str, query: str, indented: bool) -> None:
    await ask(client, "POST", MAPS, config_map("m"))
    for path in (f"{MAPS}/m", MAPS):
        assert (b"\n  " in (await ask(client, "GET", path + query, user_agent=agent)).body) == indented


@pytest.mark.parametrize(
    "body", [{"preconditions": 3}, {"gracePeriodSeconds": "x"}, {"dryRun": 3}, {"propagationPolicy": []}, {"orphanDependents": "no"}]
)
async def test_delete_options_have_types(client: Client, body: object) -> None:
    await ask(client, "POST", MAPS, config_map("m"))
    code, reason, message = (await ask(client, "DELETE", f"{MAPS}/m", body)).said
    assert (code, reason) == (400, "BadRequest")
    assert message.startswith('DeleteOptions in version "v1" cannot be handled as a DeleteOptions: json: cannot unmarshal')


@given(st.lists(st.sampled_from([b"a", b"=", b"&", b"%", b"41", b"%C3%A9", b"%zz", b"+", b"%2", b"b" * 3000, b"%25" * 1500]), max_size=12))
def test_a_query_is_read_as_the_library_does(parts: list[bytes]) -> None:
    raw, wanted = b"".join(parts), dict[str, str]()
    for key, value in parse_qsl(raw.decode("latin-1"), keep_blank_values=True, encoding="utf-8", errors="replace"):
        wanted.setdefault(key, value)
    assert options.parse_query(raw) == wanted
