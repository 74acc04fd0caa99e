"""Things done side by side: results in order, one failure of several, the others in the log."""

import asyncio
from typing import NoReturn

import pytest

from kapi.objects import errors, together


async def fail(error: Exception, after: asyncio.Event | None = None) -> NoReturn:
    if after is not None:
        await after.wait()
    raise error


async def test_results_are_in_the_order_of_the_jobs() -> None:
    gate = asyncio.Event()

    async def one(number: int) -> int:
        if number:
            gate.set()
        else:
            await gate.wait()
        return number

    assert await together.run(one(number) for number in range(3)) == [0, 1, 2]


async def test_the_first_failure_is_raised_once_all_have_ended(caplog: pytest.LogCaptureFixture) -> None:
    gate, ended = asyncio.Event(), []

    async def last() -> None:
        gate.set()
        ended.append(True)

    with caplog.at_level("INFO"), pytest.raises(KeyError):
        await together.run([fail(KeyError("a"), gate), fail(errors.Conflict("b")), fail(ValueError("c")), last()])
    assert ended
    found = [(record.levelname, str(record.exc_info and record.exc_info[1])) for record in caplog.records]
    assert found == [("INFO", "None"), ("ERROR", "c")]
