"""DefaultPreemption: when no node fits, make room by deleting less important pods.

Looks for a node where removing lower-priority pods lets the pod in, spares as many of them as it can (those a disruption budget
protects first), picks the node that hurts least, deletes the victims in the background and nominates the node.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kapi.objects import errors, time
from kapi.objects.meta import Object
from kapi.objects.resource import POD_DISRUPTION_BUDGETS, PODS
from kapi.scheduler import matching
from kapi.scheduler.framework import Code, Cycle, SchedulingPlugin, Status
from kapi.scheduler.handle import Handle
from kapi.scheduler.pods import Pod, by_importance, start_time
from kapi.scheduler.search import Misfit, Search
from kapi.scheduler.snapshot import NodeInfo

LEAST_CANDIDATES, CANDIDATE_SHARE = 100, 10
"""At least so many nodes, or this percentage of them, are tried (stock's minCandidateNodes*)."""
_UNHELPFUL = Status(Code.UNRESOLVABLE, ("Preemption is not helpful for scheduling",))
_NO_VICTIMS = Status(Code.UNRESOLVABLE, ("No preemption victims found for incoming pod",))
_OFFSET = 2**31


@dataclass(slots=True)
class Candidate:
    node: NodeInfo
    victims: list[Pod] = field(default_factory=list)
    violations: int = 0
    """How many victims a disruption budget would have protected."""

    @property
    def victim_cost(self) -> tuple[Any, ...]:
        """The smallest is picked."""
        highest = self.victims[0].priority
        earliest = min(start_time(v) for v in self.victims if v.priority == highest)
        latest_first = tuple(-ord(c) for c in earliest)
        return (self.violations, highest, sum(v.priority + _OFFSET for v in self.victims), len(self.victims), latest_first)


def _is_unmet(condition: Object) -> bool:
    return condition.get("type") == "DisruptionTarget" and condition.get("status") == "True"


def protected(pods: Sequence[Pod], budgets: Sequence[Object]) -> tuple[list[Pod], list[Pod]]:
    """(pods whose eviction would break a budget, the others), in the order given."""
    left = [(b.get("status") or {}).get("disruptionsAllowed", 0) for b in budgets]
    breaking: list[Pod] = []
    free: list[Pod] = []
    for pod in pods:
        broken = False
        for i, budget in enumerate(budgets):
            selector = matching.selector(budget["spec"].get("selector"))
            same = budget["metadata"].get("namespace") == pod.namespace
            if not same or not pod.identity.labels or selector is None or not selector.text or not pod.identity.matches(selector):
                continue
            if pod.name in ((budget.get("status") or {}).get("disruptedPods") or {}):
                continue
            left[i] -= 1
            broken |= left[i] < 0
        (breaking if broken else free).append(pod)
    return breaking, free


class DefaultPreemption(SchedulingPlugin):
    name = "DefaultPreemption"

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._preempting: set[str] = set()

    def attach(self, search: Search) -> None:
        self._search = search

    def pre_enqueue(self, pod: Pod) -> Status | None:
        """Not tried while its victims are being deleted."""
        if pod.uid in self._preempting:
            return Status(Code.UNRESOLVABLE, ("waiting for the preemption for this pod to be finished",), self.name)
        return None

    def post_filter(self, cycle: Cycle, statuses: dict[NodeInfo, Status]) -> Status | None:
        ineligible = self._ineligible(cycle.pod, statuses)
        if ineligible:
            return Status(Code.UNSCHEDULABLE, (f"preemption: {ineligible}",), self.name)
        candidates, refusals = self._candidates(cycle, statuses)
        if not candidates:
            cycle.nominated = ""
            misfit = Misfit(len(cycle.cluster.nodes), refusals, _UNHELPFUL)
            return Status(Code.UNSCHEDULABLE, (f"preemption: {misfit.message}",), self.name)
        best = min(candidates, key=lambda c: c.victim_cost)
        cycle.nominated = best.node.name
        self._evict_soon(cycle.pod, best)
        return Status(Code.SUCCESS, (), self.name)

    def _ineligible(self, pod: Pod, statuses: dict[NodeInfo, Status]) -> str:
        """Why this pod may not preempt (again)."""
        if pod.obj["spec"].get("preemptionPolicy") == "Never":
            return "not eligible due to preemptionPolicy=Never."
        node = self._handle.cluster.nodes.get(pod.nominated) if pod.nominated else None
        if node is None:
            return ""
        status = statuses.get(node)
        if status is not None and status.code is Code.UNRESOLVABLE:
            return ""
        dying = (p for p in node.pods.values() if p.terminating and p.priority < pod.priority)
        for victim in dying:
            conditions = (victim.obj.get("status") or {}).get("conditions") or ()
            if any(_is_unmet(c) and c.get("reason") == "PreemptionByScheduler" for c in conditions):
                return "not eligible due to a terminating pod on the nominated node."
        return ""

    # choosing

    def _candidates(self, cycle: Cycle, statuses: dict[NodeInfo, Status]) -> tuple[list[Candidate], dict[NodeInfo, Status]]:
        hopeful = [node for node, status in statuses.items() if status.code is Code.UNSCHEDULABLE]
        if not hopeful:
            return [], {}
        budgets = list(self._handle.informers[POD_DISRUPTION_BUDGETS].items())
        wanted = min(max(len(hopeful) * CANDIDATE_SHARE // 100, LEAST_CANDIDATES), len(hopeful))
        start = random.randrange(len(hopeful))
        found: list[Candidate] = []
        refusals: dict[NodeInfo, Status] = {}
        for node in hopeful[start:] + hopeful[:start]:
            outcome = self._victims(cycle, node, budgets)
            if isinstance(outcome, Status):
                refusals[node] = outcome
            else:
                found.append(outcome)
                if len(found) >= wanted and any(not c.violations for c in found):
                    break
        return found, refusals

    def _victims(self, cycle: Cycle, original: NodeInfo, budgets: Sequence[Object]) -> Candidate | Status:
        """Whom the pod would displace on the node, or why it cannot."""
        pod, search = cycle.pod, self._search
        potential = by_importance(p for p in original.pods.values() if p.priority < pod.priority)
        if not potential:
            return _NO_VICTIMS
        node, imagined = original.copy(), search.imagine(cycle)
        for victim in potential:
            search.imagine_removed(imagined, victim, node)
        status = self._fits(imagined, node)
        if status is not None:
            return status
        candidate = Candidate(original)
        breaking, free = protected(potential, budgets)
        for spared in (*breaking, *free):
            search.imagine_added(imagined, spared, node)
            if self._fits(imagined, node) is not None:
                search.imagine_removed(imagined, spared, node)
                candidate.victims.append(spared)
                candidate.violations += spared in breaking
        candidate.victims = by_importance(candidate.victims)
        return candidate if candidate.victims else _NO_VICTIMS

    def _fits(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        """All filters, with the pods that wait for the node and are as important."""
        waiting = cycle.cluster.nominated_on(node, cycle.pod)
        if waiting:
            crowded, imagined = node.copy(), self._search.imagine(cycle)
            for pod in waiting:
                self._search.imagine_added(imagined, pod, crowded)
            status = self._search.judge_alone(imagined, crowded)
            if status is not None:
                return status
        return self._search.judge_alone(cycle, node)

    # acting

    def _evict_soon(self, pod: Pod, best: Candidate) -> None:
        victims = [v for v in best.victims if not v.terminating]
        if victims:
            self._preempting.add(pod.uid)
            self._handle.spawn(self._evict_all(pod, victims, best.node))

    async def _evict_all(self, pod: Pod, victims: list[Pod], node: NodeInfo) -> None:
        for waiting in list(self._handle.cluster.nominated.get(node.name, {}).values()):
            if waiting.priority < pod.priority:
                await self._clear_nomination(waiting)
        outcomes = await asyncio.gather(*(self._evict(pod, victim, node) for victim in victims))
        self._preempting.discard(pod.uid)
        self._handle.activate(pod.key, all(outcomes))

    async def _clear_nomination(self, pod: Pod) -> None:
        self._handle.cluster.drop_nomination(pod)
        patch = {"status": {"nominatedNodeName": None}}
        try:
            await self._handle.client.patch(PODS, pod.name, patch, namespace=pod.namespace, kind="strategic", subresource="status")
        except (errors.StatusError, OSError):
            return

    async def _evict(self, pod: Pod, victim: Pod, node: NodeInfo) -> bool:
        """Mark the victim and delete it with its own grace period; False when that failed."""
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": f"{pod.scheduler}: preempting to accommodate a higher priority pod",
            "lastTransitionTime": time.stamp(),
            "observedGeneration": victim.obj["metadata"].get("generation"),
        }
        patch = {"metadata": {"uid": victim.uid}, "status": {"conditions": [{k: v for k, v in condition.items() if v is not None}]}}
        client = self._handle.client
        try:
            await client.patch(PODS, victim.name, patch, namespace=victim.namespace, kind="strategic", subresource="status")
            await client.delete(PODS, victim.name, namespace=victim.namespace, uid=victim.uid)
        except errors.NotFound:
            return True
        except (errors.StatusError, OSError):
            return False
        message = f"Preempted by pod {pod.uid} on node {node.name}"
        self._handle.recorder.event(victim.obj, "Normal", "Preempted", message, action="Preempting", related=pod.obj)
        return True
