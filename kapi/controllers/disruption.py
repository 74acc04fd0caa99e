"""PodDisruptionBudgets: how many of the selected pods may be evicted just now."""

from collections.abc import Iterable
from typing import Any

from kapi.client import Controller
from kapi.controllers import pods
from kapi.controllers.rollout import scaled_value
from kapi.controllers.workload import namespace_keys, same
from kapi.objects import labels, meta, time
from kapi.objects.resource import (
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)

Object = dict[str, Any]

EVICTION_SECONDS = 120.0
"""How long an eviction that was allowed counts, until the pod is seen going."""


class Disruption(Controller):
    name = "controllermanager"

    def setup(self) -> None:
        self.budgets = self.watch(POD_DISRUPTION_BUDGETS)
        self.budgets.index("namespace", namespace_keys)
        self.pods = self.watch(PODS, self._budgets_of)
        self.pods.index("namespace", namespace_keys)
        kinds = (REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS, DEPLOYMENTS)
        self.scales = {r.kind: self.watch(r, self._beside) for r in kinds}

    def _budgets_of(self, pod: Object) -> Iterable[str]:
        for budget in self.budgets.by("namespace", meta.namespace(pod)):
            if labels.from_object(budget["spec"].get("selector")).matches(meta.labels(pod)):
                yield meta.key(budget)

    def _beside(self, owner: Object) -> Iterable[str]:
        """A change of a scale concerns the budgets whose share depends on it."""
        for budget in self.budgets.by("namespace", meta.namespace(owner)):
            if not isinstance(budget["spec"].get("minAvailable"), int):
                yield meta.key(budget)

    async def reconcile(self, key: str) -> float | None:
        budget = self.budgets.get(key)
        if budget is None:
            return None
        selector = labels.from_object(budget["spec"].get("selector"))
        chosen = [p for p in self.pods.by("namespace", meta.namespace(budget)) if selector.matches(meta.labels(p))]
        if not chosen:
            self.recorder.event(budget, "Normal", "NoPods", "No matching pods found")
        try:
            expected, desired = self._figures(budget, chosen)
        except LookupError as error:
            text = f"Failed to calculate the number of expected pods: {error.args[0]}"
            self.recorder.event(budget, "Warning", "CalculateExpectedPodCountFailed", text)
            await self._write(budget, {**(budget.get("status") or {}), "disruptionsAllowed": 0}, "SyncFailed", str(error.args[0]))
            return None
        disrupted, wait = self._disrupted(budget, chosen)
        healthy = sum(pods.ready(p) and not meta.deleting(p) and meta.name(p) not in disrupted for p in chosen)
        allowed = max(healthy - desired, 0) if expected > 0 else 0
        status: Object = {
            "observedGeneration": meta.metadata(budget).get("generation", 0),
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "expectedPods": expected,
            "disruptionsAllowed": allowed,
            "disruptedPods": disrupted,
            "conditions": (budget.get("status") or {}).get("conditions") or [],
        }
        await self._write(budget, status, "SufficientPods" if allowed else "InsufficientPods", "")
        return wait

    def _figures(self, budget: Object, chosen: list[Object]) -> tuple[int, int]:
        """(expected pods, pods that must stay healthy). Raises LookupError when a pod's scale can't be told."""
        spec = budget["spec"]
        if spec.get("maxUnavailable") is not None:
            expected = self._scale(chosen)
            return expected, max(expected - scaled_value(spec["maxUnavailable"], expected, up=True), 0)
        least = spec.get("minAvailable", 1)
        if isinstance(least, int):
            return len(chosen), least
        expected = self._scale(chosen)
        return expected, scaled_value(least, expected, up=True)

    def _scale(self, chosen: list[Object]) -> int:
        """The replicas asked for by all controllers of these pods together."""
        known: dict[str, int] = {}
        for pod in chosen:
            ref = meta.controller_of(pod)
            if ref is None:
                raise LookupError(f'found no controller ref for pod "{meta.name(pod)}"')
            owner = self._top(ref, meta.namespace(pod))
            if owner is None:
                raise LookupError(f'found no controllers for pod "{meta.name(pod)}"')
            known[meta.uid(owner)] = owner["spec"].get("replicas", 1)
        return sum(known.values())

    def _top(self, ref: Object, namespace: str) -> Object | None:
        informer = self.scales.get(ref["kind"])
        owner = informer.get(f"{namespace}/{ref['name']}") if informer is not None else None
        if owner is None or meta.uid(owner) != ref["uid"]:
            return None
        above = meta.controller_of(owner)
        return self._top(above, namespace) if above is not None and above["kind"] == "Deployment" else owner

    def _disrupted(self, budget: Object, chosen: list[Object]) -> tuple[dict[str, str], float | None]:
        """Evictions that were allowed and whose pods are still there, and when the first of them stops to count."""
        now = time.now()
        here = {meta.name(p) for p in chosen if not meta.deleting(p)}
        known = (budget.get("status") or {}).get("disruptedPods") or {}
        kept = {name: at for name, at in known.items() if name in here and time.parse(at) + EVICTION_SECONDS > now}
        return kept, min((time.parse(at) + EVICTION_SECONDS - now for at in kept.values()), default=None)

    async def _write(self, budget: Object, status: Object, reason: str, message: str) -> None:
        old = meta.condition(budget, "DisruptionAllowed")
        value = "True" if reason == "SufficientPods" else "False"
        new: Object = {"type": "DisruptionAllowed", "status": value, "reason": reason, "message": message}
        new["observedGeneration"] = meta.metadata(budget).get("generation", 0)
        kept = old is not None and old["status"] == value
        new["lastTransitionTime"] = (old or {}).get("lastTransitionTime") if kept else time.stamp()
        status = {**status, "conditions": [*(c for c in status.get("conditions") or () if c["type"] != "DisruptionAllowed"), new]}
        if not same(status, budget.get("status") or {}):
            await self.client.update(POD_DISRUPTION_BUDGETS, {**budget, "status": status}, subresource="status")
