"""HorizontalPodAutoscaler: evaluates the metrics every 15 seconds and scales the target.

Proposals by metrics are computed in usage_metrics.py, limits of a change in scaling.py. Without metrics nothing is scaled, and the
conditions have the reason.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable

from kapi.client import Controller
from kapi.controllers import pods, scaling, usage_metrics
from kapi.controllers.discovery import discover
from kapi.controllers.scaling import Bounds, Condition, ScalingHistory
from kapi.controllers.usage_metrics import TOLERANCE, MetricError, Proposal, Target
from kapi.controllers.workload import namespace_keys
from kapi.objects import conditions, errors, labels, meta, quantity, time
from kapi.objects.meta import Object
from kapi.objects.resource import HORIZONTAL_POD_AUTOSCALERS, PODS, Resource

Compute = Callable[[Target, Object], Awaitable[Proposal]]

SYNC_PERIOD = 15.0
HISTORY_SECONDS = 3600.0
"""Seconds for which recommendations and changes are kept: the longest stabilization window and policy period there may be."""
METRICS: dict[str, tuple[str, str, Compute]] = {
    "Resource": ("resource", "FailedGetResourceMetric", usage_metrics.of_resource),
    "ContainerResource": ("containerResource", "FailedGetContainerResourceMetric", usage_metrics.of_container),
    "Pods": ("pods", "FailedGetPodsMetric", usage_metrics.of_pods),
    "Object": ("object", "FailedGetObjectMetric", usage_metrics.of_object),
    "External": ("external", "FailedGetExternalMetric", usage_metrics.of_external),
}
"""Metric type -> (its field, reason of the event when it fails, function that computes it)."""


class ScalingFailed(Exception):
    """Ends an evaluation with a condition and an event (reason, text)."""

    def __init__(self, condition: Condition, event: str, text: str) -> None:
        super().__init__(text)
        self.condition, self.event, self.text = condition, event, text


class Evaluation:
    """One evaluation of an autoscaler; `status` is its new status."""

    def __init__(self, autoscaler: Object, history: ScalingHistory) -> None:
        self.autoscaler, self.history, self.now = autoscaler, history, time.now()
        self.spec: Object = autoscaler["spec"]
        self.bounds = Bounds(self.spec.get("minReplicas", 1), self.spec["maxReplicas"])
        self.status: Object = meta.clone(autoscaler.get("status") or {})

    def set_conditions(self, *new: Condition) -> None:
        for one in new:
            self.status["conditions"] = conditions.updated(self.status.get("conditions") or (), one._asdict())


class Autoscaling(Controller):
    name = "horizontal-pod-autoscaler"

    def setup(self) -> None:
        self.objects = self.informer(HORIZONTAL_POD_AUTOSCALERS)
        self.objects.add_handler(self._changed)
        self.pods = self.informer(PODS)
        self.pods.add_index("namespace", namespace_keys)
        self._histories: defaultdict[str, ScalingHistory] = defaultdict(ScalingHistory)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        """Enqueue new autoscalers and those with a changed spec; status writes are ignored."""
        if old is None or new is None or old["spec"] != new["spec"]:
            self.queue.add(meta.key(new or old or {}))

    async def reconcile(self, key: str) -> float | None:
        autoscaler = self.objects.get(key)
        if autoscaler is None:
            self._histories.pop(key, None)
            return None
        evaluation = Evaluation(autoscaler, self._histories[key])
        evaluation.history.drop_before(evaluation.now, HISTORY_SECONDS)
        try:
            await self._evaluate(evaluation)
        except ScalingFailed as end:
            evaluation.set_conditions(end.condition)
            self.record_warning(autoscaler, end.event, end.text)
        if evaluation.status != (autoscaler.get("status") or {}):
            await self.put_status(HORIZONTAL_POD_AUTOSCALERS, autoscaler, evaluation.status)
        return SYNC_PERIOD

    async def _evaluate(self, evaluation: Evaluation) -> None:
        resource, scale = await self._scale_of(evaluation)
        current = (scale.get("spec") or {}).get("replicas", 0)
        message = "the HPA controller was able to get the target's current scale"
        evaluation.set_conditions(Condition("AbleToScale", "True", "SucceededGetScale", message))
        evaluation.status |= {"currentReplicas": current, "desiredReplicas": current}
        if not evaluation.history.recommendations:
            evaluation.history.recommendations.append((evaluation.now, current))
        desired, why = await self._desired(evaluation, scale, current)
        if desired != current:
            await self._rescale(evaluation, resource, scale, desired, why)
        evaluation.status["desiredReplicas"] = desired

    async def _scale_of(self, evaluation: Evaluation) -> tuple[Resource, Object]:
        """(resource, Scale object) of the target. Raises ScalingFailed."""
        ref = evaluation.spec["scaleTargetRef"]
        group = (ref.get("apiVersion") or "").rpartition("/")[0]
        served = (await discover(self.client)).served
        resource = next((s.resource for s in served if (s.resource.group, s.resource.kind) == (group, ref["kind"])), None)
        why = f'no matches for kind "{ref["kind"]}" in group "{group}"'
        if resource is not None:
            try:
                return resource, await self.client.get(resource, ref["name"], meta.namespace(evaluation.autoscaler), subresource="scale")
            except errors.StatusError as error:
                why = error.message
        text = f"the HPA controller was unable to get the target's current scale: {why}"
        raise ScalingFailed(Condition("AbleToScale", "False", "FailedGetScale", text), "FailedGetScale", why)

    async def _desired(self, evaluation: Evaluation, scale: Object, current: int) -> tuple[int, str]:
        """(desired replicas, reason)."""
        bounds = evaluation.bounds
        if not current and bounds.least:
            text = "scaling is disabled since the replica count of the target is zero"
            evaluation.set_conditions(Condition("ScalingActive", "False", "ScalingDisabled", text))
            return 0, ""
        if current > bounds.most:
            return bounds.most, "Current number of replicas above Spec.MaxReplicas"
        if current < bounds.least:
            return bounds.least, "Current number of replicas below Spec.MinReplicas"
        replicas, name = await self._compute(evaluation, self._target(evaluation, scale, current))
        why = f"{name} above target" if replicas > current else "All metrics below target"
        desired, new_conditions = scaling.normalized(evaluation.spec, bounds, evaluation.history, current, replicas, evaluation.now)
        evaluation.set_conditions(*new_conditions)
        return desired, why

    def _target(self, evaluation: Evaluation, scale: Object, current: int) -> Target:
        """The pods that metrics are computed for. Raises ScalingFailed without a selector."""
        selector = (scale.get("status") or {}).get("selector")
        if not selector:
            text = "the HPA target's scale is missing a selector"
            raise ScalingFailed(Condition("ScalingActive", "False", "InvalidSelector", text), "SelectorRequired", "selector is required")
        parsed, namespace = labels.parse(selector), meta.namespace(evaluation.autoscaler)
        chosen = [p for p in self.pods.by_index("namespace", namespace) if parsed.matches(meta.labels(p))]
        ready = sum(pods.phase(p) == "Running" and pods.ready(p) for p in chosen)
        down, up = ((evaluation.spec.get("behavior") or {}).get(way) or {} for way in ("scaleDown", "scaleUp"))
        tolerance = (_tolerance(down), _tolerance(up))
        return Target(self.client, namespace, selector, chosen, current, ready, tolerance)

    async def _compute(self, evaluation: Evaluation, target: Target) -> tuple[int, str]:
        """(replicas, name) of the metric with the largest proposal. Raises ScalingFailed if too many metrics fail."""
        metrics = evaluation.spec.get("metrics") or ()
        proposals: list[Proposal] = []
        problems: list[tuple[str, MetricError]] = []
        statuses: list[Object] = []
        for metric in metrics:
            field, reason, compute = METRICS[metric["type"]]
            try:
                proposal = await compute(target, metric[field])
            except MetricError as why:
                problems.append((reason, why))
                self.record_warning(evaluation.autoscaler, reason, str(why))
                continue
            proposals.append(proposal)
            statuses.append({"type": metric["type"], field: proposal.status})
        evaluation.status["currentMetrics"] = statuses or None
        best = max(proposals, key=lambda p: p.replicas, default=None)
        if best is None or (problems and best.replicas < target.replicas):
            reason, first = problems[0]
            text = f"invalid metrics ({len(problems)} invalid out of {len(metrics)}), first error is: {first}"
            new_conditions = Condition("ScalingActive", "False", reason, f"the HPA was unable to compute the replica count: {first}")
            raise ScalingFailed(new_conditions, "FailedComputeMetricsReplicas", text)
        text = f"the HPA was able to successfully calculate a replica count from {best.name}"
        evaluation.set_conditions(Condition("ScalingActive", "True", "ValidMetricFound", text))
        return best.replicas, best.name

    async def _rescale(self, evaluation: Evaluation, resource: Resource, scale: Object, desired: int, why: str) -> None:
        """Update the Scale. Raises ScalingFailed."""
        before = (scale.get("spec") or {}).get("replicas", 0)
        path = resource.path(meta.namespace(evaluation.autoscaler), evaluation.spec["scaleTargetRef"]["name"], "scale")
        try:
            await self.client.send("PUT", path, {**scale, "spec": {"replicas": desired}})
        except errors.StatusError as error:
            text = f"the HPA controller was unable to update the target scale: {error.message}"
            event = f"New size: {desired}; reason: {why}; error: {error.message}"
            raise ScalingFailed(Condition("AbleToScale", "False", "FailedUpdateScale", text), "FailedRescale", event) from None
        evaluation.history.changes.append((evaluation.now, desired - before))
        evaluation.status["lastScaleTime"] = time.stamp(evaluation.now)
        text = f"the HPA controller was able to update the target scale to {desired}"
        evaluation.set_conditions(Condition("AbleToScale", "True", "SucceededRescale", text))
        self.record_event(evaluation.autoscaler, "SuccessfulRescale", f"New size: {desired}; reason: {why}")


def _tolerance(rules: Object) -> float:
    tolerance = rules.get("tolerance")
    return TOLERANCE if tolerance is None else quantity.milli(tolerance) / 1000
