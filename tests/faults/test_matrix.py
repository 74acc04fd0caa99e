"""Every row of the matrix is as it should be. The rows are played beforehand, several at a time; each is judged by a test of its own."""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.faults import files, harness, running, starting
from tests.faults.harness import Outcome
from tests.faults.rows import MATRIX, ROWS, Row

__all__ = ["files", "running", "starting"]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="disks and other users need root"), pytest.mark.timeout(300)]
AT_ONCE = 4


def played(row: Row) -> Outcome:
    with harness.new_harness() as row_harness:
        return row.play(row_harness).of(row_harness.directory)


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[dict[Row, "Future[Outcome]"]]:
    ours = [item for item in request.session.items if isinstance(item, pytest.Function) and item.module is request.module]
    wanted = {item.callspec.params["row"] for item in ours}
    pool = ThreadPoolExecutor(AT_ONCE)
    yield {row: pool.submit(played, row) for row in ROWS if row in wanted and not row.containers}
    pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module", autouse=True)
def _originals() -> Iterator[None]:
    yield
    harness.discard()


def parameters(containers: bool) -> list[object]:
    return [pytest.param(r, id=f"{r.fault}: {r.when}") for r in ROWS if r.containers == containers]


def judge(row: Row, outcome: Outcome, record: pytest.FixtureRequest) -> None:
    record.config.stash.setdefault(MATRIX, []).append((row, outcome))
    outcome.check()


@pytest.mark.parametrize("row", parameters(containers=False))
def test_row(row: Row, outcomes: dict[Row, "Future[Outcome]"], request: pytest.FixtureRequest) -> None:
    judge(row, outcomes[row].result(), request)


@pytest.mark.containers
@pytest.mark.parametrize("row", parameters(containers=True))
def test_row_with_containers(row: Row, request: pytest.FixtureRequest) -> None:
    judge(row, played(row), request)
