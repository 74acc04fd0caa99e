"""Stories of the scheduler: `@story async def test_x(told)` runs it against the API in memory, in virtual time."""

import asyncio
from typing import Any

from kapi.client import Client
from kapi.http.client import Headers
from kapi.objects import errors
from kapi.objects.meta import Object
from kapi.objects.resource import EVENTS, NODES, PODS
from kapi.scheduler import Scheduler, Settings, default_plugins
from kapi.scheduler.profile import Plugins
from tests.fakes import FakeApi
from tests.moments import later, stories_on


class Api(FakeApi):
    """The API in memory, with pods/binding."""

    def _answer(self, method: str, path: str, query: dict[str, str], body: Any, headers: Headers) -> Object:
        if not path.endswith("/binding"):
            return super()._answer(method, path, query, body, headers)
        _, namespace, name, _ = self.locate(path)
        self.calls.append("POST pods/binding")
        old = self.objects.get((PODS, f"{namespace}/{name}"))
        if old is None:
            raise errors.not_found("pods", "", name)
        if refused := self.refuse("BIND", PODS, old):
            raise refused
        self.set(PODS, old, spec={**old["spec"], "nodeName": body["target"]["name"]})
        return {"kind": "Status", "status": "Success"}


class Story:
    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.api = Api()
        self.client = Client(self.api, agent="kube-scheduler")
        self._group = group

    async def start(self, settings: Settings | None = None, plugins: Plugins = default_plugins) -> Scheduler:
        scheduler = Scheduler(self.client, settings or Settings(), plugins)
        self._group.create_task(scheduler.run())
        await self.advance()
        return scheduler

    async def advance(self, seconds: float = 0.5) -> None:
        await later(seconds)

    async def nodes(self, *nodes: Object) -> None:
        for one in nodes:
            await self.client.create(NODES, one)

    async def pods(self, *pods: Object) -> None:
        for one in pods:
            await self.client.create(PODS, one)
        await self.advance()

    def pod(self, name: str) -> Object:
        found = self.api.get(PODS, f"default/{name}")
        assert found is not None
        return found

    def where(self, name: str) -> str:
        return str(self.pod(name)["spec"].get("nodeName", ""))

    def condition(self, name: str) -> Object:
        conditions = self.pod(name)["status"].get("conditions") or ()
        return next((c for c in conditions if c["type"] == "PodScheduled"), {})

    def events(self, reason: str) -> list[Object]:
        return [e for e in self.api.all(EVENTS) if e["reason"] == reason]


story = stories_on(Story)
