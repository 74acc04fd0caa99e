"""PodDisruptionBudgets: number of selected pods that may be evicted. Also resets stale DisruptionTarget conditions."""

from collections.abc import Iterable

from kapi.client import Controller
from kapi.controllers import pods
from kapi.controllers.discovery import discover
from kapi.controllers.rollout import scaled_value
from kapi.controllers.workload import equal_status, namespace_keys
from kapi.objects import conditions, errors, labels, meta, time
from kapi.objects.meta import Object
from kapi.objects.resource import (
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)

EVICTION_SECONDS = 120.0
"""Seconds for which an approved eviction counts until the pod's deletion is observed."""
UNMANAGED = (
    "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of the PDB cannot be "
    'calculated correctly, which may result in undefined behavior. To account for these pods please set ".spec.minAvailable" '
    "field of the PDB to an integer value."
)


class Disruption(Controller):
    name = "controllermanager"

    def setup(self) -> None:
        self.objects = self.watch(POD_DISRUPTION_BUDGETS)
        self.objects.add_index("namespace", namespace_keys)
        self.pods = self.watch(PODS, self._budgets_of)
        self.pods.add_index("namespace", namespace_keys)
        kinds = (REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS, DEPLOYMENTS)
        self.scales = {r.kind: self.watch(r, self._siblings) for r in kinds}

    def _budgets_of(self, pod: Object) -> Iterable[str]:
        for budget in self.objects.by_index("namespace", meta.namespace(pod)):
            if labels.from_object(budget["spec"].get("selector")).matches(meta.labels(pod)):
                yield meta.key(budget)

    def _siblings(self, owner: Object) -> Iterable[str]:
        """Enqueue the budgets whose percentage depends on a changed scale."""
        for budget in self.objects.by_index("namespace", meta.namespace(owner)):
            if not isinstance(budget["spec"].get("minAvailable"), int):
                yield meta.key(budget)

    async def sync(self, budget: Object) -> float | None:
        selector = labels.from_object(budget["spec"].get("selector"))
        chosen = [p for p in self.pods.by_index("namespace", meta.namespace(budget)) if selector.matches(meta.labels(p))]
        if not chosen:
            self.record_event(budget, "NoPods", "No matching pods found")
        try:
            expected, desired = await self._expected_and_desired(budget, chosen)
        except LookupError as error:
            text = f"Failed to calculate the number of expected pods: {error.args[0]}"
            self.record_warning(budget, "CalculateExpectedPodCountFailed", text)
            await self._write(budget, {**(budget.get("status") or {}), "disruptionsAllowed": 0}, "SyncFailed", str(error.args[0]))
            return None
        disrupted, wait = self._disrupted_pods(budget, chosen)
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

    async def _expected_and_desired(self, budget: Object, chosen: list[Object]) -> tuple[int, int]:
        """(expected pods, desired healthy pods). Raises LookupError if the scale of a pod's owner cannot be determined."""
        spec = budget["spec"]
        if spec.get("maxUnavailable") is not None:
            expected = await self._scale(budget, chosen)
            return expected, max(expected - scaled_value(spec["maxUnavailable"], expected, up=True), 0)
        least = spec.get("minAvailable", 1)
        if isinstance(least, int):
            return len(chosen), least
        expected = await self._scale(budget, chosen)
        return expected, scaled_value(least, expected, up=True)

    async def _scale(self, budget: Object, chosen: list[Object]) -> int:
        """The total replicas of all controllers of these pods. Pods without a controller are only reported."""
        known: dict[str, int] = {}
        refs = [(pod, meta.controller_of(pod)) for pod in chosen]
        if any(ref is None for _, ref in refs):
            self.record_warning(budget, "UnmanagedPods", UNMANAGED.format(labels.go_text(budget["spec"].get("selector") or {})))
        for pod, ref in refs:
            if ref is None:
                continue
            namespace = meta.namespace(pod)
            owner = self._top_owner(ref, namespace) if ref["kind"] in self.scales else await self._scaled(ref, namespace)
            if owner is None:
                raise LookupError(f'found no controllers for pod "{meta.name(pod)}"')
            known[meta.uid(owner)] = owner["spec"].get("replicas", 1 if ref["kind"] in self.scales else 0)
        return sum(known.values())

    async def _scaled(self, ref: Object, namespace: str) -> Object | None:
        """The Scale of an owner of another kind. Raises LookupError if its kind has none."""
        group = ref.get("apiVersion", "").rpartition("/")[0]
        served = (await discover(self.client)).served
        resource = next((s.resource for s in served if (s.resource.group, s.resource.kind) == (group, ref["kind"])), None)
        if resource is None:
            return None
        try:
            scale = await self.client.get(resource, ref["name"], namespace, subresource="scale")
        except errors.NotFound as error:
            if error.details and error.details.get("name"):
                return None
            raise LookupError(f"{resource.qualified} does not implement the scale subresource") from None
        return scale if meta.uid(scale) == ref["uid"] else None

    def _top_owner(self, ref: Object, namespace: str) -> Object | None:
        informer = self.scales.get(ref["kind"])
        owner = informer.get(f"{namespace}/{ref['name']}") if informer is not None else None
        if owner is None or meta.uid(owner) != ref["uid"]:
            return None
        above = meta.controller_of(owner)
        return self._top_owner(above, namespace) if above is not None and above["kind"] == "Deployment" else owner

    def _disrupted_pods(self, budget: Object, chosen: list[Object]) -> tuple[dict[str, str], float | None]:
        """(approved evictions whose pods still exist, seconds until the first of them expires)."""
        now = time.now()
        here = {meta.name(p) for p in chosen if not meta.deleting(p)}
        known = (budget.get("status") or {}).get("disruptedPods") or {}
        kept = {name: at for name, at in known.items() if name in here and time.parse(at) + EVICTION_SECONDS > now}
        return kept, min((time.parse(at) + EVICTION_SECONDS - now for at in kept.values()), default=None)

    async def _write(self, budget: Object, status: Object, reason: str, message: str) -> None:
        value = "True" if reason == "SufficientPods" else "False"
        new: Object = {"type": "DisruptionAllowed", "status": value, "reason": reason, "message": message}
        new["observedGeneration"] = meta.metadata(budget).get("generation", 0)
        status = {**status, "conditions": conditions.updated(status.get("conditions") or (), new)}
        if not equal_status(status, budget.get("status") or {}):
            await self.put_status(POD_DISRUPTION_BUDGETS, budget, status)


class StaleDisruption(Controller):
    """Resets the DisruptionTarget condition of pods that still exist two minutes after it was set."""

    name = "controllermanager"

    def setup(self) -> None:
        self.objects = self.watch(PODS, lambda pod: [meta.key(pod)] if _to_be_disrupted(pod) else [])

    async def sync(self, pod: Object) -> float | None:
        condition = _to_be_disrupted(pod)
        if condition is None:
            return None
        left = time.parse(condition.get("lastTransitionTime")) + EVICTION_SECONDS - time.now()
        if left > 0:
            return left
        undone = {"type": "DisruptionTarget", "status": "False", "reason": "", "message": "", "lastTransitionTime": time.stamp()}
        await self.patch_object(PODS, pod, {"status": {"conditions": [undone]}}, kind="strategic", subresource="status")
        return None


def _to_be_disrupted(pod: Object) -> Object | None:
    """The True DisruptionTarget condition, except those set by the kubelet, which are final."""
    condition = meta.condition(pod, "DisruptionTarget")
    if condition is None or meta.deleting(pod) or pods.finished(pod) or condition.get("reason") == "TerminationByKubelet":
        return None
    return condition if condition.get("status") == "True" else None
