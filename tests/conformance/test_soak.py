"""A short soak: a server that is killed once under 20 watchers and 2,000 writes."""

import signal
from pathlib import Path

import pytest

from conformance.soak import Server, Settings, soak, verdict


@pytest.mark.slow
async def test_every_change_once_and_in_order(tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        run = await soak(server, Settings(clients=20, events=2_000, kills=1, quiet=True))
    finally:
        server.stop(signal.SIGKILL)
    assert run.ledger.faults == [], verdict(run, 0)
    assert run.written == 2_000
    assert run.reconnects
    assert run.ledger.delivered > 2_000
