"""The bound on buffered bytes of all connections: when they are queried, and which are refused."""

from typing import NamedTuple

import pytest

from kapi import limits
from kapi.http.allowance import Allowance

MB = 1 << 20


class Kept(NamedTuple):
    """What a response keeps of states that were forgotten since it began."""

    forgotten: int
    size: int


class Held:
    """A connection for which some bytes wait."""

    def __init__(self, user: str = "ann", size: int = 0, body: bytes = b"") -> None:
        self.user, self.size, self.body = user, size, body
        self.queries = 0
        self.working = self.refused = False
        self.pinned: Kept | None = None

    def waiting(self) -> int:
        self.queries += 1
        return self.size

    def sending(self) -> bytes:
        return self.body

    def refuse(self) -> bool:
        if not self.working:
            self.refused, self.size, self.body = True, 0, b""
        return not self.working

    def keeps(self, allowance: Allowance, size: int) -> None:
        self.size += size
        allowance.keeps(self, size)


@pytest.fixture
def allowance(monkeypatch: pytest.MonkeyPatch) -> Allowance:
    monkeypatch.setattr(limits, "WAITING_BYTES", 100 * MB)
    monkeypatch.setattr(limits, "WAITING_BYTES_OF_STRANGERS", 40 * MB)
    return Allowance()


async def test_the_sum_is_bounded(allowance: Allowance) -> None:
    connections = [Held() for _ in range(50)]
    for _ in range(30):
        for held in connections:
            if not held.refused:
                held.keeps(allowance, MB // 4)
            assert sum(each.size for each in connections) <= limits.WAITING_BYTES + MB
    assert any(held.refused for held in connections)


async def test_the_largest_of_whoever_has_most_are_refused(allowance: Allowance) -> None:
    """A user with one large body is none of them, one with a crowd of small ones is."""
    one = Held("bob")
    one.keeps(allowance, 20 * MB)
    connections = [Held("ann") for _ in range(90)]
    for number, held in enumerate(connections):
        held.keeps(allowance, MB + number)
    assert not one.refused
    assert sum(held.refused for held in connections) < len(connections) / 2
    smallest = min(held.size for held in connections if not held.refused)
    assert smallest < MB + len(connections) // 2


async def test_strangers_have_less(allowance: Allowance) -> None:
    known = Held("ann")
    known.keeps(allowance, 30 * MB)
    strangers = [Held("") for _ in range(60)]
    for held in strangers:
        held.keeps(allowance, MB)
    assert sum(held.size for held in strangers) <= 41 * MB
    assert not known.refused


async def test_what_is_worked_on_is_left_alone(allowance: Allowance) -> None:
    """It is done with by itself; others go instead, and when there are none nobody does."""
    working = [Held() for _ in range(10)]
    for held in working:
        held.working = True
        held.keeps(allowance, 11 * MB)
    idle = Held()
    idle.keeps(allowance, 2 * MB)
    assert idle.refused
    assert not any(held.refused for held in working)


async def test_what_many_are_sent_counts_once(allowance: Allowance) -> None:
    shared = b"x" * (3 * MB)
    readers = [Held(body=shared) for _ in range(100)]
    for held in readers:
        allowance.keeps(held, len(shared))
    assert not any(held.refused for held in readers)
    assert sum(allowance.sizes().values()) == len(shared)
    for _ in range(60):
        allowance.keeps(Held(body=bytes(3 * MB)), 3 * MB)
    assert sum(allowance.sizes().values()) <= limits.WAITING_BYTES


async def test_nobody_is_asked_while_there_is_room(allowance: Allowance) -> None:
    held = Held("")
    held.keeps(allowance, 10 * MB)
    assert not held.queries
    held.keeps(allowance, 10 * MB)
    assert held.queries


async def test_what_has_ended_counts_no_more(allowance: Allowance) -> None:
    held = Held(size=50 * MB)
    allowance.keeps(held, 1)
    allowance.dropped(held)
    assert allowance.sizes() == {}


async def test_forgotten_states_count_once_for_those_who_keep_them(allowance: Allowance) -> None:
    old, middle, young, small = (Held(size=MB) for _ in range(4))
    old.pinned, middle.pinned, young.pinned = Kept(60 * MB, 90 * MB), Kept(50 * MB, 90 * MB), Kept(20 * MB, 90 * MB)
    small.pinned = Kept(80 * MB, 3 * MB)
    for held in (old, middle, young, small):
        allowance.keeps(held, 1)
    assert allowance.sizes() == {old: 11 * MB, middle: 31 * MB, young: 21 * MB, small: 4 * MB}


async def test_those_who_keep_the_past_are_refused(allowance: Allowance) -> None:
    """One more for whom little is forgotten is left alone."""
    reading = [Held(size=MB) for _ in range(4)]
    for number, held in enumerate(reading):
        held.pinned = Kept(number * 40 * MB, 200 * MB)
        allowance.keeps(held, 1)
    Held("bob").keeps(allowance, 40 * MB)
    assert not reading[0].refused
    assert any(held.refused for held in reading)
