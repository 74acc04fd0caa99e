"""The matrix is printed at the end; and the order of rows with containers."""

from typing import Any

import pytest

from tests.faults.rows import MATRIX


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Rows with containers come first: a machine runs one such cluster, and other tests share one that stays up to the end."""
    items.sort(key=lambda item: item.name.partition("[")[0] != "test_row_with_containers")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    rows = terminalreporter.config.stash.get(MATRIX, [])
    if not rows:
        return
    terminalreporter.section("faults")
    for row, outcome in rows:
        terminalreporter.write_line(f"{row.fault}: {row.when}")
        terminalreporter.write_line(f"    seen          {outcome.sees}")
        terminalreporter.write_line(f"    left running  {', '.join(outcome.left) or 'nothing'}")
        terminalreporter.write_line(f"    lost          {', '.join(outcome.lost) or 'nothing'}")
        terminalreporter.write_line(f"    goes on with  {outcome.goes_on or 'nothing to do'}")
