"""A kubelet with real containers against the fake API, and short ways to say what its pods are like."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from kapi.client import Client
from kapi.objects.meta import Object
from kapi.objects.resource import EVENTS, PODS
from kubelet import assembly, images, inotify
from kubelet.cri.channel import Channel
from kubelet.cri.client import Cri
from kubelet.settings import Settings
from tests.fakes import FakeApi
from tests.kubelet.build import one, pod
from tests.kubelet.story import condition

CGROUP = "/kubelet-tests"
SECONDS = 20.0
FOREVER = ["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"]


class Real:
    """A kubelet with real containers; it can be stopped and started again."""

    def __init__(self, settings: Settings) -> None:
        self.api = FakeApi()
        self.client = Client(self.api, agent="kubelet")
        self.settings = settings
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        up = asyncio.Event()
        self._task = asyncio.create_task(assembly.run(self.settings, self.client, up.set))
        await up.wait()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def told(self, message: str) -> None:
        """Once an event has said so."""
        async with asyncio.timeout(SECONDS):
            while message not in self.messages():
                self.api.changed.clear()
                await self.api.changed.wait()

    async def said(self, what: Callable[[list[str]], bool], name: str = "web") -> None:
        """Once `what` holds for the lines a container that runs has said."""
        async with asyncio.timeout(SECONDS), inotify.watching(self._log_directory(name)) as written:
            while not what(self.logs(name)):
                written.clear()
                await written.wait()

    async def until(self, what: Any, name: str = "web", seconds: float = SECONDS) -> Object:
        """The pod, once `what(pod)` holds."""
        async with asyncio.timeout(seconds):
            while not what(found := self.api.get(PODS, f"default/{name}")):
                self.api.changed.clear()
                await self.api.changed.wait()
        return found or {}

    async def run(self, *containers: Object, **spec: Any) -> None:
        """Create a pod, named web unless `name` says otherwise."""
        made = pod(*containers, **{"terminationGracePeriodSeconds": 2, **spec})
        made["status"] = {}
        self.api.create(PODS, made)

    def _log_directory(self, name: str) -> Path:
        (found,) = Path(self.settings.pod_logs_dir).rglob(name)
        return found

    def limit(self, pod: Object, file: str, *below: str) -> int:
        """A figure in the pod's cgroup or (`below`: its id) in a container's, e.g. limit(pod, "cpu/cpu.cfs_quota_us")."""
        controller, _, name = file.partition("/")
        group = next(Path(f"/sys/fs/cgroup/{controller}{CGROUP}/kubepods").rglob(f"pod{pod['metadata']['uid']}"))
        return int(group.joinpath(*below, name).read_text())

    def logs(self, name: str = "web") -> list[str]:
        """What the container has said."""
        files = Path(self.settings.pod_logs_dir).rglob(f"{name}/*.log")
        return [line.split(" ", 3)[3] for file in files for line in file.read_text().splitlines()]

    def manifest(self, name: str, content: Object | None) -> None:
        assert self.settings.pod_manifest_path
        file = self.settings.pod_manifest_path / name
        if content is None:
            file.unlink()
        else:
            file.write_bytes(orjson.dumps(content))

    def messages(self) -> set[str]:
        return {e["message"] for e in self.api.all(EVENTS)}

    def left(self, uid: str) -> list[Path]:
        """What is still there of a pod: its directory, its cgroups."""
        groups = [p for h in Path("/sys/fs/cgroup").glob(f"*{CGROUP}/kubepods") for p in h.rglob(f"pod{uid}")]
        return [p for p in (self.settings.pods_dir / uid, *groups) if p.exists()]

    async def cleared(self) -> None:
        """Once no sandbox is left in the runtime."""
        runtime, channel = Cri(self.settings.container_runtime_endpoint), Channel(self.settings.container_runtime_endpoint)
        method = "/containerd.services.events.v1.Events/Subscribe"
        deletions = channel.stream(method, "SubscribeRequest", "Envelope", "k8s.io", filters=['topic=="/containers/delete"'])
        async with asyncio.timeout(SECONDS):
            next_one = asyncio.ensure_future(anext(deletions))
            while await runtime.sandboxes():
                await asyncio.wait((next_one,), timeout=1)  # one may have gone before we listened
                if next_one.done():
                    next_one = asyncio.ensure_future(anext(deletions))
        next_one.cancel()
        await asyncio.gather(next_one, return_exceptions=True)
        await asyncio.gather(runtime.close(), channel.close())

    async def delete(self, name: str = "web") -> None:
        await self.client.delete(PODS, name, namespace="default")
        await self.until(lambda p: p is None, name)


def container(**more: Any) -> Object:
    return {**one(), "image": images.BUSYBOX, "command": FOREVER, **more}


def ready(found: Object | None) -> bool:
    return bool(found) and condition(found or {}, "Ready") == "True"
