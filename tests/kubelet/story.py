"""Stories of simulated nodes against the fake API, in virtual time: `@story async def test_x(node)`."""

import asyncio
from typing import Any

from kapi.client import Client
from kapi.objects.meta import Object
from kapi.objects.resource import EVENTS, NODES, PODS
from kubelet import assembly
from kubelet.settings import Settings
from tests.fakes import FakeApi
from tests.kubelet.build import pod
from tests.moments import later, stories_on


class Story:
    """A fake API and a kubelet of simulated nodes."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.api = FakeApi()
        self.client = Client(self.api, agent="kubelet")
        self._group = group
        self._kubelet: asyncio.Task[None] | None = None

    async def start(self, **settings: Any) -> None:
        made = Settings(**{"node_name": "n1", "simulate": True, **settings})
        self._kubelet = self._group.create_task(assembly.run(made, self.client))
        await later(1)

    async def run(self, *containers: Object, seconds: float = 1, **spec: Any) -> Object:
        """Create a bound pod, let time pass, and the pod as it is then."""
        made = pod(*containers, **spec)
        made["status"] = {}
        self.api.create(PODS, made)
        return await self.later(seconds)

    async def later(self, seconds: float = 1, name: str = "web") -> Object:
        await later(seconds)
        return self.api.get(PODS, f"default/{name}") or {}

    async def delete(self, seconds: float = 1, name: str = "web") -> Object:
        await self.client.delete(PODS, name, namespace="default")
        return await self.later(seconds)

    def node(self, name: str = "n1") -> Object:
        return self.api.get(NODES, name) or {}

    def events(self, reason: str = "") -> list[str]:
        return [e["message"] for e in self.api.all(EVENTS) if not reason or e["reason"] == reason]


story = stories_on(Story)


def condition(of: Object, type: str) -> str:
    """'True', 'False' or '' of a pod or node."""
    return next((c["status"] for c in of["status"].get("conditions") or () if c["type"] == type), "")


def state(of: Object, name: str = "web") -> Object:
    """The status of a container."""
    status = of["status"]
    every = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return next(s for s in every if s["name"] == name)
