import asyncio
import gzip
from collections.abc import Iterator

import orjson
import pytest

from kapi.documents import building
from kapi.documents.building import Entry
from kapi.registry import catalogue

ENTRIES = [
    Entry((), "a", 1),
    Entry(("p",), "x", {"y": 2}),
    Entry(("p",), "z", None),
    Entry(("c", "s"), "t", []),
    Entry(("c", "u"), "v", "w"),
    Entry(("c",), "k", True),
    Entry((), "b", "ü"),
]


def served() -> catalogue.Catalogue:
    pods = catalogue.standard(strategies={}).get("", "v1", "pods")
    assert pods is not None
    return catalogue.Catalogue([pods])


@pytest.mark.parametrize("count", range(1, len(ENTRIES) + 1))
def test_entries_as_json(count: int) -> None:
    made = orjson.loads(b"".join(building.as_json(ENTRIES[:count])))
    assert made == building.whole(ENTRIES[:count])


def test_what_entries_stand_for() -> None:
    wanted = {"a": 1, "p": {"x": {"y": 2}, "z": None}, "c": {"s": {"t": []}, "u": {"v": "w"}, "k": True}, "b": "ü"}
    assert building.whole(ENTRIES) == wanted


async def test_a_document_is_made_once_for_all_who_ask() -> None:
    made = []

    async def work(snapshot: catalogue.Catalogue) -> int:
        made.append(len(list(snapshot)))
        await asyncio.sleep(0)
        return len(made)

    kinds = served()
    assert await asyncio.gather(*(building.shared(kinds, "d", work) for _ in range(20))) == [1] * 20
    assert await building.shared(kinds, "d", work) == 1
    kinds.remove("", "v1", "pods")
    assert await building.shared(kinds, "d", work) == 2
    assert made == [1, 0]


async def test_who_waits_while_the_catalogue_changes_is_given_what_is_served_then() -> None:
    begun, go, made = asyncio.Event(), asyncio.Event(), []

    async def work(snapshot: catalogue.Catalogue) -> int:
        begun.set()
        await go.wait()
        made.append(len(list(snapshot)))
        return made[-1]

    kinds = served()
    before = asyncio.create_task(building.shared(kinds, "d", work))
    other = asyncio.create_task(building.shared(kinds, "e", work))
    await begun.wait()
    kinds.remove("", "v1", "pods")
    after = [asyncio.create_task(building.shared(kinds, key, work)) for key in "de"]
    go.set()
    assert await asyncio.gather(before, other, *after) == [1, 0, 0, 0]
    assert made == [1, 0, 0]


async def test_one_who_goes_away_takes_nothing_from_the_others() -> None:
    go = asyncio.Event()

    async def work(snapshot: catalogue.Catalogue) -> int:
        await go.wait()
        return 1

    kinds = served()
    first, second = (asyncio.create_task(building.shared(kinds, "d", work)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    go.set()
    assert await second == 1


async def test_a_failure_is_told_and_not_kept() -> None:
    async def broken(snapshot: catalogue.Catalogue) -> int:
        raise ValueError

    async def work(snapshot: catalogue.Catalogue) -> int:
        return 1

    kinds = served()
    with pytest.raises(ValueError):
        await building.shared(kinds, "d", broken)
    await asyncio.sleep(0)
    assert await building.shared(kinds, "d", work) == 1


async def test_pieces_are_packed_and_unpacked() -> None:
    def pieces() -> Iterator[bytes]:
        yield from (b"%d" % i * 1000 for i in range(1000))

    made = await building.packed(pieces())
    assert gzip.decompress(made) == b"".join(pieces()) == b"".join(building.unpacked(made))
    assert max(map(len, building.unpacked(made))) <= 72 * 1024
    assert list(building.unpacked(await building.packed([]))) == []
