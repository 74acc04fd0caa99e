"""Plugins on resource amounts: NodeResourcesFit and NodeResourcesBalancedAllocation."""

from math import sqrt
from typing import Any

from kapi.objects.pod_resources import amounts
from kapi.scheduler.framework import MAX_SCORE, SKIP, Code, Cycle, Event, SchedulingPlugin, Status
from kapi.scheduler.pods import Pod
from kapi.scheduler.snapshot import NodeInfo


class NodeResourcesFit(SchedulingPlugin):
    """Rejects nodes without enough unrequested allocatable resources; the least allocated node scores highest."""

    name, local = "NodeResourcesFit", True
    events_to_register = (Event("pod", "delete"), Event("pod", "scale-down"), Event("node", "add"), Event("node", "allocatable"))

    def filter(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        reasons: list[str] | None = None
        code = Code.UNSCHEDULABLE
        if len(node.pods) + 1 > node.max_pods:
            reasons = ["Too many pods"]
        allocatable, requested = node.allocatable, node.requested
        for name, amount in cycle.pod.spec.needs:
            there = allocatable.get(name, 0)
            if amount > there - requested.get(name, 0):
                reasons = [*(reasons or ()), f"Insufficient {name}"]
                if amount > there:
                    code = Code.UNRESOLVABLE
        return None if reasons is None else Status(code, tuple(reasons), self.name)

    def score(self, cycle: Cycle, node: NodeInfo) -> int:
        """The mean of the free fractions of CPU and memory after this pod, in percent."""
        spec, allocatable = cycle.pod.spec, node.allocatable
        total = kinds = 0
        cpu, memory = allocatable.get("cpu", 0), allocatable.get("memory", 0)
        if cpu:
            used = node.nonzero_cpu + spec.nonzero_cpu
            total += (cpu - used) * MAX_SCORE // cpu if used <= cpu else 0
            kinds = 1
        if memory:
            used = node.nonzero_memory + spec.nonzero_memory
            total += (memory - used) * MAX_SCORE // memory if used <= memory else 0
            kinds += 1
        return total // kinds if kinds else 0

    def queueing_hint(self, event: Event, pod: Pod, obj: Any) -> bool:
        if event.resource == "pod":
            return not pod.spec.needs or any(name in obj.spec.requests for name, _ in pod.spec.needs) or event.action == "delete"
        there = amounts((obj.get("status") or {}).get("allocatable"))
        return all(amount <= there.get(name, 0) for name, amount in pod.spec.needs)


def balanced_score(fractions: list[float]) -> int:
    """1 minus the standard deviation of the used fractions, in percent."""
    if len(fractions) < 2:
        return MAX_SCORE
    mean = sum(fractions) / len(fractions)
    deviation = sqrt(sum((f - mean) ** 2 for f in fractions) / len(fractions))
    return int((1 - deviation) * MAX_SCORE)


class NodeResourcesBalancedAllocation(SchedulingPlugin):
    """Prefers nodes whose used fractions of CPU and memory would be similar. Pods that request neither are skipped."""

    name, local = "NodeResourcesBalancedAllocation", True

    def pre_score(self, cycle: Cycle, nodes: Any) -> Status | None:
        return SKIP if cycle.pod.spec.best_effort else None

    def score(self, cycle: Cycle, node: NodeInfo) -> int:
        requests, allocatable, requested = cycle.pod.spec.requests, node.allocatable, node.requested
        cpu, memory = allocatable.get("cpu", 0), allocatable.get("memory", 0)
        if not cpu or not memory:
            return MAX_SCORE
        cpu_share = min(1.0, (requested.get("cpu", 0) + requests.get("cpu", 0)) / cpu)
        memory_share = min(1.0, (requested.get("memory", 0) + requests.get("memory", 0)) / memory)
        return int((1 - abs(cpu_share - memory_share) / 2) * MAX_SCORE)
