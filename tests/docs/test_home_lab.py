"""The page for a home lab: its commands are run as they stand there, with real containers, on a machine of its own."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.machine import Machine, machine
from tests.docs.test_pages import run
from tests.e2e.conftest import left_of
from tests.e2e.test_examples import PRIVATE

pytestmark = pytest.mark.containers


@pytest.fixture
def alone() -> Iterator[Machine]:
    directory = Path(tempfile.mkdtemp(prefix="kapi-lab-"))  # pytest's have too long a path for sockets
    try:
        with machine(directory, PRIVATE) as made:
            yield made
            made.run("kapi down --data-dir /var/lib/kapi")  # where a page ended early
    finally:
        shutil.rmtree(directory)


def test_for_a_home_lab(alone: Machine) -> None:
    before = left_of(Path("/var/lib/kapi"))  # of a cluster of this machine's own
    printed = run(alone, "home-lab.md")
    assert printed.count('deployment "web" successfully rolled out') == 2
    assert "80:3" in printed, "a port of the node"
    assert left_of(Path("/var/lib/kapi")) == before
