"""DefaultPreemption: when no node fits, evict pods of lower priority to make room.

For each candidate node it removes all pods of lower priority, then reprieves as many as possible (those protected by a disruption budget
first). It chooses the candidate with the lowest `victim_cost`, nominates its node and deletes the victims in the background.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kapi.objects import errors, time, together
from kapi.objects.meta import Object
from kapi.objects.resource import POD_DISRUPTION_BUDGETS, PODS
from kapi.scheduler import matching
from kapi.scheduler.framework import Code, Cycle, SchedulingPlugin, Status
from kapi.scheduler.handle import Handle
from kapi.scheduler.pods import Pod, by_importance, start_time
from kapi.scheduler.search import FitError, Search
from kapi.scheduler.snapshot import NodeInfo

MIN_CANDIDATES, MIN_CANDIDATES_PERCENTAGE = 100, 10
"""Evaluate at least so many nodes, or this percentage of them (stock's minCandidateNodesAbsolute and minCandidateNodesPercentage)."""
_NOT_HELPFUL = Status(Code.UNRESOLVABLE, ("Preemption is not helpful for scheduling",))
_NO_VICTIMS = Status(Code.UNRESOLVABLE, ("No preemption victims found for incoming pod",))
_OFFSET = 2**31


@dataclass(slots=True)
class Candidate:
    node: NodeInfo
    victims: list[Pod] = field(default_factory=list)
    violations: int = 0
    """Number of victims whose eviction violates a disruption budget."""

    @property
    def victim_cost(self) -> tuple[Any, ...]:
        """Sort key of candidates; the smallest is chosen (stock's order of pickOneNodeForPreemption)."""
        highest = self.victims[0].priority
        earliest = min(start_time(v) for v in self.victims if v.priority == highest)
        latest_first = tuple(-ord(c) for c in earliest)
        return (self.violations, highest, sum(v.priority + _OFFSET for v in self.victims), len(self.victims), latest_first)


def _is_disruption_target(condition: Object) -> bool:
    return condition.get("type") == "DisruptionTarget" and condition.get("status") == "True"


def split_by_budget(pods: Sequence[Pod], budgets: Sequence[Object]) -> tuple[list[Pod], list[Pod]]:
    """(pods whose eviction would violate a budget, the others), each in input order."""
    allowed = [(b.get("status") or {}).get("disruptionsAllowed", 0) for b in budgets]
    violating: list[Pod] = []
    non_violating: list[Pod] = []
    for pod in pods:
        broken = False
        for i, budget in enumerate(budgets):
            selector = matching.selector(budget["spec"].get("selector"))
            same = budget["metadata"].get("namespace") == pod.namespace
            if not same or not pod.identity.labels or selector is None or not selector.text or not pod.identity.matches(selector):
                continue
            if pod.name in ((budget.get("status") or {}).get("disruptedPods") or {}):
                continue
            allowed[i] -= 1
            broken |= allowed[i] < 0
        (violating if broken else non_violating).append(pod)
    return violating, non_violating


class DefaultPreemption(SchedulingPlugin):
    name = "DefaultPreemption"

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._preempting: set[str] = set()

    def attach(self, search: Search) -> None:
        self._search = search

    def pre_enqueue(self, pod: Pod) -> Status | None:
        """Gate the pod while its victims are being deleted."""
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
            fit_error = FitError(len(cycle.cluster.nodes), refusals, _NOT_HELPFUL)
            return Status(Code.UNSCHEDULABLE, (f"preemption: {fit_error.message}",), self.name)
        best = min(candidates, key=lambda c: c.victim_cost)
        cycle.nominated = best.node.name
        self._evict_soon(cycle.pod, best)
        return Status(Code.SUCCESS, (), self.name)

    def _ineligible(self, pod: Pod, statuses: dict[NodeInfo, Status]) -> str:
        """Why this pod may not preempt, or ""; e.g. victims of its earlier preemption are still terminating."""
        if pod.obj["spec"].get("preemptionPolicy") == "Never":
            return "not eligible due to preemptionPolicy=Never."
        node = self._handle.cluster.nodes.get(pod.nominated) if pod.nominated else None
        if node is None:
            return ""
        status = statuses.get(node)
        if status is not None and status.code is Code.UNRESOLVABLE:
            return ""
        terminating = (p for p in node.pods.values() if p.terminating and p.priority < pod.priority)
        for victim in terminating:
            conditions = (victim.obj.get("status") or {}).get("conditions") or ()
            if any(_is_disruption_target(c) and c.get("reason") == "PreemptionByScheduler" for c in conditions):
                return "not eligible due to a terminating pod on the nominated node."
        return ""

    # choosing

    def _candidates(self, cycle: Cycle, statuses: dict[NodeInfo, Status]) -> tuple[list[Candidate], dict[NodeInfo, Status]]:
        potential_nodes = [node for node, status in statuses.items() if status.code is Code.UNSCHEDULABLE]
        if not potential_nodes:
            return [], {}
        budgets = list(self._handle.informers[POD_DISRUPTION_BUDGETS].items())
        limit = min(max(len(potential_nodes) * MIN_CANDIDATES_PERCENTAGE // 100, MIN_CANDIDATES), len(potential_nodes))
        start = random.randrange(len(potential_nodes))
        candidates: list[Candidate] = []
        refusals: dict[NodeInfo, Status] = {}
        for node in potential_nodes[start:] + potential_nodes[:start]:
            outcome = self._select_victims(cycle, node, budgets)
            if isinstance(outcome, Status):
                refusals[node] = outcome
            else:
                candidates.append(outcome)
                if len(candidates) >= limit and any(not c.violations for c in candidates):
                    break
        return candidates, refusals

    def _select_victims(self, cycle: Cycle, original: NodeInfo, budgets: Sequence[Object]) -> Candidate | Status:
        """The victims on one node, or why preemption there does not help."""
        pod, search = cycle.pod, self._search
        potential = by_importance(p for p in original.pods.values() if p.priority < pod.priority)
        if not potential:
            return _NO_VICTIMS
        node, simulated = original.copy(), search.simulate(cycle)
        for victim in potential:
            search.simulate_remove(simulated, victim, node)
        status = self._fits(simulated, node)
        if status is not None:
            return status
        candidate = Candidate(original)
        violating, non_violating = split_by_budget(potential, budgets)
        for reprieved in (*violating, *non_violating):
            search.simulate_add(simulated, reprieved, node)
            if self._fits(simulated, node) is not None:
                search.simulate_remove(simulated, reprieved, node)
                candidate.victims.append(reprieved)
                candidate.violations += reprieved in violating
        candidate.victims = by_importance(candidate.victims)
        return candidate if candidate.victims else _NO_VICTIMS

    def _fits(self, cycle: Cycle, node: NodeInfo) -> Status | None:
        """Run all filters, first together with pods of at least this priority that are nominated to the node."""
        waiting = cycle.cluster.nominated_on(node, cycle.pod)
        if waiting:
            with_nominated, simulated = node.copy(), self._search.simulate(cycle)
            for pod in waiting:
                self._search.simulate_add(simulated, pod, with_nominated)
            status = self._search.run_filters(simulated, with_nominated)
            if status is not None:
                return status
        return self._search.run_filters(cycle, node)

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
        outcomes = await together.run(self._evict(pod, victim, node) for victim in victims)
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
        """Set the victim's DisruptionTarget condition and delete it. Returns False on failure."""
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
