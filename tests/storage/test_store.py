"""The contract of the Store, the same for every backend."""

import asyncio

import pytest

from kapi.objects import time
from kapi.objects.errors import Expired
from kapi.storage.store import Mismatch, Store
from tests.moments import turn
from tests.storage.conftest import put

ALL = "/core/configmaps/"
A = "/core/configmaps/default/a"


def names(page_or_entries: object) -> list[str]:
    entries = getattr(page_or_entries, "entries", page_or_entries)
    return [entry.key.rsplit("/", 1)[1] for entry in entries]  # type: ignore[attr-defined]


async def test_a_commit_is_numbered_and_carries_its_revision(store: Store) -> None:
    first = await put(store, "a", expect=0)
    second = await put(store, "b", expect=0)
    assert second.revision == first.revision + 1 == store.revision
    assert first.body.startswith(b'{"metadata":{"resourceVersion":"%d","name":"a"}' % first.revision)
    assert store.get(A) is first
    assert first.obj["metadata"] == {"resourceVersion": str(first.revision), "name": "a"}


async def test_empty_metadata_stays_json(store: Store) -> None:
    entry = await store.commit(A, b'{"metadata":{},"x":1}', expect=0)
    assert entry.obj == {"metadata": {"resourceVersion": str(entry.revision)}, "x": 1}


async def test_a_body_that_does_not_start_with_metadata_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="metadata"):
        await store.commit(A, b'{"spec":{}}', expect=0)


async def test_an_update_keeps_the_creation_revision(store: Store) -> None:
    first = await put(store, "a", expect=0)
    second = await put(store, "a", expect=first.revision, text="new")
    assert (second.created, second.revision) == (first.revision, first.revision + 1)


async def test_a_wrong_expectation_is_a_mismatch_with_what_is_there(store: Store) -> None:
    first = await put(store, "a", expect=0)
    for expect in (0, first.revision + 1):
        with pytest.raises(Mismatch) as mismatch:
            await put(store, "a", expect=expect)
        assert mismatch.value.current is first
    with pytest.raises(Mismatch) as mismatch:
        await put(store, "b", expect=1)
    assert mismatch.value.current is None


async def test_a_deletion_returns_the_last_state_at_its_own_revision(store: Store) -> None:
    first = await put(store, "a", expect=0, text="last words")
    gone = await store.commit(A, None, expect=first.revision)
    assert gone.revision == first.revision + 1
    assert gone.obj == {"metadata": {"resourceVersion": str(gone.revision), "name": "a"}, "data": {"text": "last words"}}
    assert store.get(A) is None
    assert store.list(ALL).entries == []


async def test_deleting_what_is_not_there_is_a_mismatch(store: Store) -> None:
    with pytest.raises(Mismatch):
        await store.commit(A, None, expect=None)


async def test_commits_of_one_key_queue_behind_each_other(store: Store) -> None:
    results = await asyncio.gather(*(put(store, "a", expect=0, text=str(n)) for n in range(5)), return_exceptions=True)
    assert [type(r).__name__ for r in results] == ["Entry"] + ["Mismatch"] * 4
    entries = await asyncio.gather(*(put(store, "a", text=str(n)) for n in range(5)))
    assert [e.obj["data"]["text"] for e in sorted(entries, key=lambda e: e.revision)] == ["0", "1", "2", "3", "4"]


async def test_a_cancelled_commit_gives_its_turn_on(store: Store) -> None:
    commits = [asyncio.create_task(put(store, "a", text=str(n))) for n in range(3)]
    await turn()
    commits[1].cancel()
    assert (await commits[2]).obj["data"]["text"] == "2"


async def test_a_list_is_in_key_order_and_of_one_prefix(store: Store) -> None:
    for name in ("c", "a", "b"):
        await put(store, name)
    await store.commit("/core/configmaps/default2/d", b'{"metadata":{}}', expect=0)
    await store.commit("/core/configmapsx/default/e", b'{"metadata":{}}', expect=0)
    assert names(store.list(ALL)) == ["a", "b", "c", "d"]
    assert names(store.list(ALL + "default/")) == ["a", "b", "c"]
    assert (store.count(ALL), store.count(ALL + "default/"), store.count("/apps/deployments/")) == (4, 3, 0)


async def test_a_list_in_pages(store: Store) -> None:
    for name in "abcde":
        await put(store, name)
    page = store.list(ALL, limit=2)
    assert (names(page), page.more, page.remaining, page.revision) == (["a", "b"], True, 3, store.revision)
    page = store.list(ALL, limit=3, after=page.entries[-1].key)
    assert (names(page), page.more, page.remaining) == (["c", "d", "e"], False, 0)


async def test_a_list_by_labels_and_condition(store: Store) -> None:
    for name, app in (("a", "x"), ("b", "y"), ("c", "x"), ("d", "")):
        await put(store, name, app=app)
    assert names(store.list(ALL, equals={"app": "x"})) == ["a", "c"]
    assert names(store.list(ALL, equals={"app": "z"})) == []
    assert names(store.list(ALL, equals={"app": "x", "tier": "t"})) == []
    assert names(store.list(ALL, where=lambda e: e.fields["metadata.name"] > "b")) == ["c", "d"]
    page = store.list(ALL, equals={"app": "x"}, limit=1)
    assert (names(page), page.more, page.remaining) == (["a"], True, 3)
    assert names(store.list(ALL, equals={"app": "x"}, limit=1, after=page.entries[0].key)) == ["c"]


@pytest.mark.parametrize("every", [1, 10])
async def test_a_list_by_a_label_of_many_and_of_few(store: Store, every: int) -> None:
    for number in range(40):
        await put(store, f"n{number:02}", app="x" if number % every == 0 else "y")
    found = [f"n{number:02}" for number in range(0, 40, every)]
    looked: list[str] = []
    assert names(store.list(ALL, equals={"app": "x"})) == found
    page = store.list(ALL, equals={"app": "x"}, where=lambda e: not looked.append(e.key), limit=2)  # type: ignore[func-returns-value]
    assert (names(page), page.more, len(looked)) == (found[:2], True, 2)
    assert names(store.list(ALL, equals={"app": "x"}, after=page.entries[-1].key)) == found[2:]
    assert names(store.list("/core/configmaps/other/", equals={"app": "x"})) == []


async def test_the_label_index_follows_changes(store: Store) -> None:
    await put(store, "a", app="x")
    assert names(store.list(ALL, equals={"app": "x"})) == ["a"]
    await put(store, "a", app="y")
    await put(store, "b", app="x")
    assert names(store.list(ALL, equals={"app": "x"})) == ["b"]
    assert names(store.list(ALL, equals={"app": "y"})) == ["a"]
    await store.commit(A, None, expect=None)
    assert names(store.list(ALL, equals={"app": "y"})) == []


async def test_more_labels_than_are_indexed_still_select(store: Store) -> None:
    labels = {f"l{n}": "v" for n in range(20)}
    await store.commit(A, b'{"metadata":{}}', expect=0, labels=labels)
    for label in labels:
        assert names(store.list(ALL, equals={label: "v"})) == ["a"]
        assert names(store.list(ALL, equals={label: "w"})) == []


async def test_a_list_at_a_past_revision(store: Store) -> None:
    for name in "abd":
        await put(store, name, app="x")
    then = store.revision
    await put(store, "b", text="changed")
    await put(store, "c")
    await store.commit(A, None, expect=None)
    page = store.list(ALL, at=then)
    assert (names(page), page.revision) == (["a", "b", "d"], then)
    assert page.entries[1].obj["data"]["text"] == ""
    page = store.list(ALL, at=then, limit=1, after=page.entries[0].key, equals={"app": "x"})
    assert (names(page), page.more, page.remaining) == (["b"], True, 1)


async def test_a_list_at_a_forgotten_revision_is_expired(store: Store) -> None:
    await put(store, "a")
    await put(store, "a")
    store.compact(store.revision)
    await put(store, "a")
    with pytest.raises(Expired, match="resourceVersion for the provided list is too old"):
        store.list(ALL, at=1)
    with pytest.raises(Expired, match="continue parameter is too old"):
        store.list(ALL, at=1, after=A)
    assert names(store.list(ALL, at=2)) == ["a"]


async def test_a_watch_shows_every_step_after_its_revision(store: Store) -> None:
    first = await put(store, "a")
    watch = store.watch(ALL, first.revision)
    await put(store, "a", text="2")
    await store.commit(A, None, expect=None)
    await put(store, "b")
    events = await watch.next(0)
    assert [(e.type, e.entry.key[-1], e.revision) for e in events] == [("MODIFIED", "a", 2), ("DELETED", "a", 3), ("ADDED", "b", 4)]
    assert events[0].previous is first
    assert events[1].entry.obj["metadata"]["resourceVersion"] == "3"
    assert await watch.next(0) == []


async def test_a_watch_waits_for_its_own_namespace_only(store: Store) -> None:
    watch = store.watch(ALL + "other/", 0)
    waiting = asyncio.create_task(watch.next(5))
    await turn()
    await put(store, "a")
    assert not waiting.done()
    await store.commit("/core/configmaps/other/b", b'{"metadata":{}}', expect=0)
    assert [e.entry.key for e in await waiting] == ["/core/configmaps/other/b"]


async def test_a_watch_gives_up_after_its_time(store: Store) -> None:
    watch = store.watch(ALL, 0)
    assert await watch.next(0.001) == []
    await put(store, "a")
    assert len(await watch.next(1)) == 1
    assert watch.revision == store.revision


async def test_a_watch_from_a_forgotten_revision_is_expired(store: Store) -> None:
    for _ in range(3):
        await put(store, "a")
    store.compact(2)
    with pytest.raises(Expired, match=r"^too old resource version: 1 \(2\)$"):
        await store.watch(ALL, 1).next(0)
    assert [e.revision for e in await store.watch(ALL, 2).next(0)] == [3]


async def test_a_watch_that_lags_behind_history_is_expired(store: Store) -> None:
    watch = store.watch(ALL, 0)
    assert await watch.next(0) == []
    await put(store, "a")
    await put(store, "a")
    store.compact(1)
    with pytest.raises(Expired):
        await watch.next(0)


async def test_a_waiting_watch_does_not_age(store: Store) -> None:
    watch = store.watch(ALL + "other/", 0)
    waiting = asyncio.create_task(watch.next(5))
    await turn()
    for _ in range(3):
        await put(store, "a")
    store.compact(store.revision)
    await store.commit("/core/configmaps/other/b", b'{"metadata":{}}', expect=0)
    assert len(await waiting) == 1


async def test_history_is_forgotten_after_five_minutes(store: Store) -> None:
    clock = [1000.0]
    time.set_clock(lambda: clock[0])
    try:
        await put(store, "a")
        clock[0] += 301
        await put(store, "a")
        with pytest.raises(Expired):
            await store.watch(ALL, 0).next(0)
        assert len(await store.watch(ALL, 1).next(0)) == 1
    finally:
        time.set_clock(None)


async def test_many_steps_can_be_forgotten(store: Store) -> None:
    await asyncio.gather(*(put(store, f"n{n}") for n in range(3000)))
    store.compact(2500)
    assert [e.revision for e in await store.watch(ALL, 2998).next(0)] == [2999, 3000]
    with pytest.raises(Expired):
        await store.watch(ALL, 2499).next(0)


async def test_a_key_with_a_deadline_goes_by_itself(store: Store) -> None:
    await put(store, "b")
    watch = store.watch(ALL, (await put(store, "a", ttl=0.01)).revision)
    events = await watch.next(5)
    assert [(e.type, e.entry.key) for e in events] == [("DELETED", A)]
    assert names(store.list(ALL)) == ["b"]


async def test_a_nearer_deadline_is_kept_too(store: Store) -> None:
    await put(store, "a", ttl=100)
    await put(store, "b", ttl=0.01)
    events = await store.watch(ALL, store.revision).next(5)
    assert [(e.type, e.entry.key[-1]) for e in events] == [("DELETED", "b")]


async def test_an_update_moves_the_deadline(store: Store) -> None:
    await put(store, "a", ttl=0.005)
    await put(store, "a", ttl=100)
    await put(store, "b", ttl=0.01)
    events = await store.watch(ALL, store.revision).next(5)
    assert [e.entry.key[-1] for e in events] == ["b"]
    assert store.get(A)


async def on(store: Store, name: str, node: str) -> None:
    await store.commit(f"/core/pods/default/{name}", b'{"metadata":{}}', expect=None, fields={"spec.nodeName": node})


async def test_a_watch_of_a_field_sees_what_comes_and_goes(store: Store) -> None:
    watch = store.watch("/core/pods/", 0, "spec.nodeName", "n1")
    for name, node in (("a", ""), ("b", "n2"), ("a", "n1"), ("b", "n3"), ("a", "n2"), ("a", "n3")):
        await on(store, name, node)
    assert [(e.entry.key[-1], e.entry.fields["spec.nodeName"]) for e in await watch.next(0)] == [("a", "n1"), ("a", "n2")]


async def test_a_watch_of_a_field_is_woken_by_nothing_else(store: Store) -> None:
    waiting = [asyncio.create_task(store.watch("/core/pods/", 0, "spec.nodeName", node).next(5)) for node in ("n1", "n2")]
    await turn()
    await on(store, "a", "n3")
    await on(store, "b", "n2")
    assert [e.entry.key[-1] for e in await waiting[1]] == ["b"]
    assert not waiting[0].done()
    await on(store, "b", "n1")
    assert [e.revision for e in await waiting[0]] == [3]


async def test_a_watch_of_one_key(store: Store) -> None:
    waiting = asyncio.create_task(store.watch(A, 0).next(5))
    await turn()
    await put(store, "aa")
    await put(store, "a")
    assert [e.entry.key for e in await waiting] == [A]


async def test_a_watch_from_the_future_shows_what_comes_after_that(store: Store) -> None:
    watch = store.watch(ALL, 2)
    for name in "abc":
        await put(store, name)
        events = await watch.next(0)
        assert [e.revision for e in events] == ([3] if name == "c" else [])
