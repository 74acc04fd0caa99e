"""Several things done side by side of which some may fail: one failure is raised, the others are logged, and nothing goes on behind it."""

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Sequence
from typing import TypeVar

from kapi import logs
from kapi.objects.errors import StatusError

log = logging.getLogger(__name__)
Result = TypeVar("Result")


async def run(jobs: Iterable[Awaitable[Result]]) -> list[Result]:
    """The results, once all have ended. Raises the first failure, in the order of the jobs."""
    results: list[Result] = []
    failures: list[BaseException] = []
    for found in await asyncio.gather(*jobs, return_exceptions=True):
        if isinstance(found, BaseException):
            failures.append(found)
        else:
            results.append(found)
    if failures:
        raise first(failures)
    return results


def first(failures: Sequence[BaseException]) -> BaseException:
    """The failure to raise; the others are logged, with tracebacks where they are not the everyday refusals and broken connections."""
    for failure in failures[1:]:
        known = isinstance(failure, StatusError | OSError | asyncio.CancelledError)
        log.log(
            logging.INFO if known else logging.ERROR, "Failed beside another failure", extra=logs.fields(error=failure),
            exc_info=None if known else failure,
        )  # fmt: skip
    return failures[0]
