"""Stories of controllers: `@story async def test_x(cluster)` runs against the fake API in virtual time.

`cluster.run(...)`, act, `cluster.advance()`, look.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from kapi.client import Client, Context, Controller, Informers, Recorder
from kapi.controllers.settings import Settings
from kapi.objects import meta, time
from kapi.objects.meta import Object
from kapi.objects.resource import EVENTS, PODS
from tests.fakes import FakeApi
from tests.moments import later, stories_on


class Cluster:
    """The fake API and whatever controllers a test runs."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.api = FakeApi()
        self.client = Client(self.api, agent="kube-controller-manager")
        self.informers = Informers(self.client)
        self.recorder = Recorder(self.client, "controllers")
        self.settings = Settings(cluster_ca="CA")
        self._group = group

    async def run(self, *kinds: type[Controller], **settings: Any) -> None:
        context = Context(self.client, self.informers, self.recorder, Settings(**{"cluster_ca": "CA", **settings}))
        controllers = [kind(context) for kind in kinds]
        self._group.create_task(self.informers.run())
        self._group.create_task(self.recorder.run())
        for controller in controllers:
            self._group.create_task(controller.run())
        await self.advance()

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Something that goes on until the story ends."""
        self._group.create_task(work)

    async def advance(self, seconds: float = 5) -> None:
        """Let virtual time pass; everything due by then has happened."""
        await later(seconds)

    def events(self, reason: str = "") -> list[str]:
        return [e["message"] for e in self.api.all(EVENTS) if not reason or e["reason"] == reason]

    def running(self, pod: Object, *, ready: bool = True, node: str = "n1") -> Object:
        """What scheduler and kubelet would make of a pod."""
        value = "True" if ready else "False"
        condition = {"type": "Ready", "status": value, "lastTransitionTime": time.stamp()}
        status = {"phase": "Running", "conditions": [condition], "podIP": "10.1.0.1", "podIPs": [{"ip": "10.1.0.1"}]}
        return self.api.set(PODS, pod, spec={**pod["spec"], "nodeName": node}, status=status)

    async def start_pods(self, **how: Any) -> None:
        """Every pending pod becomes running and ready."""
        for pod in self.api.all(PODS):
            if not pod.get("status") and not meta.deleting(pod):
                self.running(pod, **how)
        await self.advance()

    async def finish_deletions(self) -> None:
        """Every pod that waits for its grace to pass goes."""
        for pod in self.api.all(PODS):
            if meta.deleting(pod) and not meta.finalizers(pod):
                self.api.remove(PODS, pod)
        await self.advance()


story = stories_on(Cluster)
