"""The pytest plugin: a session's `cluster`. Imports nothing until a test asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kapi.testing import Cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A Kubernetes cluster in this process; `cluster.kubeconfig` is the way in."""
    from kapi import testing

    with testing.cluster() as started:
        yield started
