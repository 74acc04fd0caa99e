"""Wake-ups of many watchers of one interest are coalesced, and none misses an event."""

import asyncio

import pytest

from kapi.storage import waiting
from kapi.storage.store import Store
from tests.moments import turn
from tests.storage.conftest import put

ALL = "/core/configmaps/"


async def revisions(store: Store, last: int) -> list[list[int]]:
    """What one watcher is handed, a list a time, until it has seen revision `last`."""
    watch = store.watch(ALL, 0)
    handed: list[list[int]] = []
    while not handed or handed[-1][-1] < last:
        handed.append([e.revision for e in await watch.next(5)])
    return handed


@pytest.mark.parametrize("store", ["memory"], indirect=True)  # a disk may take longer than the pause
async def test_quick_events_are_coalesced_for_many_watchers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PAUSE", 0.2 / waiting.COALESCE_FROM)
    monkeypatch.setattr(waiting, "LONGEST_PAUSE", 0.2)
    watchers = [asyncio.create_task(revisions(store, 6)) for _ in range(waiting.COALESCE_FROM)]
    await turn()
    for _ in range(6):
        await put(store, "a")
    for handed in await asyncio.gather(*watchers):
        assert [revision for some in handed for revision in some] == [1, 2, 3, 4, 5, 6]
        assert len(handed) < 6


async def test_few_watchers_are_woken_for_each_event(store: Store) -> None:
    few = [asyncio.create_task(revisions(store, 3)) for _ in range(waiting.COALESCE_FROM - 1)]
    await turn()
    for _ in range(3):
        await put(store, "a")
        await turn()
        await turn()
    assert all(handed == [[1], [2], [3]] for handed in await asyncio.gather(*few))


async def test_a_watcher_that_times_out_misses_no_delayed_event(store: Store) -> None:
    watchers = [asyncio.create_task(revisions(store, 2)) for _ in range(waiting.COALESCE_FROM)]
    await turn()
    watch = store.watch(ALL, 1)
    await put(store, "a")
    impatient = asyncio.create_task(watch.next(0.0001))
    await put(store, "a")
    assert [e.revision for e in [*await impatient, *await watch.next(0)]] == [2]
    await asyncio.gather(*watchers)
