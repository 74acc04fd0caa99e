"""Logs that grow, images that pile up, memory that runs short."""

import gzip
import os
from pathlib import Path

import pytest

from kapi.client import Client, Recorder
from kapi.objects import time
from kubelet import assembly, eviction_signals, local_storage, machine, runtime
from kubelet.eviction import Eviction
from kubelet.garbage import Images, Logs
from kubelet.observed_state import Failure
from kubelet.runtime import Container, Image, Usage
from kubelet.settings import Settings
from kubelet.simulated import SimulatedRuntime
from tests.fakes import FakeApi
from tests.kubelet.build import one, pod


class Watched(SimulatedRuntime):
    """Remembers what it was asked to do."""

    def __init__(self) -> None:
        super().__init__()
        self.reopened: list[str] = []
        self.present = [Image("a", ("a:1",), (), 100), Image("b", ("b:1",), (), 100), Image("p", ("pause:1",), (), 100)]
        self.running: list[Container] = []

    async def reopen_log(self, id: str) -> None:
        self.reopened.append(id)

    async def images(self) -> list[Image]:
        return self.present

    async def containers(self) -> list[Container]:
        return self.running

    async def remove_image(self, name: str) -> None:
        self.present = [i for i in self.present if i.id != name]


def test_thresholds() -> None:
    assert eviction_signals.parse("memory.available<100Mi,nodefs.available<10%") == {"memory.available": "100Mi", "nodefs.available": "10%"}
    assert (eviction_signals.bound("100Mi", 0), eviction_signals.bound("10%", 1000)) == (100 << 20, 100)
    assert eviction_signals.parse("") == {}
    for wrong, why in (
        ("luck<1", "unknown eviction signal luck"), ("memory.available>1", "invalid eviction threshold syntax"),
        ("pid.available<5,pid.available<6", "duplicate eviction threshold"), ("pid.available<101%", "between 0% and 100%"),
        ("pid.available<-1", "must not be negative"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=why):
            eviction_signals.parse(wrong)


def test_a_pod_may_be_over_its_storage(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "big").write_bytes(b"x" * (1 << 20))
    usage, paths = Usage("c", "u1", "web", 0, 0, 0, 0, 2 << 20, 0, 0.0), {"v": tmp_path / "v"}

    def excess(limit: str = "", size: str = "") -> str:
        limits = {"limits": {"ephemeral-storage": limit}} if limit else {}
        of = pod(one(resources=limits), volumes=[{"name": "v", "emptyDir": {"sizeLimit": size} if size else {}}])
        assert local_storage.limited(of) is bool(limit or size)
        return local_storage.excess(of, [usage], paths, str(tmp_path / "logs"))

    assert excess(size="2Mi") == excess(limit="4Mi") == excess() == ""
    assert excess(size="1Mi") == 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '
    assert excess(limit="3Mi") == "Pod ephemeral local storage usage exceeds the total limit of containers 3Mi. "


def container(log: str = "", image: str = "a") -> Container:
    return Container("c", "s", "u1", "web", 0, runtime.RUNNING, 0.0, log_path=log, image_id=image)


async def test_logs_are_turned_away_and_packed(tmp_path: Path) -> None:
    log, kept = tmp_path / "0.log", Watched()
    logs = Logs(Settings(container_log_max_size=10, container_log_max_files=4), kept)
    log.write_text("short")
    await logs.rotate([container(str(log))])
    assert (kept.reopened, os.listdir(tmp_path)) == ([], ["0.log"])
    for number in range(4):
        (tmp_path / f"0.log.2026010{number}-000000").write_text(f"old {number}")
    log.write_text("much too long")
    await logs.rotate([container(str(log)), container(str(tmp_path / "none.log"))])
    assert kept.reopened == ["c"]
    names = sorted(os.listdir(tmp_path))
    assert names[:2] == ["0.log.20260102-000000.gz", "0.log.20260103-000000.gz"]
    assert (tmp_path / names[2]).read_text() == "much too long"
    assert gzip.decompress((tmp_path / names[1]).read_bytes()) == b"old 3"


async def test_unused_images_go_the_pause_image_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Watched()
    kept.running = [container(image="a")]
    images = Images(Settings(), kept)
    clock = [1000.0]
    time.set_clock(lambda: clock[0])
    try:
        monkeypatch.setattr(machine, "disk", lambda path: (1000, 100))
        await images.collect()
        assert len(kept.present) == 3
        clock[0] += 300
        await images.collect()
    finally:
        time.set_clock(None)
    assert [i.id for i in kept.present] == ["a", "p"]


async def test_the_greediest_pod_is_evicted(monkeypatch: pytest.MonkeyPatch) -> None:
    client, settings = Client(FakeApi()), Settings(node_name="n1")
    kubelet = assembly.simulated_kubelet(settings, client, Recorder(client, "kubelet"), 0)
    for made in (pod(name="small", uid="small"), pod(one(resources={"requests": {"memory": "1Gi"}}), uid="big")):
        kubelet.put(made)
    sizes = {"small": 600 << 20, "big": 1 << 30}

    async def usages() -> list[Usage]:
        return [Usage("c", uid, "web", 0, size, 0, 0, 0, 0, 0.0) for uid, size in sizes.items()]

    memory = {"MemAvailable": 50 << 20, "MemTotal": 8 << 30}
    monkeypatch.setattr(kubelet.dependencies.runtime, "usages", usages)
    monkeypatch.setattr(machine, "memory", lambda: memory)
    monkeypatch.setattr(machine, "disk", lambda path: (100, 50))
    images = Images(settings, kubelet.dependencies.runtime)
    eviction, troubles = Eviction(settings, kubelet, images), kubelet.node.status.troubles
    await eviction.synchronize()
    text = (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
        "Container web was using 600Mi, request is 0, has larger consumption of memory. "
    )
    assert kubelet.workers["small"].outcome == Failure("Evicted", text)
    assert kubelet.workers["big"].outcome is None
    assert "MemoryPressure" in troubles
    memory["MemAvailable"] = 1 << 40
    await eviction.synchronize()
    assert "MemoryPressure" in troubles
    later = time.now() + 301
    time.set_clock(lambda: later)
    try:
        await eviction.synchronize()
    finally:
        time.set_clock(None)
    assert "MemoryPressure" not in troubles
