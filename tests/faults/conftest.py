"""The matrix is printed at the end."""

from typing import Any

from tests.faults.test_matrix import MATRIX


def pytest_terminal_summary(terminalreporter: Any) -> None:
    rows = terminalreporter.config.stash.get(MATRIX, [])
    if not rows:
        return
    terminalreporter.section("faults")
    for row, outcome in rows:
        terminalreporter.write_line(f"{row.fault}: {row.when}")
        terminalreporter.write_line(f"    seen     {outcome.sees}")
        terminalreporter.write_line(f"    left     {', '.join(outcome.left) or 'nothing'}; lost: {', '.join(outcome.lost) or 'nothing'}")
        terminalreporter.write_line(f"    goes on  {outcome.goes_on or 'by itself'}")
