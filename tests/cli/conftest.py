"""No test here touches the user's kubeconfig or default data directory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import data_directories


@pytest.fixture(autouse=True)
def _nobody_s_files(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    aside = tmp_path_factory.mktemp("aside")
    monkeypatch.setenv("KUBECONFIG", str(aside / "kubeconfig"))
    monkeypatch.setenv("HOME", str(aside))
    monkeypatch.delenv("KAPI_DATA_DIR", raising=False)


@pytest.fixture(scope="session", autouse=True)
def _made() -> Iterator[None]:
    yield
    data_directories.discard()


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """The data directory of a cluster that is down."""
    return data_directories.cluster(tmp_path / "data")
