"""Turns: how long one lasts, the order of watchers, and that those that leave are not called."""

import asyncio
import itertools

import pytest

from kapi.storage import turns
from kapi.storage.turns import Line, Turns, Waiter
from tests.moments import hold, turn

ANY = ("/core/pods/", "", "")


def recording_waiters(woken: list[str], name: str, count: int, *, cost: int = 0, seconds: float = 0.0) -> list[Waiter]:
    """Waiters that record their turn; each takes `seconds` and returns `cost` as the bytes it wrote."""

    def waiter(number: int) -> Waiter:
        def tell(step: int) -> int:
            woken.append(f"{name}{number}")
            hold(seconds)
            return cost

        return Waiter(ANY, tell)

    return [waiter(number) for number in range(count)]


async def test_first_come_first_served_in_one_turn() -> None:
    woken: list[str] = []
    Turns().add(Line(), recording_waiters(woken, "a", 20))
    assert woken == [], "no watcher is called while the event is appended"
    await turn()
    assert woken == [f"a{i}" for i in range(20)]


@pytest.mark.parametrize("costs", [{"cost": turns.BYTES // 2}, {"seconds": turns.TURN * 0.6}], ids=["bytes", "time"])
async def test_a_turn_is_bounded(costs: dict[str, float]) -> None:
    woken: list[str] = []
    Turns().add(Line(), recording_waiters(woken, "a", 6, **costs))  # type: ignore[arg-type]
    counts = [0]
    while len(woken) < 6:
        await turn()
        counts.append(len(woken))
    assert {after - before for before, after in itertools.pairwise(counts)} <= {1, 2}


async def test_collections_take_turns_with_each_other() -> None:
    woken: list[str] = []
    all_, few, many = Turns(), Line(), Line()
    all_.add(many, recording_waiters(woken, "many", 100))
    all_.add(few, recording_waiters(woken, "few", 1))
    await turn()
    assert woken[:3] == ["many0", "few0", "many1"]


async def test_who_leaves_is_told_nothing() -> None:
    woken: list[str] = []
    waiters = recording_waiters(woken, "a", 3)
    Turns().add(Line(), waiters)
    waiters[1].queued = False
    await turn()
    assert woken == ["a0", "a2"]


async def test_who_is_told_may_stand_in_line_again() -> None:
    """It is behind those who were there before; and nothing is scheduled when nobody is left."""
    woken: list[str] = []
    line, all_ = Line(), Turns()

    def again(step: int) -> int:
        woken.append("again")
        if woken.count("again") < 3:
            all_.add(line, [first])
        return 0

    first = Waiter(ANY, again)
    all_.add(line, [first, *recording_waiters(woken, "a", 2)])
    await turn()
    assert woken == ["again", "a0", "a1", "again", "again"]
    all_.add(line, recording_waiters(woken, "b", 1))
    await turn()
    assert woken[-1] == "b0"


async def test_one_that_fails_holds_up_nobody() -> None:
    """The event loop hears of it."""
    woken: list[str] = []
    heard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: heard.append(context["exception"]))

    def fail(step: int) -> int:
        raise KeyError

    Turns().add(Line(), [Waiter(ANY, fail), *recording_waiters(woken, "a", 1)])
    while not woken:
        await turn()
    assert [type(error) for error in heard] == [KeyError]
