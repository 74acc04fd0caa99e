"""Turns: how long one lasts, who is next, and that those who leave are told nothing."""

import asyncio
import itertools

import pytest

from kapi.storage import turns
from kapi.storage.turns import Line, Turns, Waiter
from tests.moments import hold, turn

ANY = ("/core/pods/", "", "")


def crowd(told: list[str], name: str, count: int, *, cost: int = 0, seconds: float = 0.0) -> list[Waiter]:
    """Waiters that note their turn; each takes so long and says that it wrote so much."""

    def waiter(number: int) -> Waiter:
        def tell(step: int) -> int:
            told.append(f"{name}{number}")
            hold(seconds)
            return cost

        return Waiter(ANY, tell)

    return [waiter(number) for number in range(count)]


async def test_first_come_first_served_in_one_turn() -> None:
    told: list[str] = []
    Turns().add(Line(), crowd(told, "a", 20))
    assert told == [], "nobody is told while the step is made"
    await turn()
    assert told == [f"a{i}" for i in range(20)]


@pytest.mark.parametrize("costs", [{"cost": turns.BYTES // 2}, {"seconds": turns.TURN * 0.6}], ids=["bytes", "time"])
async def test_a_turn_is_bounded(costs: dict[str, float]) -> None:
    told: list[str] = []
    Turns().add(Line(), crowd(told, "a", 6, **costs))  # type: ignore[arg-type]
    counts = [0]
    while len(told) < 6:
        await turn()
        counts.append(len(told))
    assert {after - before for before, after in itertools.pairwise(counts)} <= {1, 2}


async def test_collections_take_turns_with_each_other() -> None:
    told: list[str] = []
    all_, few, many = Turns(), Line(), Line()
    all_.add(many, crowd(told, "many", 100))
    all_.add(few, crowd(told, "few", 1))
    await turn()
    assert told[:3] == ["many0", "few0", "many1"]


async def test_who_leaves_is_told_nothing() -> None:
    told: list[str] = []
    waiters = crowd(told, "a", 3)
    Turns().add(Line(), waiters)
    waiters[1].in_line = False
    await turn()
    assert told == ["a0", "a2"]


async def test_who_is_told_may_stand_in_line_again() -> None:
    """It is behind those who were there before; and nothing is scheduled when nobody is left."""
    told: list[str] = []
    line, all_ = Line(), Turns()

    def again(step: int) -> int:
        told.append("again")
        if told.count("again") < 3:
            all_.add(line, [first])
        return 0

    first = Waiter(ANY, again)
    all_.add(line, [first, *crowd(told, "a", 2)])
    await turn()
    assert told == ["again", "a0", "a1", "again", "again"]
    all_.add(line, crowd(told, "b", 1))
    await turn()
    assert told[-1] == "b0"


async def test_one_that_fails_holds_up_nobody() -> None:
    """The event loop hears of it."""
    told: list[str] = []
    heard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: heard.append(context["exception"]))

    def fail(step: int) -> int:
        raise KeyError

    Turns().add(Line(), [Waiter(ANY, fail), *crowd(told, "a", 1)])
    while not told:
        await turn()
    assert [type(error) for error in heard] == [KeyError]
