"""The server that is attacked, one for a file's tests, and the table of what the attacks cost, printed at the end."""

from collections.abc import Iterator

import pytest

from tests.attacks.victim import Cost, Victim, running

COSTS = pytest.StashKey[list[Cost]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash.setdefault(COSTS, [])


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Victim]:
    """An API server over TLS with SQLite in a fresh directory."""
    with running(tmp_path_factory.mktemp("victim")) as running_victim:
        yield running_victim
        request.config.stash.setdefault(COSTS, []).extend(running_victim.costs)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """A line for every attack."""
    costs = config.stash.get(COSTS, [])
    if costs:
        terminalreporter.write_sep("-", "what attacks cost")
        terminalreporter.write_line(f"{'attack':64} {'memory':>9} {'loop held':>10} {'others p99':>11}")
    for cost in costs:
        line = f"{cost.attack:64} {cost.megabytes:6.1f} MB {cost.held:7.1f} ms {cost.p99:8.1f} ms  {cost.note}"
        terminalreporter.write_line(line)
