"""Collections: how events are put into batches for those who watch."""

from kapi.storage.collection import SHARE, Collection
from kapi.storage.entry import Entry
from kapi.storage.turns import Turns

ALL = ("/core/pods/", "", "")


def filled(*sizes: int) -> Collection:
    """A collection with events of so many bytes."""
    out = Collection("/core/pods/", 0, Turns())
    for number, size in enumerate(sizes, 1):
        out.append(Entry(f"/core/pods/default/{number}", number, number, b"x" * size, {}, {}), False, 0.0)
    return out


def batches(collection: Collection) -> list[list[int]]:
    """The sizes of all events, batch by batch."""
    out, at = [], 0
    while at < collection.end:
        share = collection.some(at, ALL)
        assert share.start == at
        out.append([len(event.entry.body) for event in share.events])
        at = share.end
    return out


def test_a_batch_of_several_events_is_short() -> None:
    third = SHARE // 3 + 1
    assert batches(filled(*[third] * 5)) == [[third] * 2, [third] * 2, [third]]


def test_a_large_event_is_a_batch_of_its_own() -> None:
    assert batches(filled(10, SHARE, 10, 3 * SHARE, 10)) == [[10], [SHARE], [10], [3 * SHARE], [10]]


def test_a_short_batch_is_made_once_for_all_watchers() -> None:
    collection = filled(*[SHARE // 2] * 4)
    assert collection.some(0, ALL) is collection.some(0, ALL)
