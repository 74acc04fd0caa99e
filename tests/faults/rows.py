"""The rows, collected from where they are written."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.faults.harness import Harness, Outcome


@dataclass(frozen=True)
class Row:
    fault: str
    when: str
    play: Callable[[Harness], Outcome]
    containers: bool = False


ROWS: list[Row] = []
MATRIX = pytest.StashKey[list[tuple[Row, Outcome]]]()
"""What came of the rows that were played."""


def row(fault: str, when: str, *, containers: bool = False) -> Callable[[Callable[[Harness], Outcome]], Callable[[Harness], Outcome]]:
    """Make the function below a row of the matrix."""

    def add(play: Callable[[Harness], Outcome]) -> Callable[[Harness], Outcome]:
        ROWS.append(Row(fault, when, play, containers))
        return play

    return add
