"""Plugins of the queue and the binding: PrioritySort, SchedulingGates, DefaultBinder."""

from typing import Any

from kapi.client.client import Client
from kapi.objects.errors import StatusError
from kapi.objects.resource import PODS
from kapi.scheduler.framework import Code, Cycle, Event, SchedulingPlugin, Status
from kapi.scheduler.pods import Pod
from kapi.scheduler.snapshot import NodeInfo


class PrioritySort(SchedulingPlugin):
    """Higher priority first, then longest waiting."""

    name = "PrioritySort"

    def sort_key(self, pod: Pod, since: float) -> tuple[Any, ...]:
        return (-pod.priority, since)


class SchedulingGates(SchedulingPlugin):
    """Gates pods with spec.schedulingGates."""

    name = "SchedulingGates"
    events_to_register = (Event("pod", "gates"),)

    def pre_enqueue(self, pod: Pod) -> Status | None:
        gates = pod.obj["spec"].get("schedulingGates")
        if not gates:
            return None
        names = " ".join(g["name"] for g in gates)
        return Status(Code.UNRESOLVABLE, (f"waiting for scheduling gates: [{names}]",), self.name)


class DefaultBinder(SchedulingPlugin):
    """Binds by POST pods/NAME/binding."""

    name = "DefaultBinder"

    def __init__(self, client: Client) -> None:
        self._client = client

    async def bind(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        pod = cycle.pod
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"kind": "Node", "name": node.name},
        }
        try:
            await self._client.post(PODS.path(pod.namespace, pod.name, "binding"), binding)
        except StatusError as error:
            return Status(Code.ERROR, (error.message,), self.name)
        return None
