"""A Runtime on CRI v1: sends requests and converts responses to plain dataclasses. Errors become RuntimeFailure.

Has no knowledge of pods. Events come from cri/events.py.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from kapi.objects import together
from kubelet import runtime
from kubelet.cri import convert, events
from kubelet.cri.channel import Channel
from kubelet.cri.messages import MESSAGES
from kubelet.runtime import Change, Config, Container, ExecResult, Image, PodState, RuntimeFailure, Sandbox, Traffic, Usage, Version

_IMAGES = ("ListImages", "ImageStatus", "PullImage", "RemoveImage", "ImageFsInfo")
"""Methods of ImageService; all others belong to RuntimeService."""
_QUICK, _SLOW, _PULL = 120.0, 240.0, 3600.0
"""Seconds a call may take: queries, running a sandbox, pulling an image."""


class Cri:
    """A Runtime on a CRI socket, e.g. Cri("unix:///run/containerd/containerd.sock")."""

    def __init__(self, endpoint: str) -> None:
        self._channel = Channel(endpoint)

    async def _call(self, name: str, seconds: float = _QUICK, /, **fields: Any) -> Any:
        service, response = "ImageService" if name in _IMAGES else "RuntimeService", f"{name}Response"
        names = (f"{name}Request", response if response in MESSAGES else "Nothing")
        return await self._channel.call(f"/runtime.v1.{service}/{name}", *names, seconds, **fields)

    async def close(self) -> None:
        await self._channel.close()

    async def version(self) -> Version:
        response = await self._call("Version", version="v1")
        return Version(response.runtime_name, response.runtime_version)

    async def conditions(self) -> dict[str, tuple[bool, str]]:
        response = await self._call("Status")
        return {c.type: (c.status, c.message) for c in response.status.conditions}

    async def sandboxes(self) -> list[Sandbox]:
        return [convert.sandbox(s) for s in (await self._call("ListPodSandbox")).items]

    async def containers(self) -> list[Container]:
        return [convert.container(c) for c in (await self._call("ListContainers")).containers]

    async def pod(self, uid: str) -> PodState:
        """List by label, then get each status; objects removed meanwhile are left out."""
        chosen = {"label_selector": {runtime.POD_UID: uid}}
        calls = (self._call("ListPodSandbox", filter=chosen), self._call("ListContainers", filter=chosen))
        sandboxes, containers = await together.run(calls)
        boxes, inside = await asyncio.gather(
            together.run(self._sandbox(s.id) for s in sandboxes.items),
            together.run(self._container(c.id, c.pod_sandbox_id) for c in containers.containers),
        )
        return PodState(
            sorted((b for b in boxes if b), key=lambda b: -b.created),
            sorted((c for c in inside if c), key=lambda c: -c.created),
        )

    async def _sandbox(self, id: str) -> Sandbox | None:
        status = await self._status("PodSandboxStatus", pod_sandbox_id=id)
        return convert.sandbox_status(status) if status is not None else None

    async def _container(self, id: str, sandbox: str) -> Container | None:
        status = await self._status("ContainerStatus", container_id=id)
        return convert.container_status(status, sandbox) if status is not None else None

    async def _status(self, name: str, /, **which: str) -> Any:
        """The status; None if the object was removed meanwhile."""
        try:
            return (await self._call(name, **which)).status
        except RuntimeFailure as error:
            if error.code != "NotFound":
                raise
            return None

    async def run_sandbox(self, config: Config, handler: str = "") -> str:
        response = await self._call("RunPodSandbox", _SLOW, config=config, runtime_handler=handler)
        return str(response.pod_sandbox_id)

    async def stop_sandbox(self, id: str) -> None:
        await self._call("StopPodSandbox", _SLOW, pod_sandbox_id=id)

    async def remove_sandbox(self, id: str) -> None:
        await self._call("RemovePodSandbox", _SLOW, pod_sandbox_id=id)

    async def create_container(self, sandbox: str, config: Config, sandbox_config: Config) -> str:
        response = await self._call("CreateContainer", _SLOW, pod_sandbox_id=sandbox, config=config, sandbox_config=sandbox_config)
        return str(response.container_id)

    async def start_container(self, id: str) -> None:
        await self._call("StartContainer", _SLOW, container_id=id)

    async def stop_container(self, id: str, grace: float) -> None:
        await self._call("StopContainer", grace + _QUICK, container_id=id, timeout=int(grace))

    async def remove_container(self, id: str) -> None:
        await self._call("RemoveContainer", container_id=id)

    async def update_container(self, id: str, resources: Config) -> None:
        await self._call("UpdateContainerResources", container_id=id, linux=resources)

    async def exec(self, id: str, command: Sequence[str], seconds: float) -> ExecResult:
        wait = seconds + 5 if seconds else _PULL
        response = await self._call("ExecSync", wait, container_id=id, cmd=list(command), timeout=int(seconds))
        return ExecResult(response.exit_code, response.stdout, response.stderr)

    async def reopen_log(self, id: str) -> None:
        await self._call("ReopenContainerLog", container_id=id)

    async def usages(self) -> list[Usage]:
        return [convert.usage(s) for s in (await self._call("ListContainerStats")).stats]

    async def traffic(self) -> dict[str, list[Traffic]]:
        try:
            response = await self._call("ListPodSandboxStats")
        except RuntimeFailure as error:
            if error.code != "Unimplemented":
                raise
            return {}
        return {s.attributes.metadata.uid: found for s in response.stats if (found := convert.traffic(s.linux.network))}

    async def images(self) -> list[Image]:
        return [convert.image(i) for i in (await self._call("ListImages")).images]

    async def image(self, name: str) -> Image | None:
        response = await self._call("ImageStatus", image={"image": name})
        return convert.image(response.image) if response.HasField("image") else None

    async def pull(self, name: str, auth: Config | None, sandbox_config: Config) -> str:
        response = await self._call("PullImage", _PULL, image={"image": name}, auth=auth, sandbox_config=sandbox_config)
        return str(response.image_ref)

    async def remove_image(self, name: str) -> None:
        await self._call("RemoveImage", image={"image": name})

    async def image_disk(self) -> tuple[str, int]:
        response = await self._call("ImageFsInfo")
        for disk in response.image_filesystems:
            return disk.fs_id.mountpoint, disk.used_bytes.value
        return "", 0

    async def changes(self) -> AsyncIterator[Change]:
        async for change in events.stream(self._channel):
            yield change

    async def stream_url(self, method: str, **request: Any) -> str:
        return str((await self._call(method, **request)).url)
