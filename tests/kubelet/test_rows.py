"""Each row of the kubelet's lists does something: the routes of its server, types of volumes, types of paths of the host."""

import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from kubelet.server import app as served
from kubelet.settings import Settings
from kubelet.volumes import manager
from kubelet.volumes.manager import VolumeError, Volumes
from tests.fakes import FakeApi
from tests.kubelet.build import pod
from tests.kubelet.test_server import MASTERS, app, ask
from tests.kubelet.test_volumes import context
from tests.rows import missed

ROUTES = {
    "containerLogs": ("/containerLogs/ns/none/c", b'pods "none" not found'),
    "exec": ("/exec/ns/none/c", b"you must specify at least 1 command"),
    "attach": ("/attach/ns/none/c", b'pods "none" not found'),
    "portForward": ("/portForward/ns/none", b'pods "none" not found'),
    "pods": ("/pods", b'"PodList"'),
    "runningpods": ("/runningpods/", b'"PodList"'),
    "configz": ("/configz", b'"kubeletconfig"'),
    "stats": ("/stats/summary", b'"nodeName"'),
    "metrics": ("/metrics", b"kubelet_running_pods"),
    "healthz": ("/healthz", b"ok"),
}
"""The first part of a path: a path, and what is in the answer."""
DIRECTORIES = {
    "emptyDir": "kubernetes.io~empty-dir",
    "configMap": "kubernetes.io~configmap",
    "secret": "kubernetes.io~secret",
    "downwardAPI": "kubernetes.io~downward-api",
    "projected": "kubernetes.io~projected",
}
"""Where stock's kubelet puts a pod's volumes, by type: others look for them there."""


@pytest.mark.parametrize("without", [False, True], ids=["with", "without"])
@pytest.mark.parametrize("name", ROUTES)
async def test_routes(name: str, without: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    path, words = ROUTES[name]
    if without:
        monkeypatch.delitem(served._ROUTES, name)
    status, body = await ask(app(FakeApi()), path, "admin", MASTERS)
    assert (words in body) is not without, (status, body)


def test_every_route_has_a_behaviour() -> None:
    assert set(ROUTES) == set(served._ROUTES)


@pytest.mark.parametrize("name", DIRECTORIES)
def test_types_of_volumes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volumes = Volumes(Settings(root_dir=tmp_path))
    wanted = tmp_path / "pods/u1/volumes" / DIRECTORIES[name] / "v"
    assert volumes.path("u1", {"name": "v", name: {}}) == wanted
    monkeypatch.delitem(manager._PLUGINS, name)
    assert volumes.path("u1", {"name": "v", name: {}}) != wanted


def test_every_type_of_volume_has_a_directory() -> None:
    assert set(DIRECTORIES) == set(manager._PLUGINS)


def made(directory: Path) -> dict[str, Path]:
    """A path of each type; what a test may not make is there on every machine."""
    (directory / "file").touch()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(directory / "socket"))
    listening.close()
    paths = {
        "Directory": directory, "DirectoryOrCreate": directory / "new", "File": directory / "file", "FileOrCreate": directory / "one",
        "Socket": directory / "socket", "CharDevice": Path("/dev/null"),
    }  # fmt: skip
    blocks = [path for path in Path("/dev").iterdir() if path.is_block_device()]
    return {**paths, "BlockDevice": blocks[0]} if blocks else paths


async def set_up(name: str, path: Path, directory: Path) -> None:
    volume: dict[str, Any] = {"name": "v", "hostPath": {"path": str(path), "type": name}}
    await Volumes(Settings(root_dir=directory)).set_up("u1", context(pod(volumes=[volume])))


@pytest.mark.parametrize("name", manager._HOST_TYPES)
async def test_types_of_paths(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that suits is taken, one of another type is refused; without the row neither."""
    paths = made(tmp_path)
    other = paths["CharDevice" if name != "CharDevice" else "File"]
    if name in paths:
        await set_up(name, paths[name], tmp_path)
        assert stat.S_IFMT(paths[name].stat().st_mode)
    with pytest.raises(VolumeError, match="hostPath type check failed"):
        await set_up(name, other, tmp_path)
    monkeypatch.delitem(manager._HOST_TYPES, name)
    with missed():
        await set_up(name, other, tmp_path)
